"""Speaks text sets, so that a model can hear them: the work of ``ssr speak``.

The folder gets the recordings (16 kHz FLAC), ``manifest.csv`` as all recipes write it
and ``skipped.json``: what reads badly aloud, and why. A run that was stopped goes on.
"""

import concurrent.futures
import json
import pathlib

import soundfile
from tqdm import tqdm

from ssr_plugin.data.datasets import read_text
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.data.subsets import draw_names
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.languages import ENGLISH
from ssr_plugin.problems import Problems
from ssr_plugin.tts.synthesizers import SynthesisError
from ssr_plugin.tts.text_normalization import MAX_WORDS, reads_badly, spoken_form
from ssr_plugin.tts.verbalizing import verbalize

SAMPLE_RATE = 16000
MANIFEST, SKIPPED = "manifest.csv", "skipped.json"


def speak(
    texts,
    folder,
    synthesizer,
    seed=0,
    max_words=MAX_WORDS,
    max_skipped_share=0.01,
    num_workers=None,
    language=ENGLISH,
):
    """Speaks texts, each in a voice that its id chooses.

    The synthesiser is given the text in words (:func:`verbalize`), of which the
    manifest's transcript is made, too: what a number is read as is not left to it. What
    cannot be put into words is left out.

    Arguments
    ---------
    texts : dict
        By id, which becomes part of a file's name.
    folder : path-like
    synthesizer : ssr_plugin.tts.synthesizers.CommandSynthesizer
    seed : int
        Another one gives the ids other voices.
    max_words : int
        Longer texts are left out.
    max_skipped_share : float
        Of the other texts, that the synthesiser may fail at.
    num_workers : int or None
        How many are spoken at once; by default as many as there are cores.
    language : str
        BCP-47 code of the texts.

    Returns
    -------
    skipped : dict
        Reasons, by id.

    Raises
    ------
    ssr_plugin.problems.TooManyProblems
        If the synthesiser fails too often.

    Example
    -------
    >>> from ssr_plugin.tts.synthesizers import CommandSynthesizer
    >>> tone = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(tone, [0.1, -0.1] * 4000, 16000)
    >>> parrot = CommandSynthesizer(f"cp {tone} {{wav}}")
    >>> folder = getfixture("tmp_path") / "speech"
    >>> speak({"a": "Good morning!", "b": "x^2"}, folder, parrot)
    {'b': 'numbers: x^2'}
    >>> sorted(path.name for path in folder.iterdir())
    ['audio', 'manifest.csv', 'skipped.json']
    """
    folder = pathlib.Path(folder)
    reasons = {
        name: reads_badly(text, max_words, language) for name, text in texts.items()
    }
    skipped = {name: reason for name, reason in reasons.items() if reason}
    spoken = {
        name: verbalize(text, language)
        for name, text in texts.items()
        if name not in skipped
    }
    settings = synthesizer.settings()
    problems = Problems(f"speaking with {synthesizer.name}", max_skipped_share)

    def say(name):
        voice = synthesizer.voices[
            int(digest(seed, name), 16) % len(synthesizer.voices)
        ]
        # Another text, voice or program makes another file.
        version = digest(spoken[name], voice, settings["name"], settings["command"])
        path = folder / "audio" / f"{name}-{version[:8]}.flac"
        if not path.is_file():
            samples = synthesizer.speak(spoken[name], voice, SAMPLE_RATE)
            with atomic_path(path) as partial:
                soundfile.write(partial, samples.numpy(), SAMPLE_RATE, format="FLAC")
        info = soundfile.info(path)
        wav = str(path.absolute())
        return (
            name,
            info.frames / info.samplerate,
            wav,
            voice,
            spoken_form(spoken[name], language),
        )

    rows = []
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=len(spoken), desc="speaking", unit="text", delay=1) as bar,
    ):
        running = {pool.submit(say, name): name for name in spoken}
        for future in concurrent.futures.as_completed(running):
            try:
                rows.append(future.result())
            except SynthesisError as error:
                problems.add(running[future], error)
            bar.update()
    problems.check(len(spoken))
    skipped |= problems.reasons
    write_manifest(folder / MANIFEST, sorted(rows))
    with atomic_path(folder / SKIPPED) as partial:
        partial.write_text(json.dumps(skipped, indent=1), encoding="utf-8")
    return skipped


def read_lines(path, max_items=None):
    """The lines of a text file, each a text to be spoken.

    Arguments
    ---------
    path : path-like
    max_items : int or None
        Only so many, drawn at random but always the same.

    Returns
    -------
    dict
        Texts by id: the file's name and the line's number.

    Example
    -------
    >>> path = getfixture("tmp_path") / "my.txt"
    >>> _ = path.write_text("One line.\\n\\nAnother.")
    >>> read_lines(path)
    {'my-00001': 'One line.', 'my-00003': 'Another.'}
    """
    path = pathlib.Path(path)
    texts = {
        f"{path.stem}-{number:05d}": line
        for number, line in enumerate(read_text(path).splitlines(), start=1)
        if line.strip()
    }
    return {name: texts[name] for name in draw_names(texts, max_items)}
