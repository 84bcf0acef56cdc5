"""Conversations with speech in them, by the LLM's own chat template."""

import pathlib
import urllib.parse
import urllib.request
import uuid
from typing import Any

from ssr_plugin.inference.prompts import parse_prompts
from ssr_plugin.inference.speech import is_speech
from ssr_plugin.llm.text_llm import TextLLM

#: One turn of a conversation: "role", and "content", a prompt or a list of parts.
Message = dict[str, Any]


def render_chat(llm: TextLLM, messages: str | list[Message]) -> list[Any]:
    """A conversation as a prompt that the assistant's answer follows.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    messages : str, or list of dict
        A string is the user's only turn. A dict has "role" and "content": a prompt, or
        a list of which parts are as :func:`parse_content` takes them.

    Returns
    -------
    list of str or speech
        A prompt's contents.

    Raises
    ------
    ValueError
        If its tokenizer has no chat template, or a part is not well formed.
    TypeError
        If it is no conversation.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> llm = SimpleNamespace(tokenizer=tokenizer, bos_id=None)
    >>> tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    >>> wav = ([0.1], 16000)
    >>> render_chat(llm, [{"role": "user", "content": ["Say: ", wav, "!"]}])
    ['[Say: ', ([0.1], 16000), '!]']
    >>> render_chat(llm, "Hello")
    ['[Hello]']
    >>> tokenizer.chat_template = None
    """
    tokenizer = llm.tokenizer
    if tokenizer.chat_template is None:
        raise ValueError(
            "this LLM has no chat template: give a prompt to generate() instead"
        )
    # The template is given text alone, with marks where speech goes.
    mark, speeches, texts = f"<{uuid.uuid4().hex}>", [], []
    for message in as_messages(messages):
        (contents,), _ = parse_prompts(parse_content(message["content"]))
        speeches += [x for x in contents if not isinstance(x, str)]
        text = "".join(x if isinstance(x, str) else mark for x in contents)
        texts.append({**message, "content": text})
    rendered = tokenizer.apply_chat_template(
        texts, tokenize=False, add_generation_prompt=True
    )
    assert isinstance(rendered, str)
    if llm.bos_id is not None:
        # The template writes it, and it is put before every prompt.
        start = tokenizer.decode([llm.bos_id])
        assert isinstance(start, str)
        rendered = rendered.removeprefix(start)
    pieces = rendered.split(mark)
    if len(pieces) != len(speeches) + 1:
        raise ValueError("the chat template leaves some of the conversation out")
    prompt = [pieces[0]]
    for speech, piece in zip(speeches, pieces[1:], strict=True):
        prompt += [speech, piece]
    return [content for content in prompt if content != ""]


def as_messages(messages: str | list[Message]) -> list[Message]:
    """A conversation as a list of messages, which are looked at.

    Arguments
    ---------
    messages : str, or list of dict
        As of :func:`render_chat`.

    Returns
    -------
    list of dict

    Raises
    ------
    TypeError
        If one is no message.

    Example
    -------
    >>> as_messages("Hello")
    [{'role': 'user', 'content': 'Hello'}]
    """
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    for message in messages:
        if not (isinstance(message, dict) and {"role", "content"} <= set(message)):
            raise TypeError(
                f"a conversation is a string, or a list of messages such as "
                f'{{"role": "user", "content": ...}}; {message!r:.60} is no message'
            )
    return messages


def parse_content(content: Any) -> list[Any]:
    """What a message says, as a prompt.

    Arguments
    ---------
    content : prompt, or list of parts
        A part is one of a prompt's, or one of Hugging Face's:
        ``{"type": "text", "text": ...}``, or ``{"type": "audio"}`` with one of "audio"
        (speech, or a path), "path" and "url" (a file's path or address).

    Returns
    -------
    list
        A prompt.

    Raises
    ------
    ValueError
        If the type of a part is unknown, it lacks what it should have, or its address
        is not that of a file on this machine.

    Example
    -------
    >>> parse_content(["Hear ", {"type": "audio", "url": "a.wav"}])
    ['Hear ', PosixPath('a.wav')]
    """
    parts = content if isinstance(content, list) else [content]
    return [
        _parse_part(part) if isinstance(part, dict) and "type" in part else part
        for part in parts
    ]


def _parse_part(part: dict[str, Any]) -> Any:
    kind = part["type"]
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    given = [part[key] for key in ("audio", "path", "url") if part.get(key) is not None]
    if kind == "audio" and len(given) == 1:
        if isinstance(given[0], str):
            return _local_path(given[0])
        if is_speech(given[0]):
            return given[0]
    raise ValueError(
        f"a part of a message is {{'type': 'text', 'text': ...}}, or {{'type': "
        f"'audio'}} with one of 'audio', 'path' and 'url', speech or a file's path; "
        f"not {part!r:.80}"
    )


def _local_path(address: str) -> pathlib.Path:
    """The path that a path, or the address of a file, names."""
    url = urllib.parse.urlsplit(address)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        return pathlib.Path(urllib.request.url2pathname(url.path))
    if "://" in address or url.scheme == "data":
        raise ValueError(
            f"'{address:.60}' is not a file on this machine, and nothing is fetched: "
            f"download it and give its path"
        )
    return pathlib.Path(address)
