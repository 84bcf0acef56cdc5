"""What every connector is: segments of frames in, vectors in the LLM's space out."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssr_plugin.nnet.segment_lists import place_vectors
from ssr_plugin.nnet.segments import pad_rows

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# States that are compared with a whole vocabulary at once.
_ROWS = 1024


@dataclasses.dataclass
class ConnectorOutput:
    """What a connector makes of a batch of N segments a row, padding included.

    Arguments
    ---------
    vectors : torch.Tensor
        [B, N, H]; zeros at padding.
    kept : torch.Tensor
        [B, N] bool: the segments that say something, False at padding.
    token_logits : torch.Tensor or None
        [M, C + 1] float32, of the M segments that are no padding: logits of the
        candidates, and last that of no token. Of a connector that scores tokens, where
        candidates are given.
    auxiliary_loss : torch.Tensor or None
        A scalar that is to be minimised beside the losses of the vectors. None where
        there is none, and outside training.
    """

    vectors: Tensor
    kept: Tensor
    token_logits: Tensor | None = None
    auxiliary_loss: Tensor | None = None


class Connector(nn.Module, abc.ABC):
    """Turns each segment of frames into one vector. A subclass is registered by name.

    It is made with ``input_size`` (D, width of the encoder's frames), ``llm``
    (:class:`ssr_plugin.llm.text_llm.TextLLM`, which gives the width H) and options of
    its own. Before it is trained, :func:`ssr_plugin.connectors.check.check_connector`
    looks whether it keeps to what is said here.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> class Last(Connector):
    ...     '''The last frame of each segment, through a linear layer.'''
    ...     def __init__(self, input_size, llm):
    ...         super().__init__()
    ...         self.project = nn.Linear(input_size, llm.hidden_size)
    ...     def forward(self, features, boundaries, starts=None):
    ...         row, _ = torch.nonzero(boundaries >= 0, as_tuple=True)
    ...         last = features[row, boundaries[boundaries >= 0]]
    ...         vectors = place_vectors(self.project(last), boundaries)
    ...         return ConnectorOutput(vectors, boundaries >= 0)
    >>> connector = Last(6, SimpleNamespace(hidden_size=8))
    >>> connector(torch.rand(1, 10, 6), torch.tensor([[3, 9]])).vectors.shape
    torch.Size([1, 2, 8])
    """

    @abc.abstractmethod
    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """Reads segments.

        A row's vectors do not depend on other rows, nor on frames after its last
        boundary, which may be padding.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        boundaries : torch.Tensor
            [B, N] int, the last frame of each segment, which is part of it; padded
            with -1 on the right.
        starts : torch.Tensor or None
            [B, N] int, the first frame of each segment; by default the frame after
            the boundary before it.

        Returns
        -------
        ConnectorOutput
        """


class VocabularyConnector(Connector):
    """A connector that tells of each segment how likely each token of the LLM is.

    Vectors are the mean embeddings that the probabilities give,
    ``z = sum_v p(v | segment) E_v``: the very value that minimises the expected squared
    error to the embedding of the token, always among the embeddings in direction and
    length. It may be trained by cross-entropy, may find that a segment is of no token,
    and the LLM may help it to read (:mod:`ssr_plugin.llm.lm_fusion`).

    A subclass gives :meth:`encode`, :meth:`token_logits` and :meth:`null_logits`.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the embeddings E [V, H].
    """

    def __init__(self, llm: TextLLM) -> None:
        super().__init__()
        # Not a module of this one: it is frozen, and in no checkpoint.
        self._llm_table = llm.table

    def table(self) -> Tensor:
        """The LLM's embeddings, [V, H]."""
        return self._llm_table()

    @abc.abstractmethod
    def encode(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> Tensor:
        """States of the segments. Arguments as in :meth:`Connector.forward`.

        Returns
        -------
        torch.Tensor
            [M, K], of the M segments that are no padding, row by row.
        """

    @abc.abstractmethod
    def token_logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """How likely each token is.

        Arguments
        ---------
        states : torch.Tensor
            [M, K]
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among; None for all V.

        Returns
        -------
        torch.Tensor
            [M, C] float32
        """

    @abc.abstractmethod
    def null_logits(self, states: Tensor) -> Tensor:
        """How likely it is that a segment is of no token, beside the tokens' logits.

        Arguments
        ---------
        states : torch.Tensor
            [M, K]

        Returns
        -------
        torch.Tensor
            [M] float32
        """

    def is_token(self, states: Tensor) -> Tensor:
        """Whether a segment is of some token, rather likely than not.

        Arguments
        ---------
        states : torch.Tensor
            [M, K]

        Returns
        -------
        torch.Tensor
            [M] bool
        """
        chunks = torch.split(states, _ROWS)
        totals = [self.token_logits(x).logsumexp(-1) for x in chunks]
        return torch.cat(totals) >= self.null_logits(states)

    def expected_embeddings(self, states: Tensor) -> Tensor:
        """The mean of all embeddings by their probabilities.

        Arguments
        ---------
        states : torch.Tensor
            [M, K]

        Returns
        -------
        torch.Tensor
            [M, H]
        """
        table = self.table()
        return torch.cat(
            [
                self.token_logits(x).softmax(-1).to(table.dtype) @ table
                for x in torch.split(states, _ROWS)
            ]
        )

    def forward(
        self,
        features: Tensor,
        boundaries: Tensor,
        starts: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> ConnectorOutput:
        """Reads segments, all of which are kept.

        Arguments
        ---------
        features, boundaries, starts : torch.Tensor
            As in :meth:`Connector.forward`.
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among, as in training; None for all V.

        Returns
        -------
        ConnectorOutput
            With ``token_logits`` where there are candidates.
        """
        states, logits = self.encode(features, boundaries, starts), None
        if candidates is None:
            vectors = self.expected_embeddings(states)
        else:
            table, padded = self.table(), pad_rows(states)
            logits = self.token_logits(padded, candidates)
            vectors = logits.softmax(-1).to(table.dtype) @ table[candidates]
            null = self.null_logits(padded).unsqueeze(-1)
            logits = torch.cat([logits, null], -1)[: len(states)]
            vectors = vectors[: len(states)]
        placed = place_vectors(vectors, boundaries)
        return ConnectorOutput(placed, boundaries >= 0, token_logits=logits)
