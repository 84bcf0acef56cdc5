"""Reading into a vocabulary: how likely each token is, known by its spelling."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# What tokenizers write for a blank.
_BLANKS = str.maketrans({"\u0120": " ", "\u2581": " "})


def character_ngrams(token, longest=5):
    """The character n-grams of a token, its ends marked, letter case set aside.

    Arguments
    ---------
    token : str
    longest : int
        Most characters of an n-gram.

    Returns
    -------
    list of str
        Sorted, each once; the whole token and whether it has a capital among them.

    Example
    -------
    >>> character_ngrams("ab", longest=2)
    ['#case:False', '#whole:^ab$', '$', '^', '^a', 'a', 'ab', 'b', 'b$']
    """
    text = f"^{token.lower()}$"
    grams = {
        text[i : i + n] for n in range(1, longest + 1) for i in range(len(text) - n + 1)
    }
    capital = token.strip()[:1].isupper()
    return sorted(grams | {f"#whole:{text}", f"#case:{capital}"})


class SpellingKeys(nn.Module):
    """A key for every token of a vocabulary, from how the token is spelled.

    A token that the training data never shows gets a key from the n-grams it shares
    with those that it does show, as word vectors do in fastText (Bojanowski et al.,
    arXiv 1607.04606). How frequent it is, is read off its index in the vocabulary,
    which tokenizers sort by.

    Arguments
    ---------
    tokens : list of str
        The vocabulary's tokens, as the tokenizer writes them.
    size : int
        K, width of the keys.
    num_buckets : int
        Rows that the n-grams are hashed into.
    gram_dropout : float
        Share of the n-grams left out in training, so that a token is not known by one
        of them alone.

    Example
    -------
    >>> keys = SpellingKeys(["\u0120cat", "\u0120cats", "\u0120dog"], size=8)
    >>> key, bias = keys(torch.tensor([0, 2]))
    >>> key.shape, bias.shape
    (torch.Size([2, 8]), torch.Size([2]))
    """

    def __init__(self, tokens, size=256, num_buckets=32768, gram_dropout=0.0):
        super().__init__()
        self.gram_dropout = gram_dropout
        bags, ends = [], []
        for token in tokens:
            grams = character_ngrams(token.translate(_BLANKS))
            bags += [zlib.crc32(gram.encode()) % num_buckets for gram in grams]
            ends.append(len(bags))
        ends = torch.tensor([0, *ends])
        # Made of the tokenizer, so in no checkpoint.
        self.register_buffer("_bags", torch.tensor(bags), persistent=False)
        self.register_buffer("_first", ends[:-1], persistent=False)
        self.register_buffer("_count", ends.diff(), persistent=False)
        self.grams = nn.EmbeddingBag(
            num_buckets, size, mode="sum", include_last_offset=True
        )
        nn.init.normal_(self.grams.weight, std=0.1)
        self.rank = nn.Linear(3, size)
        self.net = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Linear(size, size)
        )
        self.norm = nn.LayerNorm(size)
        self.bias = nn.Sequential(nn.Linear(size, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, ids):
        """Keys of some tokens.

        Arguments
        ---------
        ids : torch.Tensor
            [C] int

        Returns
        -------
        keys : torch.Tensor
            [C, K]
        bias : torch.Tensor
            [C], what to add to a token's logit.
        """
        count = self._count[ids]
        ends = count.cumsum(0)
        within = torch.arange(int(ends[-1]), device=ids.device)
        within = within - torch.repeat_interleave(ends - count, count)
        index = torch.repeat_interleave(self._first[ids], count) + within
        offsets = torch.cat([ends.new_zeros(1), ends])
        kept = None
        if self.training and self.gram_dropout:
            kept = (torch.rand(index.shape) >= self.gram_dropout).to(self.rank.weight)
            kept = kept / (1 - self.gram_dropout)
        grams = self.grams(self._bags[index], offsets, per_sample_weights=kept)
        x = grams / count.sqrt().unsqueeze(1)
        rank = torch.log(ids.float() + 1) / 10
        x = x + self.rank(torch.stack([rank, rank**2, rank**3], dim=1))
        x = x + self.net(x)
        return self.norm(x), self.bias(x).squeeze(1)


class VocabularyHead(nn.Module):
    """Tells of states how likely each token of a vocabulary is.

    It can name a token that training never showed.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the tokens' spelling.
    width : int
        H, size of the states.
    size : int
        K, size of queries and keys.
    gram_dropout : float
        Of :class:`SpellingKeys`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> head, states = VocabularyHead(llm, width=16), torch.rand(3, 16)
    >>> head(states).shape, head(states, torch.arange(10)).shape
    (torch.Size([3, 32]), torch.Size([3, 10]))
    >>> head.null_logits(states).shape
    torch.Size([3])
    """

    def __init__(
        self,
        llm: TextLLM,
        width: int,
        size: int = 256,
        gram_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size = len(llm.table())
        tokens = llm.tokenizer.convert_ids_to_tokens([*range(len(llm.tokenizer))])
        padding = [""] * (self.vocab_size - len(tokens))
        tokens = [token or "" for token in tokens] + padding
        self.keys = SpellingKeys(tokens, size, gram_dropout=gram_dropout)
        self.query = nn.Linear(width, size)
        # Whether a state is of no token at all, as where a segment was cut in two.
        self.null = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(1 / math.sqrt(size)))
        # By the type that autocast computes in.
        self._cached: dict[torch.dtype, torch.Tensor] = {}

    # Whatever may change the parameters forgets the keys made of them.
    def train(self, mode=True):
        """As usual."""
        self._cached = {}
        return super().train(mode)

    def _apply(self, fn, recurse=True):
        self._cached = {}
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs):
        self._cached = {}
        return super()._load_from_state_dict(*args, **kwargs)

    def _all_keys(self):
        ids = torch.arange(self.vocab_size, device=self.scale.device)
        if self.training or torch.is_grad_enabled():
            return self.keys(ids)
        device = self.scale.device.type
        cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        if cast not in self._cached:
            chunks = [self.keys(chunk) for chunk in ids.split(16384)]
            self._cached[cast] = tuple(map(torch.cat, zip(*chunks, strict=True)))
        return self._cached[cast]

    def forward(
        self, states: torch.Tensor, candidates: torch.Tensor | None = None
    ) -> torch.Tensor:
        """How likely each token is.

        Arguments
        ---------
        states : torch.Tensor
            [..., H]
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among; None for all.

        Returns
        -------
        torch.Tensor
            [..., C] float32, logits.
        """
        keys, bias = self._all_keys() if candidates is None else self.keys(candidates)
        products = (self.query(states) @ keys.T).float()
        logits: torch.Tensor = products * self.scale + bias.float()
        return logits

    def null_logits(self, states: torch.Tensor) -> torch.Tensor:
        """The logit of no token, beside those of :meth:`forward`.

        Arguments
        ---------
        states : torch.Tensor
            [..., H]

        Returns
        -------
        torch.Tensor
            [...] float32
        """
        logits: torch.Tensor = self.null(states).float().squeeze(-1)
        return logits
