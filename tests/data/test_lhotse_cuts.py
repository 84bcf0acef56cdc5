"""Lhotse's manifests: cuts, recordings with supervisions and Shar, without Lhotse."""

import gzip
import json
import tarfile

import corpora
import numpy as np
import pytest

from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.lhotse_cuts import LhotseManifests
from ssr_plugin.data.prepare import prepare, read_manifest

PITCHES = (220, 330, 440, 550)


def pitch(wav):
    samples = read_audio(wav, corpora.RATE, whole=True).numpy()
    return int(np.abs(np.fft.rfft(samples, corpora.RATE)).argmax())


def recording(path, channels=1, **changes):
    source = {"type": "file", "channels": list(range(channels)), "source": str(path)}
    return {
        "id": path.stem,
        "sources": [source],
        "sampling_rate": corpora.RATE,
        "num_samples": 4 * corpora.RATE,
        "duration": 4.0,
        **changes,
    }


def supervision(name, start, duration, text="good morning", **changes):
    fields = {"recording_id": "hour", "channel": 0, "speaker": "ann"}
    times = {"start": start, "duration": duration}
    return {"id": name, **fields, **times, "text": text, **changes}


def cut(name, start, duration, of, *supervisions, **changes):
    fields = {"start": start, "duration": duration, "channel": 0}
    kept = {"supervisions": list(supervisions), "recording": of, "type": "MonoCut"}
    return {"id": name, **fields, **kept, **changes}


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.writelines(
            f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in records
        )


@pytest.fixture
def hour(tmp_path):
    samples = np.concatenate([corpora.tone(1.0, one) for one in PITCHES])
    return corpora.write(tmp_path / "audio" / "hour.flac", samples)


def test_each_supervision_of_a_cut_is_an_utterance_of_its_own_time(tmp_path, hour):
    of = recording(hour)
    one = cut("c1", 1.0, 1.0, of, supervision("s1", 0.0, 1.0))
    two = cut("c2", 1.5, 2.5, of, supervision("s2", 0.5, 1.0, "two", speaker="bob"))
    two["supervisions"].append(supervision("s3", 1.5, 1.2, "three"))
    whole = cut("c3", 0.0, 4.0, of, supervision("s4", -0.1, 4.2, "all"))
    write(tmp_path / "m" / "my_cuts_train.jsonl.gz", one, two, whole)
    dataset = LhotseManifests(tmp_path / "m")
    assert dataset.splits() == ["train"]
    made = prepare(dataset, tmp_path / "save", ["train"], max_skipped_share=0)
    rows = read_manifest(made.train) | read_manifest(made.valid)
    assert {name: row["wrd"] for name, row in rows.items()} == {
        "c1": "good morning",
        "s2": "two",
        "s3": "three",
        "c3": "all",
    }
    assert [pitch(rows[name]["wav"]) for name in ("c1", "s2", "s3")] == [330, 440, 550]
    assert rows["s2"]["spk_id"] == "bob" and rows["s3"]["duration"] == 1.0
    # Nothing is cut where all of the file is meant.
    assert rows["c3"]["wav"] == str(hour)


def test_recordings_with_supervisions_do_as_well_as_cuts(tmp_path, hour):
    write(tmp_path / "m" / "libri_recordings_dev-clean.jsonl.gz", recording(hour))
    lines = [supervision("s1", 2.0, 1.0), supervision("s2", 3.0, 1.0, None)]
    lines.append(supervision("s3", 0.0, 1.0, recording_id="other"))
    write(tmp_path / "m" / "libri_supervisions_dev-clean.jsonl.gz", *lines)
    write(tmp_path / "m" / "libri_supervisions_test.jsonl.gz", *lines)
    dataset = LhotseManifests(tmp_path / "m")
    # Supervisions without recordings are nothing to hear.
    assert dataset.splits() == ["dev-clean"]
    first, second, third = dataset.utterances("dev-clean")
    assert pitch(first.wav) == 440 and first.speaker == "ann"
    assert second.text is None
    assert third.problem.endswith("line 3: there is no recording 'other'")


def test_of_two_channels_each_supervision_has_its_own(tmp_path):
    samples = np.stack([corpora.tone(4.0, 220), corpora.tone(4.0, 550)], axis=1)
    path = corpora.write(tmp_path / "hour.wav", samples)
    both = [supervision(f"s{n}", 1.0, 1.0, channel=n) for n in (0, 1)]
    write(tmp_path / "m" / "recordings_train.jsonl", recording(path, channels=2))
    write(tmp_path / "m" / "supervisions_train.jsonl", *both)
    found = LhotseManifests(tmp_path / "m").utterances("train")
    assert [pitch(one.wav) for one in found] == [220, 550]


