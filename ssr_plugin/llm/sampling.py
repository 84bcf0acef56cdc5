"""Text that an LLM writes of itself: what it knows, where no other text is at hand."""

import itertools
import json
import logging
import pathlib

import torch
from tqdm import tqdm
from transformers import GenerationConfig

from ssr_plugin.files import atomic_path
from ssr_plugin.json_files import read_json
from ssr_plugin.llm.generation import cache_settings

logger = logging.getLogger(__name__)

# From so many steps on, a model that can be compiled is.
_MANY_STEPS = 2000


def sample_documents(llm, num_tokens, longest, seed, batch_size=256, folder=None):
    """Texts drawn from an LLM, word for word with its own probabilities.

    Each begins at the start token and goes on to the end-of-text token or to so many
    tokens.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    num_tokens : int
        Tokens that all texts have together, at least.
    longest : int
        Most tokens of a text.
    seed : int
        The same seed gives the same texts on the same machine.
    batch_size : int
        Texts that are drawn at once.
    folder : path-like or None
        Keeps each batch that was drawn: a call of the same arguments goes on where one
        that was killed had come, and draws what it would have drawn.

    Returns
    -------
    list of list of int
        Without start and end tokens.

    Raises
    ------
    ValueError
        If the LLM writes nothing, text by text.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> texts = sample_documents(llm, num_tokens=100, longest=8, seed=1)
    >>> sum(map(len, texts)) >= 100, max(map(len, texts)) <= 8
    (True, True)
    """
    model = llm.load_model()
    end = llm.tokenizer.eos_token_id
    many = _MANY_STEPS * batch_size
    config = GenerationConfig(
        max_new_tokens=longest,
        do_sample=True,
        num_beams=1,
        # Whatever is left open is taken from the model's own settings.
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
        typical_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=end,
        pad_token_id=llm.start_id if end is None else end,
        **(cache_settings(model, 1 + longest) if num_tokens > many else {}),
    )
    device = llm.embedding.weight.device
    start = torch.full((batch_size, 1), llm.start_id, device=device)
    devices = [device] if device.type == "cuda" else []
    texts, count = [], 0
    with (
        torch.random.fork_rng(devices),
        torch.no_grad(),
        tqdm(total=num_tokens, desc="the LLM writes", unit=" tokens") as bar,
    ):
        torch.manual_seed(seed)
        for number in itertools.count():
            if count >= num_tokens:
                break
            path = folder and pathlib.Path(folder) / f"{device.type}-{number:06d}.json"
            drawn = _read(path, device) if path and path.is_file() else None
            if drawn is None:
                written = model.generate(
                    start,
                    attention_mask=torch.ones_like(start),
                    generation_config=config,
                )
                drawn = [_until(ids, end) for ids in written[:, 1:].tolist()]
                drawn = [ids for ids in drawn if ids]
                if not drawn:
                    raise ValueError(f"the LLM '{llm.source}' writes no text of itself")
                if path:
                    _write(path, drawn, device)
            texts += drawn
            count += sum(map(len, drawn))
            bar.update(sum(map(len, drawn)))
    return texts


def _write(path, drawn, device):
    """Keeps a batch of texts, and the state of the random numbers after it."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    states = [bytes(state.tolist()).hex() for state in states]
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({"texts": drawn, "states": states}))


def _read(path, device):
    """The texts that :func:`_write` kept; draws go on as they did after them.

    None of a damaged file: they are drawn anew.
    """
    try:
        kept = read_json(path, {"texts": [[int]], "states": [str]})
        states = [torch.tensor(list(bytes.fromhex(x))).byte() for x in kept["states"]]
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        logger.warning("%s; its text is written anew", error)
        return None
    return kept["texts"]


def _until(ids, end):
    """The part of a list before a value."""
    return ids[: ids.index(end)] if end in ids else ids
