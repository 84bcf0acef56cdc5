"""What a benchmark is made of: items, each a context, and what may follow it."""

import dataclasses
from typing import Any, TypeGuard

from ssr_plugin.alignment.record import Alignment


@dataclasses.dataclass(frozen=True)
class SpokenText:
    """A text in an item that is spoken, or could be.

    Arguments
    ---------
    text : str
        Its transcript: what is said. Where it is read as text, it is in the case in
        which the model reads transcripts. Empty where the set does not tell.
    wav : str or None
        The audio file; None where there is none.
    seconds : float or None
        Only so much of the file, from its start.
    alignment : Alignment or None
        Of ``text`` and that audio, if the benchmark knows it.
    written : str or None
        The text as the set writes it, with case and marks, if that is another.
    """

    text: str
    wav: str | None = None
    seconds: float | None = None
    alignment: Alignment | None = None
    written: str | None = None


#: What items are made of: text that is only text, and text that is spoken.
Content = str | SpokenText


@dataclasses.dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Arguments
    ---------
    id : str
        Unique in its benchmark.
    context : tuple of (str or SpokenText)
        What the LLM reads.
    cluster : str or None
        Items of one cluster stand or fall together, and the bootstrap draws them so.
    """

    id: str
    context: tuple[Content, ...] = ()
    cluster: str | None = dataclasses.field(default=None, kw_only=True)

    def contents(self) -> tuple[Content, ...]:
        """All that the item is made of; the context comes first."""
        return self.context

    def recordings(self) -> list[SpokenText]:
        """Those of its contents that have audio, in order."""
        return [content for content in self.contents() if has_audio(content)]

    def to_record(self) -> dict[str, Any]:
        """What its record says of it besides its id and cluster, JSON-able."""
        return {}


@dataclasses.dataclass(frozen=True)
class ChoiceItem(Item):
    """An item with choices, of which one is right.

    Arguments
    ---------
    id, context, cluster
        Of :class:`Item`.
    choices : tuple of (str or SpokenText)
        Two or more. A ``str`` is scored as it stands, with the blank before it if there
        is one; a ``SpokenText`` by the tokens of its transcript, given the context. One
        that has audio is heard, too, by the conditions that listen; without a
        transcript, by those alone that need none.
    target : int
        Which choice is right.

    Raises
    ------
    ValueError
        If there are not two choices, or one is empty, or none of them is the target.

    Example
    -------
    >>> ChoiceItem("1", (SpokenText("the cat"),), (" sat", " flew"), 0).choices
    (' sat', ' flew')
    >>> ChoiceItem("1", ("the cat",), (" sat",), 0)
    Traceback (most recent call last):
        ...
    ValueError: item '1': 1 choice; there must be two or more
    """

    choices: tuple[Content, ...] = ()
    target: int = 0

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise ValueError(
                f"item '{self.id}': {len(self.choices)} choice; there must be two or "
                f"more"
            )
        if not all(spelling(x).strip() or has_audio(x) for x in self.choices):
            raise ValueError(f"item '{self.id}': a choice is empty")
        if not 0 <= self.target < len(self.choices):
            raise ValueError(
                f"item '{self.id}': the target is {self.target}, of "
                f"{len(self.choices)} choices"
            )

    def contents(self) -> tuple[Content, ...]:
        """See :meth:`Item.contents`."""
        return (*self.context, *self.choices)

    def to_record(self) -> dict[str, Any]:
        """See :meth:`Item.to_record`."""
        return {"target": self.target}


@dataclasses.dataclass(frozen=True)
class PromptItem(Item):
    """An item without choices: something is measured of what the LLM reads or writes.

    Arguments
    ---------
    id, context, cluster
        Of :class:`Item`.
    reference : str
        What is measured against: a transcript, or a document.
    speaker : str or None
        Who speaks, if one does and it is known.

    Example
    -------
    >>> item = PromptItem("1", (SpokenText("the cat", "1.wav"), "!"), "the cat")
    >>> [content.text for content in item.recordings()]
    ['the cat']
    """

    reference: str = ""
    speaker: str | None = dataclasses.field(default=None, kw_only=True)

    def to_record(self) -> dict[str, Any]:
        """See :meth:`Item.to_record`."""
        record = {"reference": self.reference}
        return record if self.speaker is None else record | {"speaker": self.speaker}


def has_audio(content: Content) -> TypeGuard[SpokenText]:
    """Whether a content of an item is to be heard.

    Example
    -------
    >>> has_audio(SpokenText("the cat", "cat.wav")), has_audio(SpokenText("the cat"))
    (True, False)
    """
    return isinstance(content, SpokenText) and content.wav is not None


def spelling(content: Content) -> str:
    """A content of an item as text.

    Example
    -------
    >>> [spelling(x) for x in (SpokenText("a cat"), SpokenText("", written="S AE G"))]
    ['a cat', 'S AE G']
    """
    if isinstance(content, str):
        return content
    return content.text or content.written or ""
