"""Published corpora: each is read from its own layout, with what is odd about it."""

import json
import re
import sys

import corpora
import numpy as np
import pytest

from ssr_plugin import build
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.common_voice import CommonVoice
from ssr_plugin.data.gigaspeech import GigaSpeech
from ssr_plugin.data.kaldi import KaldiFolder
from ssr_plugin.data.mls import MultilingualLibriSpeech
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.data.voxpopuli import VoxPopuli


def texts(dataset, split):
    return {one.id: one.text for one in dataset.utterances(split)}


def rows_of(dataset, folder, train, test=(), share=0.0):
    """Rows of all training utterances, of the first test split, and what is bad."""
    made = prepare(
        dataset,
        folder / "save",
        train,
        [],
        test,
        max_skipped_share=share,
        num_workers=1,
    )
    rows = read_manifest(made.train) | read_manifest(made.valid)
    tests = [read_manifest(path) for path in made.tests.values()]
    return rows, tests[0] if tests else {}, made.skipped["train"]


def pitch(wav):
    samples = read_audio(wav, corpora.RATE, whole=True).numpy()
    return int(np.abs(np.fft.rfft(samples, corpora.RATE)).argmax())


def problems(dataset, split):
    return [one.problem for one in dataset.utterances(split) if one.problem]


def test_corpora_say_their_language(tmp_path):
    found = [
        MultilingualLibriSpeech(corpora.make_mls(tmp_path / "mls")),
        CommonVoice(corpora.make_common_voice(tmp_path / "cv", "sv-SE")),
        VoxPopuli(corpora.make_voxpopuli(tmp_path / "vp"), language="de"),
        GigaSpeech(corpora.make_gigaspeech(tmp_path / "gs")[0]),
    ]
    assert [dataset.language for dataset in found] == ["de", "sv-SE", "de", "en"]


# --- Multilingual LibriSpeech ---------------------------------------------------------


@pytest.mark.parametrize("suffix", [".opus", ".flac"])
def test_mls_is_read_from_its_tab_files_in_flac_and_opus(tmp_path, suffix):
    corpora.make_mls(tmp_path, suffix)
    dataset = MultilingualLibriSpeech(tmp_path)
    train, test, skipped = rows_of(dataset, tmp_path, ["train*"], ["test"])
    assert len(train) == 6 and len(test) == 3 and not skipped
    row = train["11_101_000002"]
    assert row["wrd"] == "grüße an 11 nummer 2" and row["spk_id"] == "11"
    assert row["wav"].endswith(f"train/audio/11/101/11_101_000002{suffix}")
    assert row["duration"] == pytest.approx(0.3, abs=0.01)


def test_mls_has_its_lists_of_little_data_as_splits_outside_of_train(tmp_path):
    dataset = MultilingualLibriSpeech(corpora.make_mls(tmp_path))
    limited = ["limited-10h", "limited-10min-0", "limited-10min-1", "limited-1h"]
    assert dataset.splits() == ["dev", "test", "train", *limited, "limited-9h"]
    assert sorted(texts(dataset, "limited-1h")) == ["11_101_000001", "12_102_000000"]
    assert sorted(texts(dataset, "limited-10min-1")) == ["12_102_000000"]
    assert len(texts(dataset, "limited-10h")) == 4


def test_mls_of_several_languages_wants_one_named(tmp_path):
    corpora.make_mls(tmp_path)
    (tmp_path / "mls_german_opus").rename(tmp_path / "mls_french_opus")
    corpora.make_mls(tmp_path)
    with pytest.raises(ValueError, match=r"language: .* has several .french, german."):
        MultilingualLibriSpeech(tmp_path)
    dataset = MultilingualLibriSpeech(tmp_path, language="french")
    assert dataset.folder.name == "mls_french_opus"
    with pytest.raises(FileNotFoundError, match="there is no 'dutch'.* french, german"):
        MultilingualLibriSpeech(tmp_path, language="dutch")
    with pytest.raises(FileNotFoundError, match="no folder mls_<language>"):
        MultilingualLibriSpeech(tmp_path / "mls_german_opus" / "dev")


