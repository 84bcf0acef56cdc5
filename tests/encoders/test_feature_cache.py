"""Encoder frames on disk: whole or not at all, and never stale."""

import contextlib
import os
import pickle
import threading

import pytest
import torch

from ssr_plugin.data.audio import read_row
from ssr_plugin.encoders import encoder as encoder_module
from ssr_plugin.encoders import feature_cache
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.encoders.feature_cache import FeatureCache
from ssr_plugin.problems import TooManyProblems


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return SpeechEncoder(tiny_encoder_folder)


@pytest.fixture
def rows(tmp_path, write_audio):
    """Six utterances of 0.3 to 0.8 s, by id."""
    made = {}
    for i in range(6):
        seconds = 0.3 + 0.1 * i
        path = write_audio(tmp_path / "audio" / f"{i}.wav", seconds, seed=i)
        made[f"utt-{i}"] = {"wav": str(path), "duration": seconds}
    return made


def count_encoded(monkeypatch):
    """A list that gets the number of utterances of each batch that is encoded."""
    seen = []
    encode = FeatureCache._encode_batch
    monkeypatch.setattr(
        FeatureCache,
        "_encode_batch",
        lambda self, wavs: seen.append(len(wavs)) or encode(self, wavs),
    )
    return seen


def test_the_cache_gives_what_the_encoder_gives(tmp_path, encoder, rows):
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert not cache.build(rows, batch_seconds=1.5).reasons
    for name, row in rows.items():
        wav = read_row(row, 16000)
        frames, lengths = encoder(wav[None], torch.tensor([len(wav)]))
        assert name in cache
        assert cache.num_frames(name) == lengths[0]
        assert cache.get(name).dtype == torch.float32
        assert cache.get(name, dtype=None).dtype == torch.float16
        assert torch.equal(cache.get(name, dtype=None).float(), cache.get(name))
        torch.testing.assert_close(cache.get(name), frames[0], atol=2e-3, rtol=1e-3)


def test_frames_in_8_bits_take_half_the_disk_and_are_near(tmp_path, encoder, rows):
    whole = FeatureCache(tmp_path / "cache", encoder)
    small = FeatureCache(tmp_path / "cache", encoder, torch.int8)
    sizes = []
    for cache in (whole, small):
        cache.build(rows)
        files = cache.folder.glob("features-*")
        sizes.append(sum(path.stat().st_size for path in files))
    # A scale of each channel is as much as two frames.
    assert sizes[1] < 0.7 * sizes[0]
    # Another process, which reads what is there.
    small = FeatureCache(tmp_path / "cache", encoder, torch.int8)
    small.build(rows)
    for name in rows:
        frames, found = whole.get(name), small.get(name, dtype=None)
        assert found.dtype == torch.float16
        assert len(found) == small.num_frames(name) == whole.num_frames(name)
        step = frames.abs().amax(0) / 127
        assert ((found.float() - frames).abs() <= 0.51 * step + 1e-3).all()
        assert not torch.equal(found.float(), frames)


def test_nothing_is_encoded_twice(tmp_path, encoder, rows, monkeypatch):
    FeatureCache(tmp_path / "cache", encoder).build(rows)
    seen = count_encoded(monkeypatch)
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert "utt-0" not in cache  # unknown before the rows are given
    cache.build(rows)
    assert not seen and len(cache.get("utt-0")) == cache.num_frames("utt-0")


def test_a_killed_build_goes_on_from_its_last_file(
    tmp_path, encoder, rows, monkeypatch
):
    monkeypatch.setattr(feature_cache, "_FILE_SECONDS", 1.0)
    encode = FeatureCache._encode_batch

    def fail_late(self, wavs):
        if "utt-1" in wavs:
            raise KeyboardInterrupt
        return encode(self, wavs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FeatureCache, "_encode_batch", fail_late)
        FeatureCache(tmp_path / "cache", encoder).build(rows, batch_seconds=0.1)
    seen = count_encoded(monkeypatch)
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert not cache.build(rows).reasons
    # Longest first: 0.8 + 0.7 s and 0.6 + 0.5 s were written; 0.4 and 0.3 s are left.
    assert sum(seen) == 2
    assert not list(cache.folder.glob("*.partial"))


