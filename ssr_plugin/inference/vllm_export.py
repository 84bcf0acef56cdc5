"""Prompts with speech in them for vLLM, which then needs nothing of this package.

vLLM (https://docs.vllm.ai/en/stable/features/prompt_embeds/) takes prompts as input
embeddings, [L, H]. Offline, in a process that only has vLLM and safetensors::

    from safetensors.torch import load_file
    from vllm import LLM, SamplingParams

    llm = LLM("HuggingFaceTB/SmolLM2-135M-Instruct", enable_prompt_embeds=True)
    prompts = sorted(load_file("prompts.safetensors").items())
    prompts = [{"prompt_embeds": embeds} for _, embeds in prompts]
    outputs = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=128))

Served, ``/v1/completions`` takes what :func:`completion_request` gives, and
``/v1/chat/completions`` what :func:`chat_request` does: there the server applies the
chat template.
"""

import base64
import io
import itertools
import os
import pathlib
import shlex
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from ssr_plugin.files import atomic_path
from ssr_plugin.inference.chat import Message, as_messages, parse_content
from ssr_plugin.inference.prompts import parse_prompts
from ssr_plugin.json_files import read_json
from ssr_plugin.sources import address

if TYPE_CHECKING:
    from ssr_plugin.inference.speech_lm import SpeechLM

# Ranks of adapters that vLLM may be told to make room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
#: What tuned adapters are called on the server.
ADAPTERS = "tuned"


def save_prompts(
    path: str | os.PathLike[str], prompts: dict[str, torch.Tensor], lm: "SpeechLM"
) -> None:
    """Writes prompts to a file of safetensors, with their origin in its metadata.

    Arguments
    ---------
    path : path-like
        Written whole or not at all.
    prompts : dict
        Name -> [L, H], as :meth:`SpeechLM.embed_prompts` gives them.
    lm : SpeechLM

    Example
    -------
    >>> from safetensors.torch import load_file
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> wav = (torch.rand(16000), 16000)
    >>> path = getfixture("tmp_path") / "prompts.safetensors"
    >>> save_prompts(path, {"0": lm.embed_prompts(["the ", wav, "\\n"])}, lm)
    >>> load_file(path)["0"].shape[1]
    16
    """
    metadata = {
        "llm": lm.llm.source,
        "dtype": str(lm.llm.dtype).removeprefix("torch."),
        "tuned": "none" if lm.tuned is None else lm.tuned.kind,
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in prompts.items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata)


def to_base64(embeds: torch.Tensor) -> str:
    """A prompt as vLLM's server takes it: ``torch.save``, then base64.

    Arguments
    ---------
    embeds : torch.Tensor
        [L, H]

    Returns
    -------
    str

    Example
    -------
    >>> text = to_base64(torch.ones(2, 3))
    >>> torch.load(io.BytesIO(base64.b64decode(text)), weights_only=True).shape
    torch.Size([2, 3])
    """
    file = io.BytesIO()
    # A copy: of a view the whole tensor behind it would be written.
    torch.save(embeds.detach().cpu().clone(), file)
    return base64.b64encode(file.getvalue()).decode()


def completion_request(
    embeds: torch.Tensor, model: str, max_tokens: int = 128, **options: Any
) -> dict[str, Any]:
    """What to post to ``/v1/completions`` of vLLM's server.

    Arguments
    ---------
    embeds : torch.Tensor
        [L, H], all that the LLM is to read: the server adds no chat template.
    model : str
        As the server calls it: see :func:`serving`.
    max_tokens : int
    **options
        Of the server; ``temperature`` is 0 if they do not say.

    Returns
    -------
    dict
        JSON-able.
    """
    return {
        "model": model,
        "prompt_embeds": to_base64(embeds),
        "max_tokens": max_tokens,
        "temperature": 0,
        **options,
    }


