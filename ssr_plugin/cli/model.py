"""The model that a command uses, and the recordings that go through it."""

import itertools
import logging
import pathlib
import time

import torch
from tqdm import tqdm

from ssr_plugin.cli.arguments import DEFAULT_MODEL, asr_options
from ssr_plugin.cli.recordings import STDIN, read_stdin
from ssr_plugin.data.audio import AudioError
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.segmenters.base import HearingSegmenter

logger = logging.getLogger(__name__)

# Prompts in a batch of the LLM.
_PROMPTS = 16


def load_model(options):
    """The model that the options name.

    Arguments
    ---------
    options : argparse.Namespace

    Returns
    -------
    SpeechLM

    Raises
    ------
    ValueError
        If there is no such model, or it cannot be used; it says what to do.
    """
    if options.model == DEFAULT_MODEL and not pathlib.Path(DEFAULT_MODEL).is_dir():
        raise ValueError(
            f"there is no model in {DEFAULT_MODEL}: give --model, or train one "
            f"(hparams/segmenter.yaml, then hparams/distill.yaml --segmenter "
            f"results/segmenter)"
        )
    if options.device is not None:
        try:
            torch.empty(0, device=options.device)
        except (AssertionError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"--device {options.device}: {reason}") from error
    lm = SpeechLM.from_pretrained(
        options.model,
        revision=options.revision,
        encoder_source=options.encoder_source,
        llm_source=options.llm_source,
        device=options.device,
        dtype=options.dtype,
        segmenter=options.segmenter,
        segmenter_options={"asr": asr_options(options)},
        quantization=options.quantization,
    )
    lm.embedder.num_workers = options.num_workers
    return lm


def read_speech(lm, paths, batch_seconds, problems, lm_fusion=False):
    """Reads recordings as the LLM does, with a bar over many, which tells the rate.

    Arguments
    ---------
    lm : SpeechLM
    paths : list of pathlib.Path
        Of :func:`ssr_plugin.cli.recordings.find_audio`.
    batch_seconds : float or None
        Seconds of audio in a batch; None takes what suits the device.
    problems : ssr_plugin.problems.Problems
        Gets the files that cannot be read.
    lm_fusion : bool
        Whether the LLM's expectation is multiplied in.

    Yields
    ------
    path : pathlib.Path
        In order.
    speech : Speech or None
        None if it cannot be read.

    Example
    -------
    >>> from ssr_plugin.problems import Problems
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> problems = Problems("reading", max_share=1)
    >>> list(read_speech(lm, [pathlib.Path("no.wav")], 60, problems))
    [(PosixPath('no.wav'), None)]
    >>> problems.reasons
    {'no.wav': 'there is no audio file no.wav'}
    """
    sources = (
        {"path": str(path), "bytes": read_stdin()} if path == STDIN else path
        for path in paths
    )
    speeches = lm.embed_each(sources, batch_seconds, lm_fusion)
    seconds, begin = 0.0, time.monotonic()
    with tqdm(total=len(paths), unit="file", disable=len(paths) < 2) as bar:
        for path, speech in zip(paths, speeches, strict=True):
            if isinstance(speech, AudioError):
                problems.add(path, speech)
                speech = None
            else:
                seconds += speech.seconds
                rate = seconds / max(time.monotonic() - begin, 1e-9)
                bar.set_postfix_str(f"{rate:.0f} x real time", refresh=False)
            yield path, speech
            bar.update()
    if "predicted" in lm.segmenters:
        _tell_loops(lm.segmenters["predicted"], len(paths))


def _tell_loops(segmenter, count):
    """Warns of recordings whose hypothesis is not all that a recogniser said."""
    if isinstance(segmenter, HearingSegmenter) and segmenter.recognizer.num_looped:
        logger.warning(
            "in %d of %d recordings the recogniser said the same over and over, which "
            "is cut to once",
            segmenter.recognizer.num_looped,
            count,
        )


def in_batches(items, size=_PROMPTS):
    """Groups items into lists of ``size``; the last may be shorter.

    Example
    -------
    >>> list(in_batches(range(5), 2))
    [[0, 1], [2, 3], [4]]
    """
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
