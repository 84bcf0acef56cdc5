"""Synthesisers of speech: any program that writes a WAV file, and two known ones."""

from __future__ import annotations

import abc
import pathlib
import re
import shlex
import shutil
import string
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from ssr_plugin.data.audio import AudioError, read_audio

_FIELDS = ("voice", "wav", "text")
# Programs that take code after an option, such as -c or -xec.
_INTERPRETERS = re.compile(
    r"(ba|da|z|k|c|tc|fi)?sh|python[\d.]*|perl|ruby|node|cmd(\.exe)?|p(ower)?sh"
    r"(ell)?(\.exe)?"
)
_FORMATTER = string.Formatter()


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
        ``{text}`` are filled in. Without ``{text}``, it is given on standard input. No
        shell runs it, and ``{text}`` is an argument of its own, or the end of one
        ("--text={text}"): nothing in a text is ever executed.
    voices : list of str
        The voices to draw from.

    Raises
    ------
    SynthesisError
        If there is no such program, or the command line is malformed.

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
        self.command = _split(command)
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
            # Else a program would take a text such as "-o x" for an option.
            argument = f" {text}" if text.startswith("-") else text
            filled = {"voice": voice, "wav": str(wav), "text": argument}
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


def _split(command: str) -> list[str]:
    """The words of a command line that is safe to be filled in."""
    try:
        words = shlex.split(command)
        fields = [field for word in words for _, field, *_ in _FORMATTER.parse(word)]
    except ValueError as error:
        raise SynthesisError(f"the command line '{command}': {error}") from error
    if not words:
        raise SynthesisError("the command line is empty: name a program")
    unknown = {field for field in fields if field is not None} - set(_FIELDS)
    if unknown:
        raise SynthesisError(
            f"the command line '{command}': there is no {{{min(unknown)}}}; known: "
            f"{', '.join(f'{{{field}}}' for field in _FIELDS)} (a brace is written "
            f"twice)"
        )
    for i, word in enumerate(words):
        if "{text}" not in word:
            continue
        # What an interpreter runs is code, and so would be the text in it.
        interpreted = any(
            _INTERPRETERS.fullmatch(pathlib.PurePath(x).name) for x in words[:i]
        )
        is_code = interpreted and words[i - 1].startswith(("-", "/c", "/C"))
        if is_code or not re.fullmatch(r"(--?[\w-]+=)?\{text\}", word):
            raise SynthesisError(
                f"the command line '{command}': a program would run what stands in a "
                f"text; give {{text}} as an argument of its own (sh -c 'say \"$1\"' sh "
                f"{{text}}), or leave it out and read standard input"
            )
    return words


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
