"""Choices of items, scored by an LLM."""

from ssr_plugin.evaluation.harness.conditions import (
    fill_choices,
    fill_context,
    heard_by,
    reader,
)
from ssr_plugin.llm.choices import score_choices


def score_items(lm, items, column, heard, problems):
    """Log-likelihoods of the choices of some items in a column.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item
    column : str
    heard : dict
        Of :func:`ssr_plugin.evaluation.harness.audio_inputs.hear_parts`.
    problems : ssr_plugin.problems.Problems
        Where items are noted that the LLM cannot read.

    Yields
    ------
    item : Item
    found : dict
        "counts", of each choice's tokens, and "sums", each choice's log-likelihood
        (nats; None where nothing was heard).
    """
    spoken = [heard_by(heard, column, item) for item in items]
    pairs = list(zip(items, spoken, strict=True))
    embeds = lm.embed_prompts([fill_context(lm, i, column, x) for i, x in pairs])
    filled = [fill_choices(lm, i, column, x) for i, x in pairs]
    lengths = [
        len(embed) + max(map(len, own))
        for embed, (own, _) in zip(embeds, filled, strict=True)
    ]
    fit = find_fitting(lm, items, lengths, problems)
    # Of those in which something is said.
    tokens = [[ids for ids in filled[i][0] if ids] for i in fit]
    vectors = [[v for x, v in zip(*filled[i], strict=True) if x] for i in fit]
    with reader(lm, column) as llm:
        scores = score_choices(
            llm.load_model(), llm.embed, [embeds[i] for i in fit], tokens, vectors
        )
    for i, sums in zip(fit, scores, strict=True):
        own, left = filled[i][0], iter(sums)
        yield (
            items[i],
            {
                "counts": [*map(len, own)],
                "sums": [next(left) if x else None for x in own],
            },
        )


def find_fitting(lm, items, lengths, problems):
    """Places of the items that the LLM can read; the others are noted.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item or Prompt
    lengths : list of int
        Positions that each takes.
    problems : ssr_plugin.problems.Problems

    Returns
    -------
    list of int
    """
    most = getattr(lm.llm.config, "max_position_embeddings", None)
    places = []
    for i, (item, length) in enumerate(zip(items, lengths, strict=True)):
        if most is None or length <= most:
            places.append(i)
        elif item.id not in problems.reasons:
            problems.add(item.id, f"{length} tokens, of which the LLM takes {most}")
    return places
