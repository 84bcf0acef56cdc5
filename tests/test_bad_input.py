"""Bad input on the command line: one clear line that names the fault and the mend.

One bad utterance is skipped, counted and named; many stop the run. Nothing that was
computed before is lost.
"""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.encoders.feature_cache import FeatureCache

import runs


@pytest.fixture
def corpus(tmp_path, small_corpus):
    """A copy of the small corpus, to be spoilt."""
    return shutil.copytree(small_corpus, tmp_path / "corpus")


@pytest.fixture
def overrides(tmp_path, corpus, small_run):
    """``overrides(**others)``: those of a short run on the copied corpus."""

    def make(**others):
        settings = {
            "data_folder": corpus,
            "aligner_options": {"files": {"source": str(corpus / "words.jsonl")}},
            "number_of_epochs": 1,
            "score_with_llm": False,
            **others,
        }
        return small_run(tmp_path, **settings)

    return make


def error(overrides):
    """The message that the run ends with."""
    with pytest.raises(SystemExit) as stopped:
        runs.run("librispeech", runs.arguments(**overrides))
    message = str(stopped.value)
    assert message.startswith("error: ") and "Traceback" not in message
    return message


def utterance(corpus, name="1-100-0000"):
    """The audio file of an utterance."""
    (path,) = corpus.glob(f"LibriSpeech/*/*/*/{name}.*")
    return path


def transcribe(corpus, name, text):
    """Gives an utterance another transcript."""
    (path,) = utterance(corpus, name).parent.glob("*.trans.txt")
    lines = path.read_text().splitlines()
    changed = [f"{name} {text}" if line.startswith(name) else line for line in lines]
    path.write_text("\n".join(changed))


# --- Settings ----------------------------------------------------------------------


def test_a_missing_data_folder_is_named_with_its_key(overrides, tmp_path):
    message = error(overrides(data_folder=tmp_path / "nowhere"))
    assert "data_folder" in message and str(tmp_path / "nowhere") in message


def test_a_training_that_diverges_ends_with_an_error_and_leaves_no_metrics(
    overrides, tmp_path
):
    # Three steps: too few to stop it by themselves.
    message = error(overrides(lr=1e6, batch_seconds=8, precision="fp32"))
    assert "stopped after epoch 1: in the validation, loss is nan. Lower lr" in message
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("key", ["train_splits", "test_splits"])
def test_a_missing_split_is_named_and_those_there_are_listed(overrides, key):
    message = error(overrides(**{key: ["train-clean-100"]}))
    assert key in message and "'train-clean-100'" in message
    assert "dev-a, test-a, train-a" in message


@pytest.mark.parametrize(
    "key, kind, known",
    [
        ("connector", "connector", "ssr"),
        ("aligner", "aligner", "ctc, even, files, pocketsphinx, trained"),
        ("segmenter", "segmenter", "forced"),
    ],
)
def test_an_unknown_component_is_named_and_the_known_are_listed(
    overrides, key, kind, known
):
    message = error(overrides(**{key: "nothing"}))
    assert f"unknown {kind} 'nothing'; known: " in message and known in message


def test_an_unknown_data_set_is_named_and_the_known_are_listed(overrides):
    with pytest.raises(SystemExit, match="unknown data set 'cvs'; known: .*csv"):
        runs.run("template", runs.arguments(**overrides(dataset="cvs")))


def test_an_unknown_logger_is_named_and_the_known_are_listed(overrides):
    message = error(overrides(loggers=["paper"]))
    assert "loggers: there is no 'paper'; known: tensorboard, wandb" in message


@pytest.mark.parametrize("kind", ["connector", "segmenter"])
def test_a_misspelt_option_of_a_component_is_named(overrides, kind):
    name = {"connector": "ssr", "segmenter": "forced"}[kind]
    message = error(overrides(**{f"{kind}_options": {name: {"silense": "next"}}}))
    assert f"{kind}_options: {name}: " in message and "'silense'" in message


def test_a_misspelt_key_is_named_with_a_similar_one(overrides):
    message = error(overrides(number_of_epoch=3))
    assert (
        "--number_of_epoch: " in message and "distill.yaml has no such key" in message
    )
    assert "did you mean '--number_of_epochs'?" in message


def test_a_missing_yaml_is_named():
    with pytest.raises(SystemExit, match="error: there is no YAML 'distil.yaml'"):
        runs.run("librispeech", ["distil.yaml", "--seed", "1"])


@pytest.mark.parametrize("key", ["encoder_source", "llm_source"])
def test_an_unknown_model_is_named(overrides, key, tmp_path):
    message = error(overrides(**{key: "/no/such/model"}))
    assert "'/no/such/model' is neither a folder on this machine nor" in message
    (tmp_path / "empty").mkdir()
    message = error(overrides(**{key: tmp_path / "empty"}))
    assert f"folder '{tmp_path / 'empty'}' has no config.json: give" in message


def test_a_tokenizer_without_offsets_is_refused(overrides, tmp_path, tiny_llm_folder):
    from transformers import ByT5Tokenizer

    folder = tmp_path / "llm"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_llm_folder / name, folder)
    ByT5Tokenizer().save_pretrained(folder)
    message = error(overrides(llm_source=folder))
    assert str(folder) in message and "gives no character offsets" in message
    assert "use a model that has a fast tokenizer" in message


# --- Utterances --------------------------------------------------------------------


def remove(corpus):
    utterance(corpus).unlink()
    return "missing audio: no file "


def make_empty(corpus):
    utterance(corpus).write_bytes(b"")
    return "empty audio: "


def make_noise(corpus):
    utterance(corpus).write_bytes(bytes(1000))
    return "cannot read "


def damage(corpus):
    path = utterance(corpus)
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes(len(content) - 200))
    return "cannot read "


