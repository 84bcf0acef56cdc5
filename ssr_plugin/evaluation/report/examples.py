"""Items of a report: what was heard, and what the LLM made of it."""

from ssr_plugin.evaluation.harness.choice_rules import choice_scores
from ssr_plugin.evaluation.harness.items import spell
from ssr_plugin.evaluation.harness.summary import TOPLINE, right
from ssr_plugin.evaluation.report.document import Code, Heading, Table

# Characters of a context shown of each item; the end tells most.
_SHOWN = 300


def show_won_and_lost(name, items, records, rule, count):
    """Items that speech lost where the text won, and the other way round.

    Arguments
    ---------
    name : str
        Of the task.
    items : list of Item
    records : list of dict
    rule : str
        Of ``ssr_plugin.evaluation.harness.choice_rules.RULES``.
    count : int
        How many are shown of each kind.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.
    """
    by_id = {item.id: item for item in items}
    blocks = []
    for column in ("predicted", "forced"):
        rivals = ("cascade", TOPLINE) if column == "predicted" else (TOPLINE,)
        for rival in rivals:
            for heading, winner, loser in (
                (f"{column} right, {rival} wrong", column, rival),
                (f"{rival} right, {column} wrong", rival, column),
            ):
                found = [
                    record
                    for record in records
                    if {column, rival} <= set(record["sums"])
                    and right(record, winner, rule) == 1
                    and right(record, loser, rule) == 0
                ]
                if not found or not count:
                    continue
                blocks.append(
                    Heading(f"{name}: {heading} ({len(found)} of {len(records)})", 3)
                )
                step = max(len(found) // count, 1)
                for record in found[::step][:count]:
                    item = by_id[record["id"]]
                    blocks += _show_choices(item, record, (column, rival), rule)
    return blocks


def _show_choices(item, record, columns, rule):
    context = "".join(_mark(part) for part in item.context)
    if len(context) > _SHOWN:
        context = "..." + context[-_SHOWN:]
    scores = {column: choice_scores(record, column, rule) for column in columns}
    rows = [
        [
            spell(choice) + (" (right)" if place == item.answer else ""),
            *(f"{scores[column][place]:.2f}" for column in columns),
        ]
        for place, choice in enumerate(item.choices)
    ]
    read = [
        f"{column}: {' / '.join(texts)}"
        for column, texts in record["read"].items()
        if column in columns
    ]
    return [
        Code("\n".join([f"{item.id}: {context}", *read])),
        Table(["choice", *columns], rows),
    ]


def _mark(part):
    return part if isinstance(part, str) else f"[{part.text}]"


def show_written(name, records, count):
    """Transcripts that the LLM wrote, of items in which it erred.

    Arguments
    ---------
    name : str
        Of the task.
    records : list of dict
        With "text", "written" and, of columns that listen, "read".
    count : int
        How many are shown.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.

    Example
    -------
    >>> record = {"id": "1", "text": "A CAT", "written": {"forced": "a hat"}}
    >>> record |= {"measured": {"forced": {"wer": [1, 2]}}, "read": {}}
    >>> show_written("asr", [record], 5)[0].text
    'asr: 1 of 1 with errors'
    """
    wrong = [
        record
        for record in records
        if any(found["wer"][0] for found in record["measured"].values())
    ]
    if not wrong or not count:
        return []
    blocks = [Heading(f"{name}: {len(wrong)} of {len(records)} with errors", 3)]
    for record in wrong[:: max(len(wrong) // count, 1)][:count]:
        rows = [
            [column, record["read"].get(column, ["-"])[-1], text]
            for column, text in record["written"].items()
        ]
        blocks += [
            Code(f"{record['id']}: {record['text']}"),
            Table(["column", "read as", "written"], rows),
        ]
    return blocks
