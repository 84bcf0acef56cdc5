"""What every connector is: segments of frames in, vectors in the LLM's space out."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssr_plugin.nnet.segment_lists import place_vectors

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
        [B, N, C + 1] float32, of no meaning at padding: logits of the candidates, and
        last that of no token. Of a connector that scores tokens, where candidates are
        given.
    auxiliary_loss : torch.Tensor or None
        A scalar that is to be minimised beside the losses of the vectors. None where
        there is none, and outside training.
    """

    vectors: Tensor
    kept: Tensor
    token_logits: Tensor | None = None
    auxiliary_loss: Tensor | None = None


class Planner(abc.ABC):
    """Makes on the host what a connector would else have to ask the device for.

    The loader's workers call it while the device computes. It holds no weights and can
    be pickled.
    """

    @abc.abstractmethod
    def plan(
        self,
        boundaries: Tensor,
        starts: Tensor,
        num_frames: int,
        candidates: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the connector's ``forward`` takes as ``plan`` for a batch.

        Arguments
        ---------
        boundaries, starts : torch.Tensor
            [B, N] int, on the CPU, as in :meth:`Connector.forward`.
        num_frames : int
            T, padding included.
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among, of a vocabulary connector.

        Returns
        -------
        dict of torch.Tensor
            On the CPU; names are the connector's own.
        """


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

    def planner(self) -> Planner | None:
        """What plans batches for this connector on the host.

        A connector that has one takes one argument more, ``plan``: a dict of tensors on
        its own device, or None, where it must plan for itself. Then a step of training
        asks the device nothing. By default there is none.
        """
        return None

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
            [B, N, K], finite, but of no meaning at padding.
        """

    def encode_planned(
        self, features: Tensor, boundaries: Tensor, starts: Tensor
    ) -> Tensor:
        """As :meth:`encode`, where the segments are known on the host.

        A connector that plans there (:meth:`Connector.planner`) asks the device nothing
        then. By default they are sent to the device.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D], on any device.
        boundaries, starts : torch.Tensor
            [B, N] int, on the CPU.

        Returns
        -------
        torch.Tensor
            [B, N, K], on the device.
        """
        device = features.device
        return self.encode(features, boundaries.to(device), starts.to(device))

    @abc.abstractmethod
    def token_logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """How likely each token is.

        Arguments
        ---------
        states : torch.Tensor
            [..., K]
        candidates : torch.Tensor or None
            [C] int, the tokens to choose among; None for all V.

        Returns
        -------
        torch.Tensor
            [..., C] float32
        """

    @abc.abstractmethod
    def null_logits(self, states: Tensor) -> Tensor:
        """How likely it is that a segment is of no token, beside the tokens' logits.

        Arguments
        ---------
        states : torch.Tensor
            [..., K]

        Returns
        -------
        torch.Tensor
            [...] float32
        """

    def is_token(self, states: Tensor) -> Tensor:
        """Whether a segment is of some token, rather likely than not.

        Arguments
        ---------
        states : torch.Tensor
            [..., K]

        Returns
        -------
        torch.Tensor
            [...] bool
        """
        chunks = torch.split(states.flatten(0, -2), _ROWS)
        totals = torch.cat([self.token_logits(x).logsumexp(-1) for x in chunks])
        return totals.view(states.shape[:-1]) >= self.null_logits(states)

    def expected_embeddings(self, states: Tensor, sharpness: float = 1.0) -> Tensor:
        """The mean of all embeddings by their probabilities.

        Arguments
        ---------
        states : torch.Tensor
            [..., K]
        sharpness : float
            Power of the probabilities, which then sum to 1 again: above 1, the mean is
            nearer to the embedding of the likeliest token.

        Returns
        -------
        torch.Tensor
            [..., H]
        """
        table = self.table()
        vectors = torch.cat(
            [
                (sharpness * self.token_logits(x)).softmax(-1).to(table.dtype) @ table
                for x in torch.split(states.flatten(0, -2), _ROWS)
            ]
        )
        return vectors.view(*states.shape[:-1], table.shape[1])

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
        states = self.encode(features, boundaries, starts)
        if candidates is None:
            # Of all V tokens: not of padding.
            valid = boundaries >= 0
            vectors = self.expected_embeddings(states[valid])
            return ConnectorOutput(place_vectors(vectors, boundaries), valid)
        logits = self.token_logits(states, candidates)
        return self.choose(states, boundaries, logits, candidates)

    def choose(
        self, states: Tensor, boundaries: Tensor, logits: Tensor, candidates: Tensor
    ) -> ConnectorOutput:
        """The result of :meth:`forward` where there are candidates.

        Arguments
        ---------
        states : torch.Tensor
            [B, N, K]
        boundaries : torch.Tensor
            [B, N] int
        logits : torch.Tensor
            [B, N, C] float32, of the candidates.
        candidates : torch.Tensor
            [C] int

        Returns
        -------
        ConnectorOutput
        """
        table, kept = self.table(), boundaries >= 0
        vectors = logits.softmax(-1).to(table.dtype) @ table[candidates]
        logits = torch.cat([logits, self.null_logits(states).unsqueeze(-1)], -1)
        return ConnectorOutput(vectors * kept.unsqueeze(-1), kept, token_logits=logits)
