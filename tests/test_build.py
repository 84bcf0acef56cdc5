"""Components by name, with what encoder and LLM give and what the YAML says."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, PreTrainedTokenizerFast

from ssr_plugin import build
from ssr_plugin.connectors import DirectSSRConnector, SSRConnector
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters import (
    FixedSegmenter,
    ForcedSegmenter,
    Segmenter,
    Unity2Segmenter,
    save_segmenter,
)

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


def test_build_takes_sizes_from_encoder_and_llm():
    connector = build.connector("ssr", ENCODER, LLM)
    vectors = connector(torch.rand(1, 5, 6), torch.tensor([[1, 4]])).vectors
    assert vectors.shape == (1, 2, 8)
    assert build.segmenter("forced", ENCODER, LLM).frame_rate == 25.0


def test_build_gives_a_component_its_own_options_and_not_those_of_others():
    options = {"ssr": {"num_layers": 1}, "cif": {"threshold": 1.0}}
    assert len(build.connector("ssr", ENCODER, LLM, options).encoder.layers) == 1


@pytest.mark.parametrize("options", [None, {}, {"ssr": None}])
def test_build_needs_no_options(options):
    assert len(build.connector("ssr", ENCODER, LLM, options).encoder.layers) == 2


def test_build_lists_the_known_names_where_one_is_unknown():
    with pytest.raises(ValueError, match="unknown connector 'srr'; known: .*ssr"):
        build.connector("srr", ENCODER, LLM)
    with pytest.raises(ValueError, match="unknown segmenter 'forcd'; known: .*forced"):
        build.segmenter("forcd", ENCODER, LLM)
    with pytest.raises(
        ValueError, match="unknown aligner 'mfa'; known: .*pocketsphinx"
    ):
        build.aligner("mfa")


def test_build_names_a_misspelt_option_with_its_key():
    options = {"ssr": {"num_layer": 2}}
    with pytest.raises(ValueError, match="connector_options: ssr: .*'num_layer'"):
        build.connector("ssr", ENCODER, LLM, options)
    options = {"forced": {"silences": "next"}}
    with pytest.raises(ValueError, match="segmenter_options: forced: .*'silences'"):
        build.segmenter("forced", ENCODER, LLM, options)


def test_build_leaves_a_wrong_value_of_an_option_to_the_component():
    with pytest.raises(ValueError, match="silence: 'nxt' is none of previous"):
        build.segmenter("forced", ENCODER, LLM, {"forced": {"silence": "nxt"}})


def test_build_takes_no_fault_inside_a_component_for_a_misspelt_option(monkeypatch):
    def broken(**given):
        raise TypeError("unsupported operand")

    table = SimpleNamespace(kind="connector", get=lambda name: broken)
    registry = SimpleNamespace(connectors=table)
    monkeypatch.setattr(build, "get_registry", lambda: registry)
    with pytest.raises(TypeError, match="unsupported operand"):
        build.connector("mine", ENCODER, LLM)


def test_the_ssr_connector_has_the_head_that_its_options_name():
    made = {
        head: build.connector("ssr", ENCODER, LLM, {"ssr": {"head": head}})
        for head in ("vocabulary", "direct")
    }
    assert type(made["vocabulary"]) is SSRConnector
    assert type(made["direct"]) is DirectSSRConnector
    # The YAML's options of the other head may stay.
    options = {"ssr": {**PUBLISHED, "gram_dropout": 0.2}}
    assert build.connector("ssr", ENCODER, LLM, options).encoder.form == "frame"


def test_every_segmenter_is_made_of_the_same_arguments(
    tiny_encoder_folder, whisper_folder, llm
):
    encoder = SpeechEncoder(tiny_encoder_folder)
    options = {"asr": {"source": str(whisper_folder)}}
    for name in get_registry().segmenters.names():
        segmenter = build.segmenter(name, encoder, llm, options)
        assert isinstance(segmenter, Segmenter)
        assert segmenter.frame_rate == encoder.frame_rate
        assert segmenter.tokenizer is llm.tokenizer


def test_segmenters_are_forced_and_predicted_by_what_they_need(
    tmp_path, tiny_encoder_folder, llm
):
    encoder = SpeechEncoder(tiny_encoder_folder)
    pair = build.segmenters("forced", encoder, llm)
    assert isinstance(pair["forced"], ForcedSegmenter) and pair["predicted"] is None
    pair = build.segmenters("fixed", encoder, llm)
    assert isinstance(pair["forced"], ForcedSegmenter)
    assert isinstance(pair["predicted"], FixedSegmenter)
    with pytest.raises(ValueError, match="'boundary' must be trained first"):
        build.segmenters("boundary", encoder, llm)
    options = {"width": 8, "num_heads": 2, "alphabet": "abc"}
    unity2 = Unity2Segmenter(encoder.width, llm, encoder.frame_rate, **options)
    save_segmenter(tmp_path, unity2, "unity2", options, encoder, llm)
    with pytest.raises(ValueError, match="Unity2Segmenter needs a transcript.*aligner"):
        build.segmenters(tmp_path, encoder, llm)
