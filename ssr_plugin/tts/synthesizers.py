"""Synthesisers of speech: any program that writes a WAV file, and two known ones."""

from __future__ import annotations

import abc
import pathlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from ssr_plugin.data.audio import AudioError, read_audio


class SynthesisError(ValueError):
    """A text could not be spoken; the message says why."""


class Synthesizer(abc.ABC):
    """Speaks texts. A subclass is registered by name.

    Attributes
    ----------
    name : str
        The name it is registered by.
    voices : list of str
        The voices to draw from.
    """

    name: str
    voices: list[str]

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes what it says, as a JSON-able dict."""

    @abc.abstractmethod
    def speak(self, text: str, voice: str, sample_rate: int) -> torch.Tensor:
        """Speaks a text.

        Arguments
        ---------
        text : str
        voice : str
            One of ``voices``.
        sample_rate : int
            Wanted, Hz.

        Returns
        -------
        torch.Tensor
            [S] float32

        Raises
        ------
        SynthesisError
            If it cannot be spoken.
        """


class CommandSynthesizer(Synthesizer):
    """Speaks by means of a program.

    Arguments
    ---------
    command : str
        The command line, in which ``{voice}``, ``{wav}`` (the file to write) and
        ``{text}`` are filled in. Without ``{text}``, it is given on standard input.
    voices : list of str
        The voices to draw from.

    Raises
    ------
    SynthesisError
        If there is no such program.

    Example
    -------
    >>> CommandSynthesizer("no_such_program {text}", ["a"])
    Traceback (most recent call last):
        ...
    ssr_plugin.tts.synthesizers.SynthesisError: there is no program \
'no_such_program': install it
    """

    name = "command"

    def __init__(self, command: str, voices: Sequence[str] = ("default",)) -> None:
        self.command = shlex.split(command)
        self.voices = [str(voice) for voice in voices]
        if shutil.which(self.command[0]) is None:
            raise SynthesisError(f"there is no program '{self.command[0]}': install it")

    def settings(self) -> dict[str, Any]:
        """See :meth:`Synthesizer.settings`."""
        return {"name": self.name, "command": self.command, "voices": self.voices}

    def speak(self, text: str, voice: str, sample_rate: int) -> torch.Tensor:
        """See :meth:`Synthesizer.speak`; fails if the program writes no speech."""
        with tempfile.TemporaryDirectory() as folder:
            wav = pathlib.Path(folder) / "speech.wav"
            filled = {"voice": voice, "wav": str(wav), "text": text}
            line = [word.format(**filled) for word in self.command]
            stdin = None if any("{text}" in x for x in self.command) else text
            done = subprocess.run(line, input=stdin, capture_output=True, text=True)
            if done.returncode:
                raise SynthesisError(
                    f"{shlex.join(line[:1])} failed: {done.stderr.strip()[-200:]}"
                )
            try:
                samples: torch.Tensor = read_audio(wav, sample_rate)
            except AudioError as error:
                raise SynthesisError(
                    f"{line[0]} wrote no speech with voice '{voice}': "
                    f"{done.stderr.strip()[-200:] or error}"
                ) from error
        if samples.abs().max() < 1e-3:
            raise SynthesisError(f"{line[0]} wrote silence with voice '{voice}'")
        return samples


class EspeakSynthesizer(CommandSynthesizer):
    """eSpeak NG (Debian's ``espeak-ng``): small, clear, and plainly a machine.

    Arguments
    ---------
    voices : list of str
        Accents, with variants of timbre after a plus sign.
    """

    name = "espeak"

    def __init__(
        self,
        voices: Sequence[str] = (
            "en-us",
            "en-us+f2",
            "en-us+m3",
            "en-gb",
            "en-gb+f4",
            "en-gb-scotland",
        ),
    ) -> None:
        super().__init__("espeak-ng -v {voice} -w {wav} --stdin", voices)


class FliteSynthesizer(CommandSynthesizer):
    """CMU Flite (Debian's ``flite``): voices made of recordings of people.

    Arguments
    ---------
    voices : list of str
        ``slt`` is a woman, ``rms`` and ``awb`` are men; ``kal16`` sounds worse.
    """

    name = "flite"

    def __init__(self, voices: Sequence[str] = ("slt", "rms", "awb")) -> None:
        super().__init__("flite -voice {voice} -t {text} -o {wav}", voices)
