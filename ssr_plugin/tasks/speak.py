"""Speaks a text set, so that a model can hear it.

    python -m ssr_plugin.tasks.speak copa /data/COPA speech/copa --synthesizer flite

The folder gets the recordings (16 kHz FLAC), ``manifest.csv`` as all recipes write it
and ``skipped.json``: what reads badly aloud, and why. A run that was stopped goes on.
Instead of a task, a text file can be named, one text a line.
"""

import argparse
import concurrent.futures
import json
import logging
import pathlib
from collections import Counter

import soundfile
from tqdm import tqdm

from ssr_plugin import build
from ssr_plugin.data.datasets import read_text
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.problems import Problems, TooManyProblems
from ssr_plugin.registry import get_registry
from ssr_plugin.tasks.items import draw_names
from ssr_plugin.tasks.saying import MARKS, MAX_WORDS, reads_badly, spoken_form
from ssr_plugin.tasks.synthesizers import SynthesisError

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
MANIFEST, SKIPPED = "manifest.csv", "skipped.json"


def speak(
    texts,
    folder,
    synthesizer,
    seed=0,
    max_words=MAX_WORDS,
    marks=MARKS,
    max_skipped_share=0.01,
    num_workers=None,
):
    """Speaks texts, each in a voice that its id chooses.

    Arguments
    ---------
    texts : dict
        By id, which becomes part of a file's name.
    folder : path-like
    synthesizer : ssr_plugin.tasks.synthesizers.CommandSynthesizer
    seed : int
        Another one gives the ids other voices.
    max_words, marks
        Of :func:`ssr_plugin.tasks.saying.reads_badly`: what is left out.
    max_skipped_share : float
        Of the other texts, that the synthesiser may fail at.
    num_workers : int or None
        How many are spoken at once; by default as many as there are cores.

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
    >>> from ssr_plugin.tasks.synthesizers import CommandSynthesizer
    >>> tone = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(tone, [0.1, -0.1] * 4000, 16000)
    >>> parrot = CommandSynthesizer(f"cp {tone} {{wav}}")
    >>> folder = getfixture("tmp_path") / "speech"
    >>> speak({"a": "Good morning!", "b": "x^2"}, folder, parrot)
    {'b': 'symbols: ^'}
    >>> sorted(path.name for path in folder.iterdir())
    ['audio', 'manifest.csv', 'skipped.json']
    """
    folder = pathlib.Path(folder)
    reasons = {
        name: reads_badly(text, max_words, marks) for name, text in texts.items()
    }
    skipped = {name: reason for name, reason in reasons.items() if reason}
    said = {name: text for name, text in texts.items() if name not in skipped}
    settings = synthesizer.settings()
    problems = Problems(f"speaking with {synthesizer.name}", max_skipped_share)

    def say(name):
        voice = synthesizer.voices[
            int(digest(seed, name), 16) % len(synthesizer.voices)
        ]
        # Another text, voice or program makes another file.
        made = digest(said[name], voice, settings["name"], settings["command"])
        path = folder / "audio" / f"{name}-{made[:8]}.flac"
        if not path.is_file():
            samples = synthesizer.speak(said[name], voice, SAMPLE_RATE)
            with atomic_path(path) as partial:
                soundfile.write(partial, samples.numpy(), SAMPLE_RATE, format="FLAC")
        info = soundfile.info(path)
        wav = str(path.absolute())
        return name, info.frames / info.samplerate, wav, voice, spoken_form(said[name])

    rows = []
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=len(said), desc="speaking", unit="text", delay=1) as bar,
    ):
        running = {pool.submit(say, name): name for name in said}
        for future in concurrent.futures.as_completed(running):
            try:
                rows.append(future.result())
            except SynthesisError as error:
                problems.add(running[future], error)
            bar.update()
    problems.check(len(said))
    skipped |= problems.reasons
    write_manifest(folder / MANIFEST, sorted(rows))
    with atomic_path(folder / SKIPPED) as partial:
        partial.write_text(json.dumps(skipped, indent=1), encoding="utf-8")
    return skipped


def read_texts(source, data=None):
    """What is to be spoken: of a task, or of a text file.

    Arguments
    ---------
    source : str
        Name of a task, or path of a file with one text a line.
    data : path-like or None
        Where the task's files are.

    Returns
    -------
    dict
        Texts by id.

    Raises
    ------
    ValueError
        If the task has nothing that could be spoken.
    """
    path = pathlib.Path(source)
    if path.suffix == ".txt" or path.is_file():
        lines = read_text(path).splitlines()
        return {
            f"{path.stem}-{number:05d}": line
            for number, line in enumerate(lines, start=1)
            if line.strip()
        }
    make = get_registry().tasks.get(source)
    if not hasattr(make, "texts"):
        raise ValueError(f"the task '{source}' has speech of its own")
    return build.task(source, {source: {"data": data}}).texts()


def main(argv=None):
    """The command; see the head of this module."""
    known = get_registry().synthesizers.names()
    parser = argparse.ArgumentParser(
        prog="python -m ssr_plugin.tasks.speak",
        description="Speaks a text set.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", help="a task, or a text file with one text a line")
    parser.add_argument("data", nargs="?", help="folder of the task's files")
    parser.add_argument("folder", help="where the speech goes")
    parser.add_argument("--synthesizer", default="espeak", help=", ".join(known))
    parser.add_argument("--voices", nargs="*", help="to draw from; default: its own")
    parser.add_argument(
        "--command", help="of synthesizer command, with {voice}, {wav} and {text}"
    )
    parser.add_argument(
        "--max_items", type=int, help="only so many, drawn at random, always the same"
    )
    parser.add_argument("--seed", type=int, default=0, help="which id gets which voice")
    parser.add_argument(
        "--max_words", type=int, default=MAX_WORDS, help="longer texts are left out"
    )
    parser.add_argument(
        "--marks", default=MARKS, help="that are read well; texts with others are not"
    )
    parser.add_argument(
        "--max_skipped_share",
        type=float,
        default=0.01,
        help="share of failures beyond which it ends with an error",
    )
    parser.add_argument("--num_workers", type=int, help="spoken at once")
    options = vars(parser.parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name, folder = options.pop("synthesizer"), options.pop("folder")
    own = {key: options.pop(key) for key in ("command", "voices")}
    own = {key: value for key, value in own.items() if value}
    try:
        synthesizer = build.synthesizer(name, own)
        texts = read_texts(options.pop("source"), options.pop("data"))
        drawn = draw_names(texts, options.pop("max_items"))
        texts = {name: texts[name] for name in drawn}
        skipped = speak(texts, folder, synthesizer, **options)
    except (OSError, ValueError, TooManyProblems) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{folder}: {len(texts) - len(skipped)} spoken, {len(skipped)} left out")
    kinds = Counter(reason.partition(":")[0] for reason in skipped.values())
    for reason, count in kinds.most_common():
        print(f"  {count}: {reason}")


if __name__ == "__main__":
    main()
