"""What a task is made of: items, each a context, and what may follow it."""

import dataclasses
import random

from ssr_plugin.alignment.record import Alignment


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A part of an item that is heard, or could be.

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
        Of ``text`` and that audio, if the task knows it.
    written : str or None
        The text as the set writes it, with case and marks, if that is another.
    """

    text: str
    wav: str | None = None
    seconds: float | None = None
    alignment: Alignment | None = None
    written: str | None = None


@dataclasses.dataclass(frozen=True)
class Item:
    """One question of a task.

    Arguments
    ---------
    id : str
        Unique in its task.
    context : tuple of (str or Spoken)
        What the LLM reads before it chooses.
    choices : tuple of (str or Spoken)
        Two or more. A ``str`` is scored as it stands, with the blank before it if there
        is one; a ``Spoken`` one by the tokens of its transcript, given the context. One
        that has audio is heard, too, by the columns that listen; without a transcript,
        by those alone that need none.
    answer : int
        Which choice is right.
    cluster : str or None
        Items of one cluster stand or fall together, and the bootstrap draws them so.

    Raises
    ------
    ValueError
        If there are not two choices, or one is empty, or none of them is the answer.

    Example
    -------
    >>> Item("1", (Spoken("the cat"),), (" sat", " flew"), answer=0).choices
    (' sat', ' flew')
    >>> Item("1", ("the cat",), (" sat",), answer=0)
    Traceback (most recent call last):
        ...
    ValueError: item '1': 1 choice; there must be two or more
    """

    id: str
    context: tuple
    choices: tuple
    answer: int
    cluster: str | None = None

    def __post_init__(self):
        if len(self.choices) < 2:
            raise ValueError(
                f"item '{self.id}': {len(self.choices)} choice; there must be two or "
                f"more"
            )
        if not all(spell(x).strip() or is_heard(x) for x in self.choices):
            raise ValueError(f"item '{self.id}': a choice is empty")
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"item '{self.id}': the answer is {self.answer}, of "
                f"{len(self.choices)} choices"
            )

    def heard(self):
        """What is heard of the context and the choices.

        Returns
        -------
        list of Spoken
            Those with audio; of the context come first.
        """
        return [part for part in (*self.context, *self.choices) if is_heard(part)]

    def known(self):
        """What its record says of it besides its name."""
        return {"answer": self.answer}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What an LLM reads without choosing.

    Arguments
    ---------
    id : str
        Unique in its task.
    context : tuple of (str or Spoken)
        What the LLM reads.
    text : str
        What is measured against: a transcript, or a document.
    cluster : str or None
        Of :class:`Item`.

    Example
    -------
    >>> [part.text for part in Prompt("1", (Spoken("the cat", "1.wav"), "!")).heard()]
    ['the cat']
    """

    id: str
    context: tuple
    text: str = ""
    cluster: str | None = None

    def heard(self):
        """See :meth:`Item.heard`."""
        return [part for part in self.context if is_heard(part)]

    def known(self):
        """See :meth:`Item.known`."""
        return {"text": self.text}


def is_heard(part):
    """Whether a part of an item has audio.

    Example
    -------
    >>> is_heard(Spoken("the cat", "cat.wav")), is_heard(Spoken("the cat"))
    (True, False)
    """
    return isinstance(part, Spoken) and part.wav is not None


def spell(part):
    """The text of a part of an item.

    Example
    -------
    >>> spell(Spoken("the cat")), spell(" sat"), spell(Spoken("", written="S AE G"))
    ('the cat', ' sat', 'S AE G')
    """
    return part if isinstance(part, str) else part.text or part.written or ""


def draw_names(names, max_items=None):
    """So many names, drawn at random but always the same.

    Arguments
    ---------
    names : iterable of str
    max_items : int or None
        None is all.

    Returns
    -------
    list of str
        Sorted.

    Example
    -------
    >>> draw_names("dbca"), draw_names("dbca", 3) == draw_names("abcd", 3)
    (['a', 'b', 'c', 'd'], True)
    """
    names = sorted(names)
    if max_items is None or max_items >= len(names):
        return names
    return sorted(random.Random(0).sample(names, max_items))
