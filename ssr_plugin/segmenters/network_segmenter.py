"""Segmenters that read frames by a network of their own, in windows."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.nnet.frames import FrameNetwork
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.windows import Window, split_windows
from ssr_plugin.segmenters.base import (
    FrameSegmenter,
    Segmentation,
    TrainableSegmenter,
)

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# Longest run of audio that the network sees at once outside training, and the audio on
# either side of it that is read for its sake only, s.
_WINDOW, _CONTEXT = 40.0, 4.0


class NetworkSegmenter(TrainableSegmenter):
    """A segmenter with a network over frames.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
    frame_rate : float
        Of the encoder, in Hz.
    width, num_layers, num_heads, kernel_size, stack, dropout
        Of :class:`ssr_plugin.nnet.frames.FrameNetwork`.
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        frame_rate: float,
        stack: int = 1,
        width: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        kernel_size: int = 15,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(input_size, llm, frame_rate)
        self.stack = stack
        self.network = FrameNetwork(
            input_size, width, num_layers, num_heads, kernel_size, stack, dropout
        )

    def read(self, features: Tensor, lengths: list[int]) -> list[Tensor]:
        """The network's states of each utterance, read in windows.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : list of int

        Returns
        -------
        list of torch.Tensor
            [ceil(length / stack), width] each
        """
        size, context = (
            round(seconds * self.frame_rate / self.stack)
            for seconds in (_WINDOW, _CONTEXT)
        )
        runs = [
            (row, window)
            for row, length in enumerate(lengths)
            for window in split_windows(-(-length // self.stack), size, context)
        ]
        states: list[list[Tensor]] = [[] for _ in lengths]
        for batch in split_groups(runs, _length, 4 * size, padded=True):
            inputs = [
                features[row, w.start * self.stack : lengths[row]][
                    : (w.stop - w.start) * self.stack
                ]
                for row, w in batch
            ]
            counts = torch.tensor([len(x) for x in inputs], device=features.device)
            outputs, _ = self.network(pad_sequence(inputs, batch_first=True), counts)
            for x, (row, w) in zip(outputs, batch, strict=True):
                states[row].append(x[w.keep_start - w.start : w.keep_stop - w.start])
        nothing = features.new_zeros(0, self.network.width)
        return [torch.cat(each) if each else nothing for each in states]


class FrameNetworkSegmenter(NetworkSegmenter, FrameSegmenter):
    """One that finds segments in frames alone, once trained on forced ones.

    A subclass gives :meth:`loss` and :meth:`segment_states`, and where it learns its
    symbols from the training text, :meth:`learn_symbols`.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`NetworkSegmenter`.
    """

    @abc.abstractmethod
    def segment_states(self, states: Tensor, num_frames: int) -> Segmentation:
        """Cuts one utterance.

        Arguments
        ---------
        states : torch.Tensor
            [ceil(T / stack), width], the network's.
        num_frames : int
            T

        Returns
        -------
        Segmentation
            Tokens are the hypothesis, or -1 where there is none.
        """

    def segment_all(
        self, states: list[Tensor], lengths: list[int], use_lm: bool
    ) -> list[Segmentation]:
        """Cuts utterances; where there is more to it than to cut each alone.

        Arguments
        ---------
        states : list of torch.Tensor
            Of :meth:`segment_states`.
        lengths : list of int
        use_lm : bool
            Of :meth:`segment_frames`.

        Returns
        -------
        list of Segmentation
        """
        return [
            self.segment_states(x, length)
            for x, length in zip(states, lengths, strict=True)
        ]

    @torch.no_grad()
    def segment_frames(
        self, features: Tensor, lengths: Tensor, use_lm: bool = True
    ) -> list[Segmentation]:
        """See :meth:`FrameSegmenter.segment_frames`.

        Audio of any length goes through in windows with context, in bounded memory.
        """
        counts: list[int] = absolute_lengths(lengths, features.shape[1]).tolist()
        return self.segment_all(self.read(features, counts), counts, use_lm)


def _length(run: tuple[int, Window]) -> int:
    """Positions of a run (row, window)."""
    return run[1].stop - run[1].start