def make_shar(folder):
    """A Shar of two cuts, as SharWriter makes it."""
    folder.mkdir(parents=True)
    placeholder = recording(folder / "x.flac")
    placeholder["sources"] = [{"type": "shar", "channels": [0], "source": ""}]
    cuts = [
        cut(f"c{n}", 0, 1.0, placeholder, supervision(f"s{n}", 0.0, 1.0, f"text {n}"))
        for n in range(2)
    ]
    write(folder / "cuts.000000.jsonl.gz", *cuts)
    with tarfile.open(folder / "recording.000000.tar", "w") as tar:
        for number in range(2):
            path = folder / f"c{number}.flac"
            corpora.write(path, corpora.tone(1.0, PITCHES[number]))
            tar.add(path, path.name)
            path.unlink()
            meta = folder / f"c{number}.json"
            meta.write_text(json.dumps(placeholder))
            tar.add(meta, meta.name)
            meta.unlink()
    return folder


def test_audio_of_a_shar_is_read_where_it_lies(tmp_path):
    make_shar(tmp_path / "shar" / "test")
    make_shar(tmp_path / "shar" / "train")
    dataset = LhotseManifests(tmp_path / "shar")
    assert dataset.splits() == ["test", "train"]
    found = list(dataset.utterances("train"))
    assert [one.text for one in found] == ["text 0", "text 1"]
    assert [pitch(one.wav) for one in found] == [220, 330]
    assert all("recording.000000.tar#bytes=" in one.wav for one in found)
    assert LhotseManifests(tmp_path / "shar" / "test").splits() == ["test"]
    (tmp_path / "shar" / "test" / "recording.000000.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"no '.*recording\.000000\.tar'"):
        list(LhotseManifests(tmp_path / "shar").utterances("test"))


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"sources": [{"type": "command", "source": "rm"}]},
            "of type 'command': write",
        ),
        ({"sources": [{"type": "url", "source": "http"}]}, "of type 'url': write its"),
        (
            {"transforms": [{"name": "Speed"}]},
            "a recording that was changed: write its",
        ),
        ({"sources": []}, "list index out of range"),
        ({"duration": ...}, "it lacks 'duration'"),
    ],
)
def test_what_is_no_file_is_refused_with_its_line(tmp_path, hour, changes, message):
    of = recording(hour, **{k: v for k, v in changes.items() if v is not ...})
    for key in [key for key, value in changes.items() if value is ...]:
        del of[key]
    path = tmp_path / "cuts.jsonl"
    good = cut("c0", 0.0, 1.0, recording(hour), supervision("s", 0, 1.0))
    write(path, good, cut("c1", 0.0, 1.0, of, supervision("s1", 0.0, 1.0)))
    first, second = LhotseManifests(path).utterances("cuts")
    assert first.problem is None
    assert f"{path}, line 2: " in second.problem and message in second.problem


@pytest.mark.parametrize(
    "line, message",
    [
        ("{no json", "line 1: it is no JSON"),
        ('{"type": "MixedCut", "id": "m"}', "line 1: a MixedCut: write its audio"),
        ("[1]", "line 1: 'list' object has no attribute"),
        ('{"type": "MonoCut", "id": "m"}', "line 1: it lacks 'duration'"),
        ("[" * 100000, "line 1: brackets in brackets, much too deep"),
    ],
)
def test_a_line_that_is_no_cut_is_named_and_stops_nothing(tmp_path, line, message):
    path = tmp_path / "cuts.jsonl"
    write(path, line)
    (bad,) = LhotseManifests(path).utterances("cuts")
    assert message in bad.problem


def test_a_folder_without_manifests_says_what_is_looked_for(tmp_path):
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(FileNotFoundError, match=r"no cuts of Lhotse in .*to_file"):
        LhotseManifests(tmp_path)


def test_what_lhotse_itself_writes_is_read(tmp_path, hour):
    lhotse = pytest.importorskip("lhotse")
    from lhotse.shar.writers import SharWriter

    recordings = lhotse.RecordingSet.from_recordings([lhotse.Recording.from_file(hour)])
    parts = [
        lhotse.SupervisionSegment(f"s{n}", "hour", float(n), 1.0, text=f"text {n}")
        for n in range(4)
    ]
    supervisions = lhotse.SupervisionSet.from_segments(parts)
    cuts = lhotse.CutSet.from_manifests(recordings, supervisions)
    folder = tmp_path / "m"
    folder.mkdir()
    cuts.to_file(folder / "cuts_long.jsonl.gz")
    cuts = cuts.trim_to_supervisions()
    cuts.to_file(folder / "cuts_short.jsonl")
    recordings.to_file(folder / "recordings_both.jsonl.gz")
    supervisions.to_file(folder / "supervisions_both.jsonl.gz")
    (folder / "shar").mkdir()
    with SharWriter(str(folder / "shar"), fields={"recording": "flac"}) as writer:
        for one in cuts:
            writer.write(one)
    dataset = LhotseManifests(folder)
    assert dataset.splits() == ["both", "long", "shar", "short"]
    for split in dataset.splits():
        found = list(dataset.utterances(split))
        assert [one.text for one in found] == [f"text {n}" for n in range(4)]
        assert [pitch(one.wav) for one in found] == list(PITCHES)
