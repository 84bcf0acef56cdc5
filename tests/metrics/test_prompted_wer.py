"""WER of what the LLM writes about speech."""

import pytest
import torch

from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.metrics.prompted_wer import PromptedWER


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


def test_how_much_is_written_does_not_depend_on_what_is_beside_it(llm):
    # A random LLM never ends by itself.
    spoken = {"a": torch.arange(4, 6), "b": torch.arange(7, 16), "c": torch.arange(0)}
    reference = {name: torch.tensor([29, 30, 31]) for name in spoken}
    vectors = {name: llm.embed(ids) for name, ids in spoken.items()}
    together, alone = PromptedWER(llm), PromptedWER(llm)
    together.add(list(vectors.values()), list(reference.values()))
    for name in spoken:
        alone.add([vectors[name]], [reference[name]])
    assert together.summary() == alone.summary()
    assert together.transcripts == alone.transcripts


def test_without_utterances_there_is_no_rate(llm):
    assert set(PromptedWER(llm).summary().values()) == {None}
