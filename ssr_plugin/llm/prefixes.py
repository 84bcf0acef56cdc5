"""What an LLM expects after many texts that grow side by side."""

import torch
from transformers import DynamicCache

from ssr_plugin.llm.next_token import read_logits
from ssr_plugin.llm.packing import send
from ssr_plugin.llm.scoring import cache_argument, states_at


class GrowingTexts:
    """Texts of which some grow by a token at a time, others end or branch.

    All keep their keys and values in one cache, which has a hole where a text did not
    grow with the others, so that each token is read once.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    count : int
        How many texts to begin with, all of them empty: its start token alone.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> texts = GrowingTexts(TextLLM(getfixture("tiny_llm_folder")), count=1)
    >>> texts.grow([0, 0], [5, None])  # two branches, the second still empty
    >>> texts.log_probs.shape
    torch.Size([2, 32])
    """

    def __init__(self, llm, count):
        self.llm = llm
        self.model = llm.load_model()
        self.cache = DynamicCache()
        device = llm.embedding.weight.device
        self.mask = torch.ones(count, 0, dtype=torch.bool, device=device)
        #: [R, V], the log-probability of each token to come next.
        self.log_probs = torch.zeros(count, llm.vocab_size, device=device)
        self._read([llm.start_id] * count)

    @staticmethod
    def can_read(llm):
        """Whether an LLM keeps keys and values (Mamba does not)."""
        return cache_argument(llm.load_model()) is not None

    def grow(self, parents, tokens):
        """Goes on with some of the texts.

        Arguments
        ---------
        parents : list of int
            Which text each of those to come goes on with.
        tokens : list of (int or None)
            What comes after it; None: nothing.
        """
        rows = torch.tensor(parents, device=self.mask.device)
        self.cache.batch_select_indices(rows)
        self.mask, self.log_probs = self.mask[rows], self.log_probs[rows]
        self._read(tokens)

    @torch.no_grad()
    def _read(self, tokens):
        grows = torch.tensor([[token is not None] for token in tokens])
        (index,) = torch.nonzero(grows[:, 0], as_tuple=True)
        ids = torch.tensor([token or 0 for token in tokens])
        index, ids, grows = send(self.mask.device, index, ids, grows.long())
        embeds, grows = self.llm.embed(ids).unsqueeze(1), grows.bool()
        states = states_at(self.model, embeds, grows, index, self.cache, self.mask)
        self.mask = torch.cat([self.mask, grows], 1)
        log_probs = read_logits(self.model, states).log_softmax(-1)
        self.log_probs = self.log_probs.index_copy(0, index, log_probs)
