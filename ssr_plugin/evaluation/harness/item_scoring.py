"""Choices of items, scored by an LLM."""

from collections.abc import Iterator, Sequence
from typing import Any

from ssr_plugin.evaluation.harness.audio_inputs import SpeechInputs
from ssr_plugin.evaluation.harness.condition import Condition
from ssr_plugin.evaluation.harness.items import ChoiceItem, Item
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.llm.choices import score_choices
from ssr_plugin.problems import Problems


def score_items(
    lm: SpeechLM,
    items: Sequence[Item],
    condition: Condition,
    inputs: SpeechInputs,
    problems: Problems,
) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Log-likelihoods of the choices of some items in a condition.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of ChoiceItem
    condition : ssr_plugin.evaluation.harness.condition.Condition
    inputs : ssr_plugin.evaluation.harness.audio_inputs.SpeechInputs
    problems : ssr_plugin.problems.Problems
        Where items are noted that the LLM cannot read.

    Yields
    ------
    item : ChoiceItem
    answer : dict
        "log_likelihoods", each choice's (nats; None where nothing was heard);
        "num_tokens" of each; "unconditional", the condition that ``pmi`` takes off.
    """
    speech = [inputs.of(condition, item) for item in items]
    pairs = list(zip(items, speech, strict=True))
    embeds = lm.embed_prompts([condition.fill_context(lm, i, x) for i, x in pairs])
    choices = []
    for item, x in pairs:
        assert isinstance(item, ChoiceItem)
        choices.append(condition.fill_choices(lm, item, x))
    lengths = [
        len(embed) + max(len(tokens) for tokens, _ in filled)
        for embed, filled in zip(embeds, choices, strict=True)
    ]
    fit = find_fitting(lm, items, lengths, problems)
    # Of those in which something is said.
    spoken = [[(ids, v) for ids, v in choices[i] if ids] for i in fit]
    with condition.reader(lm) as llm:
        scores = score_choices(
            llm.load_model(),
            llm.embed,
            [embeds[i] for i in fit],
            [[ids for ids, _ in filled] for filled in spoken],
            [[vectors for _, vectors in filled] for filled in spoken],
        )
    for i, sums in zip(fit, scores, strict=True):
        remaining = iter(sums)
        yield (
            items[i],
            {
                "log_likelihoods": [
                    next(remaining) if tokens else None for tokens, _ in choices[i]
                ],
                "num_tokens": [len(tokens) for tokens, _ in choices[i]],
                "unconditional": condition.unconditional,
            },
        )


def find_fitting(
    lm: SpeechLM, items: Sequence[Item], lengths: Sequence[int], problems: Problems
) -> list[int]:
    """Indices of the items that the LLM can read; the others are noted.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item
    lengths : list of int
        Positions that each takes.
    problems : ssr_plugin.problems.Problems

    Returns
    -------
    list of int
    """
    most = context_length(lm)
    indices = []
    for i, (item, length) in enumerate(zip(items, lengths, strict=True)):
        if most is None or length <= most:
            indices.append(i)
        elif item.id not in problems.reasons:
            problems.add(item.id, f"{length} tokens, of which the LLM takes {most}")
    return indices


def context_length(lm: SpeechLM) -> int | None:
    """Most positions that a model's LLM reads; None where its configuration is silent.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    """
    return getattr(lm.llm.config, "max_position_embeddings", None)