def test_a_bad_file_does_not_change_the_batches_of_a_restart(
    tmp_path, encoder, rows, monkeypatch
):
    (tmp_path / "broken.wav").write_text("no audio")
    rows["broken"] = {"wav": str(tmp_path / "broken.wav"), "duration": 0.9}
    monkeypatch.setattr(feature_cache, "_FILE_SECONDS", 0.1)
    encode = FeatureCache._encode_batch

    def batches(folder, die_at=None):
        seen = []

        def encode_batch(self, wavs):
            if len(seen) == die_at:
                raise KeyboardInterrupt
            seen.append(sorted(wavs))
            return encode(self, wavs)

        monkeypatch.setattr(FeatureCache, "_encode_batch", encode_batch)
        with contextlib.suppress(KeyboardInterrupt):
            FeatureCache(tmp_path / folder, encoder).build(
                rows, batch_seconds=2.0, max_skipped_share=0.5
            )
        return seen

    whole = batches("whole")
    broken = batches("broken", die_at=1) + batches("broken")
    # The restart tries the bad file once more, now alone.
    assert len(whole) == 3 and [batch for batch in broken if batch] == whole


def test_a_restart_gives_the_bits_of_an_unbroken_build(
    tmp_path, encoder, rows, monkeypatch
):
    monkeypatch.setattr(feature_cache, "_FILE_SECONDS", 0.1)
    # On a padded pass the frames' last bits depend on the others of the batch.
    monkeypatch.setitem(encoder_module._PASS, "cpu", 120.0)
    whole = FeatureCache(tmp_path / "whole", encoder)
    whole.build(rows, batch_seconds=1.7)
    encode, calls = FeatureCache._encode_batch, []

    def die_at_the_second(self, wavs):
        calls.append(wavs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, wavs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FeatureCache, "_encode_batch", die_at_the_second)
        FeatureCache(tmp_path / "broken", encoder).build(rows, batch_seconds=1.7)
    broken = FeatureCache(tmp_path / "broken", encoder)
    seen = count_encoded(monkeypatch)
    broken.build(rows, batch_seconds=1.7)
    assert 0 < sum(seen) < len(rows)
    for name in rows:
        assert torch.equal(broken.get(name), whole.get(name))


def test_a_build_writes_beside_encoding_and_says_how_fast_each_part_was(
    tmp_path, encoder, rows, monkeypatch, caplog
):
    monkeypatch.setattr(feature_cache, "_FILE_SECONDS", 0.1)
    write, threads = FeatureCache._write, set()

    def watched(self, tensors):
        threads.add(threading.current_thread())
        write(self, tensors)

    monkeypatch.setattr(FeatureCache, "_write", watched)
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert cache.rates == {}
    caplog.set_level("INFO", logger="ssr_plugin")
    cache.build(rows, batch_seconds=1.0)
    assert threads and threading.main_thread() not in threads
    parts = ["reading", "front_end", "encoder", "writing", "build"]
    assert list(cache.rates) == parts
    # No part is slower alone than all together.
    assert all(rate >= cache.rates["build"] > 0 for rate in cache.rates.values())
    (line,) = [m for m in caplog.messages if m.startswith("Encoded ")]
    assert line.startswith("Encoded 3 s of audio.")
    assert all(part in line for part in parts)


