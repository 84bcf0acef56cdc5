"""From waveforms to what an encoder takes, as its own feature extractor makes it.

What an encoder takes (samples or a spectrum, of any length or of one) is read off its
feature extractor, which is asked to convert some silence. Extractors work on the CPU,
one utterance after the other. What the usual ones compute (samples as they are or
normalised, Whisper's log-mel) is computed here for a whole batch, on any device. An
extractor that gives other numbers for some noise than that arithmetic is asked itself.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor

from ssr_plugin.sources import address

# Shorter audio gets silence behind it, s: feature extractors and pooling layers fail
# on less than one window.
_SHORTEST = 0.1
# Largest difference from the extractor's own numbers, which are about 1.
_TOLERANCE = 1e-4

#: What an encoder reads of one utterance, and how many of its steps are audio.
Extracted = tuple[Tensor, int | None]


class FrontEnd:
    """Waveforms to an encoder's inputs; an utterance's do not depend on its batch.

    Arguments
    ---------
    source : str
        Hub id or folder of the encoder.

    Attributes
    ----------
    sample_rate : int
        Hz.
    input_name : str
        The encoder's argument: "input_values" or "input_features".
    takes_waveform : bool
        Whether the encoder reads samples rather than a spectrum.
    window : int or None
        Samples that all audio is padded to before it is encoded (Whisper: 30 s).
    on_device : bool
        Whether batches are converted where their samples are. If not, the extractor
        converts each utterance on the CPU.

    Raises
    ------
    ValueError
        If the source has no feature extractor for audio.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        try:
            self.extractor = AutoFeatureExtractor.from_pretrained(
                **address(source), trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(
                f"'{source}' is no speech encoder: no feature extractor of it can "
                f"be loaded (preprocessor_config.json): {error}"
            ) from error
        sample_rate = getattr(self.extractor, "sampling_rate", None)
        if sample_rate is None:
            raise ValueError(
                f"'{source}' is no speech encoder: its feature extractor "
                f"({type(self.extractor).__name__}) takes no audio"
            )
        self.sample_rate: int = sample_rate
        self.input_name: str = self.extractor.model_input_names[0]
        self.takes_waveform = False
        self._shortest = round(_SHORTEST * self.sample_rate)
        short, long = (
            self.extract(torch.zeros(seconds * self.sample_rate))[0].shape
            for seconds in (1, 2)
        )
        self.takes_waveform = short == (self.sample_rate,)
        self.window: int | None = None
        if short == long:
            self.window = getattr(self.extractor, "n_samples", None)
            if self.window is None:
                raise ValueError(
                    f"'{source}' is no encoder of frames: its feature extractor "
                    f"({type(self.extractor).__name__}) makes one picture of any audio"
                )
        # The axis along which longer audio is longer; the last where none is.
        differ = [a != b for a, b in zip(short, long, strict=True)]
        self._time = differ.index(True) if any(differ) else len(short) - 1
        self._normalizes = False
        self._log_mel: LogMel | None = None
        self.on_device = self._find_arithmetic()

    def _find_arithmetic(self) -> bool:
        """Whether a batch can be converted without the extractor; finds out how."""
        generator = torch.Generator().manual_seed(0)
        # Far from mean 0 and variance 1, so that normalising it shows.
        wav = 0.1 * torch.randn(self.sample_rate, generator=generator) + 0.05
        if self.takes_waveform:
            normed = normalize(wav[None], [len(wav)])[0]
            given, _ = self.extract(wav)
            self._normalizes = _alike(given, normed)
            return self._normalizes or _alike(given, wav)
        try:
            # Dither is drawn anew each time: never the same numbers.
            log_mel = None if self.extractor.dither else LogMel(self.extractor)
        except AttributeError:
            return False
        if self.window is None or log_mel is None:
            return False
        given, _ = self.extract(wav, len(wav))
        self._log_mel = log_mel
        return _alike(given, log_mel(wav[None])[0])

    def prepare(self, wavs: Tensor, lengths: Sequence[int]) -> Tensor:
        """What is done to whole utterances, before they are cut into windows.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, S] on any device; what lies beyond an utterance's length is not read.
        lengths : sequence of int
            [B] samples.

        Returns
        -------
        torch.Tensor
            [B, S] normalised samples where the encoder takes such; where the extractor
            converts, on the CPU. Beyond an utterance's length, anything.
        """
        if not self.on_device:
            wavs = wavs.cpu()
        if not self.takes_waveform:
            return wavs
        if self.on_device:
            return normalize(wavs, lengths) if self._normalizes else wavs
        wavs = wavs.clone()
        for wav, length in zip(wavs, lengths, strict=True):
            if length:
                wav[:length] = self.extract(wav[:length])[0]
        return wavs

    def convert(
        self, wavs: Sequence[Tensor], window: int | None = None
    ) -> list[Extracted]:
        """Converts windows of what :meth:`prepare` gave.

        Arguments
        ---------
        wavs : sequence of torch.Tensor
            [S] each.
        window : int or None
            As for :meth:`extract`.

        Returns
        -------
        list of (torch.Tensor, int or None)
            As :meth:`extract` gives for each.
        """
        if self.takes_waveform:
            return [(wav, len(wav)) for wav in wavs]
        if not self.on_device:
            return [self.extract(wav, window) for wav in wavs]
        assert self._log_mel is not None and self.window is not None
        padded = wavs[0].new_full(
            (len(wavs), window or self.window), self.extractor.padding_value
        )
        for row, wav in zip(padded, wavs, strict=True):
            row[: len(wav)] = wav[: len(row)]
        spectra = self._log_mel(padded)
        hop = self.extractor.hop_length
        steps = [-(-max(len(wav), self._shortest) // hop) for wav in wavs]
        return list(zip(spectra, steps, strict=True))

    def extract(self, wav: Tensor, window: int | None = None) -> Extracted:
        """Converts one utterance by the extractor.

        Arguments
        ---------
        wav : torch.Tensor
            [S], on the CPU.
        window : int
            Samples to pad to in place of :attr:`window`, if the encoder has one.

        Returns
        -------
        inputs : torch.Tensor
            [S] samples, or a spectrum with its two axes as the encoder wants them.
        steps : int or None
            How many of its steps along time come from the audio; ``None`` where the
            extractor does not say, and for samples, where all do.
        """
        if not self.takes_waveform:
            wav = nn.functional.pad(wav, (0, max(self._shortest - len(wav), 0)))
        # A caller's autocast would take the spectrum in half precision.
        with torch.autocast("cpu", enabled=False):
            extracted = self.extractor(
                wav.numpy(),
                sampling_rate=self.sample_rate,
                return_tensors="pt",
                return_attention_mask=not self.takes_waveform,
                **({"max_length": window} if window else {}),
            )
        inputs = extracted[self.input_name][0]
        mask = extracted.get("attention_mask")
        return inputs, None if mask is None else int(mask[0].sum())

    def collate(self, inputs: Sequence[Tensor]) -> Tensor:
        """Pads what :meth:`extract` gave for B utterances, [B, ...]."""
        most = max(self.steps(x) for x in inputs)
        if self.takes_waveform:
            most = max(most, self._shortest)
        after = [0, 0] * (inputs[0].dim() - 1 - self._time)
        return torch.stack(
            [nn.functional.pad(x, [*after, 0, most - self.steps(x)]) for x in inputs]
        )

    def steps(self, inputs: Tensor) -> int:
        """Length along time of what :meth:`extract` gave."""
        return inputs.shape[self._time]


class LogMel:
    """Whisper's spectrum, for a batch and on its device.

    Arguments
    ---------
    extractor : transformers.WhisperFeatureExtractor
        Its ``n_fft``, ``hop_length`` and ``mel_filters`` are taken.

    Example
    -------
    >>> from transformers import WhisperFeatureExtractor
    >>> extractor = WhisperFeatureExtractor(chunk_length=2)
    >>> wavs = torch.randn(3, 32000)
    >>> spectra = LogMel(extractor)(wavs)
    >>> spectra.shape
    torch.Size([3, 80, 200])
    >>> one = extractor(wavs[2].numpy(), sampling_rate=16000, return_tensors="pt")
    >>> torch.allclose(spectra[2], one["input_features"][0], atol=1e-4)
    True
    """

    def __init__(self, extractor: Any) -> None:
        self._n_fft: int = extractor.n_fft
        self._hop: int = extractor.hop_length
        # [mel, frequency]
        self._filters = torch.from_numpy(extractor.mel_filters).float().T.contiguous()

    def __call__(self, wavs: Tensor) -> Tensor:
        """Converts padded waveforms.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, S] float32

        Returns
        -------
        torch.Tensor
            [B, mel, S / hop_length]
        """
        window = torch.hann_window(self._n_fft, device=wavs.device)
        filters = self._filters.to(wavs.device, non_blocking=True)
        # A caller's autocast would take the spectrum in half precision.
        with torch.autocast(wavs.device.type, enabled=False):
            spectrum = torch.stft(
                wavs, self._n_fft, self._hop, window=window, return_complex=True
            )
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
            log_mel = (filters @ power).clamp_min(1e-10).log10()
        loudest = log_mel.amax((1, 2), keepdim=True)
        return (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0


def normalize(wavs: Tensor, lengths: Sequence[int]) -> Tensor:
    """Makes each utterance's mean 0 and its variance 1, without regard to its padding.

    Arguments
    ---------
    wavs : torch.Tensor
        [B, S] float32
    lengths : sequence of int
        [B] samples.

    Returns
    -------
    torch.Tensor
        [B, S], zeros beyond an utterance's length.

    Example
    -------
    >>> normalize(torch.tensor([[1.0, 3.0, 9.0]]), [2]).round(decimals=3)
    tensor([[-1.,  1.,  0.]])
    """
    # Padding may hold anything, infinity too.
    normed = _silence(wavs.clone(), lengths)
    counts = torch.tensor(lengths).clamp_min(1)[:, None]
    counts = counts.to(wavs.device, non_blocking=True)
    normed -= normed.sum(1, keepdim=True) / counts
    _silence(normed, lengths)
    variance = normed.square().sum(1, keepdim=True) / counts
    # The constant is that of transformers' extractors.
    normed *= (variance + 1e-7).rsqrt()
    return normed


def _silence(wavs: Tensor, lengths: Sequence[int]) -> Tensor:
    """Zeros beyond each utterance's length, in place."""
    for wav, length in zip(wavs, lengths, strict=True):
        if length < len(wav):
            wav[length:] = 0.0
    return wavs


def _alike(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and bool((x - y).abs().max() <= _TOLERANCE)
