"""An LLM answers the items of a task, each in several columns."""

import contextlib
import dataclasses

from tqdm import tqdm

from ssr_plugin.alignment.aligner import AlignmentItem
from ssr_plugin.data.audio import read_audio
from ssr_plugin.files import digest, file_identity
from ssr_plugin.models.choices import score_choices
from ssr_plugin.problems import Problems
from ssr_plugin.tasks.choosing import NOTHING
from ssr_plugin.tasks.columns import SEGMENTS, fill_choices, fill_context
from ssr_plugin.tasks.records import Records

# Raised when the same items are to be answered in another way than before.
_FORMAT = 2
# Items that are heard, then scored, together; what a killed run may lose.
_BATCH = 32


def answer_items(
    lm, items, columns, align, path=None, identity="", title="", max_skipped_share=0.01
):
    """Scores the choices of all items in all columns.

    Items that cannot be heard or aligned are left out of all columns, counted and
    named. Those that a former call answered are not answered again.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item
    columns : list of str
        Of :func:`ssr_plugin.tasks.columns.choose_columns`.
    align : callable
        As :meth:`ssr_plugin.tasks.task.Task.items` is given it.
    path : path-like or None
        JSON lines in which answers are kept.
    identity : str
        What tells this model and this aligner from others; part of an answer's key.
    title : str
        For the progress bar and messages.
    max_skipped_share : float
        Of the items, that may be left out.

    Returns
    -------
    records : list of dict
        Of each item answered, in their order: "id", "answer", "cluster", and by column
        "counts" (of each choice's tokens), "sums" (each choice's log-likelihood, nats;
        None where nothing was heard) and "read" (as what the spoken parts are read).
    problems : ssr_plugin.problems.Problems

    Raises
    ------
    ssr_plugin.problems.TooManyProblems
        If too many cannot be answered.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> from ssr_plugin.tasks.items import Item, Spoken
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> item = Item("1", (Spoken("the cat"),), (" sat", " the"), answer=0)
    >>> (record,), _ = answer_items(lm, [item], ["none", "text"], align=None)
    >>> len(record["sums"]["text"]), record["counts"]["text"]
    (2, [1, 1])
    """
    problems = Problems(f"answering {title}", max_skipped_share)
    alignments = {}
    if "forced" in columns:
        alignments = _align(items, align, problems)
    keys = {}
    for item in items:
        if item.id in keys:
            raise ValueError(f"two items have the id '{item.id}'")
        try:
            keys[item.id] = _key(item, columns, identity)
        except FileNotFoundError as error:
            keys[item.id] = None
            problems.add(item.id, f"no audio file '{error.filename}'")
    kept = Records(path)
    to_do = [
        item
        for item in items
        if keys[item.id] not in kept and item.id not in problems.reasons
    ]
    with tqdm(total=len(to_do), desc=title, unit="item", delay=1) as bar:
        for first in range(0, len(to_do), _BATCH):
            batch = to_do[first : first + _BATCH]
            answers = _answer(lm, batch, columns, alignments, problems)
            kept.add([{"key": keys[answer["id"]], **answer} for answer in answers])
            bar.update(len(batch))
    problems.check(len(items))
    answered = [
        keys[item.id]
        for item in items
        if keys[item.id] in kept and item.id not in problems.reasons
    ]
    kept.keep(answered)
    return [kept[key] for key in answered], problems


def _key(item, columns, identity):
    """A name for an item's answers: another one where any of it has changed."""
    files = [part.wav and file_identity(part.wav) for part in item.heard()]
    return digest(_FORMAT, identity, columns, dataclasses.asdict(item), files)


def _part_id(item, place):
    return f"{item.id}/{place}"


def _align(items, align, problems):
    """The alignment of each part that is heard, by its id."""
    found, to_do = {}, {}
    for item in items:
        for place, part in enumerate(item.heard()):
            name = _part_id(item, place)
            if part.alignment is not None:
                found[name] = part.alignment
            else:
                to_do[name] = AlignmentItem(name, part.wav, part.text)
    if to_do:
        found |= align(list(to_do.values()))
    for item in items:
        for place, _ in enumerate(item.heard()):
            if _part_id(item, place) not in found and item.id not in problems.reasons:
                problems.add(item.id, "a spoken part has no alignment")
    return found


