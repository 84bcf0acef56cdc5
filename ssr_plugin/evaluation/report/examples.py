"""Items of a report: what was heard, and what the LLM made of it."""

from ssr_plugin.evaluation.harness.choice_rules import choice_scores
from ssr_plugin.evaluation.harness.items import is_heard, spell
from ssr_plugin.evaluation.harness.summary import TOPLINE, right
from ssr_plugin.evaluation.report.document import Code, Condition, Heading, Sound, Table

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
        *_sounds(item.context, item.choices),
        Table(["choice", *map(Condition, columns)], rows),
    ]


def _sounds(context, choices=()):
    """What is heard of an item: of its context the last part, and its choices."""
    # Parts before the last are examples, the same for many items.
    sounds = [("heard", part) for part in context if is_heard(part)][-1:]
    for number, choice in enumerate(choices, start=1):
        if is_heard(choice):
            sounds.append((f"choice {number}", choice))
    return [Sound(str(part.wav), name, part.seconds) for name, part in sounds]


def _mark(part):
    return part if isinstance(part, str) else f"[{part.text}]"


def show_written(name, items, records, count):
    """Transcripts that the LLM wrote, of items in which it erred.

    Arguments
    ---------
    name : str
        Of the task.
    items : list of Prompt
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
    >>> from ssr_plugin.evaluation.harness.items import Prompt, Spoken
    >>> item = Prompt("1", (Spoken("A CAT", "1.wav"),), text="A CAT")
    >>> record = {"id": "1", "text": "A CAT", "written": {"forced": "a hat"}}
    >>> record |= {"measured": {"forced": {"wer": [1, 2]}}, "read": {}}
    >>> blocks = show_written("asr", [item], [record], 5)
    >>> blocks[0].text, blocks[2].path
    ('asr: 1 of 1 with errors', '1.wav')
    """
    wrong = [
        record
        for record in records
        if any(found["wer"][0] for found in record["measured"].values())
    ]
    if not wrong or not count:
        return []
    by_id = {item.id: item for item in items}
    blocks = [Heading(f"{name}: {len(wrong)} of {len(records)} with errors", 3)]
    for record in wrong[:: max(len(wrong) // count, 1)][:count]:
        rows = [
            [Condition(column), record["read"].get(column, ["-"])[-1], text]
            for column, text in record["written"].items()
        ]
        blocks += [
            Code(f"{record['id']}: {record['text']}"),
            *_sounds(by_id[record["id"]].context),
            Table(["column", "read as", "written"], rows),
        ]
    return blocks
