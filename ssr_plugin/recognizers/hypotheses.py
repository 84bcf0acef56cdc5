"""What a recogniser hears of a corpus, kept on disk like alignments."""

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import Aligner, AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.problems import Problems
from ssr_plugin.recognizers.base import Recognizer

logger = logging.getLogger(__name__)

# Utterances that a message names.
_MOST_SHOWN = 10


class RecognizerAligner(Aligner):
    """A recogniser as an aligner that writes the texts itself.

    Arguments
    ---------
    recognizer : ssr_plugin.recognizers.base.Recognizer
    """

    name = "asr"
    parallel = False
    needs_text = False
    verb = "recognising"

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def settings(self) -> dict[str, Any]:
        """See :meth:`Aligner.settings`."""
        return self.recognizer.settings()

    def align(self, items: Sequence[AlignmentItem]) -> list[Alignment | AlignmentError]:
        """See :meth:`Aligner.align`."""
        results: dict[str, Alignment | AlignmentError] = {}
        wavs = {}
        for item in items:
            try:
                samples = read_item_audio(item, self.recognizer.sample_rate)
                wavs[item.id] = torch.from_numpy(samples)
            except AlignmentError as error:
                results[item.id] = error
        heard = self.recognizer.recognize([*wavs.values()])
        for name, hypothesis in zip(wavs, heard, strict=True):
            results[name] = dataclasses.replace(hypothesis, id=name)
        return [results[item.id] for item in items]


def recognize_all(
    items: Sequence[AlignmentItem],
    recognizer: Recognizer,
    cache_folder: str | os.PathLike[str],
    shard: str = "1/1",
    max_skipped_share: float = 0.01,
) -> tuple[Mapping[str, Alignment], Problems]:
    """What is said in utterances, or was found before; transcripts are not read.

    Arguments
    ---------
    items : list of AlignmentItem
    recognizer : ssr_plugin.recognizers.base.Recognizer
    cache_folder, shard, max_skipped_share
        Of :func:`ssr_plugin.alignment.cache.align`.

    Returns
    -------
    hypotheses : collections.abc.Mapping
        ssr_plugin.alignment.record.Alignment by id.
    problems : ssr_plugin.problems.Problems
        The utterances that cannot be read. The log tells in how many of the others a
        loop of the recogniser's was cut.
    """
    hypotheses, problems = align(
        items,
        RecognizerAligner(recognizer),
        cache_folder,
        shard,
        max_skipped_share=max_skipped_share,
    )
    if looped := hypotheses.looped():
        logger.warning(
            "in %d of %d utterances the recogniser said the same over and over, which "
            "is cut to once: %s%s",
            len(looped),
            len(hypotheses),
            ", ".join(looped[:_MOST_SHOWN]),
            ", ..." if looped[_MOST_SHOWN:] else "",
        )
    return hypotheses, problems
