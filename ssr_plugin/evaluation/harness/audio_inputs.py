"""What is heard in the recordings of items.

Each is encoded once for all conditions, and once more where some have LM fusion.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.audio import read_audio
from ssr_plugin.evaluation.harness.items import Item, SpokenText
from ssr_plugin.inference.speech import Speech
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.problems import Problems

if TYPE_CHECKING:
    from ssr_plugin.evaluation.harness.benchmark import Align
    from ssr_plugin.evaluation.harness.condition import Condition

#: How recordings are cut: segmentation, and whether with LM fusion.
Cut = tuple[str | None, bool]


class SpeechInputs:
    """What a model hears in the recordings of items, by the way they are cut.

    Arguments
    ---------
    by_cut : dict
        By (segmentation, lm_fusion): by item's id a list of Speech, one for each of
        :meth:`Item.recordings`.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.conditions import Cascade, Text
    >>> from ssr_plugin.evaluation.harness.items import PromptItem
    >>> inputs = SpeechInputs({("predicted", False): {"1": ["a speech"]}})
    >>> inputs.of(Cascade(), PromptItem("1")), inputs.of(Text(), PromptItem("1"))
    (['a speech'], [])
    """

    def __init__(
        self, by_cut: Mapping[Cut, Mapping[str, list[Speech]]] | None = None
    ) -> None:
        self._by_cut = by_cut or {}

    def of(self, condition: "Condition", item: Item) -> list[Speech]:
        """What a condition hears of an item.

        Arguments
        ---------
        condition : ssr_plugin.evaluation.harness.condition.Condition
        item : ssr_plugin.evaluation.harness.items.Item

        Returns
        -------
        list of Speech
            One of each of :meth:`Item.recordings`; none where the condition does not
            listen.
        """
        if not condition.listens:
            return []
        return self._by_cut[condition.segmentation, condition.lm_fusion][item.id]


def align_recordings(
    items: Sequence[Item], align: "Align", problems: Problems
) -> dict[SpokenText, Alignment]:
    """The alignment of each recording of some items.

    Arguments
    ---------
    items : list of Item
    align : callable
        As :meth:`ssr_plugin.evaluation.harness.benchmark.Benchmark.items` is given it.
    problems : ssr_plugin.problems.Problems
        Where items are noted that have a recording without alignment.

    Returns
    -------
    dict
        By recording (:func:`_sound`); one that several items share is aligned once.
    """
    alignments: dict[SpokenText, Alignment] = {}
    names: dict[SpokenText, str] = {}
    for item in items:
        for index, sound in enumerate(map(_sound, item.recordings())):
            if sound.alignment is not None:
                alignments[sound] = sound.alignment
            else:
                names.setdefault(sound, f"{item.id}/{index}")
    if names:
        by_name = align(
            [AlignmentItem(x, str(sound.wav), sound.text) for sound, x in names.items()]
        )
        alignments |= {
            sound: by_name[name] for sound, name in names.items() if name in by_name
        }
    for item in items:
        if not all(sound in alignments for sound in map(_sound, item.recordings())):
            problems.add(item.id, "a recording has no alignment")
    return alignments


def embed_recordings(
    lm: SpeechLM,
    items: Sequence[Item],
    conditions: Sequence["Condition"],
    alignments: Mapping[SpokenText, Alignment],
    problems: Problems,
) -> SpeechInputs:
    """What a model hears in the recordings of some items.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item
    conditions : list of ssr_plugin.evaluation.harness.condition.Condition
        For which it is heard.
    alignments : dict
        Of :func:`align_recordings`; used where a condition is forced.
    problems : ssr_plugin.problems.Problems
        Where items are noted of which a recording cannot be heard.

    Returns
    -------
    SpeechInputs
        As the conditions need them.
    """
    cuts = dict.fromkeys((c.segmentation, c.lm_fusion) for c in conditions if c.listens)
    sounds = list(dict.fromkeys(_sound(x) for item in items for x in item.recordings()))
    by_cut: dict[Cut, dict[str, list[Speech]]] = {cut: {} for cut in cuts}
    for lm_fusion in dict.fromkeys(fusion for _, fusion in cuts):
        segmentations = [x for x, fusion in cuts if fusion == lm_fusion]
        wanted = [
            [alignments[sound] if x == "forced" else None for x in segmentations]
            for sound in sounds
        ]
        embedded = _embed(lm, sounds, wanted, lm_fusion) if sounds else []
        speech = dict(zip(sounds, embedded, strict=True))
        for item in items:
            speeches = [speech[_sound(content)] for content in item.recordings()]
            errors = [x for x in speeches if isinstance(x, ValueError)]
            if errors:
                if item.id not in problems.reasons:
                    problems.add(item.id, errors[0])
                continue
            heard = [x for x in speeches if not isinstance(x, ValueError)]
            for index, segmentation in enumerate(segmentations):
                by_item = by_cut[segmentation, lm_fusion]
                by_item[item.id] = [x[index] for x in heard]
    return SpeechInputs(by_cut)


def _sound(content: SpokenText) -> SpokenText:
    """A recording without what does not sound."""
    return dataclasses.replace(content, written=None)


def _embed(
    lm: SpeechLM,
    sounds: Sequence[SpokenText],
    alignments: Sequence[Sequence[Alignment | None]],
    lm_fusion: bool,
) -> Sequence[list[Speech] | ValueError]:
    """Of each recording all of its cuts, or the error that there was."""
    try:
        waveforms = [read_recording(lm, sound) for sound in sounds]
        return lm.embed_cuts(waveforms, alignments, lm_fusion=lm_fusion)
    except ValueError as error:
        if len(sounds) == 1:
            return [error]
    # One bad recording never breaks the others.
    return [
        _embed(lm, [sound], [cuts], lm_fusion)[0]
        for sound, cuts in zip(sounds, alignments, strict=True)
    ]


def read_recording(lm: SpeechLM, content: SpokenText) -> tuple[torch.Tensor, int]:
    """The audio of a content of an item.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    content : SpokenText

    Returns
    -------
    samples : torch.Tensor
        [S] float32, as much as is to be heard.
    rate : int
        That of the encoder, Hz.
    """
    rate = lm.encoder.sample_rate
    samples = read_audio(content.wav, rate)
    if content.seconds is not None:
        samples = samples[: round(content.seconds * rate)]
    return samples, rate
