"""Prompts that interleave text and speech, as what an LLM reads.

A prompt is a string, or a list whose parts are strings and speech.
"""

import pathlib

import torch

from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES
from ssr_plugin.inference.speech import Speech, is_speech
from ssr_plugin.llm.tokens import tokenize_inside


def parse_prompts(prompts):
    """One prompt or many, as a list of many.

    Arguments
    ---------
    prompts : str, list of parts, or list of lists of parts
        A list of which all are lists is many prompts; any other is one.

    Returns
    -------
    prompts : list of list
        Of each prompt its parts, neighbouring strings joined.
    single : bool
        Whether it was one.

    Raises
    ------
    TypeError
        If a part is neither text nor speech.
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
    return [_parts(p) for p in ([prompts] if single else prompts)], single


def _parts(prompt):
    """A prompt's parts, neighbouring strings joined and empty ones left out."""
    parts = []
    for part in prompt if isinstance(prompt, list) else [prompt]:
        if not (isinstance(part, str) or is_speech(part)):
            raise TypeError(
                f"a prompt's parts are text, or speech as a pathlib.Path, (samples, "
                f"rate), a dict or decoder as `datasets` gives them, or what embed() "
                f"gives; not a {type(part).__name__}"
            )
        if isinstance(part, str) and _is_audio_file(part):
            raise ValueError(
                f"the text '{part}' is the path of an audio file, whose name alone the "
                f"LLM would read: to let it hear the file, give pathlib.Path('{part}')"
            )
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif not isinstance(part, str) or part:
            parts.append(part)
    return parts


def _is_audio_file(text):
    """Whether a text is the path of an audio file that is there."""
    path = pathlib.Path(text)
    try:
        return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    except OSError:  # Too long for a path.
        return False


def embed_prompt(llm, parts):
    """What the LLM reads.

    Its start token comes first where its tokenizer puts one before every text, and
    where no text comes before the speech. A space at the end of a text before speech is
    left out: it belongs to the first word spoken, and so to its vector.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    parts : list of str or Speech
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
    device = llm.embedding.weight.device
    told = bool(parts) and isinstance(parts[0], str)
    start = llm.bos_id if told else llm.start_id
    rows = [] if start is None else [llm.embed(torch.tensor([start], device=device))]
    for place, part in enumerate(parts):
        if isinstance(part, Speech):
            rows.append(part.vectors.to(rows[-1] if rows else llm.table()))
            continue
        before_speech = place + 1 < len(parts)
        text = part[:-1] if before_speech and part.endswith(" ") else part
        ids = (
            tokenize_inside(llm.tokenizer, text)
            if place
            else llm.tokenizer(text, add_special_tokens=False).input_ids
        )
        rows.append(llm.embed(torch.tensor(ids, dtype=torch.long, device=device)))
    embeds = torch.cat(rows)
    if len(embeds):
        return embeds
    return llm.embed(torch.tensor([llm.start_id], device=device))