def test_what_cannot_be_written_stops_the_build(tmp_path, encoder, rows, monkeypatch):
    def full(self, tensors):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "_FILE_SECONDS", 0.1)
    monkeypatch.setattr(FeatureCache, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        FeatureCache(tmp_path / "cache", encoder).build(rows, batch_seconds=0.5)


def test_shards_share_the_work_and_a_last_call_knows_them_all(
    tmp_path, encoder, rows, monkeypatch
):
    seen = count_encoded(monkeypatch)
    for shard in ("1/3", "2/3", "3/3"):
        FeatureCache(tmp_path / "cache", encoder).build(rows, shard=shard)
    assert sum(seen) == len(rows)
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    assert sum(seen) == len(rows) and all(name in cache for name in rows)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b"])
def test_a_shard_of_another_form_is_refused(tmp_path, encoder, rows, shard):
    with pytest.raises(ValueError, match="is not of the form k/n"):
        FeatureCache(tmp_path / "cache", encoder).build(rows, shard=shard)


def test_changed_audio_is_encoded_anew(tmp_path, encoder, rows, write_audio):
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    before = cache.get("utt-0")
    write_audio(tmp_path / "audio" / "0.wav", 0.3, seed=99)
    os.utime(rows["utt-0"]["wav"], ns=(0, 12345))
    cache.build(rows)
    assert not torch.equal(cache.get("utt-0"), before)


def test_another_layer_has_a_cache_of_its_own(
    tmp_path, encoder, rows, tiny_encoder_folder
):
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    other = FeatureCache(
        tmp_path / "cache", SpeechEncoder(tiny_encoder_folder, layer=1)
    )
    other.build(rows)
    assert not torch.equal(cache.get("utt-0"), other.get("utt-0"))


def test_bad_audio_is_named_and_the_rest_is_kept(tmp_path, encoder, rows):
    rows["missing"] = {"wav": str(tmp_path / "missing.wav"), "duration": 1.0}
    (tmp_path / "broken.wav").write_text("no audio")
    rows["broken"] = {"wav": str(tmp_path / "broken.wav"), "duration": 1.0}
    cache = FeatureCache(tmp_path / "cache", encoder)
    with pytest.raises(TooManyProblems, match="2 of 8 utterances are bad"):
        cache.build(rows)
    assert "utt-0" in cache
    problems = cache.build(rows, max_skipped_share=0.5)
    assert sorted(problems.reasons) == ["broken", "missing"]
    assert str(tmp_path / "broken.wav") in problems.reasons["broken"]
    with pytest.raises(KeyError, match="has no features of 'broken'"):
        cache.get("broken")


def test_two_ids_of_one_bad_file_are_both_named(tmp_path, encoder, rows):
    (tmp_path / "broken.wav").write_text("no audio")
    for name in ("a", "b"):
        rows[name] = {"wav": str(tmp_path / "broken.wav"), "duration": 1.0}
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert sorted(cache.build(rows, max_skipped_share=0.5).reasons) == ["a", "b"]


def test_audio_of_less_than_a_frame_has_no_frames(tmp_path, encoder, write_audio):
    path = write_audio(tmp_path / "a.wav", seconds=0.01)
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build({"a": {"wav": str(path), "duration": 0.01}})
    assert cache.num_frames("a") == 0 and cache.get("a").shape == (0, 32)


def test_a_data_loaders_worker_reads_it(tmp_path, encoder, rows):
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    frames = cache.get("utt-3")
    assert torch.equal(pickle.loads(pickle.dumps(cache)).get("utt-3"), frames)


@pytest.mark.parametrize("size", [3, 200, -100])
def test_a_file_cut_short_is_made_anew(tmp_path, encoder, rows, size, caplog):
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    frames = cache.get("utt-0")
    (path,) = cache.folder.glob("features-*.safetensors")
    path.write_bytes(path.read_bytes()[:size])
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    assert torch.equal(cache.get("utt-0"), frames)
    assert path.name in caplog.text


def test_a_file_damaged_under_way_is_named_with_the_mend(tmp_path, encoder, rows):
    cache = FeatureCache(tmp_path / "cache", encoder)
    cache.build(rows)
    (path,) = cache.folder.glob("features-*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged.*delete it and run again"):
        cache.get("utt-0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cache_built_on_a_gpu_holds_the_frames_of_a_cpu(
    tmp_path, tiny_encoder_folder, rows
):
    expected = FeatureCache(tmp_path / "cpu", SpeechEncoder(tiny_encoder_folder))
    expected.build(rows)
    cache = FeatureCache(
        tmp_path / "gpu", SpeechEncoder(tiny_encoder_folder).to("cuda")
    )
    cache.build(rows, batch_seconds=1.0)
    assert all(rate > 0 for rate in cache.rates.values())
    for name in rows:
        # cuDNN's convolutions round to ten bits by default.
        torch.testing.assert_close(
            cache.get(name), expected.get(name), atol=2e-2, rtol=2e-2
        )
