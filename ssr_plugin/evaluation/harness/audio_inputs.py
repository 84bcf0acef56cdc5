"""What is heard in the recordings of items.

Each is encoded once for all conditions. While items are answered, the audio of those
after them is read.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.distorted_set import DistortedSet
from ssr_plugin.data.read_ahead import ReadAhead, file_seconds
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
    seconds : dict or None
        Likewise, how long it took to hear all recordings of the item, s; None where it
        was not measured.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.conditions import Cascade, Text
    >>> from ssr_plugin.evaluation.harness.items import PromptItem
    >>> inputs = SpeechInputs({("predicted", False): {"1": ["a speech"]}})
    >>> inputs.of(Cascade(), PromptItem("1")), inputs.of(Text(), PromptItem("1"))
    (['a speech'], [])
    """

    def __init__(
        self,
        by_cut: Mapping[Cut, Mapping[str, list[Speech]]] | None = None,
        seconds: Mapping[Cut, Mapping[str, float]] | None = None,
    ) -> None:
        self._by_cut = by_cut or {}
        self._seconds = seconds

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

    def seconds_of(self, condition: "Condition", item: Item) -> float:
        """How long it took to hear an item's recordings as a condition does.

        Arguments
        ---------
        condition, item
            Of :meth:`of`; the condition listens.

        Returns
        -------
        float
            s, from samples at the encoder's rate to vectors and text; a recording's
            share of its batch is that of its length.

        Raises
        ------
        ValueError
            If it was not measured.
        """
        if self._seconds is None:
            raise ValueError("how long it took was not measured: the benchmark's timed")
        return self._seconds[condition.segmentation, condition.lm_fusion][item.id]


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
    lm: SpeechLM | None,
    batches: Sequence[Sequence[Item]],
    conditions: Sequence["Condition"],
    alignments: Mapping[SpokenText, Alignment],
    problems: Problems,
    distorted: DistortedSet | None = None,
    timed: bool = False,
) -> Iterator[SpeechInputs]:
    """What a model hears in the recordings of items, batch by batch.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM or None
        None where no condition listens.
    batches : list of list of Item
    conditions : list of ssr_plugin.evaluation.harness.condition.Condition
        For which it is heard.
    alignments : dict
        Of :func:`align_recordings`; used where a condition is forced.
    problems : ssr_plugin.problems.Problems
        Where items are noted of which a recording cannot be heard, once their batch is
        asked for.
    distorted : ssr_plugin.data.distorted_set.DistortedSet or None
        Noise or a room in which recordings are heard; None for clean audio.
    timed : bool
        Whether to measure how long each cut takes. Recordings are then encoded once for
        each of them, after one that warms the device up.

    Yields
    ------
    SpeechInputs
        Of each batch, as the conditions need them.
    """
    cuts: list[Cut] = list(
        dict.fromkeys((c.segmentation, c.lm_fusion) for c in conditions if c.listens)
    )
    sounds = [
        list(dict.fromkeys(_sound(x) for item in items for x in item.recordings()))
        for items in batches
    ]
    if not cuts or not any(sounds):
        for items in batches:
            yield _inputs(items, cuts, {}, problems, {} if timed else None)
        return
    assert lm is not None, "only a model listens"
    if distorted is not None:
        # Before processes are started, which then have it.
        distorted.distortion.prepare(lm.encoder.sample_rate)
    reader: ReadAhead[_Part] = ReadAhead(
        lm.encoder.sample_rate,
        functools.partial(_read_part, distorted=distorted),
        seconds=_part_seconds,
        num_workers=lm.embedder.num_readers(),
    )
    audio = reader(
        {index: (str(x.wav), x.seconds) for index, x in enumerate(batch)}
        for batch in sounds
    )
    fusions = [fusion for _, fusion in cuts]
    warm = False
    for items, batch, (waveforms, errors) in zip(batches, sounds, audio, strict=True):
        speech: dict[SpokenText, list[Speech] | ValueError] = {
            batch[index]: error for index, error in errors.items()
        }
        good = [batch[index] for index in waveforms]
        wanted = [
            [alignments[sound] if way == "forced" else None for way, _ in cuts]
            for sound in good
        ]
        seconds: dict[SpokenText, list[float]] | None = None
        samples = [*waveforms.values()]
        embedded: Sequence[list[Speech] | ValueError]
        if timed:
            if samples and not warm:
                warm = True
                _embed_timed(lm, samples[:1], wanted[:1], fusions)
            embedded, spent = _embed_timed(lm, samples, wanted, fusions)
            seconds = dict(zip(good, spent, strict=True))
        else:
            embedded = _embed(lm, samples, wanted, fusions)
        speech |= zip(good, embedded, strict=True)
        # Else it would be held while the next is read.
        waveforms.clear()
        samples.clear()
        yield _inputs(items, cuts, speech, problems, seconds)


