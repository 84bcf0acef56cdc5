"""``--live`` of the command ``ssr``: speech from pipes and files, as it comes."""

import argparse
import io
import json
import os
import threading

import numpy as np
import pytest
import soundfile

from ssr_plugin import SpeechLM
from ssr_plugin.cli import live, main
from ssr_plugin.cli.show import timed_words
from ssr_plugin.inference.speech_stream import FRAMES, SpeechStream

RATE = 16000


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Two runs of noise with two seconds of silence between."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((2, 3 * RATE))
    silence = np.zeros(2 * RATE)
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate([noise[0], silence, noise[1]]), RATE)
    return path


@pytest.fixture(scope="module")
def pieces(lm, talk):
    """What a stream gives of it, with LM fusion."""
    wav, _ = soundfile.read(talk, dtype="float32")
    return list(lm.stream_speech(np.split(wav, 100), lm_fusion=True))


@pytest.fixture
def ssr(lm, monkeypatch, capsys):
    """``ssr(command, ...)``: what it prints, lines of stdout and of stderr."""
    monkeypatch.setattr("ssr_plugin.cli.model.load_model", lambda options: lm)

    def run(*line):
        assert main([str(x) for x in line]) == 0
        printed = capsys.readouterr()
        return printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def stdin():
    """``stdin(bytes)``: they come by standard input."""
    kept = os.dup(0)

    def give(content):
        reads, writes = os.pipe()
        os.dup2(reads, 0)
        os.close(reads)

        def write():
            with os.fdopen(writes, "wb") as file:
                file.write(content)

        threading.Thread(target=write, daemon=True).start()

    yield give
    os.dup2(kept, 0)
    os.close(kept)


def test_words_are_printed_with_a_new_line_after_a_pause(ssr, lm, talk, pieces):
    lines, _ = ssr("transcribe", "--live", talk)
    assert len(lines) == 2
    text = lm.embedder.spell([token for piece in pieces for token in piece.tokens])
    assert " ".join(lines).split() == text.split()


def test_times_are_those_of_whole_words(ssr, lm, talk, pieces):
    lines, _ = ssr("transcribe", "--live", talk, "--times")
    fields = {
        name: [x for piece in pieces for x in getattr(piece, name)]
        for name in ("tokens", "starts", "ends")
    }
    words = timed_words(argparse.Namespace(**fields), lm.llm.tokenizer)
    expected = [f"{start:.3f}\t{end:.3f}\t{word}" for word, start, end in words]
    assert lines == expected
    assert len(lines) > 10


def test_json_tells_the_audio_that_was_heard_by_each_piece(ssr, talk, pieces):
    lines, _ = ssr("transcribe", "--live", talk, "--json")
    records = [json.loads(line) for line in lines]
    assert [record["text"] for record in records] == [piece.text for piece in pieces]
    for record in records[:-1]:
        late = record["heard"] - record["tokens"][-1]["end"]
        assert FRAMES.look_ahead - 0.05 < late < FRAMES.latency + FRAMES.hold


def test_standard_input_is_a_wav_or_samples_without_a_header(ssr, talk, stdin):
    expected = ssr("transcribe", "--live", talk)[0]
    stdin(talk.read_bytes())
    assert ssr("transcribe", "--live", "-")[0] == expected
    samples, _ = soundfile.read(talk, dtype="int16")
    stdin(samples.tobytes())
    assert ssr("transcribe", "--live", "--pcm", RATE, "-")[0] == expected


def test_generate_begins_when_the_speaker_has_stopped(ssr, lm, talk):
    wav, _ = soundfile.read(talk, dtype="float32")
    chunks = wav.reshape(-1, 1280)
    prompt = lm.growing_prompt()
    for content in ("the ", *lm.stream_speech(chunks, end_pause=1.0), " cat"):
        prompt.append(content)
    expected = prompt.generate(max_new_tokens=5, do_sample=False)
    line = ["generate", "--live", "--prompt", "the {audio} cat", talk]
    lines, _ = ssr(*line, "--end-pause", 1.0, "--max-new-tokens", 5)
    assert "\n".join(lines) == expected


def test_an_interrupt_ends_the_audio_and_keeps_what_was_said(ssr, talk, monkeypatch):
    push = SpeechStream.push

    def interrupted(self, chunk):
        if self.seconds > 1.5:
            raise KeyboardInterrupt
        return push(self, chunk)

    monkeypatch.setattr(SpeechStream, "push", interrupted)
    lines, _ = ssr("transcribe", "--live", talk, "--json")
    last = json.loads(lines[-1])
    assert last["tokens"][-1]["end"] > 1.5


def test_a_machine_that_is_too_slow_is_told_once(ssr, talk, monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE", 1.0)
    clock = iter(range(10**6))
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    _, errors = ssr("transcribe", "--live", talk)
    (told,) = [line for line in errors if "this machine reads" in line]
    assert "give a longer --step" in told


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["transcribe", "a.wav", "--pcm", "8000"], "--pcm is for --live"),
        (["transcribe", "a.wav", "--look-ahead", "1"], "--look-ahead is for --live"),
        (["transcribe", "--live", "a.wav", "b.wav"], "one recording at a time"),
        (["transcribe", "--live", "-", "--prompt", "x"], "use ssr generate --live"),
        (
            ["generate", "--live", "--json", "--prompt", "{audio}", "-"],
            "leave --json out",
        ),
        (["transcribe", "--live", "none.wav"], "none.wav"),
        (["transcribe", "--live", "a.wav", "--step", "0"], "step: 0.0 is not above"),
    ],
)
def test_what_does_not_go_together_is_refused(lm, monkeypatch, tmp_path, line, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ssr_plugin.cli.model.load_model", lambda options: lm)
    content = io.BytesIO()
    soundfile.write(content, np.zeros(100), RATE, format="WAV")
    (tmp_path / "a.wav").write_bytes(content.getvalue())
    with pytest.raises(SystemExit) as stopped:
        main(line)
    assert message in str(stopped.value)