def test_bad_lines_of_mls_are_named_with_their_number_and_counted(tmp_path):
    root = corpora.make_mls(tmp_path)
    path = root / "train" / "transcripts.txt"
    good = path.read_bytes()
    path.write_bytes(b"no tab here\n\n\xff\xfe\tx\n" + good + b"11_101_000009\tgone\n")
    rows, _, skipped = rows_of(
        MultilingualLibriSpeech(root), tmp_path, ["train"], share=0.5
    )
    assert len(rows) == 6
    assert skipped["transcripts.txt, line 1"].endswith(
        "speaker_book_number<TAB>transcript'"
    )
    assert f"{path}, line 3: it is not UTF-8" in skipped["transcripts.txt, line 3"]
    assert skipped["11_101_000009"].startswith("missing audio")


# --- Common Voice ---------------------------------------------------------------------


def test_common_voice_is_read_from_its_lists_and_mp3_files(tmp_path):
    corpora.make_common_voice(tmp_path)
    dataset = CommonVoice(tmp_path)
    train, test, _ = rows_of(dataset, tmp_path, ["train*"], ["test*"])
    assert train["common_voice_de_1"]["wrd"] == "Das ist, sagte er, ein Test."
    assert train["common_voice_de_2"]["wrd"] == 'Er sagte "nein" und ging.'
    assert train["common_voice_de_2"]["spk_id"] == "bbbbbbbb"
    assert train["common_voice_de_1"]["wav"].endswith("de/clips/common_voice_de_1.mp3")
    assert list(test) == ["common_voice_de_6"]
    lists = ["dev", "invalidated", "other", "test", "train", "validated"]
    assert dataset.splits() == [*lists, "validated-train"]


def test_common_voice_validated_train_tells_nothing_of_dev_and_test_speakers(tmp_path):
    dataset = CommonVoice(corpora.make_common_voice(tmp_path))
    assert len(texts(dataset, "validated")) == 6
    rest = texts(dataset, "validated-train")
    assert sorted(rest) == [f"common_voice_de_{number}" for number in (1, 2, 3)]
    assert rest["common_voice_de_3"] == "Ja, ja."


def test_common_voice_may_be_chosen_by_its_votes(tmp_path):
    root = corpora.make_common_voice(tmp_path)
    most = CommonVoice(root, min_up_votes=3)
    assert list(texts(most, "validated")) == ["common_voice_de_3"]
    none = CommonVoice(root, max_down_votes=0)
    assert "common_voice_de_3" not in texts(none, "validated")
    assert texts(CommonVoice(root, min_up_votes=1), "other") == {}
    # A cell of anything else counts as no vote.
    cells = "client_id\tpath\tsentence\tup_votes\tdown_votes\nanna\ta.mp3\tthe cat\t"
    (root / "test.tsv").write_text(f"{cells}\x1c2\t0\n")
    assert list(texts(CommonVoice(root), "test")) == ["a"]
    assert texts(CommonVoice(root, min_up_votes=1), "test") == {}


def test_common_voice_of_an_early_release_names_files_without_ending(tmp_path):
    root = corpora.make_common_voice(tmp_path)
    path = root / "train.tsv"
    path.write_text(path.read_text().replace(".mp3", ""))
    rows, _, _ = rows_of(CommonVoice(root), tmp_path, ["train"])
    assert sorted(rows) == ["common_voice_de_1", "common_voice_de_2"]


def test_common_voice_names_what_is_wrong_with_folder_list_and_line(tmp_path):
    root = corpora.make_common_voice(tmp_path)
    corpora.make_common_voice(tmp_path, "fr")
    with pytest.raises(ValueError, match=r"locale: .*several .de, fr."):
        CommonVoice(tmp_path)
    assert CommonVoice(root.parent, locale="fr").folder.name == "fr"
    with pytest.raises(FileNotFoundError, match="is the folder of a locale, and not"):
        CommonVoice(root, locale="fr")
    with pytest.raises(FileNotFoundError, match="no locale, a folder with clips/"):
        CommonVoice(root / "clips")
    with open(root / "train.tsv", "a") as file:
        file.write("short\trow\n")
    (reason,) = problems(CommonVoice(root), "train")
    assert reason == f"{root}/train.tsv, line 4: it has 2 cells, and the header has 7"
    corpora.lines(root / "dev.tsv", "client_id\tpath")
    with pytest.raises(ValueError, match=r"dev\.tsv has no column sentence; there are"):
        texts(CommonVoice(root), "dev")


# --- GigaSpeech -----------------------------------------------------------------------


