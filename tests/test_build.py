"""Parts by name, with what encoder and LLM give and what the YAML says."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, PreTrainedTokenizerFast

from ssr_plugin import build

ENCODER = SimpleNamespace(width=6, frame_rate=25.0)
LLM = SimpleNamespace(
    config=LlamaConfig(
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=16,
        num_key_value_heads=1,
    ),
    table=lambda: torch.ones(10, 8),
    tokenizer=PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    ),
)


def test_sizes_come_from_encoder_and_llm():
    connector = build.connector("ssr", ENCODER, LLM)
    vectors = connector(torch.rand(1, 5, 6), torch.tensor([[1, 4]]))
    assert vectors.shape == (1, 2, 8)
    assert build.segmenter("forced", ENCODER, LLM).frame_rate == 25.0


def test_a_part_takes_its_own_options_and_not_those_of_others():
    options = {"ssr": {"num_layers": 1}, "cif": {"threshold": 1.0}}
    assert len(build.connector("ssr", ENCODER, LLM, options).layers) == 1


@pytest.mark.parametrize("options", [None, {}, {"ssr": None}])
def test_options_may_be_left_out(options):
    assert len(build.connector("ssr", ENCODER, LLM, options).layers) == 2


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown connector 'srr'; known: .*ssr"):
        build.connector("srr", ENCODER, LLM)
    with pytest.raises(ValueError, match="unknown segmenter 'forcd'; known: .*forced"):
        build.segmenter("forcd", ENCODER, LLM)
    with pytest.raises(
        ValueError, match="unknown aligner 'mfa'; known: .*pocketsphinx"
    ):
        build.aligner("mfa")


def test_a_misspelt_option_is_named_with_its_key():
    options = {"ssr": {"num_layer": 2}}
    with pytest.raises(ValueError, match="connector_options: ssr: .*'num_layer'"):
        build.connector("ssr", ENCODER, LLM, options)
    options = {"forced": {"silences": "next"}}
    with pytest.raises(ValueError, match="segmenter_options: forced: .*'silences'"):
        build.segmenter("forced", ENCODER, LLM, options)


def test_a_wrong_value_of_an_option_is_told_by_the_part():
    with pytest.raises(ValueError, match="silence: 'nxt' is none of previous"):
        build.segmenter("forced", ENCODER, LLM, {"forced": {"silence": "nxt"}})


def test_a_fault_inside_a_part_is_not_taken_for_a_misspelt_option(monkeypatch):
    def broken(**given):
        raise TypeError("unsupported operand")

    table = SimpleNamespace(kind="connector", get=lambda name: broken)
    registry = SimpleNamespace(connectors=table)
    monkeypatch.setattr(build, "get_registry", lambda: registry)
    with pytest.raises(TypeError, match="unsupported operand"):
        build.connector("mine", ENCODER, LLM)
