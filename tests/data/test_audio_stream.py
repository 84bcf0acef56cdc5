"""Audio from pipes and files, as it comes; chunks at another rate."""

import os
import struct
import threading

import numpy as np
import pytest
import soundfile

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.audio_stream import ChunkResampler, open_stream

SAMPLES = (8000 * np.sin(np.arange(4000) / 9)).astype("<i2")


def wav_header(rate=16000, channels=1, size=0x7FFFFFFF):
    """As a recorder writes it that does not know how long it will run."""
    form = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16
    )
    data = b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + form + data


@pytest.fixture
def pipe():
    """``pipe(part, ...)``: a pipe's end, into which bytes come part by part."""
    opened, threads = [], []

    def make(*parts):
        reads, writes = os.pipe()
        opened.append(reads)

        def write():
            with os.fdopen(writes, "wb", buffering=0) as file:
                for part in parts:
                    file.write(part)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        return reads

    yield make
    for thread in threads:
        thread.join(10)
    for descriptor in opened:
        os.close(descriptor)


def read(source, pcm_rate=None):
    with open_stream(source, pcm_rate) as (rate, chunks):
        return rate, np.concatenate([np.zeros(0), *chunks])


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_whose_length_is_left_open_is_read_to_the_end_of_the_pipe(pipe, size):
    content = wav_header(size=size) + SAMPLES.tobytes()
    rate, found = read(pipe(content[:50], content[50:3001], content[3001:]))
    assert rate == 16000
    np.testing.assert_allclose(found, SAMPLES / 2**15, atol=1e-6)


def test_channels_are_averaged(pipe):
    both = np.stack([SAMPLES, np.zeros_like(SAMPLES)], 1)
    _, found = read(pipe(wav_header(channels=2) + both.tobytes()))
    np.testing.assert_allclose(found, SAMPLES / 2**16, atol=1e-6)


def test_samples_without_a_header_are_read_at_a_rate_that_is_given(pipe):
    # Half a sample at the end is none.
    rate, found = read(pipe(SAMPLES.tobytes() + b"\x01"), pcm_rate=8000)
    assert rate == 8000
    np.testing.assert_allclose(found, SAMPLES / 2**15, atol=1e-6)


def test_a_chunk_comes_before_the_pipe_brings_more(pipe):
    reads, writes = os.pipe()
    try:
        os.write(writes, wav_header() + SAMPLES.tobytes())
        with open_stream(reads) as (_, chunks):
            assert len(next(chunks)) == 1280
            assert len(next(chunks)) == 1280
    finally:
        os.close(writes)
        os.close(reads)


@pytest.mark.parametrize("content", [b"", b"no audio at all" * 99])
def test_what_is_no_audio_is_refused_with_a_hint(pipe, content):
    with pytest.raises(AudioError, match="without a header, give their rate"):
        read(pipe(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AudioError, match="none.wav"):
        read(tmp_path / "none.wav")


@pytest.mark.parametrize("rate", [8000, 44100, 48001])
def test_resampled_chunks_are_the_same_wherever_they_are_cut(rate):
    wav = np.random.default_rng(0).standard_normal(rate // 2).astype("float32")

    def run(sizes):
        resampler, rest, parts = ChunkResampler(rate, 16000), wav, []
        while len(rest):
            size = sizes[len(parts) % len(sizes)]
            parts.append(resampler.push(rest[:size]))
            rest = rest[size:]
        return np.concatenate([*parts, resampler.finish()])

    whole = run([len(wav)])
    assert abs(len(whole) - 8000) <= 2
    np.testing.assert_array_equal(whole, run([1, 0, 999, 50]))


def test_a_tone_keeps_its_pitch_and_loudness():
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 440 * time).astype("float32")
    resampler = ChunkResampler(48000, 16000)
    parts = [resampler.push(chunk) for chunk in np.split(tone, 100)]
    found = np.concatenate([*parts, resampler.finish()])
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=1e-3)


def test_a_file_is_read_in_chunks(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, SAMPLES, 16000)
    with open_stream(path) as (rate, chunks):
        assert [len(chunk) for chunk in chunks] == [1280, 1280, 1280, 160]
