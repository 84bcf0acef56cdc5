"""``Responder``: the answers that lmms-eval gets, without that package."""

import logging
import types

import numpy as np
import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.lmms.responder import Responder, parse_batch_size
from ssr_plugin.problems import TooManyProblems

WRITE = {"max_new_tokens": 4, "until": ["\n\n"], "temperature": 0}


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")


@pytest.fixture
def docs(write_audio, tmp_path):
    """Documents of all forms that tasks give audio in, and the waveforms in them."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(n).astype(np.float32) / 9 for n in (8000, 20000, 5500)
    ]
    path = write_audio(tmp_path / "a.flac", seconds=0.7, sample_rate=22050)
    samples = types.SimpleNamespace(
        data=torch.tensor(arrays[2])[None], sample_rate=8000
    )
    decoder = types.SimpleNamespace(get_all_samples=lambda: samples)
    return [
        {"audio": [{"array": arrays[0], "sampling_rate": 16000, "path": None}]},
        {"audio": [{"array": arrays[1], "sampling_rate": 44100}, str(path)]},
        {"audio": [decoder]},
        {"audio": [{"bytes": path.read_bytes(), "path": "a.flac"}]},
        {"audio": []},
        {"audio": None},
    ]


def audio_of(doc):
    return doc["audio"]


def ask(second, number, context="who", doc_to_visual=audio_of):
    args = (context, second, doc_to_visual, number, "task", "test")
    return types.SimpleNamespace(args=args)


def held(docs):
    return {"task": {"test": docs}}


def recordings(docs):
    """The recordings of some documents, embedded as the model would by itself."""
    decoded = [
        [
            (x.get_all_samples().data, 8000) if hasattr(x, "get_all_samples") else x
            for x in row
        ]
        for row in (doc["audio"] or [] for doc in docs)
    ]
    return decoded


def expected_prompts(lm, docs, context="who"):
    prompts = []
    for row in recordings(docs):
        speeches = [lm.embed(x) for x in row]
        prompts.append([y for x in speeches for y in (x, "\n")] + [context])
    return prompts


@pytest.mark.parametrize("batch_size", [1, 4])
def test_generate_writes_what_the_model_writes_after_audio_and_text(
    lm, docs, batch_size
):
    requests = [ask(WRITE, i) for i in range(len(docs))]
    found = Responder(lm, batch_size).generate(requests, held(docs))
    prompts = expected_prompts(lm, docs)
    assert found == [
        lm.generate([prompt], max_new_tokens=4, do_sample=False)[0]
        for prompt in prompts
    ]
    assert len(set(found)) > 1


def test_generate_puts_each_recording_where_the_text_says(lm, docs, monkeypatch):
    seen = []
    monkeypatch.setattr(lm, "generate", lambda x, *_, **__: seen.extend(x) or ["x"])
    Responder(lm).generate([ask(WRITE, 1, "a <media_1> b <media_0> c")], held(docs))
    ((a, second, b, first, c),) = seen
    assert [a, b, c] == ["a ", " b ", " c"]
    for speech, wav in zip([first, second], docs[1]["audio"], strict=True):
        assert torch.allclose(speech.vectors, lm.embed(wav).vectors, atol=1e-4)


def test_generate_follows_the_options_of_each_request(lm, docs):
    long, short = {**WRITE, "max_new_tokens": 9}, {**WRITE, "max_new_tokens": 2}
    requests = [ask(options, i) for i in (0, 1) for options in (long, short)]
    texts = Responder(lm, 4).generate(requests, held(docs))
    words = [text.split() for text in texts]
    for more, less in (words[:2], words[2:]):
        assert len(more) > 2 and less == more[:2]
    # A word of the answer ends it.
    stop = words[0][2]
    (cut,) = Responder(lm).generate([ask({**long, "until": stop}, 0)], held(docs))
    assert cut.split() == words[0][: words[0].index(stop)]


def test_generation_options_without_effect_are_named(lm, docs, caplog):
    options = {**WRITE, "image_aspect_ratio": "pad"}
    Responder(lm).generate([ask(options, 0)], held(docs))
    assert "without effect: image_aspect_ratio" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 4])
def test_score_gives_the_loss_of_choices_and_whether_they_are_written(
    lm, docs, batch_size
):
    (prompt, *_) = prompts = expected_prompts(lm, docs[:3])
    words = lm.generate(prompt, max_new_tokens=3, do_sample=False).split()
    choices = [" the cat", f" {words[0]}", " " + " ".join(words), f" {words[0]} the"]
    requests = [ask(choice, i) for i in range(3) for choice in choices]
    found = Responder(lm, batch_size).score(requests, held(docs))
    losses = [-x for prompt in prompts for x in lm.score(prompt, choices)]
    np.testing.assert_allclose([loss for loss, _ in found], losses, atol=1e-3)
    assert [greedy for _, greedy in found[:4]] == [False, True, True, False]


def test_score_of_a_task_s_own_target_is_the_log_likelihood(lm, docs):
    ((value, _),) = Responder(lm).score([ask(lambda doc: " the cat", 0)], held(docs))
    (prompt,) = expected_prompts(lm, docs[:1])
    assert value == pytest.approx(lm.score(prompt, " the cat"), abs=1e-3)


def test_score_takes_a_choice_without_its_question(lm):
    alone = types.SimpleNamespace(args=("", "the cat"))
    ((loss, _),) = Responder(lm).score([alone], {})
    assert -loss == pytest.approx(lm.score("", "the cat"), abs=1e-3)


def test_condition_none_reads_the_same_prompt_without_what_is_heard(lm, docs):
    (found,) = Responder(lm, condition="none").generate([ask(WRITE, 0)], held(docs))
    assert found == lm.generate("\nwho", max_new_tokens=4, do_sample=False)


def test_transcribe_gives_what_is_heard_whatever_the_task_asks(lm, docs):
    requests = [ask(WRITE, i) for i in range(5)]
    found = Responder(lm, 2, transcribe=True).generate(requests, held(docs))
    assert found == [
        " ".join(lm.transcribe(x, lm_fusion=False) for x in row)
        for row in recordings(docs[:5])
    ]
    assert found[0] and not found[4]
    with pytest.raises(ValueError, match="transcribe: the LLM scores"):
        Responder(lm, transcribe=True).score([ask(" a", 0)], held(docs))


def test_conditions_that_need_more_than_audio_are_refused(lm, docs):
    for name in ("forced", "text", "written", "base", "base_none"):
        with pytest.raises(ValueError, match=f"'{name}' needs the transcript"):
            Responder(lm, condition=name)
    with pytest.raises(ValueError, match="hears nothing to transcribe"):
        Responder(lm, condition="none", transcribe=True)
    with pytest.raises(ValueError, match="predcted"):
        Responder(lm, condition="predcted")
    # The fixed segmenter does not say what it hears.
    with pytest.raises(ValueError, match="condition cascade: the segmenter does not"):
        Responder(lm, condition="cascade").generate([ask(WRITE, 0)], held(docs))


def test_chat_template_is_put_around_if_the_llm_has_one(tiny_speech_lm_folder, docs):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")
    with pytest.raises(ValueError, match="chat_template: this LLM has none"):
        Responder(lm, chat_template=True)
    lm.llm.tokenizer.chat_template = (
        "{% for m in messages %}the {{ m.content }} sat{% endfor %}"
    )
    speech = lm.embed(docs[0]["audio"][0])
    chat = lm.generate(["the ", speech, "\nwho sat"], max_new_tokens=4, do_sample=False)
    plain = lm.generate([speech, "\nwho"], max_new_tokens=4, do_sample=False)
    assert chat != plain
    for setting, expected in ((None, chat), (True, chat), (False, plain)):
        responder = Responder(lm, chat_template=setting)
        assert responder.generate([ask(WRITE, 0)], held(docs)) == [expected]


@pytest.mark.parametrize("media", ["a.mp4", "a.png", object(), {"image": 1}])
def test_what_is_no_audio_is_refused_with_the_document_s_place(lm, media):
    request = ask(WRITE, 0, doc_to_visual=lambda doc: [media])
    with pytest.raises(ValueError, match="^task, test 0 gives .* no audio: [^\n]*$"):
        Responder(lm).generate([request], held([{}]))


def test_an_unreadable_recording_is_named_and_answered_by_nothing(lm, docs, caplog):
    docs = [*docs[:1] * 11, {"audio": ["no.wav", docs[0]["audio"][0]]}]
    requests = [ask(WRITE, i) for i in range(len(docs))]
    with caplog.at_level(logging.WARNING):
        texts = Responder(lm, 6).generate(requests, held(docs))
    assert [bool(text) for text in texts] == [True] * 11 + [False]
    assert "skipped task, test 11: there is no audio file no.wav" in caplog.text
    scores = Responder(lm, 6).score([ask(" the", i) for i in range(12)], held(docs))
    # What can be read of it is.
    assert scores[11][0] == pytest.approx(scores[0][0], abs=1e-3)
    with pytest.raises(TooManyProblems, match="2 of 12 .*max_skipped_share"):
        docs[3] = docs[11]
        Responder(lm, 6).generate(requests, held(docs))


def test_batch_size_is_a_number():
    for wrong in ("auto", "0", -1):
        with pytest.raises(ValueError, match="batch_size: a number of prompts"):
            parse_batch_size(wrong)
