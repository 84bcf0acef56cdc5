"""What the LLM is asked to do with speech, by templates of speech and text."""

import dataclasses
import re

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
        How often, beside the shares of other templates.
    before, between : tuple of int
        Tokens before the speech, and between speech and text.
    answers : bool
        Whether a text follows, on which, and on its end, the loss falls. Else it falls
        on the tokens of the speech, each predicted from the vectors before its own:
        for that they must be those of forced segments.
    halves : bool
        Whether speech and text are the first and the second half of an utterance, not
        the whole of it each.
    """

    name: str
    share: float
    before: tuple = ()
    between: tuple = ()
    answers: bool = False
    halves: bool = False


def parse_templates(templates, tokenizer):
    """Templates from what a YAML says of them.

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
        If there is none, or one makes no sense; the message names it.

    Example
    -------
    >>> templates = {"say": {"format": "a {speech} b {text}", "share": 1}}
    >>> (template,) = parse_templates(templates, getfixture("tiny_tokenizer"))
    >>> template.before, template.between, template.answers
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
    """The template that asks for what was said, or the usual one where there is none.

    Example
    -------
    >>> transcription_template([], getfixture("tiny_tokenizer")).answers
    True
    """
    usual = _parse_template("transcription", tokenizer, "{speech}\n{text}", 0.0)
    return next((x for x in templates if x.answers and not x.halves), usual)


def start_tokens(template, llm):
    """The token that comes first, or none where the LLM starts texts without."""
    start = llm.bos_id if template.before else llm.start_id
    return [] if start is None else [start]


def question(template, llm, vectors):
    """What comes after the start and before the answer.

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
    words = [*template.before, *template.between]
    words = torch.tensor(words, device=vectors.device).long()
    words = llm.embed(words)
    cut = len(template.before)
    return torch.cat([words[:cut], vectors.to(words.dtype), words[cut:]])


def sequence(template, llm, vectors, tokens):
    """One utterance as the LLM reads it, and what it should predict.

    Arguments
    ---------
    template : Template
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [M, H]; where the template asks for no text, one for each token.
    tokens : torch.Tensor
        [N] int, of the text that is asked for, or of the speech.

    Returns
    -------
    embeds : torch.Tensor
        [L, H]
    targets : torch.Tensor
        [L] int; -1 where nothing is asked for.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> vectors, tokens = torch.rand(3, 16), torch.tensor([29, 30, 31])
    >>> sequence(Template("listen", 1.0), llm, vectors, tokens)[1].tolist()
    [29, 30, 31]
    >>> template = Template("write", 1.0, between=(7,), answers=True)
    >>> sequence(template, llm, vectors, tokens)[1].tolist()  # </s> is 2
    [-1, -1, -1, -1, 29, 30, 31, 2]
    """
    start = llm.embed(tokens.new_tensor(start_tokens(template, llm)))
    asked = question(template, llm, vectors)
    if template.answers:
        embeds = torch.cat([start, asked, llm.embed(tokens)])
        tokens = torch.cat([tokens, tokens.new_tensor([end_id(llm)])])
    else:
        embeds = torch.cat([start, asked])[:-1]
    unasked = tokens.new_full((len(embeds) - len(tokens),), -1)
    return embeds, torch.cat([unasked, tokens])