def _inputs(
    items: Sequence[Item],
    cuts: Sequence[Cut],
    speech: Mapping[SpokenText, list[Speech] | ValueError],
    problems: Problems,
    seconds: Mapping[SpokenText, Sequence[float]] | None = None,
) -> SpeechInputs:
    """What is heard of some items, without those of which something is not."""
    by_cut: dict[Cut, dict[str, list[Speech]]] = {cut: {} for cut in cuts}
    spent: dict[Cut, dict[str, float]] = {cut: {} for cut in cuts}
    for item in items if cuts else []:
        heard = []
        for content in item.recordings():
            found = speech[_sound(content)]
            if isinstance(found, ValueError):
                problems.add(item.id, found)
                break
            heard.append(found)
        else:
            for index, cut in enumerate(cuts):
                by_cut[cut][item.id] = [found[index] for found in heard]
                if seconds is not None:
                    spent[cut][item.id] = sum(
                        seconds[_sound(x)][index] for x in item.recordings()
                    )
    return SpeechInputs(by_cut, None if seconds is None else spent)


def _sound(content: SpokenText) -> SpokenText:
    """A recording without what does not sound."""
    return dataclasses.replace(content, written=None)


def _embed(
    lm: SpeechLM,
    waveforms: Sequence[torch.Tensor],
    alignments: Sequence[Sequence[Alignment | None]],
    lm_fusion: Sequence[bool],
) -> Sequence[list[Speech] | ValueError]:
    """Of each recording all of its cuts, or the error that there was."""
    if not waveforms:
        return []
    rate = lm.encoder.sample_rate
    try:
        recordings = [(samples, rate) for samples in waveforms]
        return lm.embed_cuts(recordings, alignments, lm_fusion=lm_fusion)
    except ValueError as error:
        if len(waveforms) == 1:
            return [error]
    # One bad recording never breaks the others.
    return [
        _embed(lm, [samples], [cuts], lm_fusion)[0]
        for samples, cuts in zip(waveforms, alignments, strict=True)
    ]


def _embed_timed(
    lm: SpeechLM,
    waveforms: Sequence[torch.Tensor],
    alignments: Sequence[Sequence[Alignment | None]],
    lm_fusion: Sequence[bool],
) -> tuple[list[list[Speech] | ValueError], list[list[float]]]:
    """As :func:`_embed`, cut by cut, and how long each cut of each took, s."""
    results: list[list[Speech] | ValueError] = [[] for _ in waveforms]
    seconds: list[list[float]] = [[] for _ in waveforms]
    samples = sum(map(len, waveforms))
    for index, fusion in enumerate(lm_fusion):
        begin = time.perf_counter()
        embedded = _embed(lm, waveforms, [[x[index]] for x in alignments], [fusion])
        spent = time.perf_counter() - begin
        for row, found in enumerate(embedded):
            before = results[row]
            if isinstance(found, ValueError):
                results[row] = found
            elif not isinstance(before, ValueError):
                before += found
            seconds[row].append(spent * len(waveforms[row]) / max(samples, 1))
    return results, seconds


#: A file, and how much of it is heard, s; None for all.
_Part = tuple[str, float | None]


def _read_part(
    part: _Part, sample_rate: int, distorted: DistortedSet | None = None
) -> torch.Tensor:
    path, seconds = part
    samples: torch.Tensor = read_audio(path, sample_rate)
    if distorted is not None:
        # Whole, so that a part sounds as it does in the whole.
        samples = distorted(path, samples, sample_rate)
    return samples if seconds is None else samples[: round(seconds * sample_rate)]


def _part_seconds(part: _Part) -> float:
    return file_seconds(part[0])


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
    return _read_part((str(content.wav), content.seconds), rate), rate
