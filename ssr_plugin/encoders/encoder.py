"""The speech encoder: any Hugging Face encoder, waveforms in, frames out."""

import contextlib
import functools
import itertools
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ssr_plugin import hub
from ssr_plugin.encoders.backbone import HiddenLayer, load_backbone
from ssr_plugin.encoders.frontends import Extracted, FrontEnd
from ssr_plugin.encoders.padding import PaddingGuard
from ssr_plugin.files import digest
from ssr_plugin.nnet.device_memory import free_memory, seconds_per_pass
from ssr_plugin.nnet.dtypes import parse_dtype
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.precision import full_float32, resolve_precision
from ssr_plugin.nnet.stopwatch import Stopwatch
from ssr_plugin.nnet.windows import Window, split_windows

logger = logging.getLogger(__name__)

# Longest run of audio that an encoder without a window of its own sees at once, s.
# Longer than the usual corpora' utterances; attention's cost grows with its square.
LONGEST_WINDOW = 40.0
# Audio on either side of a window that is encoded for its sake only, s.
CONTEXT = 2.0
# Least silence behind an utterance in a short window, s.
_SILENCE = 2.0
# Most audio of one forward pass, padding included, s, by type of device; a CUDA
# device's follows its free memory. A CPU is up to four times faster with one utterance
# at a time, unpadded and unmasked.
_PASS = {"cpu": 0.0}
_PASS_ELSEWHERE = 120.0
# Largest difference that padding may make, in standard deviations of the frames: more
# than rounding does on a GPU, much less than a layer that reads padding.
_TOLERANCE = 1e-3
# Lengths that padding is tried on, s: even and odd numbers of frames, and of pairs.
_TRIED = (0.9, 0.5, 0.52, 0.54, 0.56)


