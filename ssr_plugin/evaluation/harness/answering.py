"""An LLM answers the items of a benchmark, each in several conditions."""

import dataclasses

from tqdm import tqdm

from ssr_plugin.evaluation.harness.audio_inputs import (
    align_recordings,
    embed_recordings,
)
from ssr_plugin.evaluation.harness.item_scoring import score_items
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.files import digest, file_identity
from ssr_plugin.problems import Problems

# Raised when the same items are to be answered in another way than before.
_FORMAT = 3
# Items that are heard, then scored, together; what a killed run may lose.
_BATCH = 32


def answer_items(
    lm,
    items,
    conditions,
    align,
    path=None,
    identity="",
    title="",
    max_skipped_share=0.01,
    answer=score_items,
    distorted=None,
    timed=False,
):
    """Answers all items in all conditions.

    Items that cannot be heard or aligned are left out of all conditions, counted and
    named. Those that a former call answered are not answered again.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM or None
        None where the benchmark needs no model.
    items : list of Item
    conditions : list of Condition
        Of :meth:`ssr_plugin.evaluation.harness.benchmark.Benchmark.conditions`, and
        its partners.
    align : callable
        As :meth:`ssr_plugin.evaluation.harness.benchmark.Benchmark.items` is given it.
    path : path-like or None
        JSON lines in which answers are kept.
    identity : str
        What tells this model and this aligner from others; part of an answer's key.
    title : str
        For the progress bar and messages.
    max_skipped_share : float
        Of the items, that may be left out.
    answer : callable
        Of :meth:`ssr_plugin.evaluation.harness.benchmark.Benchmark.answer`.
    distorted : ssr_plugin.data.distorted_set.DistortedSet or None
        Noise or a room in which recordings are heard. Clean audio is what is aligned
        for forced segments.
    timed : bool
        Of :class:`ssr_plugin.evaluation.harness.benchmark.Benchmark`.

    Returns
    -------
    records : list of dict
        Of each item answered, in their order: "id", "cluster", what the item says of
        itself (:meth:`Item.to_record`), and under "conditions", by name, what
        ``answer`` gives and, of those that listen, "readings": as what text each
        recording is read.
    problems : ssr_plugin.problems.Problems

    Raises
    ------
    ssr_plugin.problems.TooManyProblems
        If too many cannot be answered.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> from ssr_plugin.evaluation.harness.conditions import make_conditions
    >>> from ssr_plugin.evaluation.harness.items import ChoiceItem, SpokenText
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> item = ChoiceItem("1", (SpokenText("the cat"),), (" sat", " the"), target=0)
    >>> conditions = make_conditions(["none", "text"])
    >>> (record,), _ = answer_items(lm, [item], conditions, align=None)
    >>> sorted(record["conditions"]), record["conditions"]["text"]["num_tokens"]
    (['none', 'text'], [1, 1])
    """
    problems = Problems(f"answering {title}", max_skipped_share)
    if distorted is not None:
        identity = digest(identity, distorted.identity())
    alignments = {}
    if any(condition.segmentation == "forced" for condition in conditions):
        alignments = align_recordings(items, align, problems)
    keys = {}
    for item in items:
        if item.id in keys:
            raise ValueError(f"two items have the id '{item.id}'")
        try:
            keys[item.id] = _key(item, conditions, identity)
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
        batches = [to_do[i : i + _BATCH] for i in range(0, len(to_do), _BATCH)]
        heard = embed_recordings(
            lm, batches, conditions, alignments, problems, distorted, timed
        )
        for batch, inputs in zip(batches, heard, strict=True):
            records = _answer(lm, batch, conditions, inputs, problems, answer)
            kept.add([{"key": keys[record["id"]], **record} for record in records])
            bar.update(len(batch))
    problems.check(len(items))
    answered = [
        keys[item.id]
        for item in items
        if keys[item.id] in kept and item.id not in problems.reasons
    ]
    kept.keep(answered)
    return [kept[key] for key in answered], problems


def _key(item, conditions, identity):
    """A name for an item's answers: another one where any of it has changed."""
    names = [condition.name for condition in conditions]
    files = [file_identity(content.wav) for content in item.recordings()]
    return digest(_FORMAT, identity, names, dataclasses.asdict(item), files)


def _answer(lm, items, conditions, inputs, problems, answer):
    """The records of some items, without those that turn out to be problems."""
    items = [item for item in items if item.id not in problems.reasons]
    records = {
        item.id: {
            "id": item.id,
            **item.to_record(),
            "cluster": item.cluster or item.id,
            "conditions": {},
        }
        for item in items
    }
    for condition in conditions:
        answerable = [
            item
            for item in items
            if condition.can_answer(item, inputs.of(condition, item))
        ]
        if not answerable:
            continue
        for item, answers in answer(lm, answerable, condition, inputs, problems):
            readings = [condition.reading(x) for x in inputs.of(condition, item)]
            records[item.id]["conditions"][condition.name] = {
                **answers,
                **({"readings": readings} if condition.listens else {}),
            }
    return [r for name, r in records.items() if name not in problems.reasons]
