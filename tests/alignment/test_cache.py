"""Alignments are made once, survive a kill, and can be built in shards."""

import dataclasses
import logging
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from whole_aligner import WholeAligner, align_alone

from ssr_plugin.alignment import cache as cache_module
from ssr_plugin.alignment.align_manifest import main, make_aligner
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import Alignments, CacheLine, align, take_shard
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.problems import TooManyProblems


@pytest.fixture
def items(tmp_path):
    wav = tmp_path / "audio.wav"
    soundfile.write(wav, np.zeros(16000), 16000)
    return [AlignmentItem(f"utt-{i}", str(wav), f"text{i}") for i in range(7)]


@pytest.fixture
def aligner(tmp_path):
    return WholeAligner(str(tmp_path / "calls.txt"))


def calls(aligner):
    path = pathlib.Path(aligner.log)
    return path.read_text().split() if path.exists() else []


def cache_files(folder):
    return sorted(folder.rglob("part-*.jsonl"))


def replace(item, **changes):
    return dataclasses.replace(item, **changes)


def test_a_second_align_reads_the_alignments_of_the_first(items, aligner, tmp_path):
    first, _ = align(items, aligner, tmp_path / "cache", num_workers=1)
    again, problems = align(items, aligner, tmp_path / "cache", num_workers=1)
    assert dict(first) == dict(again)
    assert set(again) == {item.id for item in items}
    assert again["utt-3"].text == "text3"
    assert len(calls(aligner)) == len(items)
    assert not problems


def test_an_aligner_says_from_how_many_utterances_on_it_is_worth_processes(
    items, aligner, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache_module, "usable_cores", lambda: 4)
    used = []

    def note(work, batches, num_workers):
        used.append(num_workers)
        return [(batch, work(batch)) for batch in batches]

    monkeypatch.setattr(cache_module, "work_on", note)
    for least, times in ((len(items) + 1, 0), (len(items), 1)):
        monkeypatch.setattr(WholeAligner, "parallel_from", least)
        align(items, aligner, tmp_path / str(least))
        assert len(used) == times


def test_several_processes_align_what_one_does(items, aligner, tmp_path):
    one, _ = align(items, aligner, tmp_path / "one", num_workers=1)
    two, _ = align(items, aligner, tmp_path / "two", num_workers=2)
    assert dict(one) == dict(two)


