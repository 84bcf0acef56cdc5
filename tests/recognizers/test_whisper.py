"""Whisper as a recogniser: words, times and probabilities, of any number at once."""

import json
import shutil

import pytest
import tones
import torch

from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.recognizers.base import Rescorer
from ssr_plugin.recognizers.load import load_recognizer
from ssr_plugin.recognizers.whisper import (
    WhisperRecognizer,
    _EncoderKeys,
    token_times,
)

SAID = [["red", "blue"], ["white", "green", "green"], ["blue"]]


@pytest.fixture(scope="module")
def encoder(whisper_folder):
    return SpeechEncoder(whisper_folder)


def load(folder, encoder, **options):
    recognizer = WhisperRecognizer(folder, options.pop("language", "en"), **options)
    recognizer.use_encoder(encoder)
    return recognizer


@pytest.fixture(scope="module")
def recognizer(whisper_folder, encoder):
    return load(whisper_folder, encoder)


@pytest.fixture(scope="module")
def wavs():
    return [tones.speak(words)[0] for words in SAID]


def texts(hypotheses):
    return [hypothesis.text for hypothesis in hypotheses]


def test_whisper_writes_what_is_said(recognizer, wavs):
    assert texts(recognizer.recognize(wavs)) == [" ".join(words) for words in SAID]


def test_words_are_told_when_they_are_said(recognizer):
    wav, times = tones.speak(["white", "green", "blue"])
    (hypothesis,) = recognizer.recognize([wav])
    for unit, (start, end) in zip(hypothesis.units, times, strict=True):
        middle = (unit.start + unit.end) / 2
        # Half a pause is what this model cannot tell.
        assert start - tones.PAUSE < middle < end + tones.PAUSE
        assert 0.5 < unit.confidence <= 1


def test_recordings_are_heard_alike_alone_and_together(recognizer, wavs):
    together = recognizer.recognize(wavs)
    alone = [recognizer.recognize([wav])[0] for wav in wavs]
    for one, other in zip(together, alone, strict=True):
        assert [(u.text, u.start, u.end) for u in one.units] == [
            (u.text, u.start, u.end) for u in other.units
        ]
        found, expected = (
            torch.tensor([u.confidence for u in x.units]) for x in (one, other)
        )
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_long_audio_is_heard_in_windows_cut_at_pauses(recognizer):
    words = [list(tones.WORDS)[i % 4] for i in range(9)]
    wav, times = tones.speak(words)
    assert len(wav) > 2 * recognizer.extractor.n_samples
    (hypothesis,) = recognizer.recognize([wav])
    assert hypothesis.text.split() == words
    starts = torch.tensor([unit.start for unit in hypothesis.units])
    said = torch.tensor([start for start, _ in times])
    assert (starts - said).abs().max() < tones.WORD + tones.PAUSE


def test_nothing_is_heard_in_silence_noise_or_no_audio(recognizer):
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 1e-3
    heard = recognizer.recognize([torch.zeros(16000), noise, torch.zeros(0)])
    assert texts(heard) == ["", "", ""]
    assert [hypothesis.duration for hypothesis in heard] == [1.0, 1.0, 0.0]


def test_what_the_encoder_gave_already_is_not_encoded_again(
    recognizer, encoder, wavs, monkeypatch
):
    expected = recognizer.recognize(wavs)
    with encoder.keep_windows() as windows:
        padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        encoder(padded, [len(wav) for wav in wavs])
    monkeypatch.setattr(encoder, "forward", None)
    heard = recognizer.recognize(wavs, [windows[i] for i in range(len(wavs))])
    assert heard == expected


def test_only_the_same_encoder_is_shared(whisper_folder, encoder, wavs, tmp_path):
    assert WhisperRecognizer(whisper_folder, "en").use_encoder(encoder)
    other = shutil.copytree(whisper_folder, tmp_path / "other")
    model = type(WhisperRecognizer(whisper_folder).model).from_pretrained(other)
    with torch.no_grad():
        model.model.encoder.layer_norm.weight += 1
    model.save_pretrained(other)
    recognizer = WhisperRecognizer(whisper_folder, "en")
    assert not recognizer.use_encoder(SpeechEncoder(other))
    assert not WhisperRecognizer(whisper_folder, "en").use_encoder(
        SpeechEncoder(whisper_folder, layer=0)
    )
    # It has one of its own then.
    assert texts(recognizer.recognize(wavs[:1])) == ["red blue"]


def test_what_else_a_token_may_be_is_text_and_not_unlikely(recognizer):
    red, blue, white = (
        recognizer.tokenizer(" " + x, add_special_tokens=False).input_ids[0]
        for x in ("red", "blue", "white")
    )
    log_probs = torch.full((recognizer.model.config.vocab_size,), -20.0)
    log_probs[[red, blue, white]] = torch.tensor([0.6, 0.25, 1e-4]).log()
    log_probs[recognizer.model.generation_config.eos_token_id] = -2.0
    ((text, probability),) = recognizer._others(red, log_probs)
    assert (text, probability) == (" blue", pytest.approx(0.25))


def test_beams_give_the_n_best_as_alternatives(whisper_folder, encoder, wavs):
    beams = load(whisper_folder, encoder, num_beams=3)
    heard = beams.recognize(wavs)
    assert texts(heard) == [" ".join(words) for words in SAID]
    masses = [sum(dict(u.alternatives).values()) for x in heard for u in x.units]
    assert any(masses) and max(masses) < 1


class Wish(Rescorer):
    """Much likes hypotheses that have a word."""

    def __init__(self, word):
        self.word = word
        self.asked = []

    def settings(self):
        return {"word": self.word}

    def score(self, hypotheses):
        self.asked.append(texts(hypotheses))
        return [1000.0 * (self.word in text.split()) for text in texts(hypotheses)]


