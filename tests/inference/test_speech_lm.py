"""SpeechLM: prompts of text and speech in, vectors, text and likelihoods out."""

import itertools
import subprocess
import sys
import weakref

import numpy as np
import pytest
import soundfile
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import AudioError
from ssr_plugin.inference import embedder
from ssr_plugin.inference import speech as speech_module
from ssr_plugin.inference.speech import Speech, read_waveform


def noise(seconds, seed=0):
    """A recording: (samples, rate)."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(16000 * seconds)).astype("float32"), 16000)


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def close(one, other):
    return torch.allclose(one.vectors, other.vectors, atol=1e-4)


# --- Speech ------------------------------------------------------------------------


def test_a_file_samples_and_a_dict_of_them_are_the_same_speech(lm, tmp_path):
    samples, rate = noise(1.0)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    forms = [
        str(tmp_path / "a.wav"),
        tmp_path / "a.wav",
        (torch.from_numpy(samples), rate),
        (np.stack([samples, samples]), rate),
        (samples[:, None].tolist(), rate),
        {"array": samples, "sampling_rate": rate, "path": None},
    ]
    spoken = lm.embed([*forms])
    assert len(spoken[0]) > 0
    for each in spoken:
        assert close(each, spoken[0])


HOUR = """
import sys
import torch
from ssr_plugin import SpeechLM
from ssr_plugin.training.run_report import peak_rss_mb

lm = SpeechLM.from_pretrained(sys.argv[1])
for seconds in (60, 3600):
    speech = lm.embed((torch.randn(16000 * seconds) / 10, 16000))
    # A sum of parts.
    assert abs(speech.seconds - seconds) < 1e-6
    assert speech.ends[-1] > 0.9 * seconds
    print(peak_rss_mb())
