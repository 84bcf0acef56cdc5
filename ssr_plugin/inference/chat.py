"""Conversations with speech in them, by the LLM's own chat template."""

import uuid

from ssr_plugin.inference.prompts import parse_prompts


def render_chat(llm, messages):
    """A conversation as a prompt that the assistant's answer follows.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    messages : list of dict
        Each with "role" and "content", a prompt.

    Returns
    -------
    list of str or speech
        A prompt's parts.

    Raises
    ------
    ValueError
        If its tokenizer has no chat template.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> llm = SimpleNamespace(tokenizer=tokenizer, bos_id=None)
    >>> tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    >>> wav = ([0.1], 16000)
    >>> render_chat(llm, [{"role": "user", "content": ["Say: ", wav, "!"]}])
    ['[Say: ', ([0.1], 16000), '!]']
    >>> tokenizer.chat_template = None
    """
    tokenizer = llm.tokenizer
    if tokenizer.chat_template is None:
        raise ValueError(
            "this LLM has no chat template: give a prompt to generate() instead"
        )
    # The template is given text alone, with marks where speech goes.
    mark, spoken, texts = f"<{uuid.uuid4().hex}>", [], []
    for message in messages:
        (parts,), _ = parse_prompts(message["content"])
        spoken += [part for part in parts if not isinstance(part, str)]
        text = "".join(part if isinstance(part, str) else mark for part in parts)
        texts.append({**message, "content": text})
    rendered = tokenizer.apply_chat_template(
        texts, tokenize=False, add_generation_prompt=True
    )
    if llm.bos_id is not None:
        # The template writes it, and it is put before every prompt.
        rendered = rendered.removeprefix(tokenizer.decode([llm.bos_id]))
    pieces = rendered.split(mark)
    if len(pieces) != len(spoken) + 1:
        raise ValueError("the chat template leaves some of the conversation out")
    prompt = [pieces[0]]
    for speech, piece in zip(spoken, pieces[1:], strict=True):
        prompt += [speech, piece]
    return [part for part in prompt if part != ""]
