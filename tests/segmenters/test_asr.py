"""The segmenter asr: a recogniser's words as the LLM's tokens, with probabilities."""

import dataclasses
import json
import math
import pathlib
import shutil

import numpy as np
import pytest
import tones
import torch
from safetensors.torch import load_file, save_file

from ssr_plugin import SpeechLM, build
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.cli.model import read_speech
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.inference.posterior_gate import PosteriorGate, settings_of
from ssr_plugin.inference.speech_stream import SpeechStream, StreamSettings
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.problems import Problems
from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.segmenters.marks import without_marks


@pytest.fixture(scope="module")
def encoder(whisper_folder):
    return SpeechEncoder(whisper_folder)


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


def make(encoder, llm, **options):
    options = {"language": "en", **options}
    return build.segmenter("asr", encoder, llm, {"asr": options})


def alignment(*words, alternatives=(), confidence=0.9):
    """Words of half a second each."""
    units, text = [], ""
    for i, word in enumerate(words):
        text += " " if text else ""
        units.append(
            Unit(word, i / 2, (i + 1) / 2, len(text), confidence, tuple(alternatives))
        )
        text += word
    return Alignment("", text, tuple(units), "word", len(words) / 2)


def test_a_hypothesis_is_cut_as_its_text_would_be(encoder, llm):
    segmenter = make(encoder, llm)
    forced = build.segmenter("forced", encoder, llm)
    said = alignment("the", "cat", "sat")
    found = segmenter.cut(said, 75)
    expected = forced.segment(said, 75)
    for name in ("tokens", "starts", "boundaries"):
        np.testing.assert_array_equal(
            getattr(found.segments, name), getattr(expected, name)
        )
    assert found.hypothesis == "the cat sat"


def test_marks_and_case_go_unless_they_are_asked_for(encoder, llm):
    said = alignment("The", "cat,", "sat!")
    plain = alignment("the", "cat", "sat")
    tokens = make(encoder, llm).cut(said, 75).segments.tokens
    np.testing.assert_array_equal(
        tokens, make(encoder, llm).cut(plain, 75).segments.tokens
    )
    kept = make(encoder, llm, marks=True, text_case="as_is").cut(said, 75)
    expected, _ = build.segmenter(
        "forced", encoder, llm, {"forced": {"text_case": "as_is"}}
    ).tokenize("The cat, sat!")
    assert kept.segments.tokens.tolist() == expected


def test_words_without_letters_are_left_out():
    said = without_marks(alignment("so", "-", "rock'n'roll,", "naïve", "…"))
    assert said.text == "so rock'n'roll naïve"
    assert [(unit.text, unit.start) for unit in said.units] == [
        ("so", 0.0),
        ("rock'n'roll", 1.0),
        ("naïve", 1.5),
    ]


def test_posteriors_name_the_token_and_what_else_it_may_be(encoder, llm):
    segmenter = make(encoder, llm)
    said = alignment("cat", alternatives=[("mat", 0.07), ("", 0.02)])
    found = segmenter.cut(said, 25)
    tokens, _ = segmenter._cutter.tokenize("cat")
    others, _ = segmenter._cutter.tokenize("mat")
    assert found.posteriors.token_ids[:, 0].tolist() == tokens
    for i, (token, other) in enumerate(zip(tokens, others, strict=False)):
        assert math.exp(found.posteriors.log_probs[i, 0]) == pytest.approx(0.9)
        if other != token:
            assert found.posteriors.token_ids[i, 1] == other
            assert math.exp(found.posteriors.log_probs[i, 1]) == pytest.approx(0.07)


def test_a_hypothesis_of_nothing_or_of_too_much_has_no_segments(encoder, llm):
    segmenter = make(encoder, llm)
    nothing = Alignment("", "", (), "word", 1.0)
    for said, frames in ((nothing, 50), (alignment("..."), 50), (alignment("cat"), 0)):
        found = segmenter.cut(said, frames)
        assert not len(found.segments) and found.hypothesis == ""


def test_the_encoder_is_shared_if_it_is_the_recognisers(
    encoder, llm, tiny_encoder_folder, whisper_folder
):
    assert make(encoder, llm).shares_encoder
    other = SpeechEncoder(tiny_encoder_folder)
    segmenter = make(other, llm, source=str(whisper_folder))
    assert isinstance(segmenter, HearingSegmenter) and not segmenter.shares_encoder


@pytest.fixture(scope="module")
def lm(whisper_folder, tiny_llm_folder, tmp_path_factory):
    """A speech LM whose connector was not trained, and whose recogniser was."""
    encoder, llm = SpeechEncoder(whisper_folder), TextLLM(tiny_llm_folder)
    torch.manual_seed(0)
    connector = build.connector("mean", encoder, llm)
    options = {"asr": {"language": "en"}}
    settings = {
        "connector": {"name": "mean", "options": {}},
        "forced": {},
        "segmenter": {"name": "asr", "options": options["asr"]},
        "lm_fusion": {"steps": 0, "weight": 0.7, "inverse_temperature": 2.0},
        "data": "tones",
    }
    segmenters = build.segmenters("asr", encoder, llm, options)
    lm = SpeechLM(encoder, llm, connector, segmenters, settings)
    folder = tmp_path_factory.mktemp("lm")
    lm.save_pretrained(folder)
    return SpeechLM.from_pretrained(folder)


