"""What the LLM expects of a recogniser's hypotheses, as it will read them."""

import pytest
import torch

from ssr_plugin import build
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.segmenters.forced import ForcedSegmenter
from ssr_plugin.segmenters.llm_rescorer import LLMRescorer


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture(scope="module")
def cutter(llm):
    return ForcedSegmenter(6, llm, frame_rate=50.0)


def said(text):
    units, place = [], 0
    for i, word in enumerate(text.split()):
        place = text.index(word, place)
        units.append(Unit(word, i / 2, (i + 1) / 2, place, 0.9))
    return Alignment("", text, tuple(units), "word", len(units) / 2)


@torch.no_grad()
def log_prob(llm, text):
    """Of a text's tokens after the start token, by the LLM itself."""
    tokens = llm.tokenizer(text, add_special_tokens=False).input_ids
    ids = torch.tensor([[llm.start_id, *tokens]])
    logits = llm.load_model()(input_ids=ids).logits.log_softmax(-1)
    return logits[0, :-1].gather(1, ids[0, 1:, None]).sum().item()


def test_scores_are_the_llms_log_probabilities_of_what_it_will_read(llm, cutter):
    rescorer = LLMRescorer(llm, 0.5, cutter, marks=False)
    found = rescorer.score([said("The cat, sat!"), said("no")])
    expected = [0.5 * log_prob(llm, text) for text in (" the cat sat", " no")]
    assert found == pytest.approx(expected, rel=1e-5)
    (with_marks,) = LLMRescorer(llm, 1.0, cutter, marks=True).score([said("no!")])
    assert with_marks == pytest.approx(log_prob(llm, " no!"), rel=1e-5)


def test_a_hypothesis_scores_the_same_alone_and_beside_longer_ones(llm, cutter):
    rescorer = LLMRescorer(llm, 1.0, cutter, marks=False)
    together = rescorer.score([said("the"), said("the cat sat on the mat")])
    alone = rescorer.score([said("the")]) + rescorer.score(
        [said("the cat sat on the mat")]
    )
    assert together == pytest.approx(alone, rel=1e-5)


def test_marks_alone_are_chosen_before_no_word(llm, cutter):
    marks, words = LLMRescorer(llm, 1.0, cutter, marks=False).score(
        [said("..."), said("the cat sat on the mat " * 8)]
    )
    assert marks < words


def test_a_negative_weight_is_refused(llm, cutter):
    with pytest.raises(ValueError, match="llm_weight is -1: give 0 or more"):
        LLMRescorer(llm, -1, cutter, marks=False)


def test_the_segmenter_asr_hears_with_the_llm_where_that_is_asked(llm, whisper_folder):
    encoder = SpeechEncoder(whisper_folder)

    def settings(**options):
        options = {"asr": {"language": "en", **options}}
        return build.segmenter("asr", encoder, llm, options).recognizer.settings()

    assert "rescorer" not in settings(num_beams=2)
    one, other = (settings(num_beams=2, llm_weight=x) for x in (0.5, 0.3))
    assert one["rescorer"]["llm"] == llm.fingerprint
    assert one["rescorer"] != other["rescorer"]
    with pytest.raises(ValueError, match="llm_weight.*one hypothesis alone.*num_beams"):
        settings(llm_weight=0.5)