def test_other_settings_audio_or_text_are_aligned_anew(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    align(items, aligner, cache, num_workers=1)
    align([replace(items[0], text="other")], aligner, cache)
    align(items[:1], WholeAligner(aligner.log, speed=2), cache)
    assert calls(aligner)[len(items) :] == ["utt-0"] * 2
    soundfile.write(items[0].wav, np.zeros(8000), 16000)
    align(items[:1], aligner, cache)
    assert calls(aligner)[len(items) :] == ["utt-0"] * 3


def test_all_shards_together_align_every_utterance(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    for shard in ("1/2", "2/2"):
        alignments, _ = align(items, aligner, cache, shard=shard, num_workers=1)
        assert 0 < len(alignments) < len(items)
    whole, _ = align(items, aligner, cache)
    assert len(whole) == len(items) == len(calls(aligner))


@given(st.lists(st.integers()), st.integers(1, 6))
def test_every_item_is_in_one_shard(values, n):
    shards = [take_shard(values, f"{k}/{n}") for k in range(1, n + 1)]
    assert sorted(sum(shards, [])) == sorted(values)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2", ""])
def test_a_malformed_shard_is_refused(shard):
    with pytest.raises(ValueError, match="such as 1/4"):
        take_shard([], shard)


def test_a_line_cut_short_costs_only_itself(items, aligner, tmp_path, caplog):
    cache = tmp_path / "cache"
    align(items, aligner, cache, num_workers=1)
    (path,) = cache_files(cache)
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        whole, _ = align(items, aligner, cache)
    assert len(whole) == len(items)
    assert len(calls(aligner)) == len(items) + 1
    assert f"{path}: line {len(items)} is damaged" in caplog.text


def test_a_damaged_line_in_the_middle_costs_only_itself(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    align(items, aligner, cache, num_workers=1)
    (path,) = cache_files(cache)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\x00" * 30 + b"\n"
    path.write_bytes(b"".join(lines))
    whole, _ = align(items, aligner, cache)
    assert [whole[item.id].text for item in items] == [item.text for item in items]
    assert len(calls(aligner)) == len(items) + 1


def test_failures_are_named_remembered_and_retried_on_request(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    items[4] = replace(items[4], text="bad")
    for _ in range(2):
        alignments, problems = align(
            items, aligner, cache, num_workers=1, max_skipped_share=0.5
        )
        assert problems.reasons == {"utt-4": "is bad"}
        assert len(alignments) == len(items) - 1
    assert len(calls(aligner)) == len(items)
    align(items, aligner, cache, max_skipped_share=0.5, retry_failed=True)
    assert calls(aligner)[len(items) :] == ["utt-4"]


def test_too_many_failures_stop_the_run_but_lose_nothing(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    items[4] = replace(items[4], text="bad")
    with pytest.raises(TooManyProblems, match="utt-4: is bad"):
        align(items, aligner, cache, num_workers=1)
    align(items[:4], aligner, cache)
    assert len(calls(aligner)) == len(items)


def test_missing_audio_and_empty_transcripts_are_named(items, aligner, tmp_path):
    items[0] = replace(items[0], wav="gone.wav")
    items[1] = replace(items[1], text=" ")
    items[2] = replace(items[2], text=None)
    options = {"num_workers": 1, "max_skipped_share": 0.5}
    _, problems = align(items, aligner, tmp_path / "cache", **options)
    assert problems.reasons == {
        "utt-0": "there is no audio file gone.wav",
        "utt-1": "empty transcript",
        "utt-2": "empty transcript",
    }


def test_two_utterances_of_one_id_are_refused(items, aligner, tmp_path):
    with pytest.raises(ValueError, match="two utterances have the id 'utt-0'"):
        align([items[0], items[0]], aligner, tmp_path / "cache")


def test_a_killed_run_goes_on_where_it_was(items, aligner, tmp_path):
    cache = tmp_path / "cache"
    slow = WholeAligner(aligner.log, slow=0.3)
    process = multiprocessing.get_context("spawn").Process(
        target=align_alone, args=(items, slow, cache)
    )
    process.start()
    while len(calls(aligner)) < 4 and process.is_alive():
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    whole, _ = align(items, aligner, cache, num_workers=1)
    assert len(whole) == len(items)
    assert len(calls(aligner)) <= len(items) + aligner.batch_size


def test_an_option_that_an_aligner_lacks_is_named():
    with pytest.raises(ValueError, match="no option 'sorce'; it has source"):
        make_aligner("files", ["--sorce", "x"])
    with pytest.raises(ValueError, match="'--source' is not of the form --key value"):
        make_aligner("files", ["--source"])
    with pytest.raises(ValueError, match="unknown aligner 'pocketsfinx'"):
        make_aligner("pocketsfinx", [])


def test_the_command_aligns_a_manifest(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    (tmp_path / "a.ctm").write_text("a 1 0.2 0.3 Hello\n")
    write_manifest(
        tmp_path / "a.csv", [("a", 1.0, str(tmp_path / "a.wav"), "s", "HELLO!")]
    )
    command = [str(tmp_path / "a.csv"), "--cache_folder", str(tmp_path / "cache")]
    main([*command, "--aligner", "files", "--source", str(tmp_path / "a.ctm")])
    assert capsys.readouterr().out == "aligned: 1, skipped: 0\n"
    with pytest.raises(SystemExit, match="error: unknown aligner 'fies'"):
        main([*command, "--aligner", "fies"])


def test_each_alignment_module_has_a_help(monkeypatch, capsys):
    for module in ("align_manifest", "compare_alignments"):
        name = f"ssr_plugin.alignment.{module}"
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(SystemExit) as stopped:
            runpy.run_module(name, run_name="__main__")
        assert stopped.value.code == 0
        assert f"python -m {name}" in capsys.readouterr().out


def test_alignments_know_their_ids_without_reading_files():
    alignments = Alignments({"a": CacheLine("no such file", 0)})
    assert "a" in alignments and "b" not in alignments
    with pytest.raises(FileNotFoundError):
        alignments["a"]


def test_a_transcript_squeezed_into_a_piece_of_its_audio_is_refused(
    tmp_path, write_audio
):
    text = "seven old birds saw the cat on a mat in the old house on the hill"
    rates = {"fast": 1.0, "slow": 2.0}
    items = [
        AlignmentItem(name, str(write_audio(tmp_path / f"{name}.wav", seconds)), text)
        for name, seconds in rates.items()
    ]
    alignments, problems = align(items, EvenAligner(), tmp_path, max_skipped_share=1)
    assert list(alignments) == ["slow"]
    assert (
        "50 letters in 1.00 s are more than anybody can say"
        in (problems.reasons["fast"])
    )