class SpeechEncoder(nn.Module):
    """A pretrained speech encoder that gives an utterance the same frames in any batch.

    What it gives is what the Hugging Face model gives for that utterance alone and
    unpadded. Audio longer than a window (the encoder's own, or 40 s) is encoded in
    windows with 2 s of context on both sides. Threads may share it: batches go through
    one after another. As much goes through a GPU at once as it has memory for. It is
    asked for nothing, if the lengths are on the host and the front end is one of those
    that run on a GPU (wav2vec 2.0, HuBERT, WavLM, Whisper and their like); transformers
    itself asks once a pass whether wav2vec 2.0 and HuBERT have padding to mask.

    Arguments
    ---------
    source : str
        Hub id or folder of a HuBERT, wav2vec 2.0, WavLM, Whisper or any other model
        that AutoModel loads and that takes audio through its feature extractor.
    layer : int
        Which hidden state: -1 the network's output, k > 0 what the k-th layer gives, 0
        what the first reads. Layers above are not computed.
    freeze : bool
        Whether it stays in eval mode and takes no gradient.
    dtype : str
        "float32", or "bfloat16" / "float16" for autocast, or "auto": bfloat16 where
        the machine is fast in it. The frames are float32 in any case.
    window : str
        For an encoder that pads all audio to one length (Whisper, 30 s): "full" does
        that; "short" pads to whole seconds, 2 s of silence at least, and is faster by
        what it leaves out. Most of its frames are those of "full" (whisper-base on
        LibriSpeech: mean cosine .99, .97 in its shortest utterances), but one in a
        hundred differs much (below .83).

    Attributes
    ----------
    width : int
        D.
    frame_rate : float
        Frames a second, Hz.
    sample_rate : int
        Of the audio it takes, Hz.
    fingerprint : str
        Of :func:`ssr_plugin.hub.fingerprint`, found out when first asked for.

    Raises
    ------
    ValueError
        If the source is not to be found, is no speech encoder, or has no such layer.

    Example
    -------
    >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
    >>> features, lengths = encoder(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> features.shape, lengths, encoder.frame_rate
    (torch.Size([2, 49, 32]), tensor([49, 24]), 50.0)
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        layer: int = -1,
        freeze: bool = True,
        dtype: str | torch.dtype = "float32",
        window: str = "full",
    ) -> None:
        super().__init__()
        if window not in ("full", "short"):
            raise ValueError(f"window is '{window}'; it may be 'full' or 'short'")
        self.source = str(source)
        self.window = window
        if dtype == "auto":
            fast = resolve_precision("auto") == "bf16"
            dtype = torch.bfloat16 if fast else torch.float32
        self.dtype = parse_dtype(dtype)
        config = hub.load_config(self.source)
        self.frontend = FrontEnd(self.source)
        self.backbone = HiddenLayer(load_backbone(self.source, config), layer)
        self.freeze = freeze
        self.sample_rate = self.frontend.sample_rate
        self.width = self.backbone.width
        self._guard = PaddingGuard(self.backbone) if self._takes_waveform else None
        self._shortens = window == "short" and self.frontend.window is not None
        self.stride = self._find_stride()
        self.frame_rate = self.sample_rate / self.stride
        self._reach = self._find_reach()
        if freeze:
            self.requires_grad_(False)
        self.eval()
        self._pads_exactly: bool | None = None  # found out when it is first needed
        # What was too much for the device's memory is not tried again, s.
        self._most_per_pass = math.inf
        self._stopwatch: Stopwatch | None = None
        self._kept_windows: dict[int, torch.Tensor] | None = None
        # The guard and the cut-off layer keep something of the batch that goes through.
        self._lock = threading.Lock()
        self._try_reading()
        self.train(not freeze)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = threading.Lock()

    @property
    def _takes_waveform(self) -> bool:
        return self.frontend.takes_waveform

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells the model's weights and settings from others."""
        fingerprint: str = hub.fingerprint(self.source)
        return fingerprint

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """As usual, but a frozen encoder stays in eval mode."""
        return super().train(mode and not self.freeze)

    def identity(self) -> dict[str, Any]:
        """What the frames depend on besides the audio, for naming a cache.

        Returns
        -------
        dict
            JSON-able. A model has the same weights under any path.
        """
        return {
            "weights": self.fingerprint,
            "extractor": digest(self.frontend.extractor.to_dict()),
            "layer": self.backbone.layer,
            "dtype": str(self.dtype).removeprefix("torch."),
            "window": [self._window_frames, self._context, self._shortens],
        }

    def num_frames(self, num_samples: int) -> int:
        """Frames that audio of that length gives.

        Arguments
        ---------
        num_samples : int

        Returns
        -------
        int
            0 for audio shorter than one frame.
        """
        if self.frontend.window:
            return num_samples // self.stride
        if self._takes_waveform:
            return self.backbone.output_length(num_samples)
        return self._spectrum_frames(num_samples)

    @functools.lru_cache(maxsize=1 << 16)  # noqa: B019 one encoder lives all along
    def _spectrum_frames(self, num_samples: int) -> int:
        # Not silence, whose spectrum some extractors divide by its deviation, 0.
        _, steps = self.frontend.extract(torch.linspace(-1, 1, num_samples))
        assert steps is not None
        frames = self.backbone.output_length(steps)
        # Silence is added to very short audio.
        return min(frames, num_samples // self.stride)

    def _find_stride(self) -> int:
        """Samples from one frame to the next."""
        if self.frontend.window:
            inputs, _ = self.frontend.extract(torch.zeros(1))
            steps = self.frontend.steps(inputs)
            return self.frontend.window // self.backbone.output_length(steps)
        self.stride = 1
        few, many = 4 * self.sample_rate, 36 * self.sample_rate
        return round((many - few) / (self.num_frames(many) - self.num_frames(few)))

    def _find_reach(self) -> int:
        """Samples that a run of frames needs beyond its last frame's stride."""
        if self.frontend.window:
            return 0
        frames = round(self.frame_rate)
        return next(
            reach
            for reach in range(0, self.sample_rate, max(self.stride // 16, 1))
            if self.num_frames(frames * self.stride + reach) >= frames
        )

    @property
    def _window_frames(self) -> int:
        if self.frontend.window:
            return self.frontend.window // self.stride
        return round(LONGEST_WINDOW * self.frame_rate)

    @property
    def _context(self) -> int:
        return min(round(CONTEXT * self.frame_rate), self._window_frames // 4)

    def forward(
        self, wavs: torch.Tensor, wav_lengths: torch.Tensor | Sequence[int | float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes a padded batch.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, S] at ``sample_rate``; what lies beyond an utterance's length is not
            looked at.
        wav_lengths : torch.Tensor
            [B] int, samples; or, as SpeechBrain has it, floats: shares of S, 0 to 1.
            Lengths on a GPU are fetched from there, which waits for it.

        Returns
        -------
        features : torch.Tensor
            [B, T, D] float32, zeros beyond an utterance's frames.
        lengths : torch.LongTensor
            [B] frames, counted.

        Raises
        ------
        ValueError
            If lengths are floats above 1.
        """
        wav_lengths = absolute_lengths(wav_lengths, wavs.shape[1])
        samples: list[int] = wav_lengths.tolist()
        frames = [self.num_frames(n) for n in samples]
        runs = [
            (i, window)
            for i, length in enumerate(frames)
            for window in split_windows(length, self._window_frames, self._context)
        ]
        features = torch.zeros(
            len(frames), max(frames, default=0), self.width, device=self._device
        )
        with torch.no_grad():
            on_device = wavs.detach().to(self._device, torch.float32, non_blocking=True)
            with self._part("front_end"):
                whole = self.frontend.prepare(on_device, samples)
        inputs = [self._cut(whole[i, : samples[i]], w, frames[i]) for i, w in runs]
        grad = torch.is_grad_enabled() and not self.freeze
        with self._lock, torch.set_grad_enabled(grad):
            sizes = [self._padded(len(x)) for x in inputs]
            waiting = self._group(sizes, range(len(inputs)))
            while waiting:
                group = waiting.pop(0)
                encoded = self._try_pass([inputs[j] for j in group])
                if encoded is None:
                    rest = itertools.chain(group, *waiting)
                    waiting = self._group(sizes, rest)
                    continue
                for j, x in zip(group, encoded, strict=True):
                    i, window = runs[j]
                    kept = slice(
                        window.keep_start - window.start,
                        window.keep_stop - window.start,
                    )
                    features[i, window.keep_start : window.keep_stop] = x[kept]
                    fits = (window.start, window.stop) == (0, frames[i])
                    if fits and self._kept_windows is not None:
                        self._kept_windows[i] = x
        return features.to(wavs.device), torch.tensor(frames).to(
            wav_lengths.device, non_blocking=True
        )

    def split_audio(
        self, num_samples: int, seconds: float
    ) -> list[tuple[slice, slice]]:
        """Runs of a long recording that give, each encoded alone, the frames of all.

        They are made of whole windows, with the context of these. Only where samples
        are normalised over a recording (wav2vec 2.0 and its like), it is over the run.

        Arguments
        ---------
        num_samples : int
            Of the recording.
        seconds : float
            How long a run may be, s, but two windows at least.

        Returns
        -------
        list of (slice, slice)
            The samples of each run, and which of its frames are to be kept. These tile
            the frames of the recording.

        Example
        -------
        >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
        >>> for samples, kept in encoder.split_audio(100 * 16000, seconds=80.0):
        ...     print(samples.start, samples.stop, kept.start, kept.stop)
        0 1216080 0 3700
        1152000 1600000 100 1399
        """
        num_frames, context = self.num_frames(num_samples), self._context
        step = self._window_frames - 2 * context
        most = int(seconds * self.frame_rate) - self._window_frames
        size = self._window_frames + max(most // step, 1) * step
        runs = []
        for window in split_windows(num_frames, size, context):
            stop = window.stop * self.stride + self._reach
            if window.stop == num_frames:
                stop = num_samples
            kept = window.keep_start - window.start, window.keep_stop - window.start
            runs.append((slice(window.start * self.stride, stop), slice(*kept)))
        return runs

    @contextlib.contextmanager
    def timed(self) -> Iterator[Stopwatch]:
        """Times front end and network, apart, of what is encoded in the block.

        Yields
        ------
        ssr_plugin.nnet.stopwatch.Stopwatch
            With the parts "front_end" and "encoder".

        Example
        -------
        >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
        >>> with encoder.timed() as stopwatch:
        ...     _ = encoder(torch.randn(1, 16000), [16000])
        >>> sorted(stopwatch.seconds())
        ['encoder', 'front_end']
        """
        self._stopwatch = Stopwatch(self._device)
        try:
            yield self._stopwatch
        finally:
            self._stopwatch = None

    @contextlib.contextmanager
    def keep_windows(self) -> Iterator[dict[int, torch.Tensor]]:
        """Keeps what the network gives in the block, with that of silence behind audio.

        A Whisper decoder reads it (:meth:`Recognizer.recognize`).

        Yields
        ------
        dict
            Row of the last batch -> [T, D], of each recording that fits one window.

        Example
        -------
        >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
        >>> with encoder.keep_windows() as windows:
        ...     features, _ = encoder(torch.randn(1, 16000), [16000])
        >>> torch.equal(windows[0], features[0])
        True
        """
        self._kept_windows = {}
        try:
            yield self._kept_windows
        finally:
            self._kept_windows = None

    def _part(self, name: str) -> contextlib.AbstractContextManager[None]:
        stopwatch = self._stopwatch
        return contextlib.nullcontext() if stopwatch is None else stopwatch(name)

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def pass_seconds(self) -> float:
        """Audio that goes through the network at once, padding included, s.

        Returns
        -------
        float
            0: one utterance after the other. On a CUDA device it follows the free
            memory, but is less than what was too much once.

        Example
        -------
        >>> SpeechEncoder(getfixture("tiny_encoder_folder")).pass_seconds()
        0.0
        """
        device = self._device
        # Tensors without numbers may say that they are on a device that is not there.
        if device.type != "cuda" or not torch.cuda.is_available():
            return min(_PASS.get(device.type, _PASS_ELSEWHERE), self._most_per_pass)
        fitting = seconds_per_pass(free_memory(device), self._memory_per_second)
        return min(fitting, self._most_per_pass)

    @functools.cached_property
    def _memory_per_second(self) -> float:
        """What the network keeps alive at once, by a second of audio, bytes."""
        inputs, _ = self.frontend.extract(torch.linspace(-1, 1, self.sample_rate))
        steps = self.frontend.steps(inputs)
        length = self._window_frames / self.frame_rate
        if self.frontend.window:
            steps = round(steps / (self.frontend.window / self.sample_rate))
        return self.backbone.memory(steps, length)

    def _try_pass(self, wavs: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
        """As :meth:`_encode`; None if that is too much for the device's memory.

        Passes are half as long from then on.
        """
        try:
            return self._encode(wavs)
        except torch.cuda.OutOfMemoryError:
            # What the graph of a trained encoder keeps, shorter passes keep as well.
            if len(wavs) == 1 or torch.is_grad_enabled():
                raise
        # Not inside the handler: the error holds what the pass had made.
        torch.cuda.empty_cache()
        padded = max(self._padded(len(wav)) for wav in wavs) * len(wavs)
        first = math.isinf(self._most_per_pass)
        self._most_per_pass = padded / self.sample_rate / 2
        logger.log(
            logging.WARNING if first else logging.DEBUG,
            "the device's memory is too small for %.0f s of audio in one pass of the "
            "encoder: from now on a pass is shorter",
            padded / self.sample_rate,
        )
        return None

    def _cut(self, wav: torch.Tensor, window: Window, frames: int) -> torch.Tensor:
        """The samples that a window's frames are made of."""
        stop = window.stop * self.stride + self._reach
        return wav[window.start * self.stride : None if window.stop == frames else stop]

    def _padded(self, length: int) -> int:
        """Samples that a run of that many samples is padded to on its own."""
        if not self.frontend.window:
            return length
        if not self._shortens:
            return self.frontend.window
        seconds = math.ceil(length / self.sample_rate + _SILENCE)
        return min(seconds * self.sample_rate, self.frontend.window)

    def _group(self, sizes: Sequence[int], runs: Iterable[int]) -> list[list[int]]:
        """Indices of runs to encode together: of like size, within one pass."""
        most = self.pass_seconds() * self.sample_rate
        order = sorted(runs, key=lambda i: -sizes[i])
        # An encoder of fixed length is shortened for a whole pass.
        alike = (
            [list(same) for _, same in itertools.groupby(order, sizes.__getitem__)]
            if self._shortens
            else [order]
        )
        return [
            group
            for members in alike
            for group in split_groups(members, sizes.__getitem__, most, padded=True)
        ]

    def _encode(self, wavs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Encodes runs of samples that fit one pass; returns frames [T, D] of each."""
        with self._part("front_end"):
            extracted = self._extract(wavs)
        lengths = [self.frontend.steps(inputs) for inputs, _ in extracted]
        if len(set(lengths)) > 1 and not self._padding_is_exact():
            alike = [[i for i, n in enumerate(lengths) if n == m] for m in set(lengths)]
        else:
            alike = [list(range(len(extracted)))]
        encoded: dict[int, torch.Tensor] = {}
        for group in alike:
            with self._part("encoder"):
                frames = self._run([extracted[i] for i in group])
            for i, x in zip(group, frames, strict=True):
                encoded[i] = x
        return [encoded[i] for i in range(len(wavs))]

    @torch.no_grad()
    def _extract(self, wavs: Sequence[torch.Tensor]) -> list[Extracted]:
        """What the network reads of runs of samples, and how many steps of each."""
        window = self._padded(max(map(len, wavs))) if self._shortens else None
        return self.frontend.convert(wavs, window)

    def _run(self, extracted: Sequence[Extracted]) -> list[torch.Tensor]:
        """One forward pass of the network over what the front end gave."""
        device = self._device
        batch = self.frontend.collate([inputs for inputs, _ in extracted])
        batch = batch.to(device, non_blocking=True)
        length = self.frontend.steps(batch[0])
        # They stay on the host: a device that is asked for them keeps it waiting.
        steps = [length if steps is None else steps for _, steps in extracted]
        arguments = {self.frontend.input_name: batch}
        padded = self._takes_waveform and min(steps) < length
        needs_mask = padded or not (self._takes_waveform or self.frontend.window)
        if needs_mask and self.backbone.takes_mask:
            positions = torch.arange(length, device=device)
            ends = torch.tensor(steps).to(device, non_blocking=True)
            arguments["attention_mask"] = (positions < ends[:, None]).long()
        half = self.dtype != torch.float32
        with contextlib.ExitStack() as stack:
            if padded and self._guard is not None:
                stack.enter_context(self._guard.lengths(torch.tensor(steps)))
            if self._shortens:
                count = self.backbone.output_length(length)
                stack.enter_context(self.backbone.first_positions(count))
            stack.enter_context(torch.autocast(device.type, self.dtype, enabled=half))
            frames = self.backbone(arguments).float()
        if self.frontend.window:
            return list(frames)
        lengths = [self.backbone.output_length(n) for n in steps]
        if max(lengths) > frames.shape[1]:
            raise ValueError(
                f"layer {self.backbone.layer} of '{self.source}' gives "
                f"{frames.shape[1]} frames where the encoder's own arithmetic says "
                f"{max(lengths)}: such a layer is not supported (layer=-1 may be)"
            )
        return [x[:length] for x, length in zip(frames, lengths, strict=True)]

    @torch.no_grad()
    def _try_reading(self) -> None:
        """Fails now, rather than in a run, if model and front end do not fit."""
        if self.frontend.window:
            return  # as long as any other run: left to the first
        try:
            self._run(self._extract([torch.linspace(-1, 1, self.sample_rate // 2)]))
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"'{self.source}' ({type(self.backbone.network).__name__}) does not "
                f"encode what its feature extractor makes of audio: {error}"
            ) from error

    @torch.no_grad()
    def _padding_is_exact(self) -> bool:
        """Whether a padded batch gives this network's frames for single utterances.

        Found out once, by trying. If not, only runs of one length share a pass.
        """
        if self._pads_exactly is not None:
            return self._pads_exactly
        training, dtype = self.training, self.dtype
        self.eval()
        self.dtype = torch.float32
        noise = torch.Generator().manual_seed(0)
        extracted = self._extract(
            [torch.randn(round(s * self.sample_rate), generator=noise) for s in _TRIED]
        )
        with full_float32():
            alone = torch.cat([self._run([one])[0] for one in extracted])
            padded = torch.cat(self._run(extracted))
        worst = float((padded - alone).abs().max() / alone.std())
        exact = worst <= _TOLERANCE
        if not exact:
            logger.info(
                "%s: padding changes frames by up to %.2g standard deviations; only "
                "utterances of one length are encoded together",
                self.source,
                worst,
            )
        self.dtype = dtype
        self.train(training)
        self._pads_exactly = exact
        return exact
