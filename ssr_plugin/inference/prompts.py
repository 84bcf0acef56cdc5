"""Prompts that interleave text and speech, as what an LLM reads.

A prompt is a string, or a list whose contents are strings and speech.
"""

import pathlib
from typing import Any

import torch

from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES
from ssr_plugin.inference.speech import Recording, Speech, is_speech
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tokens import tokenize_inside

#: Text and speech, as they follow each other.
Contents = list[str | Recording | Speech]
#: What the LLM goes on from.
Prompt = str | Contents


def parse_prompts(prompts: Prompt | list[Contents]) -> tuple[list[list[Any]], bool]:
    """One prompt or many, as a list of many.

    Arguments
    ---------
    prompts : str, list of contents, or list of lists of them
        A list of which all are lists is many prompts; any other is one.

    Returns
    -------
    prompts : list of list
        Of each prompt its contents, neighbouring strings joined.
    single : bool
        Whether it was one.

    Raises
    ------
    TypeError
        If a content is neither text nor speech.
    ValueError
        If a text is the path of an audio file that is there: it was meant as speech.

    Example
    -------
    >>> parse_prompts(["a", "b"])
    ([['ab']], True)
    >>> parse_prompts([["a"], ["b"]])
    ([['a'], ['b']], False)
    """
    single = isinstance(prompts, str) or not all(isinstance(p, list) for p in prompts)
    if isinstance(prompts, list) and not prompts:
        single = True
    return [_contents(p) for p in ([prompts] if single else prompts)], single


def _contents(prompt: Any) -> list[Any]:
    """A prompt's contents, neighbouring strings joined and empty ones left out."""
    contents: list[Any] = []
    for content in prompt if isinstance(prompt, list) else [prompt]:
        if not (isinstance(content, str) or is_speech(content)):
            raise TypeError(
                f"a prompt's contents are text, or speech as a pathlib.Path, (samples, "
                f"rate), a dict or decoder as `datasets` gives them, or what embed() "
                f"gives; not a {type(content).__name__}"
            )
        if isinstance(content, str) and _is_audio_file(content):
            raise ValueError(
                f"the text '{content}' is the path of an audio file, whose name alone "
                f"the LLM would read: to let it hear the file, give "
                f"pathlib.Path('{content}')"
            )
        if isinstance(content, str) and contents and isinstance(contents[-1], str):
            contents[-1] += content
        elif not isinstance(content, str) or content:
            contents.append(content)
    return contents


def _is_audio_file(text: str) -> bool:
    """Whether a text is the path of an audio file that is there."""
    path = pathlib.Path(text)
    try:
        return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    except OSError:  # Too long for a path.
        return False


def embed_prompt(llm: TextLLM, contents: list[str | Speech]) -> torch.Tensor:
    """What the LLM reads.

    Its start token comes first where its tokenizer puts one before every text, and
    where no text comes before the speech. A space at the end of a text before speech is
    left out: it belongs to the first word spoken, and so to its vector.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    contents : list of str or Speech
        As :func:`parse_prompts` gives them.

    Returns
    -------
    torch.Tensor
        [L, H]; L is at least 1.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> embed_prompt(llm, ["the cat"]).shape, embed_prompt(llm, []).shape
    (torch.Size([3, 16]), torch.Size([1, 16]))
    """
    rows = [embed_start(llm, bool(contents) and isinstance(contents[0], str))]
    for index, content in enumerate(contents):
        if isinstance(content, Speech):
            rows.append(content.vectors.to(rows[-1]))
            continue
        before_speech = index + 1 < len(contents)
        rows.append(embed_text(llm, content, index == 0, before_speech))
    embeds = torch.cat(rows)
    return embeds if len(embeds) else embed_start(llm, text_first=False)


def embed_start(llm: TextLLM, text_first: bool) -> torch.Tensor:
    """What comes before a prompt.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    text_first : bool
        Whether the prompt begins with text.

    Returns
    -------
    torch.Tensor
        [1, H], the start token; [0, H] before a text, where its tokenizer puts none.
    """
    start = llm.bos_id if text_first else llm.start_id
    ids = [] if start is None else [start]
    device = llm.embedding.weight.device
    return llm.embed(torch.tensor(ids, dtype=torch.long, device=device))


def embed_text(
    llm: TextLLM, text: str, first: bool, before_speech: bool
) -> torch.Tensor:
    """A text of a prompt, as the LLM reads it.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    text : str
    first : bool
        Whether the prompt begins with it.
    before_speech : bool
        Whether speech follows: then a space at its end is left out.

    Returns
    -------
    torch.Tensor
        [L, H]
    """
    text = text[:-1] if before_speech and text.endswith(" ") else text
    ids = (
        llm.tokenizer(text, add_special_tokens=False).input_ids
        if first
        else tokenize_inside(llm.tokenizer, text)
    )
    device = llm.embedding.weight.device
    return llm.embed(torch.tensor(ids, dtype=torch.long, device=device))