def test_gigaspeech_utterances_are_cut_out_of_their_recordings(tmp_path):
    folder, pitches = corpora.make_gigaspeech(tmp_path)
    dataset = GigaSpeech(folder)
    rows, test, _ = rows_of(dataset, tmp_path, ["m"], ["test"])
    assert {name: row["wrd"] for name, row in rows.items()} == {
        "POD1_S0000001": "WELL I THINK SO",
        "POD1_S0000003": "DO YOU",
        "POD1_S0000004": "STOP",
    }
    assert {row["duration"] for row in rows.values()} == {1.0}
    assert [round(pitch(row["wav"]), -1) for _, row in sorted(rows.items())] == [
        pitches[0],
        pitches[2],
        pitches[3],
    ]
    # Who speaks is unknown of most: then the recording stands for the speaker.
    assert rows["POD1_S0000001"]["spk_id"] == "POD1"
    assert rows["POD1_S0000004"]["spk_id"] == "ann"
    assert list(test) == ["YOU1_S0000002"]


def test_gigaspeech_has_subsets_as_splits_and_marks_if_asked(tmp_path):
    folder, _ = corpora.make_gigaspeech(tmp_path)
    dataset = build.dataset("gigaspeech", folder, {"gigaspeech": {"punctuation": True}})
    assert dataset.splits() == ["xs", "s", "m", "l", "xl", "dev", "test"]
    assert texts(dataset, "xs") == {
        "POD1_S0000001": "WELL, I THINK SO.",
        "POD1_S0000004": "STOP!",
    }
    assert texts(dataset, "xl")["POD1_S0000003"] == "DO YOU?"
    assert list(texts(dataset, "dev")) == ["YOU1_S0000001"]


def test_gigaspeech_converted_to_wav_is_found(tmp_path):
    folder, _ = corpora.make_gigaspeech(tmp_path)
    opus = folder / "audio" / "youtube" / "P0000" / "YOU1.opus"
    corpora.write(opus.with_suffix(".wav"), np.zeros(4 * corpora.RATE))
    opus.unlink()
    (one,) = GigaSpeech(folder).utterances("dev")
    assert one.wav.endswith("YOU1.wav#t=1,2")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"begin_time": "soon"}, "POD1, segment 3: could not convert string to float"),
        ({"end_time": 1.0}, "POD1, segment 3: it is from 2.0 to 1.0 s"),
        ({"text_tn": "A <FOO>"}, "POD1, segment 3: an unknown tag .*: <FOO>"),
        ({"sid": ...}, "POD1, segment 3: it lacks 'sid'"),
        ({"text_tn": None}, "POD1, segment 3: .*NoneType"),
    ],
)
def test_a_bad_segment_of_gigaspeech_is_named_and_stops_nothing(
    tmp_path, change, message
):
    folder, _ = corpora.make_gigaspeech(tmp_path)
    content = json.loads((folder / "GigaSpeech.json").read_text())
    segment = content["audios"][0]["segments"][2]
    for key, value in change.items():
        segment.pop(key) if value is ... else segment.update({key: value})
    (folder / "GigaSpeech.json").write_text(json.dumps(content))
    found = list(GigaSpeech(folder).utterances("m"))
    assert len(found) == 3
    (bad,) = [one.problem for one in found if one.problem]
    assert re.search(message, bad)


def test_gigaspeech_names_a_missing_or_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no GigaSpeech\.json in"):
        GigaSpeech(tmp_path)
    folder, _ = corpora.make_gigaspeech(tmp_path)
    path = folder / "GigaSpeech.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"GigaSpeech\.json is damaged"):
        list(GigaSpeech(folder).utterances("test"))
    # ijson would take 6 GB.
    path.write_text('{"audios": [' + "[" * 50_000 + "]" * 50_000 + "]}")
    with pytest.raises(ValueError, match=r"GigaSpeech\.json is damaged .*too deep"):
        list(GigaSpeech(folder).utterances("test"))