def _answer(lm, items, columns, alignments, problems):
    """The records of some items, without those that turn out to be problems."""
    spoken = {}
    for segments in ("predicted", "forced"):
        if segments in columns:
            spoken[segments] = _hear(lm, items, segments, alignments, problems)
            items = [item for item in items if item.id not in problems.reasons]
    records = {
        item.id: {
            "id": item.id,
            "answer": item.answer,
            "cluster": item.cluster or item.id,
            "counts": {},
            "sums": {},
            "read": {},
        }
        for item in items
    }
    for column in [*columns, *_hidden(columns)]:
        heard = spoken.get("predicted" if column == "cascade" else column, {})
        own = items
        if column == "cascade":
            own = [item for item in items if all(map(_spells, heard[item.id]))]
        for item, counts, sums in _score(lm, own, column, heard, problems):
            record = records[item.id]
            record["counts"][column], record["sums"][column] = counts, sums
            if column in SEGMENTS:
                record["read"][column] = [
                    speech.hypothesis or "" if column == "cascade" else speech.text
                    for speech in heard[item.id]
                ]
    return [r for name, r in records.items() if name not in problems.reasons]


def _hidden(columns):
    """What is needed beside some columns, though it is not shown."""
    if "none" not in columns:
        return []
    return [NOTHING[column] for column in columns if column in NOTHING]


def _spells(speech):
    """Whether the segmenter said what it heard, if only that it was nothing."""
    return speech.hypothesis is not None or not len(speech)


def _hear(lm, items, segments, alignments, problems):
    """What is heard in the spoken parts of each item, by its id."""
    parts = [
        (item, part, alignments.get(_part_id(item, place)))
        for item in items
        for place, part in enumerate(item.heard())
    ]
    found = _embed(lm, [p for _, p, _ in parts], segments, [a for *_, a in parts])
    heard = {item.id: [] for item in items}
    for (item, *_), speech in zip(parts, found, strict=True):
        if isinstance(speech, ValueError) and item.id not in problems.reasons:
            problems.add(item.id, speech)
        heard[item.id].append(speech)
    return heard


def _embed(lm, parts, segments, alignments):
    """Speech of each part, or the error that there was."""
    if segments != "forced":
        alignments = [None] * len(parts)
    try:
        return lm.embed([_audio(lm, part) for part in parts], alignments)
    except ValueError as error:
        if len(parts) == 1:
            return [error]
    # One bad part never breaks the others.
    return [
        _embed(lm, [part], segments, [alignment])[0]
        for part, alignment in zip(parts, alignments, strict=True)
    ]


def _audio(lm, part):
    rate = lm.encoder.sample_rate
    samples = read_audio(part.wav, rate)
    if part.seconds is not None:
        samples = samples[: round(part.seconds * rate)]
    return samples, rate


def _score(lm, items, column, heard, problems):
    """Each item with the counts and sums of its choices."""
    if not items:
        return
    spoken = [heard.get(item.id, []) for item in items]
    pairs = list(zip(items, spoken, strict=True))
    embeds = lm.embed_prompts([fill_context(lm, i, column, x) for i, x in pairs])
    filled = [fill_choices(lm, i, column, x) for i, x in pairs]
    fit = _fitting(lm, items, embeds, filled, problems)
    # Of those in which something is said.
    tokens = [[ids for ids in filled[i][0] if ids] for i in fit]
    vectors = [[v for x, v in zip(*filled[i], strict=True) if x] for i in fit]
    untouched = column.startswith("untouched")
    with lm.tuned.untouched() if untouched else contextlib.nullcontext():
        model = lm.llm.load_model() if untouched else lm.model
        scores = score_choices(
            model, lm.llm.embed, [embeds[i] for i in fit], tokens, vectors
        )
    for i, sums in zip(fit, scores, strict=True):
        own, left = filled[i][0], iter(sums)
        yield items[i], [*map(len, own)], [next(left) if x else None for x in own]


def _fitting(lm, items, embeds, filled, problems):
    """Places of the items that the LLM can read; the others are noted."""
    most = getattr(lm.llm.config, "max_position_embeddings", None)
    places = []
    for i, (item, embed, (own, _)) in enumerate(
        zip(items, embeds, filled, strict=True)
    ):
        length = len(embed) + max(map(len, own))
        if most is None or length <= most:
            places.append(i)
        elif item.id not in problems.reasons:
            problems.add(item.id, f"{length} tokens, of which the LLM takes {most}")
    return places
