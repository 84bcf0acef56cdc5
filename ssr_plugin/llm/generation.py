"""What an LLM writes after prompts of vectors, greedily or by beam search."""

import contextlib

import torch
from transformers import GenerationConfig

from ssr_plugin.llm.scoring import pad_rows
from ssr_plugin.llm.tokens import tokenize_inside


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


def write(llm, prompts, limits, num_beams=1):
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
    config = GenerationConfig(
        max_new_tokens=max(limits, default=1),
        num_beams=num_beams,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    embeds, mask = pad_rows(prompts, "left")
    # Whatever a config passed to generate() leaves open is taken from the model's.
    with replaced_attribute(model, "generation_config", config), torch.no_grad():
        # Position ids are counted from the mask.
        written = model.generate(inputs_embeds=embeds, attention_mask=mask.long())
    ids = [row[:limit] for row, limit in zip(written, limits, strict=True)]
    return llm.tokenizer.batch_decode(ids, skip_special_tokens=True)


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
