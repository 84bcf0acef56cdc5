"""Whether a connector keeps to its contract, told in a line before it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssr_plugin.connectors.base import Connector, ConnectorOutput, VocabularyConnector
from ssr_plugin.nnet.segments import contiguous_starts

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# What is read: rows of unlike length, one of them without a segment. One segment has
# one frame alone, which it must know; of a longer one, some frames may be left out.
_BOUNDARIES = [[4, 9, 10], [3, -1, -1], [-1, -1, -1]]
_ALONE = 10
_NUM_FRAMES = 14
_TAKEN = "boundaries are inclusive, segment i has the frames starts[i] to boundaries[i]"
# Of the largest number, by how much a vector may differ with the rows beside it.
_TOLERANCE = 1e-3
# Tokens that a vocabulary connector is given to choose among.
_CANDIDATES = 64


def check_connector(connector: Connector, input_size: int, llm: TextLLM) -> None:
    """Reads a few random segments, and refuses a connector that reads them wrongly.

    It costs less than a step of training, draws no random number that others would
    have drawn, and leaves the connector as it was.

    Arguments
    ---------
    connector : Connector
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM

    Raises
    ------
    ValueError
        If it gives something else than a :class:`ConnectorOutput`, of other shapes or
        with numbers that are not finite; if vectors at padding are not zero; if a
        vector depends on the rows beside it or on padding; or if it does not know the
        last frame of its segment (boundaries taken as exclusive).

    Example
    -------
    >>> from ssr_plugin.connectors.mean import MeanConnector
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> check_connector(MeanConnector(6, llm), 6, llm)
    >>> check_connector(MeanConnector(7, llm), 6, llm)
    Traceback (most recent call last):
        ...
    ValueError: connector MeanConnector: cannot read frames of width 6 ...
    """
    with _left_as_it_was(connector), torch.no_grad():
        check = _Check(connector, input_size, llm)
        for training in (True, False):
            connector.train(training)
            check.output()
        check.padding()
        check.last_frame()


class _Check:
    """Reads the same features again and again, in part or changed."""

    def __init__(self, connector: Connector, input_size: int, llm: TextLLM) -> None:
        self.connector = connector
        self.vocab_size, self.width = llm.table().shape
        self.device = _device(connector)
        self.boundaries = torch.tensor(_BOUNDARIES, device=self.device)
        # Not from the generator that all others draw from.
        generator = torch.Generator().manual_seed(0)
        size = (len(_BOUNDARIES), _NUM_FRAMES, input_size)
        self.features, self.others = (
            torch.randn(size, generator=generator).to(self.device) for _ in range(2)
        )
        # Much larger after the last boundary, where it must not matter.
        frames = torch.arange(_NUM_FRAMES, device=self.device)
        after = frames > self.boundaries.amax(1, keepdim=True)
        self.features = torch.where(after.unsqueeze(-1), 10.0, 1.0) * self.features
        count = min(_CANDIDATES, self.vocab_size)
        self.candidates = torch.arange(count, device=self.device)

    def fault(self, what: str) -> ValueError:
        """The error that names the connector."""
        return ValueError(f"connector {type(self.connector).__name__}: {what}")

    def read(self, features: Tensor, boundaries: Tensor) -> ConnectorOutput:
        """What the connector gives, which must be of its type."""
        inputs: tuple[Tensor, ...]
        inputs = (features, boundaries, contiguous_starts(boundaries))
        if isinstance(self.connector, VocabularyConnector):
            # Few tokens, so that a large vocabulary costs nothing here.
            inputs = (*inputs, self.candidates)
        try:
            output = self.connector(*inputs)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            raise self.fault(
                f"cannot read frames of width {features.shape[-1]} in segments that "
                f"end at {boundaries.tolist()} ({message})"
            ) from error
        if not isinstance(output, ConnectorOutput):
            raise self.fault(
                f"forward must give a ConnectorOutput (ssr_plugin.connectors), and "
                f"gives {_told(output)}"
            )
        return output

    def output(self) -> None:
        """Shapes and numbers."""
        output, valid = self.read(self.features, self.boundaries), self.boundaries >= 0
        self.tensor("vectors", output.vectors, (*valid.shape, self.width))
        self.tensor("kept", output.kept, tuple(valid.shape))
        if output.kept.dtype != torch.bool or bool((output.kept & ~valid).any()):
            raise self.fault("kept must be bool, and False at padding")
        finite = output.vectors.isfinite().all(-1)
        if finite[self.boundaries != _ALONE].all() and not finite.all():
            raise self.fault(f"of a segment of one frame it gives no number: {_TAKEN}")
        if not finite.all():
            raise self.fault("vectors are not finite (NaN or infinite)")
        if bool(output.vectors[~valid].any()):
            raise self.fault("vectors must be zero at padding (boundary -1)")
        if isinstance(self.connector, VocabularyConnector):
            size = (*valid.shape, len(self.candidates) + 1)
            self.tensor("token_logits", output.token_logits, size)
        if output.auxiliary_loss is not None:
            self.tensor("auxiliary_loss", output.auxiliary_loss, ())

    def tensor(self, name: str, value: object, size: tuple[int, ...]) -> None:
        """Whether it is a tensor of that size, with numbers."""
        if not isinstance(value, Tensor) or tuple(value.shape) != size:
            raise self.fault(f"{name} must be {list(size)}, and is {_told(value)}")
        if name != "vectors" and not value.isfinite().all():
            raise self.fault(f"{name}: not finite (NaN or infinite)")

    def padding(self) -> None:
        """Each row alone, without what is not its own."""
        together = self.read(self.features, self.boundaries).vectors
        for row, boundaries in enumerate(self.boundaries):
            count = int((boundaries >= 0).sum())
            length = max(int(boundaries.max()) + 1, 1)
            features = self.features[row : row + 1, :length]
            alone = self.read(features, boundaries[None, :count]).vectors[0]
            error = (alone - together[row, :count]).abs()
            if (error > _TOLERANCE * together.abs().max()).any():
                raise self.fault(
                    "a vector depends on the rows beside its own, or on frames after "
                    "the last boundary of its row, which may be padding"
                )

    def last_frame(self) -> None:
        """A segment of one frame must know that frame."""
        row, segment = torch.nonzero(self.boundaries == _ALONE)[0].tolist()
        before = self.read(self.features, self.boundaries).vectors[row, segment]
        features = self.features.clone()
        features[row, _ALONE] = self.others[row, _ALONE]
        after = self.read(features, self.boundaries).vectors[row, segment]
        if torch.equal(before, after):
            raise self.fault(
                f"a vector does not know the last frame of its segment: {_TAKEN}"
            )


def _told(value: object) -> str:
    """What something is, in a word or two."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return type(value).__name__


def _device(connector: Connector) -> torch.device:
    """Where the connector is."""
    for parameter in connector.parameters():
        return parameter.device
    return torch.device("cpu")


@contextlib.contextmanager
def _left_as_it_was(connector: Connector) -> Iterator[None]:
    """Puts back random state, buffers and modes."""
    modes = [(module, module.training) for module in connector.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in connector.buffers()]
    device = _device(connector)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)
        for module, training in modes:
            module.training = training
