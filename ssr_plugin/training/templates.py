"""Templates of speech and text, with which the LLM is tuned."""

import dataclasses
import re

import numpy as np
import torch

from ssr_plugin.llm.generation import end_id
from ssr_plugin.llm.tokens import tokenize_inside

_FORMAT = re.compile(r"(.*?)\{speech\}(?:(.*)\{text\})?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Template:
    """A way to read an utterance.

    Arguments
    ---------
    name : str
    share : float
        How often it is drawn, relative to the shares of other templates.
    before, between : tuple of int
        Tokens before the speech, and between speech and text.
    has_text : bool
        Whether a text follows. If so, the loss is that of the text and its end. Else it
        is that of the speech's tokens, each predicted from the vectors before its own;
        this needs forced segments.
    halves : bool
        Whether speech is the first half of an utterance and text the second; else both
        are the whole.
    """

    name: str
    share: float
    before: tuple = ()
    between: tuple = ()
    has_text: bool = False
    halves: bool = False


def parse_templates(templates, tokenizer):
    """Templates from their YAML.

    Arguments
    ---------
    templates : dict
        Name -> dict of "format", "share" and, where speech is the first and text the
        second half, "halves". A format has ``{speech}`` once, and may end with
        ``{text}``.
    tokenizer : transformers.PreTrainedTokenizerFast

    Returns
    -------
    list of Template
        Those with a share.

    Raises
    ------
    ValueError
        If there is none, or one is malformed; the message names it.

    Example
    -------
    >>> templates = {"say": {"format": "a {speech} b {text}", "share": 1}}
    >>> (template,) = parse_templates(templates, getfixture("tiny_tokenizer"))
    >>> template.before, template.between, template.has_text
    ((3,), (4,), True)
    """
    parsed = []
    for name, settings in (templates or {}).items():
        try:
            template = _parse_template(name, tokenizer, **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"templates: {name}: {error}; a template is such as {{format: "
                f'"{{speech}}\\n{{text}}", share: 0.5, halves: False}}'
            ) from error
        if template.share > 0:
            parsed.append(template)
    if not parsed:
        raise ValueError("templates: none has a share above 0")
    return parsed


def _parse_template(name, tokenizer, format, share, halves=False):
    match = _FORMAT.fullmatch(format)
    if not match or "{" in (match[1] + (match[2] or "")):
        raise ValueError(f"its format is {format!r}")
    if not float(share) >= 0:
        raise ValueError(f"its share is {share}")
    before, between = match.groups()
    if halves and between is None:
        raise ValueError("without {text} there are no halves")
    # As prompts of ssr_plugin.inference are read.
    before = before.removesuffix(" ")
    before = tokenizer(before, add_special_tokens=False).input_ids if before else []
    return Template(
        name,
        float(share),
        tuple(before),
        tuple(tokenize_inside(tokenizer, between or "")),
        between is not None,
        bool(halves),
    )


def transcription_template(templates, tokenizer):
    """The first template that asks for a transcript, or else the usual one.

    Example
    -------
    >>> transcription_template([], getfixture("tiny_tokenizer")).has_text
    True
    """
    usual = _parse_template("transcription", tokenizer, "{speech}\n{text}", 0.0)
    return next((x for x in templates if x.has_text and not x.halves), usual)


def start_tokens(template, llm):
    """The start token in a list, or an empty list if the LLM starts without one."""
    start = llm.bos_id if template.before else llm.start_id
    return [] if start is None else [start]


def prompt_embeds(template, llm, vectors):
    """Embeddings of the prompt: what comes after the start token and before the text.

    Arguments
    ---------
    template : Template
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [M, H]

    Returns
    -------
    torch.Tensor
        [L, H]
    """
    ids = [*template.before, *template.between]
    words = llm.embed(torch.tensor(ids, device=vectors.device).long())
    cut = len(template.before)
    return torch.cat([words[:cut], vectors.to(words.dtype), words[cut:]])


def sequence(template, llm, vectors, tokens):
    """One utterance as the LLM reads it, and its targets. No embedding is looked up.

    Arguments
    ---------
    template : Template
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : sequence of int
        [M], which vectors are read; where the template asks for no text, one for each
        token.
    tokens : sequence of int
        [N], of the text that is asked for, or of the speech.

    Returns
    -------
    inputs : numpy.ndarray
        [L] int: a token's id, or ``-1 - i`` for vector ``i``, as
        :func:`ssr_plugin.llm.packing.make_pack` takes them.
    targets : numpy.ndarray
        [L] int; -1 where there is no target.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> tokens = [29, 30, 31]
    >>> sequence(Template("listen", 1.0), llm, [0, 1, 2], tokens)  # <s> is 1
    (array([ 1, -1, -2]), array([29, 30, 31]))
    >>> template = Template("write", 1.0, between=(7,), has_text=True)
    >>> inputs, targets = sequence(template, llm, [0, 1, 2], tokens)
    >>> inputs.tolist(), targets.tolist()  # </s> is 2
    ([1, -1, -2, -3, 7, 29, 30, 31], [-1, -1, -1, -1, 29, 30, 31, 2])
    """
    vectors, tokens = -1 - np.asarray(vectors, dtype=int), np.asarray(tokens, dtype=int)
    start = start_tokens(template, llm)
    inputs = [start, template.before, vectors, template.between]
    if template.has_text:
        inputs.append(tokens)
        tokens = np.append(tokens, end_id(llm))
    inputs = np.concatenate([np.asarray(x, dtype=int) for x in inputs])
    if not template.has_text:
        inputs = inputs[:-1]
    targets = np.full(len(inputs), -1)
    targets[len(inputs) - len(tokens) :] = tokens
    return inputs, targets
