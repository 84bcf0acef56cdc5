"""Whole runs with a recogniser as segmenter, on a corpus of tones that it knows."""

import json

import numpy as np
import pytest
import soundfile
import tones

from ssr_plugin import SpeechLM
from ssr_plugin.cli import main as ssr
from ssr_plugin.evaluation.run_evaluation import main as evaluate
from ssr_plugin.recognizers.whisper import WhisperRecognizer

import runs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones in LibriSpeech's layout, and when each word is said."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    lines = []
    for split, speaker in (("train-a", "12"), ("dev-a", "34"), ("test-a", "56")):
        place = folder / "LibriSpeech" / split / speaker / "100"
        place.mkdir(parents=True)
        transcripts = []
        for index in range(5):
            name = f"{speaker}-100-{index:04d}"
            words = [str(x) for x in rng.choice(list(tones.WORDS), size=3)]
            wav, times = tones.speak(words)
            soundfile.write(place / f"{name}.flac", wav.numpy(), tones.SAMPLE_RATE)
            transcripts.append(f"{name} {' '.join(words).upper()}\n")
            units = [
                (word.upper(), *time) for word, time in zip(words, times, strict=True)
            ]
            lines.append(json.dumps({"id": name, "words": units}) + "\n")
        (place / f"{speaker}-100.trans.txt").write_text("".join(transcripts))
    (folder / "words.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def overrides(corpus, small_run, whisper_folder):
    def make(folder, **others):
        return small_run(
            folder,
            data_folder=corpus,
            aligner_options={"files": {"source": str(corpus / "words.jsonl")}},
            encoder_source=whisper_folder,
            segmenter="asr",
            # It knows English, and no tones.
            segmenter_options={"asr": {"times": "own"}},
            noisy_copies={"kinds": ["white"], "snr": [30]},
            **others,
        )

    return make


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    folder = tmp_path_factory.mktemp("run")
    return folder, runs.run("librispeech", runs.arguments(**overrides(folder)))


def test_a_recognisers_segments_are_scored_without_a_training(run):
    folder, metrics = run
    predicted = metrics["test-a predicted"]
    assert predicted["segments"] == "predicted"
    # The recogniser makes no error here: its text is the transcript.
    assert predicted["nll"]["cascade"] == pytest.approx(predicted["nll"]["text"])
    assert predicted["vectors_per_token"] == pytest.approx(1, abs=0.2)
    assert predicted["looped"] == 0 and "looped" not in metrics["test-a"]


def test_copies_in_noise_are_trained_on_and_held_out_ones_scored_apart(run):
    folder, metrics = run
    # Of each utterance of train-a and of dev-a.
    assert len(list((folder / "cache" / "noisy").glob("*/*.flac"))) == 5 + 5
    assert metrics["valid noisy"]["segments"] == "forced"
    assert metrics["valid noisy predicted"]["segments"] == "predicted"


def test_what_was_heard_is_kept_and_not_heard_again(run, overrides, monkeypatch):
    folder, metrics = run
    assert list((folder / "cache" / "hypotheses").glob("asr-*/part-*.jsonl"))
    monkeypatch.setattr(WhisperRecognizer, "_hear", None)
    again = overrides(folder, number_of_epochs=3) | {"output_folder": folder / "again"}
    repeated = runs.run("librispeech", runs.arguments(**again))
    for name in ("valid", "test-a", "test-a predicted"):
        assert repeated[name] == metrics[name]


def test_training_on_a_recognisers_segments(overrides, tmp_path):
    share = overrides(tmp_path, predicted_share=0.5, number_of_epochs=1)
    metrics = runs.run("librispeech", runs.arguments(**share))
    assert metrics["test-a predicted"]["utterances"] == 5


@pytest.fixture(scope="module")
def make_shards(corpus, whisper_folder, tmp_path_factory):
    """Shards of the tones, with what the recogniser hears of them if that is asked."""

    def make(*words, hears=True):
        folder = tmp_path_factory.mktemp("shards")
        line = ["prepare", str(corpus / "LibriSpeech"), str(folder), *words]
        line += ["--aligner", "files", "--num-workers", "0"]
        line += ["--aligner-option", f"source={corpus / 'words.jsonl'}"]
        if hears:
            line += ["--recognizer", str(whisper_folder)]
            line += ["--recognizer-option", "times=own"]
        with runs._restored():
            assert not ssr(line)
        return folder

    return make


@pytest.mark.long
def test_what_shards_keep_of_a_recogniser_trains_as_what_is_heard_of_their_corpus(
    overrides, make_shards, whisper_folder, tmp_path, monkeypatch
):
    options = {"predicted_share": 0.5, "number_of_epochs": 1}
    share = overrides(tmp_path / "folder", **options) | {"noisy_copies": {}}
    expected = runs.run("librispeech", runs.arguments(**share))
    folder = make_shards("--frames", str(whisper_folder), "--no-audio")
    # There is nothing to be heard.
    monkeypatch.setattr(WhisperRecognizer, "_hear", None)
    share = overrides(tmp_path / "shards", **options) | {"noisy_copies": {}}
    share["data_folder"] = folder
    found = runs.run("librispeech", runs.arguments(**share))
    del expected["train"], found["train"]
    assert found == expected
    share["segmenter_options"] = {"asr": {"times": "own", "num_beams": 2}}
    share["output_folder"] = tmp_path / "other"
    with pytest.raises(SystemExit, match="hears: other num_beams. There is no audio"):
        runs.run("librispeech", runs.arguments(**share))


def test_the_model_of_a_run_listens(run, corpus):
    folder, _ = run
    lm = SpeechLM.from_pretrained(folder / "run")
    wav = corpus / "LibriSpeech/test-a/56/100/56-100-0000.flac"
    said = (wav.parent / "56-100.trans.txt").read_text().split("\n")[0].split()[1:]
    assert lm.embed(wav).hypothesis == " ".join(said).lower()
    # The LLM helps to choose, where that is asked; the run's gate stays.
    options = {"asr": {"num_beams": 2, "llm_weight": 0.01}}
    helped = SpeechLM.from_pretrained(
        folder / "run", segmenter="asr", segmenter_options=options
    )
    assert helped.embed(wav).hypothesis == lm.embed(wav).hypothesis
    assert helped.settings["gate"] == lm.settings["gate"] is not None
    assert helped.llm.model is not None


def test_stage_2_learns_from_what_shards_keep_and_from_what_is_heard_in_noise(
    run, overrides, make_shards, tmp_path, monkeypatch
):
    folder, _ = run
    given = overrides(tmp_path, number_of_epochs=1)
    of_stage1 = ("encoder_source", "llm_source", "segmenter", "segmenter_options")
    for key in (*of_stage1, "connector_options"):
        del given[key]
    given |= {"stage1": folder / "run", "predicted_share": 1.0, "text_ratio": 0.0}
    given |= {"data_folder": make_shards(), "number_of_epochs": 1}
    given["templates"] = {x: {"share": 0.0} for x in ("listening", "continuation")}
    # Of others that are trained on, too, nothing is kept.
    others = make_shards("--shard-size", "2", hears=False)
    given["extra_train"] = [{"data_folder": str(others), "splits": ["test-a"]}]
    heard, recognize = [], WhisperRecognizer.recognize
    monkeypatch.setattr(
        WhisperRecognizer,
        "recognize",
        lambda self, wavs, *rest: heard.append(wavs) or recognize(self, wavs, *rest),
    )
    metrics = runs.run("librispeech", runs.arguments("finetune", **given))
    assert metrics["test-a predicted"]["utterances"] == 5
    # Five others, the noisy copies of ten training and of five validation utterances,
    # and no more.
    assert sum(map(len, heard)) == 5 + 10 + 5


def test_a_command_listens_with_a_recogniser(
    tiny_speech_lm_folder, whisper_folder, corpus, capsys
):
    wav = corpus / "LibriSpeech/test-a/56/100/56-100-0000.flac"
    line = ["transcribe", str(wav), "--model", str(tiny_speech_lm_folder)]
    line += ["--json", "--segmenter", "asr", "--language", "en"]
    assert not ssr([*line, "--recognizer", str(whisper_folder)])
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    said = (wav.parent / "56-100.trans.txt").read_text().split("\n")[0].split()[1:]
    assert record["hypothesis"] == " ".join(said).lower()
    with pytest.raises(SystemExit, match="are for --segmenter asr"):
        ssr([*line[:4], "--language", "en"])


def test_an_evaluation_listens_with_the_segmenter_that_it_names(
    run, corpus, tmp_path, whisper_folder
):
    folder, metrics = run
    settings = dict(
        model=folder / "run",
        data_folder=corpus,
        output_folder=tmp_path / "evaluated",
        cache_folder=folder / "cache",
        aligner="files",
        aligner_options={"files": {"source": str(corpus / "words.jsonl")}},
        benchmarks=["second_half"],
        conditions=["cascade", "predicted"],
        segmenter="asr",
        segmenter_options={"asr": {"times": "own"}},
    )
    metrics = evaluate(argv=runs.arguments("evaluate", **settings))
    wer = metrics["benchmarks"]["second_half reading_wer"]["conditions"]
    assert wer["cascade"]["reading_wer"] == 0.0
