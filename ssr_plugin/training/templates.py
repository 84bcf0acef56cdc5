"""What the LLM is asked to do with speech, by templates of speech and text."""

import dataclasses
import re

import torch

from ssr_plugin.llm.generation import end_id
from ssr_plugin.llm.tokens import tokenize_inside

_TEMPLATE = re.compile(r"(.*?)\{speech\}(?:(.*)\{text\})?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Task:
    """A way to read an utterance.

    Arguments
    ---------
    name : str
    share : float
        How often, beside the shares of other tasks.
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


def parse_tasks(tasks, tokenizer):
    """Tasks from what a YAML says of them.

    Arguments
    ---------
    tasks : dict
        Name -> dict of "template", "share" and, where speech is the first and text the
        second half, "halves". A template has ``{speech}`` once, and may end with
        ``{text}``.
    tokenizer : transformers.PreTrainedTokenizerFast

    Returns
    -------
    list of Task
        Those with a share.

    Raises
    ------
    ValueError
        If there is none, or one makes no sense; the message names it.

    Example
    -------
    >>> tasks = {"say": {"template": "a {speech} b {text}", "share": 1}}
    >>> parse_tasks(tasks, getfixture("tiny_tokenizer"))
    [Task(name='say', share=1.0, before=(3,), between=(4,), answers=True, halves=False)]
    """
    found = []
    for name, told in (tasks or {}).items():
        try:
            task = _parse_task(name, tokenizer, **told)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"tasks: {name}: {error}; a task is such as {{template: "
                f'"{{speech}}\\n{{text}}", share: 0.5, halves: False}}'
            ) from error
        if task.share > 0:
            found.append(task)
    if not found:
        raise ValueError("tasks: none has a share above 0")
    return found


def _parse_task(name, tokenizer, template, share, halves=False):
    match = _TEMPLATE.fullmatch(template)
    if not match or "{" in (match[1] + (match[2] or "")):
        raise ValueError(f"its template is {template!r}")
    if not float(share) >= 0:
        raise ValueError(f"its share is {share}")
    before, between = match.groups()
    if halves and between is None:
        raise ValueError("without {text} there are no halves")
    # As prompts of ssr_plugin.inference are read.
    before = before.removesuffix(" ")
    before = tokenizer(before, add_special_tokens=False).input_ids if before else []
    return Task(
        name,
        float(share),
        tuple(before),
        tuple(tokenize_inside(tokenizer, between or "")),
        between is not None,
        bool(halves),
    )


def transcription_task(tasks, tokenizer):
    """The task that asks for what was said, or the usual one where there is none.

    Example
    -------
    >>> transcription_task([], getfixture("tiny_tokenizer")).answers
    True
    """
    usual = _parse_task("transcription", tokenizer, "{speech}\n{text}", 0.0)
    return next((task for task in tasks if task.answers and not task.halves), usual)


def start_tokens(task, llm):
    """The token that comes first, or none where the LLM starts texts without."""
    start = llm.bos_id if task.before else llm.start_id
    return [] if start is None else [start]


def question(task, llm, vectors):
    """What comes after the start and before the answer.

    Arguments
    ---------
    task : Task
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [M, H]

    Returns
    -------
    torch.Tensor
        [L, H]
    """
    words = torch.tensor([*task.before, *task.between], device=vectors.device).long()
    words = llm.embed(words)
    cut = len(task.before)
    return torch.cat([words[:cut], vectors.to(words.dtype), words[cut:]])


def sequence(task, llm, vectors, tokens):
    """One utterance as the LLM reads it, and what it should predict.

    Arguments
    ---------
    task : Task
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [M, H]; where the task asks for no text, one for each token.
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
    >>> sequence(Task("listen", 1.0), llm, vectors, tokens)[1].tolist()
    [29, 30, 31]
    >>> task = Task("write", 1.0, between=(7,), answers=True)
    >>> sequence(task, llm, vectors, tokens)[1].tolist()  # </s> is 2
    [-1, -1, -1, -1, 29, 30, 31, 2]
    """
    start = llm.embed(tokens.new_tensor(start_tokens(task, llm)))
    asked = question(task, llm, vectors)
    if task.answers:
        embeds = torch.cat([start, asked, llm.embed(tokens)])
        tokens = torch.cat([tokens, tokens.new_tensor([end_id(llm)])])
    else:
        embeds = torch.cat([start, asked])[:-1]
    unasked = tokens.new_full((len(embeds) - len(tokens),), -1)
    return embeds, torch.cat([unasked, tokens])
