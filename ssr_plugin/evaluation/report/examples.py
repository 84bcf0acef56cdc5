"""Items of a report: what was heard, and what the LLM made of it."""

from ssr_plugin.evaluation.harness.choice_metrics import choice_scores
from ssr_plugin.evaluation.harness.items import has_audio, spelling
from ssr_plugin.evaluation.harness.summary import TOPLINE, is_right
from ssr_plugin.evaluation.report.document import (
    Code,
    ConditionName,
    Heading,
    Sound,
    Table,
)
from ssr_plugin.metrics.wer import WER

# Characters of a context shown of each item; the end tells most.
_SHOWN = 300


def show_won_and_lost(name, items, records, metric, count):
    """Items that speech lost where the text won, and the other way round.

    Arguments
    ---------
    name : str
        Of the benchmark.
    items : list of ChoiceItem
    records : list of dict
    metric : str
        Of ``ssr_plugin.evaluation.harness.choice_metrics.CHOICE_METRICS``.
    count : int
        How many are shown of each kind.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.
    """
    by_id = {item.id: item for item in items}
    blocks = []
    for condition in ("predicted", "forced"):
        rivals = ("cascade", TOPLINE) if condition == "predicted" else (TOPLINE,)
        for rival in rivals:
            for heading, winner, loser in (
                (f"{condition} right, {rival} wrong", condition, rival),
                (f"{rival} right, {condition} wrong", rival, condition),
            ):
                chosen = [
                    record
                    for record in records
                    if {condition, rival} <= set(record["conditions"])
                    and is_right(record, winner, metric) == 1
                    and is_right(record, loser, metric) == 0
                ]
                if not chosen or not count:
                    continue
                blocks.append(
                    Heading(f"{name}: {heading} ({len(chosen)} of {len(records)})", 3)
                )
                step = max(len(chosen) // count, 1)
                for record in chosen[::step][:count]:
                    item = by_id[record["id"]]
                    blocks += _show_choices(item, record, (condition, rival), metric)
    return blocks


def _show_choices(item, record, conditions, metric):
    context = "".join(map(_mark, item.context))
    if len(context) > _SHOWN:
        context = "..." + context[-_SHOWN:]
    scores = {x: choice_scores(record, x, metric) for x in conditions}
    rows = [
        [
            spelling(choice) + (" (right)" if index == item.target else ""),
            *(f"{scores[x][index]:.2f}" for x in conditions),
        ]
        for index, choice in enumerate(item.choices)
    ]
    readings = [
        f"{x}: {' / '.join(answer['readings'])}"
        for x, answer in record["conditions"].items()
        if x in conditions and "readings" in answer
    ]
    return [
        Code("\n".join([f"{item.id}: {context}", *readings])),
        *_sounds(item.context, item.choices),
        Table(["choice", *map(ConditionName, conditions)], rows),
    ]


def _sounds(context, choices=()):
    """What is heard of an item: the last content of its context, and its choices."""
    # Those before the last are examples, the same for many items.
    sounds = [("heard", content) for content in context if has_audio(content)][-1:]
    for number, choice in enumerate(choices, start=1):
        if has_audio(choice):
            sounds.append((f"choice {number}", choice))
    return [Sound(str(x.wav), name, x.seconds) for name, x in sounds]


def _mark(content):
    return content if isinstance(content, str) else f"[{content.text}]"


def show_transcripts(name, items, records, count):
    """Transcripts that the LLM wrote, of items in which it erred.

    Arguments
    ---------
    name : str
        Of the benchmark.
    items : list of PromptItem
    records : list of dict
        With "reference" and, by condition, "transcript" and "metrics".
    count : int
        How many are shown.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.items import PromptItem, SpokenText
    >>> item = PromptItem("1", (SpokenText("A CAT", "1.wav"),), "A CAT")
    >>> answer = {"transcript": "a hat", "metrics": {"wer": [1, 2]}}
    >>> record = {"id": "1", "reference": "A CAT", "conditions": {"forced": answer}}
    >>> blocks = show_transcripts("asr", [item], [record], 5)
    >>> blocks[0].text, blocks[2].path
    ('asr: 1 of 1 with errors', '1.wav')
    """
    wrong = [
        record
        for record in records
        if any(answer["metrics"][WER][0] for answer in record["conditions"].values())
    ]
    if not wrong or not count:
        return []
    by_id = {item.id: item for item in items}
    blocks = [Heading(f"{name}: {len(wrong)} of {len(records)} with errors", 3)]
    for record in wrong[:: max(len(wrong) // count, 1)][:count]:
        rows = [
            [
                ConditionName(condition),
                answer.get("readings", ["-"])[-1],
                answer["transcript"],
            ]
            for condition, answer in record["conditions"].items()
        ]
        blocks += [
            Code(f"{record['id']}: {record['reference']}"),
            *_sounds(by_id[record["id"]].context),
            Table(["condition", "read as", "written"], rows),
        ]
    return blocks