def test_gigaspeech_without_ijson_says_what_to_install(tmp_path, monkeypatch):
    folder, _ = corpora.make_gigaspeech(tmp_path)
    monkeypatch.setitem(sys.modules, "ijson", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[gigaspeech\]"):
        GigaSpeech(folder)


# --- VoxPopuli ------------------------------------------------------------------------


def test_voxpopuli_is_read_from_its_lists_by_year(tmp_path):
    corpora.make_voxpopuli(tmp_path)
    dataset = VoxPopuli(tmp_path)
    assert dataset.splits() == ["test", "train"]
    rows, test, _ = rows_of(dataset, tmp_path, ["train"], ["test"])
    by_text = {row["wrd"]: row for row in rows.values()}
    assert sorted(by_text) == [f"der saal {n} ist voll" for n in range(3)]
    assert by_text["der saal 0 ist voll"]["spk_id"] == "101"
    assert by_text["der saal 2 ist voll"]["spk_id"] == "unknown"
    assert "/de/2013/20131007-0900-" in by_text["der saal 0 ist voll"]["wav"]
    assert len(test) == 1


def test_voxpopuli_gives_the_printed_text_where_there_is_one(tmp_path):
    root = corpora.make_voxpopuli(tmp_path)
    found = list(texts(VoxPopuli(root, text="raw"), "train").values())
    assert found == ['Der Saal "0" ist voll!', 'Der Saal "2" ist voll!']
    with pytest.raises(ValueError, match="text: 'spoken' is none of normalized, raw"):
        VoxPopuli(root, text="spoken")
    with pytest.raises(FileNotFoundError, match="language: there is no 'fr'"):
        VoxPopuli(tmp_path, language="fr")


def test_bad_lines_of_voxpopuli_are_named(tmp_path):
    root = corpora.make_voxpopuli(tmp_path)
    with open(root / "asr_train.tsv", "a") as file:
        file.write("20131007-x\tonly two\n")
    (reason,) = problems(VoxPopuli(root), "train")
    assert reason.startswith(f"{root}/asr_train.tsv, line 5: it has 2 cells")


# --- Kaldi ----------------------------------------------------------------------------


def test_kaldi_folders_are_read_with_segments_archives_and_without(tmp_path):
    dataset = KaldiFolder(corpora.make_kaldi(tmp_path))
    assert dataset.splits() == ["test", "train"]
    rows, test, _ = rows_of(dataset, tmp_path, ["train"], ["test"])
    assert [row["wrd"] for _, row in sorted(rows.items())] == [
        "good morning",
        "good evening",
        "good night",
    ]
    assert [pitch(row["wav"]) for _, row in sorted(rows.items())] == [220, 330, 440]
    assert rows["u3"]["spk_id"] == "bob" and "raw.ark#bytes=5," in rows["u3"]["wav"]
    assert test["t1"]["wrd"] == "hello" and test["t1"]["spk_id"] == "unknown"
    one = KaldiFolder(tmp_path / "data" / "test")
    assert one.splits() == ["test"]


def test_kaldi_files_in_another_order_give_the_same(tmp_path):
    train = corpora.make_kaldi(tmp_path) / "train"
    expected = sorted(map(str, KaldiFolder(train).utterances("train")))
    for name in ("text", "segments", "utt2spk", "wav.scp"):
        lines = (train / name).read_text().splitlines()
        corpora.lines(train / name, *lines[::-1])
    assert sorted(map(str, KaldiFolder(train).utterances("train"))) == expected


def test_kaldi_commands_are_refused_and_not_run(tmp_path):
    folder = corpora.make_kaldi(tmp_path)
    with open(folder / "train" / "wav.scp", "a") as file:
        file.write(f"rec9 touch {tmp_path}/run && flac -cd rec9.flac |\n")
    message = (
        r"wav\.scp, line 3: 'touch .*' is a command, and none is run\. Put the path"
    )
    with pytest.raises(ValueError, match=message):
        KaldiFolder(folder)
    assert not (tmp_path / "run").exists()


def test_bad_lines_of_kaldi_are_named_and_lacking_halves_are_told(tmp_path):
    folder = corpora.make_kaldi(tmp_path)
    train = folder / "train"
    for name, rows in {
        "segments": ["u4 rec7 0 1", "u5 rec1 2.0 1.0", "u6 rec1 0", "u7 rec1 3.0 4.0"],
        "text": ["u4 a", "u5 b", "u6 c", "u8 e"],
    }.items():
        corpora.lines(train / name, *(train / name).read_text().splitlines(), *rows)
    _, _, skipped = rows_of(KaldiFolder(folder), tmp_path, ["train"], share=0.9)
    assert {name: reason.rpartition(": ")[2] for name, reason in skipped.items()} == {
        "segments, line 4": "there is no recording 'rec7' in wav.scp",
        "segments, line 5": "it is from 2.0 to 1.0 s",
        "segments, line 6": "it is not 'utterance recording start end'",
        "text, line 7": f"'u8' has no audio in {train}",
        "u7": skipped["u7"],
    }
    assert skipped["u7"].startswith("missing transcript")
    with pytest.raises(FileNotFoundError, match=r"no wav\.scp in"):
        KaldiFolder(tmp_path / "audio")
