"""Reading into a vocabulary: how likely each token is, known by its spelling."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_plugin.nnet.lengths import bucketed_length

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# What tokenizers write for a blank.
_BLANKS = str.maketrans({"\u0120": " ", "\u2581": " "})
# Numbers of n-grams come in multiples of this.
_GRAMS = 4096


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


class Spelling:
    """The character n-grams of every token of a vocabulary, on the host.

    Arguments
    ---------
    tokens : list of str
        The vocabulary's tokens, as the tokenizer writes them.
    num_buckets : int
        How many numbers the n-grams are hashed to.

    Attributes
    ----------
    buckets : torch.Tensor
        [R] int64, those of the numbers that the vocabulary has n-grams of, sorted. What
        tells n-grams apart elsewhere is their index in it, 0 to R - 1.

    Example
    -------
    >>> spelling = Spelling(["\u0120cat", "\u0120cats", "\u0120dog"])
    >>> grams = spelling.look_up(torch.tensor([0, 2]))
    >>> grams["offsets"].tolist(), grams["grams"].shape
    ([0, 22, 4096], torch.Size([4096]))
    """

    def __init__(self, tokens: Iterable[str], num_buckets: int = 32768) -> None:
        bags: list[int] = []
        ends = [0]
        for token in tokens:
            grams = character_ngrams(token.translate(_BLANKS))
            bags += [zlib.crc32(gram.encode()) % num_buckets for gram in grams]
            ends.append(len(bags))
        self.num_buckets = num_buckets
        used, index = np.unique(np.array(bags, dtype=np.int64), return_inverse=True)
        self.buckets = torch.from_numpy(used)
        self._bags = index.astype(np.int32)
        self._first = np.array(ends, dtype=np.int64)

    def look_up(self, ids: Tensor) -> dict[str, Tensor]:
        """The n-grams of some tokens, for an embedding bag.

        Arguments
        ---------
        ids : torch.Tensor
            [C] int, on the CPU.

        Returns
        -------
        dict of torch.Tensor
            ``grams`` [G] int, the n-grams of one token after another, and then some
            more, so that G is one of few; ``offsets`` [C + 1] int, where each token's
            begin, and G; ``weight`` [G] float, one over the square root of how many its
            token has, 0 of those that belong to none; ``rank`` [C, 3] float, the
            logarithm of a token's index, its square and its cube.
        """
        index = ids.numpy()
        first = self._first[index]
        count = self._first[index + 1] - first
        ends = np.cumsum(count)
        total = int(ends[-1]) if len(ends) else 0
        # What fills up to the next multiple goes to the last token, with no weight.
        size = bucketed_length(max(total, 1), _GRAMS)
        grams = np.zeros(size, dtype=np.int32)
        weight = np.zeros(size, dtype=np.float32)
        places = np.repeat(first - (ends - count), count) + np.arange(total)
        grams[:total] = self._bags[places]
        weight[:total] = np.repeat(1 / np.sqrt(count, dtype=np.float32), count)
        offsets = np.concatenate([[0], ends[:-1], [size]]).astype(np.int32)
        rank = np.log(index + 1).astype(np.float32) / 10
        return {
            "grams": torch.from_numpy(grams),
            "offsets": torch.from_numpy(offsets),
            "weight": torch.from_numpy(weight),
            "rank": torch.from_numpy(rank[:, None] ** np.arange(1, 4, dtype="f4")),
        }


class SpellingKeys(nn.Module):
    """A key for every token of a vocabulary, from how the token is spelled.

    A token that the training data never shows gets a key from the n-grams it shares
    with those that it does show, as word vectors do in fastText (Bojanowski et al.,
    arXiv 1607.04606). How frequent it is, is read off its index in the vocabulary,
    which tokenizers sort by.

    Arguments
    ---------
    spelling : Spelling
        Of the vocabulary's tokens.
    size : int
        K, width of the keys.
    gram_dropout : float
        Share of the n-grams left out in training, so that a token is not known by one
        of them alone.

    Example
    -------
    >>> keys = SpellingKeys(Spelling(["\u0120cat", "\u0120cats", "\u0120dog"]), size=8)
    >>> key, bias = keys(keys.look_up(torch.tensor([0, 2])))
    >>> key.shape, bias.shape
    (torch.Size([2, 8]), torch.Size([2]))
    """

    def __init__(
        self, spelling: Spelling, size: int = 256, gram_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.spelling = spelling
        self.gram_dropout = gram_dropout
        # Only numbers that some token has are kept: a small vocabulary has few, and the
        # optimizer goes through all of the table at every step. Drawn are all, so that
        # an n-gram begins alike in every vocabulary.
        drawn = nn.Embedding(spelling.num_buckets, size).weight
        nn.init.normal_(drawn, std=0.1)
        self.grams = nn.EmbeddingBag.from_pretrained(
            drawn.detach()[spelling.buckets],
            freeze=False,
            mode="sum",
            include_last_offset=True,
        )
        self.rank = nn.Linear(3, size)
        self.net = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Linear(size, size)
        )
        self.norm = nn.LayerNorm(size)
        self.bias = nn.Sequential(nn.Linear(size, 64), nn.GELU(), nn.Linear(64, 1))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # Checkpoints of before had all numbers.
        key, spelling = f"{prefix}grams.weight", self.spelling
        if key in state_dict and len(state_dict[key]) == spelling.num_buckets:
            state_dict[key] = state_dict[key][spelling.buckets]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def look_up(self, ids: Tensor) -> dict[str, Tensor]:
        """What :meth:`forward` takes of some tokens, [C] int: on the model's device."""
        device = self.grams.weight.device
        grams = self.spelling.look_up(ids.cpu())
        return {key: value.to(device) for key, value in grams.items()}

    def forward(self, grams: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys of some tokens.

        Arguments
        ---------
        grams : dict of torch.Tensor
            What :meth:`Spelling.look_up` gives for C tokens.

        Returns
        -------
        keys : torch.Tensor
            [C, K]
        bias : torch.Tensor
            [C], what to add to a token's logit.
        """
        weight = grams["weight"].to(self.grams.weight.dtype)
        weight = F.dropout(weight, self.gram_dropout, self.training)
        x = self.grams(grams["grams"], grams["offsets"], per_sample_weights=weight)
        x = x + self.rank(grams["rank"].to(x.dtype))
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
        self.keys = SpellingKeys(Spelling(tokens), size, gram_dropout=gram_dropout)
        self.query = nn.Linear(width, size)
        # Whether a state is of no token at all, as where a segment was cut in two.
        self.null = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(1 / math.sqrt(size)))
        # By the type that autocast computes in; those that were made are of one.
        self._cached: dict[torch.dtype | bool, tuple[Tensor, Tensor]] = {}

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

    def _all_keys(self) -> tuple[Tensor, Tensor]:
        ids = torch.arange(self.vocab_size)
        if self.training or torch.is_grad_enabled():
            keys: tuple[Tensor, Tensor] = self.keys(self.keys.look_up(ids))
            return keys
        device = self.scale.device.type
        cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        if cast not in self._cached:
            chunks = [self.keys(self.keys.look_up(x)) for x in ids.split(16384)]
            every, bias = map(torch.cat, zip(*chunks, strict=True))
            # Of one type alone: with an LLM's vocabulary they are large, and training
            # asks for those of another only when it goes over to validation and back.
            self._cached = {cast: (every, bias)}
        return self._cached[cast]

    def keep_keys(self, keys: Tensor, bias: Tensor) -> None:
        """Takes keys for those of all tokens, until the parameters may change.

        Arguments
        ---------
        keys : torch.Tensor
            [V, K]
        bias : torch.Tensor
            [V]
        """
        types = (False, *(torch.bfloat16, torch.float16))
        self._cached = dict.fromkeys(types, (keys, bias))

    def forward(
        self,
        states: Tensor,
        candidates: Tensor | None = None,
        grams: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """How likely each token is.

        Arguments
        ---------
        states : torch.Tensor
            [..., H]
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among; None for all.
        grams : dict of torch.Tensor or None
            What :meth:`Spelling.look_up` gives for the candidates, where a loader's
            worker has looked it up already.

        Returns
        -------
        torch.Tensor
            [..., C] float32, logits.
        """
        if candidates is None:
            keys, bias = self._all_keys()
        else:
            keys, bias = self.keys(grams or self.keys.look_up(candidates))
        # The scale is given to what is small.
        query = self.query(states) * self.scale
        return F.linear(query, keys, bias).float()

    def null_logits(self, states: Tensor) -> Tensor:
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
        logits: Tensor = self.null(states).float().squeeze(-1)
        return logits