def test_a_saved_model_hears_what_is_said(lm):
    wav, _ = tones.speak(["red", "blue"])
    speech = lm.embed((wav, tones.SAMPLE_RATE))
    assert speech.hypothesis == "red blue"
    assert speech.segmentation == "predicted"
    assert len(speech) == len(speech.starts) > 0


def test_audio_is_encoded_once_where_the_encoder_is_shared(lm, monkeypatch):
    calls = []
    forward = type(lm.encoder.backbone).forward

    def count(self, inputs):
        calls.append(len(next(iter(inputs.values()))))
        return forward(self, inputs)

    monkeypatch.setattr(type(lm.encoder.backbone), "forward", count)
    wav, _ = tones.speak(["red", "blue"])
    lm.embed([(wav, tones.SAMPLE_RATE)] * 3)
    assert sum(calls) == 3


def test_speech_is_heard_alike_alone_and_in_a_batch(lm):
    wavs = [tones.speak(words)[0] for words in (["red"], ["blue", "green"], [])]
    recordings = [(wav, tones.SAMPLE_RATE) for wav in wavs]
    together = lm.embed(recordings)
    for recording, speech in zip(recordings, together, strict=True):
        alone = lm.embed(recording)
        assert alone.hypothesis == speech.hypothesis
        torch.testing.assert_close(alone.vectors, speech.vectors, atol=1e-4, rtol=0)
    assert len(together[2]) == 0


def test_any_model_listens_with_a_recogniser_that_is_named(
    tiny_speech_lm_folder, whisper_folder
):
    options = {"asr": {"source": str(whisper_folder), "language": "en"}}
    lm = SpeechLM.from_pretrained(
        tiny_speech_lm_folder, segmenter="asr", segmenter_options=options
    )
    wav, _ = tones.speak(["green", "white"])
    assert lm.embed((wav, tones.SAMPLE_RATE)).hypothesis == "green white"
    assert lm.settings["segmenter"] == {"name": "asr", "options": options["asr"]}


@pytest.fixture
def named_folder(tiny_speech_lm_folder, whisper_folder, tmp_path):
    """A saved model that listens with a recogniser of its own, and that recogniser."""
    own = shutil.copytree(whisper_folder, tmp_path / "own")
    lm = SpeechLM.from_pretrained(
        tiny_speech_lm_folder,
        segmenter="asr",
        segmenter_options={"asr": {"source": str(own), "language": "en"}},
    )
    lm.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved", own


def test_a_recogniser_that_is_named_is_known_again_by_its_weights(named_folder):
    folder, own = named_folder
    lm = SpeechLM.from_pretrained(folder)
    assert lm.settings["segmenter"]["options"]["source"] == str(own)
    assert str(own) in (folder / "README.md").read_text()
    lm.save_pretrained(folder, recognizer_source="us/recognizer")
    kept = json.loads((folder / "speech_lm.json").read_text())["segmenter"]
    assert kept["options"]["source"] == "us/recognizer"
    with pytest.raises(ValueError, match="recogniser is .*give recognizer_source"):
        lm.push_to_hub("us/model", encoder_source="us/e", llm_source="us/l")
    lm.settings["segmenter"]["options"] |= {"source": None, "times": "/my/aligner"}
    with pytest.raises(ValueError, match="takes its times from '/my/aligner', a fold"):
        lm.push_to_hub("us/model", encoder_source="us/e", llm_source="us/l")
    lm.settings["segmenter"]["options"] |= {"source": str(own), "times": "own"}
    # Others in the same folder hear other words.
    lm.save_pretrained(folder)
    weights = load_file(own / "model.safetensors")
    save_file(
        {name: x + 1 for name, x in weights.items()},
        own / "model.safetensors",
        metadata={"format": "pt"},
    )
    message = f"saved with another recogniser than '{own}' is now.*segmenter='asr'"
    with pytest.raises(ValueError, match=message):
        SpeechLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("options", "keeps_gate"),
    [
        ({}, True),
        ({"num_beams": 3, "llm_weight": 0.5}, True),
        # Its times and its errors are others.
        ({"language": "de"}, False),
        ({"marks": True}, False),
    ],
)
def test_what_is_not_told_of_the_models_own_recogniser_stays(
    named_folder, options, keeps_gate
):
    folder, own = named_folder
    path = folder / "speech_lm.json"
    settings = json.loads(path.read_text())
    settings["gate"] = settings_of(PosteriorGate())
    path.write_text(json.dumps(settings))
    lm = SpeechLM.from_pretrained(
        folder, segmenter="asr", segmenter_options={"asr": options}
    )
    expected = {"source": str(own), "language": "en"} | options
    assert lm.settings["segmenter"]["options"] == expected
    assert (lm.settings["gate"] is not None) == keeps_gate


