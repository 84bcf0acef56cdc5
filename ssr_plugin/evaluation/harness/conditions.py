"""The columns of a report: one item, its spoken parts read in different ways.

| column | the spoken part is |
|---|---|
| ``none`` | left out: what the choices alone tell |
| ``written`` | the text as the set writes it, with case and marks |
| ``text`` | the reference transcript as text: the best to hope for |
| ``cascade`` | the segmenter's own hypothesis, as text |
| ``predicted`` | vectors, of segments found in the audio alone |
| ``forced`` | vectors, of segments cut with the help of the reference transcript |
| ``untouched`` | as ``text``, read by the LLM as it was before it was tuned |

All but ``written`` are read in the very same way, token for token, so that they differ
in nothing but what stands for speech.

A part of the context that has no audio, in an item that has some elsewhere, is read as
its transcript by the columns that listen.
"""

import contextlib

import torch

from ssr_plugin.evaluation.harness.items import Spoken, is_heard
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.tokens import tokenize_inside

#: In the order in which they are shown.
COLUMNS = (
    "none",
    "written",
    "text",
    "cascade",
    "predicted",
    "forced",
    "untouched",
)
#: Those that listen to audio, and how their segments are made.
SEGMENTS = {"cascade": "predicted", "predicted": "predicted", "forced": "forced"}


def choose_columns(lm, items):
    """The columns that a model can give of some items.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item or Prompt

    Returns
    -------
    columns : list of str
    notes : list of str
        Why others are missing.

    Raises
    ------
    ValueError
        If there are none.
    """
    contexts = [p for item in items for p in item.context if isinstance(p, Spoken)]
    columns, notes = {"text"}, []
    if contexts:
        columns.add("none")
    if any(part.written is not None for part in contexts):
        columns.add("written")
    if lm.tuned is not None:
        columns.add("untouched")
    if not all(item.heard() for item in items):
        notes.append("nothing to hear: the set is read as text alone")
    else:
        columns.add("forced")
        if "predicted" in lm.segmenters:
            columns |= {"cascade", "predicted"}
        else:
            notes.append(
                "no predicted columns: this model has no segmenter for audio alone"
            )
    choices = [x for item in items for x in getattr(item, "choices", ())]
    if any(isinstance(choice, Spoken) and not choice.text for choice in choices):
        columns &= {"cascade", "predicted"}
        notes.append(
            "no text and no forced columns: the set does not tell all that is said"
        )
    if not columns:
        raise ValueError(f"no column is left: {'; '.join(notes)}")
    return [column for column in COLUMNS if column in columns], notes


def heard_by(heard, column, item):
    """What a column hears of an item.

    Arguments
    ---------
    heard : dict
        Of :func:`ssr_plugin.evaluation.harness.audio_inputs.hear_parts`.
    column : str
    item : Item or Prompt

    Returns
    -------
    list of Speech
        One of each of :meth:`Item.heard`; none where the column does not listen.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.items import Prompt
    >>> heard = {"predicted": {"1": ["a speech"]}}
    >>> item = Prompt("1", ())
    >>> heard_by(heard, "cascade", item), heard_by(heard, "text", item)
    (['a speech'], [])
    """
    return heard[SEGMENTS[column]][item.id] if column in SEGMENTS else []


@contextlib.contextmanager
def reader(lm, column):
    """The LLM that reads a column, in the block.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    column : str

    Yields
    ------
    ssr_plugin.llm.text_llm.TextLLM or ssr_plugin.llm.tuning.TunedLLM
    """
    if lm.tuned is None:
        yield lm.llm
    elif column.startswith("untouched"):
        with lm.tuned.base_model() as llm:
            yield llm
    else:
        yield lm.tuned


def fill_context(lm, item, column, spoken):
    """A prompt: an item's context as a column reads it.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    item : Item or Prompt
    column : str
    spoken : list of Speech
        What was heard in each of :meth:`Item.heard`, of the column's segments; not used
        where the column does not listen.

    Returns
    -------
    list of (str or Speech)

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> from ssr_plugin.evaluation.harness.items import Item
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> item = Item("1", (Spoken("THE CAT"), " sat"), (" a", " b"), answer=0)
    >>> [part.text for part in fill_context(lm, item, "text", [])[:1]]
    ['THE CAT']
    >>> lm.embed_prompts(fill_context(lm, item, "none", [])).shape
    torch.Size([2, 16])
    """
    waiting = iter(spoken)
    prompt = []
    for part in item.context:
        if isinstance(part, str):
            prompt.append(part)
        elif column == "written":
            prompt.append(part.text if part.written is None else part.written)
        elif column in ("none", "untouched none"):
            prompt.append(as_speech(lm, ""))
        elif column in ("text", "untouched") or not is_heard(part):
            prompt.append(as_speech(lm, part.text))
        elif column == "cascade":
            prompt.append(as_speech(lm, next(waiting).hypothesis or ""))
        else:
            prompt.append(next(waiting))
    return prompt


def as_speech(lm, text):
    """A text in the place of speech: the embeddings of a transcript's tokens.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    text : str
        May be empty.

    Returns
    -------
    Speech
        Without times.
    """
    tokens = transcript_tokens(lm, text)
    vectors = lm.llm.embed(torch.tensor(tokens, dtype=torch.long, device=lm.device))
    return Speech(vectors, tokens, text, [], [], "none", None, 0.0)


def transcript_tokens(lm, text):
    """A transcript's tokens, as the connector was taught to read them."""
    return lm.segmenters["forced"].tokenize(text)[0] if text.strip() else []


def fill_choices(lm, item, column, spoken):
    """The tokens by which an item's choices are scored, and how a column reads them.

    A choice that is heard is scored as the column hears it: by the tokens of its
    transcript (forced) or those nearest to its vectors (predicted), each given the
    vectors before it; or by the hypothesis, as text (cascade).

    Arguments
    ---------
    lm, item, column, spoken
        Of :func:`fill_context`.

    Returns
    -------
    tokens : list of list of int
        Of each choice; none where nothing was heard.
    vectors : list of (torch.Tensor or None)
        [K, H] where a choice is read as vectors.
    """
    waiting = iter(spoken[len(spoken) - sum(map(is_heard, item.choices)) :])
    tokens, vectors = [], []
    for choice in item.choices:
        heard = next(waiting) if column in SEGMENTS and is_heard(choice) else None
        if column == "cascade" and heard is not None:
            tokens.append(transcript_tokens(lm, heard.hypothesis or ""))
            heard = None
        elif column == "predicted" and heard is not None:
            tokens.append(heard.tokens)
        elif isinstance(choice, Spoken):
            tokens.append(transcript_tokens(lm, choice.text))
        else:
            tokens.append(tokenize_inside(lm.llm.tokenizer, choice))
        vectors.append(None if heard is None else heard.vectors)
    return tokens, vectors