def silence_transcript(corpus):
    transcribe(corpus, "1-100-0000", "")
    return "empty transcript for "


def drop_transcript(corpus):
    (path,) = utterance(corpus).parent.glob("*.trans.txt")
    path.write_text("".join(path.read_text().splitlines(True)[1:]))
    return "missing transcript for "


def change_transcript(corpus):
    transcribe(corpus, "1-100-0000", "QUITE ANOTHER THING")
    return "transcript and alignment part ways at character 0: "


def crowd(corpus):
    # A second of audio gives 49 frames.
    words = ["A"] * 60
    transcribe(corpus, "1-100-0000", " ".join(words))
    units = [(word, i / 60, (i + 1) / 60) for i, word in enumerate(words)]
    path = corpus / "words.jsonl"
    kept = [line for line in path.read_text().splitlines() if "1-100-0000" not in line]
    path.write_text(
        "\n".join([*kept, json.dumps({"id": "1-100-0000", "words": units})])
    )
    return "60 letters in 1.00 s are more than anybody can say"


SPOILT = [
    remove,
    make_empty,
    make_noise,
    damage,
    silence_transcript,
    drop_transcript,
    change_transcript,
    crowd,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_many_bad_utterances_stop_the_run_and_few_are_named(
    overrides, corpus, tmp_path, spoil
):
    reason = spoil(corpus)
    message = error(overrides(max_skipped_share=0))
    assert re.match("error: (preparing )?train: ", message)
    assert "1 of 20 utterances are bad (5.0 %)" in message
    assert "max_skipped_share" in message
    assert "\n  1-100-0000: " in message and reason in message

    # One is few, even if it is a twentieth of the split.
    metrics = runs.run("librispeech", runs.arguments(**overrides()))
    assert metrics["train"]["skipped"] == 1 and metrics["valid"]["skipped"] == 0
    skipped = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert list(skipped["train"]) == ["1-100-0000"]
    assert reason in skipped["train"]["1-100-0000"]
    assert "1-100-0000" in (tmp_path / "run" / "log.txt").read_text()


def test_utterances_skipped_in_a_test_split_are_counted_in_its_metrics(
    overrides, corpus
):
    utterance(corpus, "7-100-0000").unlink()
    argv = runs.arguments(**overrides())
    metrics = runs.run("librispeech", argv)
    assert metrics["test-a"]["skipped"] == 1 and metrics["test-a"]["utterances"] == 9
    assert metrics["train"]["skipped"] == metrics["valid"]["skipped"] == 0


def test_another_sampling_rate_is_resampled_or_refused(
    overrides, corpus, tmp_path, write_audio
):
    write_audio(utterance(corpus), 1.0, sample_rate=8000)
    metrics = runs.run("librispeech", runs.arguments(**overrides()))
    assert metrics["train"]["skipped"] == 0
    other = {"output_folder": tmp_path / "other", "resample": False}
    message = error(overrides() | other | {"max_skipped_share": 0})
    assert "1-100-0000" in message
    assert "is sampled at 8000 Hz, not 16000: convert it, or set resample" in message
    argv = runs.arguments(**overrides() | other)
    assert runs.run("librispeech", argv)["train"]["skipped"] == 1


# --- What was computed before ------------------------------------------------------


def test_a_run_that_stopped_for_bad_audio_repeats_no_work(
    overrides, corpus, monkeypatch
):
    damage(corpus)
    error(overrides(max_skipped_share=0))

    def never(*arguments):
        raise AssertionError("done again")

    encoded = []
    encode = FeatureCache._encode_batch

    def encode_batch(cache, wavs):
        encoded.extend(wavs)
        return encode(cache, wavs)

    monkeypatch.setattr(FileAligner, "align", never)
    monkeypatch.setattr(FeatureCache, "_encode_batch", encode_batch)
    runs.run("librispeech", runs.arguments(**overrides()))
    # The first run stopped at the training split.
    assert len(encoded) == 20
    assert not [name for name in encoded if name[0] in "1234"]


def test_another_command_in_a_folder_is_refused_and_changes_nothing(
    overrides, corpus, tmp_path
):
    mine = overrides(connector_options={"ssr": {"num_layers": 1}})
    others = overrides(connector_options={"ssr": {"num_layers": 2}})
    runs.run("librispeech", runs.arguments(**mine))
    folder = tmp_path / "run"
    settings = (folder / "hyperparams.yaml").read_text()
    message = error(others)
    assert f"output_folder: the run in '{folder}' has other settings: " in message
    assert '"num_layers": 1' in message and '"num_layers": 2' in message
    transcribe(corpus, "1-100-0000", "QUITE ANOTHER THING")
    message = error(mine)
    assert f"the run in '{folder}' was trained on other data (train)" in message
    assert (folder / "hyperparams.yaml").read_text() == settings


def test_another_encoder_of_the_same_shape_is_noticed(
    overrides, tiny_encoder_folder, tmp_path
):
    runs.run("librispeech", runs.arguments(**overrides()))
    other = shutil.copytree(tiny_encoder_folder, tmp_path / "other_encoder")
    weights = load_file(other / "model.safetensors")
    save_file({k: v + 0.01 for k, v in weights.items()}, other / "model.safetensors")
    message = error(overrides(encoder_source=str(other)))
    assert "made with another encoder" in message and "output_folder" in message


def test_a_damaged_checkpoint_is_named(overrides, tmp_path):
    runs.run("librispeech", runs.arguments(**overrides()))
    (path,) = tmp_path.glob("run/checkpoints/*/connector.ckpt")
    path.write_bytes(path.read_bytes()[:100])
    message = error(overrides())
    assert str(path.parent) in message and "damaged" in message