def test_a_model_that_an_earlier_version_saved_does_not_say_by_what_it_hears(
    named_folder,
):
    path = named_folder[0] / "speech_lm.json"
    settings = json.loads(path.read_text())
    del settings["segmenter"]["weights"]
    path.write_text(json.dumps(settings))
    assert SpeechLM.from_pretrained(path.parent).segmenters["predicted"] is not None


def test_a_hypothesis_is_tokenized_once(encoder, llm, monkeypatch):
    segmenter, texts = make(encoder, llm), []
    tokenize = segmenter._cutter.tokenize

    def note(text):
        texts.append(text)
        return tokenize(text)

    monkeypatch.setattr(segmenter._cutter, "tokenize", note)
    found = segmenter.cut(alignment("the", "cat"), 50)
    assert texts == ["the cat"] and len(found.posteriors.token_ids) > 1


def test_a_recogniser_of_another_rate_hears_resampled_audio(lm, monkeypatch):
    heard = []

    class Recognizer(torch.nn.Module):
        sample_rate = 8000

        def recognize(self, wavs, windows):
            heard.extend(map(len, wavs))
            return [Alignment("", "", (), "word", len(x) / 8000) for x in wavs]

    segmenter = lm.segmenters["predicted"]
    monkeypatch.setitem(segmenter._modules, "_recognizer", Recognizer())
    lm.embed((torch.rand(16000), 16000))
    assert heard == [8000]


def test_a_command_tells_in_how_many_recordings_a_loop_was_cut(lm, monkeypatch, caplog):
    def read():
        problems = Problems("reading", max_share=1.0)
        list(read_speech(lm, [pathlib.Path("no.wav")], None, problems))
        return [text for text in caplog.messages if "over and over" in text]

    assert read() == []
    monkeypatch.setattr(lm.segmenters["predicted"].recognizer, "num_looped", 1)
    (told,) = read()
    assert told.startswith("in 1 of 1 recordings the recogniser said")


def test_confidence_is_none_where_the_text_was_given():
    unit = Unit("a", 0.0, 1.0, 0)
    assert unit.confidence is None and unit.alternatives == ()
    told = dataclasses.replace(unit, confidence=0.5, alternatives=(("b", 0.25),))
    for one in (unit, told):
        said = Alignment("x", "a", (one,), "word", 1.0)
        assert Alignment.from_json(said.to_json()) == said


@pytest.fixture
def letters(lm, monkeypatch):
    """Words that the LLM has tokens for, in place of the recogniser's."""
    letter = dict(zip(tones.WORDS, "abcd", strict=True))
    recognizer = lm.segmenters["predicted"].recognizer
    recognize = recognizer.recognize

    def translate(said):
        texts = [letter.get(unit.text, "z") for unit in said.units]
        units = tuple(
            dataclasses.replace(unit, text=text, offset=2 * i, alternatives=())
            for i, (unit, text) in enumerate(zip(said.units, texts, strict=True))
        )
        return dataclasses.replace(said, text=" ".join(texts), units=units)

    monkeypatch.setattr(
        recognizer,
        "recognize",
        lambda *arguments: [translate(said) for said in recognize(*arguments)],
    )
    return letter


def test_a_stream_hears_what_is_said_once_two_windows_agree(lm, letters):
    words = ["red", "blue", "green", "white", "blue", "red"]
    wav, times = tones.speak(words, seconds=5.0)
    settings = StreamSettings(step=0.4, window=2.0, look_ahead=0.2, hold=0.6)
    stream = SpeechStream(lm.embedder, settings=settings)
    pieces, late = [], []
    for chunk in wav.split(1600):
        pieces += stream.push(chunk)
        late += [stream.seconds - x.ends[-1] for x in pieces[len(late) :]]
    pieces += stream.finish()
    heard = " ".join(piece.hypothesis for piece in pieces)
    assert heard.split() == [letters[word] for word in words]
    starts = [start for piece in pieces for start in piece.starts]
    np.testing.assert_allclose(starts, [start for start, _ in times], atol=0.25)
    # Not at the end of the recording alone.
    assert len(late) > 2 and max(late) < 2.0


def test_a_stream_whose_end_is_known_is_what_embed_gives(lm):
    wav, _ = tones.speak(["red", "blue"])
    settings = StreamSettings(look_ahead=math.inf, window=math.inf)
    stream = SpeechStream(lm.embedder, settings=settings)
    (piece,) = [*stream.push(wav), *stream.finish()]
    whole = lm.embed((wav, tones.SAMPLE_RATE))
    torch.testing.assert_close(piece.vectors, whole.vectors, atol=1e-5, rtol=0)
    assert (piece.hypothesis, piece.starts) == (whole.hypothesis, whole.starts)
