"""Text that an LLM writes of itself: what it knows, where no other text is at hand."""

import torch
from tqdm import tqdm
from transformers import GenerationConfig


def sample_documents(llm, num_tokens, longest, seed, batch_size=256):
    """Texts drawn from an LLM, word for word with its own probabilities.

    Each begins at the start token and goes on to the end-of-text token or to so many
    tokens.

    Arguments
    ---------
    llm : ssr_plugin.models.llm.TextLLM
    num_tokens : int
        Tokens that all texts have together, at least.
    longest : int
        Most tokens of a text.
    seed : int
        The same seed gives the same texts on the same machine.
    batch_size : int
        Texts that are drawn at once.

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
    >>> from ssr_plugin.models.llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> texts = sample_documents(llm, num_tokens=100, longest=8, seed=1)
    >>> sum(map(len, texts)) >= 100, max(map(len, texts)) <= 8
    (True, True)
    """
    model = llm.load_model()
    end = llm.tokenizer.eos_token_id
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
        while count < num_tokens:
            written = model.generate(
                start, attention_mask=torch.ones_like(start), generation_config=config
            )
            drawn = [_until(ids, end) for ids in written[:, 1:].tolist()]
            drawn = [ids for ids in drawn if ids]
            if not drawn:
                raise ValueError(f"the LLM '{llm.source}' writes no text of itself")
            texts += drawn
            count += sum(map(len, drawn))
            bar.update(sum(map(len, drawn)))
    return texts


def _until(ids, end):
    """The part of a list before a value."""
    return ids[: ids.index(end)] if end in ids else ids
