"""From a waveform to what an encoder takes, as its own feature extractor makes it.

What an encoder takes (samples or a spectrum, of any length or of one) is read off its
feature extractor, which is asked to convert some silence.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor

from ssr_plugin.sources import address

# Shorter audio gets silence behind it, s: feature extractors and pooling layers fail
# on less than one window.
_SHORTEST = 0.1

#: What an encoder reads of one utterance, and how many of its steps are audio.
Extracted = tuple[Tensor, int | None]


class FrontEnd:
    """Waveforms to an encoder's inputs, each utterance converted by itself.

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

    def extract(self, wav: Tensor, window: int | None = None) -> Extracted:
        """Converts one utterance.

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