"""


@pytest.mark.long
@pytest.mark.slow
def test_an_hour_takes_a_few_times_the_memory_of_its_samples(tiny_speech_lm_folder):
    done = subprocess.run(
        [sys.executable, "-c", HOUR, tiny_speech_lm_folder],
        capture_output=True,
        text=True,
        check=True,
    )
    minute, hour = map(float, done.stdout.split())
    samples = 4 * 16000 * 3600 / 1e6
    # Read at once, the scores of attention alone would take a thousand times as much.
    assert hour - minute < 8 * samples


@pytest.fixture
def held(monkeypatch):
    """A list that gets, for each recording read, the seconds still held of others."""
    read, seconds = [], []

    def watch(speech, rate):
        seconds.append(sum(len(own()) / rate for own in read if own() is not None))
        wav = read_waveform(speech, rate)
        read.append(weakref.ref(wav))
        return wav

    monkeypatch.setattr(speech_module, "read_waveform", watch)
    return seconds


def test_of_a_long_list_a_few_batches_are_in_memory(
    lm, write_audio, tmp_path, held, monkeypatch
):
    paths = [write_audio(tmp_path / f"{i}.wav", 1.0, seed=i) for i in range(30)]
    # Up to eight batches of a quarter of a second: two files; two are read meanwhile.
    spoken = lm.embed(paths, batch_seconds=0.25)
    assert len(held) == 30 and 1 <= max(held) <= 2 + 2
    for path, speech in zip(paths, spoken, strict=True):
        assert close(lm.embed(path), speech)
    monkeypatch.setitem(embedder._BATCH_SECONDS, "cpu", 5.0)
    most = 2 * 8 * 5 + 5
    held.clear()
    lm.transcribe(paths * 10)
    assert len(held) == 300 and max(held) <= most
    held.clear()
    lm.generate([["the ", path] for path in paths * 10], max_new_tokens=1)
    assert len(held) == 300 and max(held) <= most


def test_recordings_are_asked_for_as_they_are_needed(lm, write_audio, tmp_path):
    path = write_audio(tmp_path / "a.wav", 1.0)
    asked = []
    recordings = (asked.append(path) or path for _ in itertools.count())
    spoken = lm.embed_each(recordings, batch_seconds=1.0)
    for number in range(20):
        assert close(next(spoken), lm.embed(path))
        # Eight batches of a second, as many that are read meanwhile, one that waits.
        assert number < len(asked) <= (number // 8 + 2) * 8 + 2


def test_what_cannot_be_read_keeps_no_other_from_being_heard(lm, write_audio, tmp_path):
    path = write_audio(tmp_path / "a.wav", 1.0)
    spoken = lm.embed_each(iter([path, tmp_path / "no.wav", path]), batch_seconds=0.125)
    first, error, last = spoken
    assert close(first, lm.embed(path)) and close(last, first)
    assert isinstance(error, AudioError) and "no.wav" in str(error)
    with pytest.raises(AudioError, match="no.wav"):
        lm.embed([path, tmp_path / "no.wav", path])


def test_files_that_processes_read_are_heard_as_ever(
    lm, write_audio, tmp_path, monkeypatch
):
    paths = [
        write_audio(tmp_path / f"{i}.wav", 0.3 + 0.1 * (i % 7), seed=i)
        for i in range(40)
    ]
    mixed = [*paths[:35], noise(1.0), tmp_path / "no.wav", *paths[35:]]
    monkeypatch.setattr(lm.embedder, "num_workers", 2)
    found = list(lm.embed_each(mixed, batch_seconds=2.0))
    assert "no.wav" in str(found[36])
    monkeypatch.undo()
    for recording, speech in zip(mixed, found, strict=True):
        if isinstance(speech, Speech):
            assert close(lm.embed(recording), speech)


def test_a_batch_too_large_for_the_memory_goes_through_in_halves(lm, monkeypatch):
    wavs = [noise(0.5 + 0.1 * i, i) for i in range(5)]
    expected = lm.embed(wavs)
    tried, encode = [], lm.encoder.forward

    def small_memory(x, lengths):
        tried.append(len(x))
        if len(x) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return encode(x, lengths)

    monkeypatch.setattr(lm.encoder, "forward", small_memory)
    for one, other in zip(lm.embed(wavs), expected, strict=True):
        assert close(one, other)
    assert tried == [5, 2, 3, 1, 2]
    monkeypatch.setattr(lm.encoder, "forward", lambda x, n: small_memory([0] * 3, n))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        lm.embed(wavs)


def test_frames_are_not_copied_on_their_way_to_the_connector(lm, monkeypatch):
    addresses = []

    def watch(part, name, position):
        call = getattr(part, name)

        def watched(*arguments, **options):
            result = call(*arguments, **options)
            x = result[0] if position is None else arguments[position]
            addresses.append(x.data_ptr())
            return result

        monkeypatch.setattr(part, name, watched)

    watch(lm.encoder, "forward", None)
    watch(lm.segmenters["predicted"], "segment_frames", 0)
    watch(lm.connector, "encode", 0)
    lm.embed([noise(1.0), noise(1.5)])
    assert len(addresses) == 3 and len(set(addresses)) == 1


def test_speech_of_another_rate_is_resampled(lm):
    samples, _ = noise(1.0)
    assert len(read_waveform((samples, 8000), 16000)) == 32000
    assert lm.embed((samples, 8000)).seconds == 2.0


def test_integers_are_scaled():
    whole = (torch.tensor([0, 2**14], dtype=torch.int16), 16000)
    assert read_waveform(whole, 16000).tolist() == [0.0, 0.5]


@pytest.mark.parametrize("speech", [np.zeros(9), 3, None, {"array": [0.0]}])
def test_samples_without_a_rate_are_refused(lm, speech):
    with pytest.raises(TypeError, match="rate"):
        lm.embed(speech)


@pytest.mark.parametrize("samples", [[], [[[0.0]]], [0.0, float("nan")]])
def test_what_is_no_audio_is_refused(lm, samples):
    with pytest.raises(ValueError, match="no audio|no numbers"):
        lm.embed((samples, 16000))


def test_a_list_of_recordings_gives_what_each_gives_alone(lm):
    wavs = [noise(s, seed) for seed, s in enumerate((0.6, 2.0, 1.1, 0.3))]
    together = lm.embed(wavs, batch_seconds=5)
    for wav, speech in zip(wavs, together, strict=True):
        alone = lm.embed(wav)
        assert close(alone, speech)
        assert (alone.text, alone.starts) == (speech.text, speech.starts)
        assert alone.seconds == speech.seconds == len(wav[0]) / 16000
    assert lm.transcribe(wavs) == [speech.text for speech in together]


def test_vectors_tokens_and_times_belong_together(lm):
    speech = lm.embed(noise(2.0))
    assert len(speech.vectors) == len(speech.tokens) == len(speech.starts) > 0
    times = zip(speech.starts, speech.ends, strict=True)
    assert all(0 <= start < end <= 2.0 for start, end in times)
    distances = torch.cdist(speech.vectors, lm.llm.table())
    assert distances.argmin(1).tolist() == speech.tokens


@pytest.mark.parametrize("samples", [1, 300, 401])
def test_speech_shorter_than_a_frame_or_of_one_says_little_or_nothing(lm, samples):
    speech = lm.embed(([0.1] * samples, 16000))
    assert len(speech) <= 1
    assert isinstance(lm.generate([speech, "\n"], max_new_tokens=2), str)
    assert isinstance(lm.transcribe(speech, prompt="\n", max_new_tokens=2), str)


def test_with_an_alignment_segments_are_forced_and_say_so(lm):
    units = (Unit("the", 0.1, 0.4, 0), Unit("cat", 0.5, 0.9, 4))
    alignment = Alignment("a", "the cat", units, "word", 1.0)
    forced, predicted = lm.embed([noise(1.0)] * 2, [alignment, None])
    assert forced.segmentation == "forced" and predicted.segmentation == "predicted"
    assert len(forced) == 2
    assert close(forced, lm.embed(noise(1.0), alignment))
    assert close(predicted, lm.embed(noise(1.0)))


def test_a_recording_that_is_cut_twice_is_encoded_once(lm, monkeypatch):
    units = (Unit("the", 0.1, 0.4, 0), Unit("cat", 0.5, 0.9, 4))
    alignment = Alignment("a", "the cat", units, "word", 1.0)
    wavs = [noise(1.0), noise(1.5)]
    expected = [lm.embed(wavs, [alignment] * 2), lm.embed(wavs)]
    encoded, encode = [], lm.encoder.forward
    monkeypatch.setattr(
        lm.encoder, "forward", lambda x, n: encoded.append(len(x)) or encode(x, n)
    )
    found = lm.embed_cuts(wavs, [[alignment, None]] * 2)
    assert sum(encoded) == 2
    for cuts, *wanted in zip(found, *expected, strict=True):
        assert [cut.segmentation for cut in cuts] == ["forced", "predicted"]
        assert all(close(*pair) for pair in zip(cuts, wanted, strict=True))


def test_a_model_of_forced_segments_alone_says_how_to_get_others(lm):
    forced = {"forced": lm.segmenters["forced"], "predicted": None}
    alone = SpeechLM(lm.encoder, lm.llm, lm.connector, forced, lm.settings)
    with pytest.raises(ValueError, match=r"hparams/segmenter\.yaml"):
        alone.embed(noise(1.0))


# --- Prompts -----------------------------------------------------------------------


def test_a_text_alone_gives_what_transformers_gives(lm):
    model, tokenizer = lm.llm.load_model(), lm.llm.tokenizer
    encoded = tokenizer(
        "the cat sat on", return_tensors="pt", return_token_type_ids=False
    )
    ids = model.generate(**encoded, max_new_tokens=6, do_sample=False, pad_token_id=2)
    expected = tokenizer.decode(
        ids[0, encoded.input_ids.shape[1] :], skip_special_tokens=True
    )
    text = lm.generate("the cat sat on", max_new_tokens=6, do_sample=False)
    assert text == expected


def test_prompts_together_give_what_each_gives_alone(lm):
    speech = lm.embed(noise(1.5))
    prompts = [
        ["the cat"],
        ["Say: ", noise(1.0), "\n"],
        [speech],
        ["a ", speech, " b ", noise(0.5, 3), " c"],
        [],
    ]
    options = {"max_new_tokens": 5, "do_sample": False}
    alone = [lm.generate(prompt, **options) for prompt in prompts]
    assert lm.generate(prompts, **options) == alone
    assert lm.generate(prompts, batch_size=2, **options) == alone
    beams = {"num_beams": 3, **options}
    assert lm.generate(prompts, **beams) == [lm.generate(p, **beams) for p in prompts]


def test_speech_in_a_prompt_is_its_vectors(lm):
    speech = lm.embed(noise(1.0))
    first, vectors, last = lm.embed_prompts(["the ", speech, " cat"]).split(
        [2, len(speech), 1]
    )
    ids = lm.llm.tokenizer.convert_tokens_to_ids(["<s>", "the", "cat"])
    known = lm.llm.embed(torch.tensor(ids))
    assert torch.equal(first, known[:2])
    assert torch.equal(vectors, speech.vectors)
    assert torch.equal(last, known[2:])


def test_where_speech_comes_first_the_start_token_comes_before_it(lm):
    speech = lm.embed(noise(1.0))
    embeds = lm.embed_prompts([speech])
    assert torch.equal(embeds[0], lm.llm.embed(torch.tensor(lm.llm.start_id)))
    assert len(embeds) == len(speech) + 1


def test_several_texts_of_a_prompt_come_as_a_list(lm):
    options = {"num_return_sequences": 2, "num_beams": 2, "max_new_tokens": 3}
    assert len(lm.generate("the", **options)) == 2
    assert [len(x) for x in lm.generate([["the"], ["cat"]], **options)] == [2, 2]


@pytest.mark.parametrize("prompt", [["a", 3], ["a", np.zeros(9)], [["a"], [None]]])
def test_a_part_that_is_neither_text_nor_speech_is_refused(lm, prompt):
    with pytest.raises(TypeError, match=r"text, or speech"):
        lm.generate(prompt)


def test_what_is_streamed_is_what_is_generated(lm):
    prompt = ["Say: ", noise(1.0), "\n"]
    options = {"max_new_tokens": 7, "do_sample": False}
    assert "".join(lm.stream(prompt, **options)) == lm.generate(prompt, **options)


def test_what_goes_wrong_while_streaming_is_raised(lm):
    with pytest.raises(ValueError, match="no_such_option"):
        list(lm.stream("the", no_such_option=3))


def test_a_chat_is_what_the_template_says(lm, monkeypatch):
    tokenizer = lm.llm.tokenizer
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} "
        "{% endfor %}{% if add_generation_prompt %}a{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    messages = [{"role": "user", "content": "the cat"}]
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    options = {"max_new_tokens": 4, "do_sample": False}
    written = lm.llm.load_model().generate(
        torch.tensor([ids]), **options, pad_token_id=2
    )
    expected = tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)
    assert lm.chat(messages, **options) == expected
    spoken = [{"role": "user", "content": ["Hear ", noise(1.0)]}]
    assert lm.chat([messages, spoken], **options) == [
        expected,
        lm.chat(spoken, **options),
    ]


def test_without_a_template_there_is_no_chat(lm):
    with pytest.raises(ValueError, match="no chat template"):
        lm.chat([{"role": "user", "content": "the cat"}])


# --- Scores ------------------------------------------------------------------------


def test_a_score_is_the_log_likelihood_of_the_continuation(lm):
    ids = lm.llm.tokenizer("the cat sat").input_ids
    logits = lm.llm.load_model()(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = logits[1, ids[2]] + logits[2, ids[3]]
    found = lm.score("the", " cat sat")
    assert found == pytest.approx(expected.item(), abs=1e-4)
    assert lm.score("the", " cat sat", per_token=True) == pytest.approx(found / 2)


def test_scores_together_are_those_alone(lm):
    speech = lm.embed(noise(1.0))
    contexts = ["the", ["Say: ", speech], [noise(0.7)], ""]
    contexts = [c if isinstance(c, list) else [c] for c in contexts]
    texts = [" cat", " cat sat the", " a", " b c"]
    alone = [lm.score(c, t) for c, t in zip(contexts, texts, strict=True)]
    assert lm.score(contexts, texts) == pytest.approx(alone, abs=1e-4)
    assert lm.score(contexts, texts, batch_size=3) == pytest.approx(alone, abs=1e-4)


def test_one_context_compares_several_continuations(lm):
    texts = [" cat", " sat the"]
    context = [noise(1.0), "\n"]
    assert lm.score(context, texts) == pytest.approx(
        [lm.score(context, text) for text in texts], abs=1e-4
    )


def test_scores_that_cannot_be_are_refused(lm):
    with pytest.raises(ValueError, match="2 contexts and 1 continuations"):
        lm.score([["a"], ["b"]], [" c"])
    with pytest.raises(ValueError, match="empty"):
        lm.score("a", "")


# --- The whole ---------------------------------------------------------------------


def test_it_is_printed_in_a_few_lines(lm):
    printed = str(lm)
    assert printed.count("\n") < 8
    for told in (lm.encoder.source, lm.llm.source, "fixed", "ssr", "50 Hz", "cpu"):
        assert told in printed


def test_nothing_takes_a_gradient_and_nothing_trains(lm):
    assert not any(p.requires_grad for p in lm.parameters())
    assert not any(m.training for m in lm.train().modules())


def test_a_recording_is_read_once_and_used_often(lm, monkeypatch):
    speech = lm.embed(noise(1.0))
    monkeypatch.setattr(lm.encoder, "forward", None)
    assert isinstance(speech, Speech)
    assert lm.score([speech, " a"], " b") == lm.score([speech, " a"], " b")
