"""What an LLM writes after prompts of vectors, greedily or by beam search."""

import contextlib

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import GenerationConfig

from ssr_plugin.llm.scoring import pad_rows
from ssr_plugin.llm.tokens import tokenize_inside

# Static caches have a multiple of so many positions: few sizes, for each of which a
# model is compiled.
_CACHE_MULTIPLE = 256


def transcribe(llm, vectors, counts, max_new_tokens, prompt="\n", num_beams=1):
    """What the LLM writes after vectors and prompt, as the loss of transcripts asks.

    Greedy or by beam search. The model's own settings of generation (sampling,
    penalties, other ends) have no say.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [B, M, H], padded on the right.
    counts : torch.LongTensor
        [B], how many vectors an utterance has; 0 is allowed.
    max_new_tokens : int or list of int
        Where to stop without an end-of-text token, for all or each.
    prompt : str
        Text between the vectors and the answer; may be empty.
    num_beams : int
        1 is greedy.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the tokenizer has no end-of-text token, or the model's ``generate`` takes no
        embeddings (Gemma 3 with its vision tower; without it, it does).

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> texts = transcribe(llm, torch.zeros(2, 5, 16), torch.tensor([5, 0]), 3)
    >>> [len(text.split()) <= 3 for text in texts]
    [True, True]
    """
    # Refuses what cannot end before it reads anything.
    end_id(llm)
    limits = max_new_tokens
    if isinstance(limits, int):
        limits = [limits] * len(vectors)
    return write(
        llm, transcription_prompts(llm, vectors, counts, prompt), limits, num_beams
    )


def write(llm, prompts, limits, num_beams=1, static_cache=False):
    """What the LLM writes after prompts, up to its end-of-text token.

    Greedy or by beam search, whatever the model's own settings of generation say.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    prompts : list of torch.Tensor
        [L, H] each, input embeddings.
    limits : list of int
        Most tokens that are written after each.
    num_beams : int
        1 is greedy.
    static_cache : bool
        Whether to keep keys and values as :func:`cache_settings` says. On a GPU that is
        faster, after a minute or so, in which the model is compiled: for many texts.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        As :func:`transcribe`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> (text,) = write(llm, [llm.embed(torch.tensor([1, 5, 6]))], [2])
    >>> len(text.split()) <= 2
    True
    """
    model = llm.load_model()
    end = end_id(llm)
    embeds, mask = pad_rows(prompts, "left")
    most = max(limits, default=1)
    config = GenerationConfig(
        max_new_tokens=most,
        num_beams=num_beams,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        **(cache_settings(model, embeds.shape[1] + most) if static_cache else {}),
    )
    # Whatever a config passed to generate() leaves open is taken from the model's.
    with replaced_attribute(model, "generation_config", config), torch.no_grad():
        # Position ids are counted from the mask.
        written = model.generate(inputs_embeds=embeds, attention_mask=mask.long())
    ids = [row[:limit] for row, limit in zip(written, limits, strict=True)]
    return llm.tokenizer.batch_decode(ids, skip_special_tokens=True)


def cache_settings(model, length):
    """Settings of ``generate`` for keys and values in memory of a size that stays.

    On a GPU, transformers compiles a model that keeps them so: each token is then one
    graph to start, not hundreds of kernels.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    length : int
        Most positions that are read and written.

    Returns
    -------
    dict
        Empty where it is of no use: on a CPU, for a model that cannot be compiled, or
        that has adapters, which each thread switches for itself and a graph does not.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> cache_settings(TextLLM(getfixture("tiny_llm_folder")).load_model(), 100)
    {}
    """
    compiles = getattr(model, "_can_compile_fullgraph", False)
    # transformers before 5.24 has a size for each call, and would compile each anew.
    keeps_size = hasattr(GenerationConfig(), "max_cache_len")
    has_adapters = any(isinstance(x, BaseTunerLayer) for x in model.modules())
    if not (_is_on_gpu(model) and compiles and keeps_size) or has_adapters:
        return {}
    size = length + -length % _CACHE_MULTIPLE
    return {"cache_implementation": "static", "max_cache_len": size}


def _is_on_gpu(model):
    return model.device.type == "cuda"


def end_id(llm):
    """The token that ends a text.

    Raises
    ------
    ValueError
        If the tokenizer has none.
    """
    end = llm.tokenizer.eos_token_id
    if end is None:
        raise ValueError(
            f"the tokenizer of '{llm.source}' has no end-of-text token, by which a "
            f"transcript's end is known: set its eos_token"
        )
    return end


def transcription_prompts(llm, vectors, counts, prompt):
    """What comes before each transcript: start token, vectors, prompt.

    Arguments as in :func:`transcribe`; gives [L, H] of each utterance.
    """
    prompt_ids = tokenize_inside(llm.tokenizer, prompt)
    ids = torch.tensor([llm.start_id, *prompt_ids], device=vectors.device)
    embeds = llm.embed(ids)
    vectors = vectors.to(embeds.dtype)
    return [
        torch.cat([embeds[:1], row[:count], embeds[1:]])
        for row, count in zip(vectors, counts.tolist(), strict=True)
    ]


@contextlib.contextmanager
def replaced_attribute(holder, name, value):
    """Another attribute in an object's place, in the block."""
    kept = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, kept)