def chat_request(
    lm: "SpeechLM",
    messages: str | list[Message],
    model: str,
    max_tokens: int = 128,
    **options: Any,
) -> dict[str, Any]:
    """What to post to ``/v1/chat/completions`` of vLLM's server.

    Speech is a part of a message, ``{"type": "prompt_embeds", "data": ...}``; text
    stays text, which the server tokenises and puts into the LLM's chat template. Of
    LLMs whose template takes no parts, the server puts a new line between them. As in
    all prompts, a space before speech is left out.

    Arguments
    ---------
    lm : SpeechLM
    messages : str, or list of dict
        As :meth:`SpeechLM.chat` takes them.
    model : str
        As the server calls it: see :func:`serving`.
    max_tokens : int
    **options
        Of the server; ``temperature`` is 0 if they do not say.

    Returns
    -------
    dict
        JSON-able.

    Raises
    ------
    ValueError
        If in some speech nothing is said: the server takes no part without vectors.
    TypeError
        If it is no conversation.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> wav = (torch.rand(16000), 16000)
    >>> messages = [{"role": "user", "content": ["Sum this up: ", wav]}]
    >>> request = chat_request(lm, messages, "llm")
    >>> [part["type"] for part in request["messages"][0]["content"]]
    ['text', 'prompt_embeds']
    """
    turns, speeches = [], []
    for message in as_messages(messages):
        (contents,), _ = parse_prompts(parse_content(message["content"]))
        for before, speech in itertools.pairwise(range(len(contents))):
            # It belongs to the first word spoken.
            if not isinstance(contents[speech], str):
                contents[before] = _without_last_space(contents[before])
        contents = [content for content in contents if content != ""]
        turns.append((message, contents))
        speeches += [x for x in contents if not isinstance(x, str)]
    embedded = iter(lm.embed(speeches) if speeches else [])

    def part(content: Any) -> dict[str, str]:
        if isinstance(content, str):
            return {"type": "text", "text": content}
        vectors = next(embedded).vectors.to(lm.llm.dtype)
        if not len(vectors):
            raise ValueError("nothing is said in a recording: leave it out")
        return {"type": "prompt_embeds", "data": to_base64(vectors)}

    return {
        "model": model,
        "messages": [
            {**message, "content": [part(content) for content in contents]}
            for message, contents in turns
        ],
        "max_tokens": max_tokens,
        "temperature": 0,
        **options,
    }


def _without_last_space(content: Any) -> Any:
    return content.removesuffix(" ") if isinstance(content, str) else content


def serving(lm: "SpeechLM", folder: str | os.PathLike[str]) -> tuple[str, str]:
    """How vLLM serves the LLM that writes.

    An LLM that was not tuned is served from where it came; tuned adapters are PEFT's,
    which vLLM loads beside it; a fully tuned LLM is a folder of its own, which has no
    tokenizer.

    Arguments
    ---------
    lm : SpeechLM
    folder : path-like
        Where it was loaded from.

    Returns
    -------
    model : str
        What requests call it.
    command : str
        What starts the server.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> llm = SimpleNamespace(source="HuggingFaceTB/SmolLM2-135M@12fd25f")
    >>> serving(SimpleNamespace(llm=llm, tuned=None), "model")[1]
    'vllm serve HuggingFaceTB/SmolLM2-135M --revision 12fd25f --enable-prompt-embeds'
    """
    where = address(lm.llm.source)
    model, revision = where["pretrained_model_name_or_path"], where.get("revision")
    tuned = pathlib.Path(folder) / "tuned"
    kind = "none" if lm.tuned is None else lm.tuned.kind
    words = ["vllm", "serve", model]
    if kind == "full":
        words = ["vllm", "serve", str(tuned), "--tokenizer", model]
        words += ["--tokenizer-revision", revision] if revision else []
        model = str(tuned)
    elif revision:
        words += ["--revision", revision]
    words.append("--enable-prompt-embeds")
    if kind == "lora":
        rank = read_json(tuned / "adapter_config.json", {"r": int})["r"]
        room = next(x for x in _RANKS if x >= rank)
        words += ["--enable-lora", "--max-lora-rank", str(room)]
        words += ["--lora-modules", f"{ADAPTERS}={tuned}"]
        model = ADAPTERS
    return model, shlex.join(words)
