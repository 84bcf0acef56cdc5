"""Prompts as a command line writes them, with recordings put in."""

import re

from ssr_plugin.cli.model import read_speech
from ssr_plugin.cli.recordings import find_audio
from ssr_plugin.inference.chat import render_chat

SLOT = "{audio}"
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def unescape(text):
    r"""Turns ``\n`` and ``\t`` of a command line into new lines and tabs.

    Example
    -------
    >>> unescape(r"a\nb\\n")
    'a\nb\\n'
    """
    return re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match.group()], text)


def group_files(template, names):
    """Which recordings go into which prompt.

    Arguments
    ---------
    template : str
        With ``{audio}`` where recordings go.
    names : list of str
        As :func:`ssr_plugin.cli.recordings.find_audio` takes them.

    Returns
    -------
    list of list of pathlib.Path
        The recordings of each prompt, in order.

    Raises
    ------
    ValueError
        If the number of files is not a multiple of the number of slots.

    Example
    -------
    >>> group_files("Hear {audio}!", ["a.wav", "b.wav"])
    [[PosixPath('a.wav')], [PosixPath('b.wav')]]
    >>> group_files("{audio} or {audio}?", ["a.wav"])
    Traceback (most recent call last):
        ...
    ValueError: 1 recordings for the 2 places {audio} of the prompt: give as many, or \
a multiple
    """
    paths, slots = find_audio(names), template.count(SLOT)
    if not paths and not slots:
        return [[]]
    if not paths or not slots or len(paths) % slots:
        raise ValueError(
            f"{len(paths)} recordings for the {slots} places {SLOT} of the prompt: "
            f"give as many, or a multiple"
        )
    return [paths[i : i + slots] for i in range(0, len(paths), slots)]


def read_prompts(lm, groups, options, problems):
    """Prompts with their recordings read; prompts that lack one are left out.

    Arguments
    ---------
    lm : SpeechLM
    groups : list of list of pathlib.Path
        As :func:`group_files` gives them.
    options : argparse.Namespace
        With ``prompt``, ``chat`` and ``batch_seconds``.
    problems : ssr_plugin.problems.Problems

    Yields
    ------
    paths : list of pathlib.Path
    prompt : list of str or Speech

    Raises
    ------
    ValueError
        If a chat is asked for and the LLM has no chat template.
    """
    _check_chat(lm, options)
    texts = unescape(options.prompt).split(SLOT)
    paths = [path for group in groups for path in group]
    speeches = read_speech(lm, paths, options.batch_seconds, problems)
    for group in groups:
        contents = [next(speeches)[1] for _ in group]
        if None in contents:
            continue
        prompt = [texts[0]]
        for speech, text in zip(contents, texts[1:], strict=True):
            prompt += [speech, text]
        if options.chat:
            prompt = render_chat(lm.llm, [{"role": "user", "content": prompt}])
        yield group, prompt


def live_contents(lm, options):
    """The contents of a prompt with speech in it that is still going on.

    Arguments
    ---------
    lm : SpeechLM
    options : argparse.Namespace
        With ``prompt`` and ``chat``.

    Returns
    -------
    list of str or None
        None is where the speech goes.

    Raises
    ------
    ValueError
        If a chat is asked for and the LLM has no chat template.
    """
    _check_chat(lm, options)
    before, after = unescape(options.prompt).split(SLOT)
    if not options.chat:
        return [before, None, after]
    # Any speech: it is put out again.
    speech = ([0.0], lm.encoder.sample_rate)
    turn = [{"role": "user", "content": [before, speech, after]}]
    contents = render_chat(lm.llm, turn)
    return [content if isinstance(content, str) else None for content in contents]


def _check_chat(lm, options):
    """Refuses a chat with an LLM that has no template, before hours are read."""
    if options.chat and lm.llm.tokenizer.chat_template is None:
        raise ValueError(
            f"--chat: the LLM '{lm.llm.source}' has no chat template: leave --chat out"
        )
