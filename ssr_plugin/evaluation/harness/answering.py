"""An LLM answers the items of a task, each in several columns."""

import dataclasses

from tqdm import tqdm

from ssr_plugin.evaluation.harness.audio_inputs import align_parts, hear_parts
from ssr_plugin.evaluation.harness.choice_rules import NOTHING
from ssr_plugin.evaluation.harness.conditions import SEGMENTS, heard_by
from ssr_plugin.evaluation.harness.item_scoring import score_items
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.files import digest, file_identity
from ssr_plugin.problems import Problems

# Raised when the same items are to be answered in another way than before.
_FORMAT = 2
# Items that are heard, then scored, together; what a killed run may lose.
_BATCH = 32


def answer_items(
    lm,
    items,
    columns,
    align,
    path=None,
    identity="",
    title="",
    max_skipped_share=0.01,
    answer=score_items,
):
    """Answers all items in all columns.

    Items that cannot be heard or aligned are left out of all columns, counted and
    named. Those that a former call answered are not answered again.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item or Prompt
    columns : list of str
        Of :meth:`ssr_plugin.evaluation.harness.benchmark.Task.columns`.
    align : callable
        As :meth:`ssr_plugin.evaluation.harness.benchmark.Task.items` is given it.
    path : path-like or None
        JSON lines in which answers are kept.
    identity : str
        What tells this model and this aligner from others; part of an answer's key.
    title : str
        For the progress bar and messages.
    max_skipped_share : float
        Of the items, that may be left out.
    answer : callable
        Of :meth:`ssr_plugin.evaluation.harness.benchmark.Task.answer`.

    Returns
    -------
    records : list of dict
        Of each item answered, in their order: "id", "cluster", what the item says of
        itself ("answer"), and by column "read" (as what the spoken parts are read) and
        what ``answer`` gives ("counts" and "sums").
    problems : ssr_plugin.problems.Problems

    Raises
    ------
    ssr_plugin.problems.TooManyProblems
        If too many cannot be answered.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> from ssr_plugin.evaluation.harness.items import Item, Spoken
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> item = Item("1", (Spoken("the cat"),), (" sat", " the"), answer=0)
    >>> (record,), _ = answer_items(lm, [item], ["none", "text"], align=None)
    >>> len(record["sums"]["text"]), record["counts"]["text"]
    (2, [1, 1])
    """
    problems = Problems(f"answering {title}", max_skipped_share)
    alignments = {}
    if "forced" in columns:
        alignments = align_parts(items, align, problems)
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
            answers = _answer(lm, batch, columns, alignments, problems, answer)
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


def _answer(lm, items, columns, alignments, problems, answer):
    """The records of some items, without those that turn out to be problems."""
    heard = hear_parts(lm, items, columns, alignments, problems)
    items = [item for item in items if item.id not in problems.reasons]
    records = {
        item.id: {
            "id": item.id,
            **item.known(),
            "cluster": item.cluster or item.id,
            "read": {},
        }
        for item in items
    }
    for column in [*columns, *_hidden(columns)]:
        own = items
        if column == "cascade":
            own = [x for x in items if all(map(_spells, heard_by(heard, column, x)))]
        if not own:
            continue
        for item, found in answer(lm, own, column, heard, problems):
            record = records[item.id]
            for key, value in found.items():
                record.setdefault(key, {})[column] = value
            if column in SEGMENTS:
                record["read"][column] = [
                    speech.hypothesis or "" if column == "cascade" else speech.text
                    for speech in heard_by(heard, column, item)
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