def test_a_rescorer_helps_to_choose_among_the_beams(whisper_folder, encoder, wavs):
    beams = load(whisper_folder, encoder, num_beams=4)
    (before,) = beams.recognize(wavs[:1])
    others = [x for unit in before.units for x, _ in unit.alternatives if x]
    assert others
    beams.use_rescorer(Wish(others[0]))
    (after,) = beams.recognize(wavs[:1])
    assert others[0] in after.text.split() and after.text in beams.rescorer.asked[0]
    assert after.text != before.text
    assert beams.settings()["rescorer"] == {"word": others[0]}
    # What was likeliest before is none of its alternatives: nobody would choose it.
    assert all(p < 1e-6 for unit in after.units for _, p in unit.alternatives)


def test_a_rescorer_is_not_asked_about_what_ends_too_soon(whisper_folder, encoder):
    beams = load(whisper_folder, encoder, num_beams=3)
    beams.use_rescorer(Wish("red"))
    states = beams._encode([tones.speak(["red", "blue"])[0]], [None])
    heard = states, _EncoderKeys.of(beams.model, states)
    red, blue, white = (
        beams.tokenizer(" " + word, add_special_tokens=False).input_ids
        for word in ("red", "blue", "white")
    )
    texts = [red, red + blue, [], red + white]
    found = beams._choose(texts, *heard, "en", 1.0)
    assert found.text == "red blue"
    assert beams.rescorer.asked == [["red blue", "red white"]]
    # The recogniser's own choice, where it hears nothing.
    assert beams._choose([[], []], *heard, "en", 1.0).text == ""
    assert len(beams.rescorer.asked) == 1


def test_beams_end_no_text_that_the_decoder_would_go_on_with(
    whisper_folder, encoder, wavs
):
    beams = load(whisper_folder, encoder, num_beams=2)
    end = beams.model.generation_config.eos_token_id

    def be_careless(model, arguments, output):
        """Any text would be ended, wherever it is, nearly as easily as go on."""
        best = output.logits.amax(-1)
        output.logits[..., end] = output.logits[..., end].maximum(best - 1e-3)

    found, choose = [], beams._choose
    beams._choose = lambda best, *rest: found.append(best) or choose(best, *rest)
    beams.model.register_forward_hook(be_careless)
    beams.recognize(wavs)
    # Each of the n best has as many words as were said, one token each.
    lengths = [{sum(x < end for x in text) for text in best} for best in found]
    assert sorted(lengths, key=min) == [{1}, {2}, {3}]


def test_a_rescorer_of_one_hypothesis_is_refused(whisper_folder, encoder):
    with pytest.raises(ValueError, match="finds one hypothesis alone"):
        load(whisper_folder, encoder).use_rescorer(Wish("red"))


def test_the_language_is_found_out_where_it_is_not_named(whisper_folder, encoder, wavs):
    recognizer = load(whisper_folder, encoder, language=None)
    prefixes = []
    prefix = recognizer._prefix
    recognizer._prefix = lambda code: prefixes.append(code) or prefix(code)
    recognizer.recognize(wavs)
    assert prefixes and set(prefixes) <= {"en", "de"}


def test_an_unknown_language_is_refused_and_the_known_are_named(whisper_folder):
    with pytest.raises(ValueError, match="does not know 'xx'; known: de, en"):
        WhisperRecognizer(whisper_folder, "xx")


def test_a_model_that_tells_no_times_is_refused(whisper_folder, tmp_path):
    folder = shutil.copytree(whisper_folder, tmp_path / "timeless")
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    del settings["alignment_heads"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="has no alignment_heads"):
        WhisperRecognizer(folder, "en")


def test_settings_tell_one_recogniser_from_another(whisper_folder):
    settings = WhisperRecognizer(whisper_folder, "en").settings()
    assert settings == WhisperRecognizer(whisper_folder, "en", batch_size=1).settings()
    assert settings != WhisperRecognizer(whisper_folder, "de").settings()
    assert settings != WhisperRecognizer(whisper_folder, "en", num_beams=2).settings()


def test_the_recogniser_stays_frozen(recognizer):
    assert not recognizer.train().training
    assert not any(x.requires_grad for x in recognizer.parameters())


def test_what_is_no_recogniser_is_refused(tiny_encoder_folder):
    with pytest.raises(ValueError, match="is no recogniser that is known here"):
        load_recognizer(tiny_encoder_folder)


def test_token_times_follow_the_attention():
    attention = torch.zeros(2, 4, 60)
    for token, first in enumerate((0, 12, 30, 45)):
        attention[:, token, first : first + 12] = 1.0
    times = token_times(attention).tolist()
    assert times == pytest.approx([0, 12, 30, 45], abs=6)


def test_a_letter_of_many_tokens_is_said_from_the_first_to_the_last(
    recognizer, monkeypatch
):
    # As if each byte were a token, said in ten frames.
    said = list("你好".encode())
    monkeypatch.setattr(
        recognizer, "_text", lambda ids: bytes(ids).decode("utf-8", "replace")
    )
    attention = torch.eye(len(said) + 1).repeat_interleave(10, 1)[None]
    log_probs = torch.full((len(said), 256), -0.5)
    first, second = recognizer._pieces(torch.tensor(said), log_probs, attention, 70)
    assert (first.text, second.text) == ("你", "好")
    assert first.log_prob == second.log_prob == pytest.approx(-1.5)
    assert first.end == second.start
    step = 30 / recognizer._frame_rate
    assert second.start - first.start == pytest.approx(step)
