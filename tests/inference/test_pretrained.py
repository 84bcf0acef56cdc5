"""A SpeechLM on disk and on the hub: what is kept, what is refused, nothing runs."""

import json
import os
import pathlib
import pickle
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssr_plugin import SpeechLM, build, hub
from ssr_plugin.inference.model_card import model_card, write_card
from ssr_plugin.inference.pretrained import read_settings
from ssr_plugin.segmenters.base import TrainableSegmenter

RNG = np.random.default_rng(0)
WAV = (0.1 * RNG.standard_normal(32000).astype("float32"), 16000)


@pytest.fixture
def folder(tiny_speech_lm_folder, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(tiny_speech_lm_folder, tmp_path / "model")


def spoil(folder, *keys, value):
    """Sets a value of ``speech_lm.json``."""
    path = folder / "speech_lm.json"
    settings = json.loads(path.read_text())
    place = settings
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(settings))


# --- Round trips -------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(folder, tmp_path):
    lm = SpeechLM.from_pretrained(folder)
    lm.metrics = {"test": {"segments": "forced", "token_accuracy": 50.0, "nll": None}}
    lm.save_pretrained(tmp_path / "again")
    again = SpeechLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again.embed(WAV).vectors, lm.embed(WAV).vectors)
    assert again.settings == lm.settings and again.metrics == lm.metrics
    assert read_settings(tmp_path / "again") == read_settings(folder)


def test_only_what_was_trained_is_kept_and_as_safetensors_or_json(folder):
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {"speech_lm.json", "connector.safetensors", "README.md"}
    lm = SpeechLM.from_pretrained(folder)
    kept = set(load_file(folder / "connector.safetensors"))
    assert kept == set(lm.connector.state_dict())


def test_a_trained_segmenter_is_kept_too(folder, tmp_path, monkeypatch):
    lm = SpeechLM.from_pretrained(folder)
    options = {"width": 8, "num_layers": 1, "num_heads": 2}
    trained = build.segmenter("boundary", lm.encoder, lm.llm, {"boundary": options})
    assert isinstance(trained, TrainableSegmenter)
    settings = {**lm.settings, "segmenter": {"name": "boundary", "options": options}}
    segmenters = {"forced": lm.segmenters["forced"], "predicted": trained}
    lm = SpeechLM(lm.encoder, lm.llm, lm.connector, segmenters, settings)
    lm.save_pretrained(tmp_path / "again")
    asked = []

    def count(name, original):
        def counted(source):
            asked.append(source)
            return original(source)

        monkeypatch.setattr(hub, name, counted)

    for name in ("fingerprint", "whole_fingerprint"):
        count(name, getattr(hub, name))
    again = SpeechLM.from_pretrained(tmp_path / "again")
    assert again.embed(WAV).starts == lm.embed(WAV).starts
    # Each model's weights are looked at once, whoever asks.
    assert sorted(asked) == sorted([lm.encoder.source, lm.llm.source])


def test_speechbrains_way_of_loading_reads_no_yaml(folder):
    mark = folder.parent / "was_run"
    text = f"modules: !apply:os.mkdir [{mark}]\n"
    for name in ("hyperparams.yaml", "speech_lm.yaml"):
        (folder / name).write_text(text)
    lm = SpeechLM.from_hparams(folder, savedir=None, run_opts={"device": "cpu"})
    assert isinstance(lm.transcribe(WAV), str)
    assert not mark.exists()


def test_the_type_of_the_llm_is_the_users(folder):
    lm = SpeechLM.from_pretrained(folder, dtype="bfloat16", device="cpu")
    assert lm.model.dtype == torch.bfloat16
    assert isinstance(lm.generate([WAV, "a"], max_new_tokens=2), str)


# --- Backbones ---------------------------------------------------------------------


def test_backbones_that_moved_are_told_where_they_are(
    folder, tiny_llm_folder, tiny_encoder_folder, tmp_path
):
    spoil(folder, "llm", "source", value=str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="give llm_source"):
        SpeechLM.from_pretrained(folder)
    lm = SpeechLM.from_pretrained(
        folder, llm_source=tiny_llm_folder, encoder_source=tiny_encoder_folder
    )
    assert len(lm.embed(WAV)) > 0


@pytest.mark.parametrize("kind", ["encoder", "llm"])
def test_other_backbones_than_those_trained_with_are_refused(
    folder, tiny_encoder_folder, tiny_llm_folder, tmp_path, kind
):
    source = {"encoder": tiny_encoder_folder, "llm": tiny_llm_folder}[kind]
    other = shutil.copytree(source, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file(
        {k: v + 0.1 for k, v in weights.items()},
        other / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=f"another {kind} than"):
        SpeechLM.from_pretrained(folder, **{f"{kind}_source": other})


# --- Hostile and damaged -----------------------------------------------------------


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (self.mark.mkdir, ())


def swap_tokens(folder):
    path = folder / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace('"the"', '"x"').replace('"cat"', '"the"'))


def add_adapters(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def change_a_corner(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    size = len(content)
    # Between two of the samples that an earlier version took.
    at = next(
        i
        for i in range(size // 2, size)
        if not any(
            s <= i < s + hub._SAMPLE_BYTES
            for s in ((size - hub._SAMPLE_BYTES) * k // 63 for k in range(64))
        )
    )
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("change", [swap_tokens, add_adapters, change_a_corner])
def test_an_llm_that_differs_in_anything_is_another(
    tiny_llm_folder, tmp_path, change, monkeypatch
):
    monkeypatch.setattr(hub, "_SAMPLE_BYTES", 16)
    copy = shutil.copytree(tiny_llm_folder, tmp_path / "llm")
    mark = hub.whole_fingerprint(copy)
    assert hub.matches(mark, copy) and hub.matches(hub.fingerprint(copy), copy)
    change(copy)
    assert not hub.matches(mark, copy)


def test_a_model_that_an_earlier_version_marked_is_known(folder):
    settings = json.loads((folder / "speech_lm.json").read_text())
    lm = SpeechLM.from_pretrained(folder)
    assert settings["llm"]["weights"].startswith("2-")
    spoil(folder, "llm", "weights", value=hub.fingerprint(lm.llm.source))
    SpeechLM.from_pretrained(folder)
    spoil(folder, "llm", "weights", value="0123456789abcdef")
    with pytest.raises(ValueError, match="trained with another llm than"):
        SpeechLM.from_pretrained(folder)


def test_a_pickle_in_place_of_the_weights_is_not_opened(folder):
    mark = folder.parent / "was_run"
    content = pickle.dumps(Bomb(mark))
    for name in ("connector.bin", "connector.ckpt", "pytorch_model.bin"):
        (folder / name).write_bytes(content)
    (folder / "connector.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"connector\.safetensors"):
        SpeechLM.from_pretrained(folder)
    (folder / "connector.safetensors").unlink()
    with pytest.raises(ValueError, match=r"connector\.safetensors"):
        SpeechLM.from_pretrained(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["os:system", "builtins.exec", "../../connector", "torch.nn:Identity"]
)
def test_parts_that_nobody_registered_are_refused(folder, name):
    spoil(folder, "connector", "name", value=name)
    with pytest.raises(ValueError, match=r"unknown connector .* known: cif"):
        SpeechLM.from_pretrained(folder)
    spoil(folder, "connector", "name", value="ssr")
    spoil(folder, "segmenter", value={"name": name, "options": {}})
    with pytest.raises(ValueError, match=r"unknown segmenter .* known: asr, boundary"):
        SpeechLM.from_pretrained(folder)


def test_a_segmenter_is_read_from_no_other_folder(folder, tmp_path):
    spoil(folder, "segmenter", value={"name": str(tmp_path), "options": {}})
    with pytest.raises(ValueError, match="unknown segmenter"):
        SpeechLM.from_pretrained(folder)
    spoil(folder, "segmenter", value={"name": "boundary", "options": {}})
    with pytest.raises(ValueError, match="holds no trained segmenter"):
        SpeechLM.from_pretrained(folder)


def test_a_backbone_that_brings_its_own_code_is_not_run(
    folder, tiny_llm_folder, tmp_path
):
    evil, mark = tmp_path / "evil", tmp_path / "was_run"
    shutil.copytree(tiny_llm_folder, evil)
    config = json.loads((evil / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    }
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    spoil(folder, "llm", "source", value=str(evil))
    with pytest.raises(ValueError, match="the llm of"):
        SpeechLM.from_pretrained(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("format",), "1"),
        (("format",), True),
        (("encoder",), None),
        (("encoder", "layer"), "-1"),
        (("llm", "source"), 3),
        (("connector",), []),
        (("connector", "options"), None),
        (("segmenter",), "fixed"),
        (("lm_fusion", "steps"), 1e9),
    ],
)
def test_settings_of_another_kind_are_named(folder, keys, value):
    spoil(folder, *keys, value=value)
    with pytest.raises(ValueError, match=rf"speech_lm\.json is damaged: '{keys[0]}"):
        SpeechLM.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_settings_that_are_no_settings_are_refused(folder, text):
    (folder / "speech_lm.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        SpeechLM.from_pretrained(folder)


def test_options_that_the_part_does_not_know_are_refused(folder):
    spoil(folder, "connector", "options", value={"__class__": "os"})
    with pytest.raises(ValueError, match="do not belong together"):
        SpeechLM.from_pretrained(folder)


def test_weights_cut_short_or_of_another_shape_are_refused(folder):
    path = folder / "connector.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        SpeechLM.from_pretrained(folder)
    path.write_bytes(whole)
    spoil(folder, "connector", "options", "num_layers", value=2)
    with pytest.raises(ValueError, match="do not belong together"):
        SpeechLM.from_pretrained(folder)


@pytest.mark.parametrize(
    "keys, value, message",
    [
        (
            ["lm_fusion", "steps"],
            10**9,
            "steps' is 1000000000, not 0 to 100",
        ),
        (["connector", "options", "num_layers"], 10**6, "num_layers is 1000000, and"),
        (["connector", "options", "num_pooling_heads"], 10**9, "num_pooling_heads is"),
        (["connector", "options", "stack"], 10**9, "stack is 1000000000, and the wei"),
    ],
)
def test_sizes_beyond_the_weights_are_refused_before_memory_is_taken(
    folder, keys, value, message
):
    spoil(folder, *keys, value=value)
    with pytest.raises(ValueError, match=message):
        SpeechLM.from_pretrained(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
@pytest.mark.parametrize("name", ["speech_lm.json", "segmenter/segmenter.json"])
def test_a_pipe_in_place_of_a_models_file_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match="json is no regular file: move it away"):
        SpeechLM.from_pretrained(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_in_a_backbones_folder_is_refused(tiny_llm_folder, tmp_path):
    copy = shutil.copytree(tiny_llm_folder, tmp_path / "llm")
    (copy / "model.safetensors").unlink()
    os.mkfifo(copy / "model.safetensors")
    with pytest.raises(ValueError, match="safetensors is no regular file"):
        hub.load_config(copy)


def test_a_later_format_asks_for_a_later_version(folder):
    spoil(folder, "format", value=99)
    with pytest.raises(ValueError, match="install a later ssr_plugin"):
        SpeechLM.from_pretrained(folder)


@pytest.mark.parametrize("source", ["/no/such/folder", "no/such/folder/here", "../x"])
def test_where_nothing_is_nothing_is_fetched(source):
    with pytest.raises(ValueError, match="there is no folder"):
        SpeechLM.from_pretrained(source)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match=r"hparams/distill\.yaml"):
        SpeechLM.from_pretrained(tmp_path)


# --- The hub -----------------------------------------------------------------------


def put_in_cache(cache, repo, commit, folder, revision):
    """A model in the layout of the hub's cache, as if it had been fetched."""
    root = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / revision).write_text(commit)


def test_a_revision_of_the_hub_is_loaded_from_its_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    put_in_cache(tmp_path, "us/model", "a" * 40, folder, "v1")
    options = {"cache_dir": tmp_path}
    lm = SpeechLM.from_pretrained("us/model", revision="v1", **options)
    assert len(lm.embed(WAV)) > 0
    assert len(SpeechLM.from_pretrained("us/model@v1", **options).embed(WAV)) > 0
    for place in ({"source": "us/model", "revision": "v2"}, {"source": "us/model@v2"}):
        with pytest.raises(ValueError, match="hub"):
            SpeechLM.from_pretrained(**place, **options)


def test_nothing_that_could_run_is_fetched(folder, monkeypatch):
    asked = {}

    def fetch(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    SpeechLM.from_pretrained("us/model", revision="v1", token="t")
    assert asked["revision"] == "v1" and asked["token"] == "t"
    kinds = {pattern.rpartition(".")[2] for pattern in asked["allow_patterns"]}
    assert kinds <= {"json", "safetensors", "md", "model"}


def test_what_is_published_is_what_is_saved(folder, monkeypatch):
    done = {}

    class Api:
        def __init__(self, token=None):
            done["token"] = token

        def create_repo(self, repo_id, private=None, exist_ok=False):
            done["created"] = (repo_id, private, exist_ok)

        def upload_folder(self, repo_id, folder_path, commit_message):
            done["settings"] = read_settings(folder_path)
            done["text"] = (pathlib.Path(folder_path) / "README.md").read_text()
            done["card"] = huggingface_hub.ModelCard.load(
                f"{folder_path}/README.md"
            ).data.to_dict()

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    lm = SpeechLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="give encoder_source"):
        lm.push_to_hub("us/model")
    sources = {"encoder_source": "us/encoder", "llm_source": "us/llm"}
    lm.push_to_hub("us/model", private=True, token="t", **sources)
    assert done["created"] == ("us/model", True, True)
    assert done["settings"]["llm"]["source"] == "us/llm"
    assert done["card"]["base_model"] == ["us/llm", "us/encoder"]
    assert done["card"]["library_name"] == "ssr_plugin"
    assert 'SpeechLM.from_pretrained("us/model")' in done["text"]


def test_the_card_tells_forced_from_predicted(folder):
    metrics = {
        "dev": {
            "segments": "forced",
            "retrieval_wer": 12.0,
            "nll": {"gain_kept": 90.0},
        },
        "dev predicted": {"segments": "predicted", "retrieval_wer": 20.0, "nll": None},
        "train": {"epochs": 3},
    }
    card = model_card(read_settings(folder), metrics)
    assert "| dev | forced | 12.0 | 90.0 |" in card
    assert "| dev | predicted | 20.0 | - |" in card
    assert "epochs" not in card


METRICS = {
    "dev": {"segments": "forced", "retrieval_wer": 12.0, "token_accuracy": 88.126},
    "dev predicted": {
        "segments": "predicted",
        "retrieval_wer": 120.0,
        "lm_fusion": {"retrieval_wer": 100.0},
    },
    "test": {"segments": "forced", "prompted_wer": 25.3, "nll": {"gain_kept": -3.5}},
    "text": {"perplexity": 41.6},
    "train": {"epochs": 3},
}


def test_the_hub_reads_the_figures_off_the_card(folder, tmp_path):
    settings = {**read_settings(folder), "data": "My Corpus (v2)"}
    write_card(tmp_path / "README.md", settings, METRICS, name="us/model")
    (index,) = huggingface_hub.metadata_load(tmp_path / "README.md")["model-index"]
    assert index["name"] == "us/model"
    results = huggingface_hub.ModelCard.load(tmp_path / "README.md").data.eval_results
    found = {
        (x.dataset_split, x.metric_type, x.metric_name): x.metric_value for x in results
    }
    assert found == {
        ("dev", "wer", "WER of the reading, forced segments"): 12.0,
        ("dev", "accuracy", "Token accuracy, forced segments"): 88.13,
        ("dev", "wer", "WER of the reading, predicted segments"): 120.0,
        ("dev", "wer", "WER with LM fusion, predicted segments"): 100.0,
        ("test", "wer", "Prompted WER, forced segments"): 25.3,
        ("test", "gain_kept", "Of the text's gain kept, forced segments"): -3.5,
    }
    assert {x.dataset_name for x in results} == {"My Corpus (v2)"}
    assert {x.dataset_type for x in results} == {"my-corpus-v2"}
    tasks = {x.task_type for x in results if x.metric_type == "wer"}
    assert tasks == {"automatic-speech-recognition"}
    predicted = [x for x in results if "predicted" in x.metric_name]
    assert {x.metric_args["segments"] for x in predicted} == {"predicted"}


def test_the_cards_metadata_are_the_same_when_read_and_written_again(folder):
    card = huggingface_hub.ModelCard(model_card(read_settings(folder), METRICS))
    again = huggingface_hub.ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()
    assert again.data.eval_results == card.data.eval_results and again.text == card.text


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        {"train": {"epochs": 3}},
        {"dev": {"segments": "forced", "retrieval_wer": None}},
        {"dev": {"segments": "forced", "retrieval_wer": float("nan")}},
    ],
)
def test_a_card_without_figures_claims_no_results(folder, metrics):
    text = model_card(read_settings(folder), metrics)
    assert "model-index" not in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_a_card_names_base_models_only_by_ids_of_the_hub(folder):
    settings = read_settings(folder)
    for source, named in (
        ("openai/whisper-base@e37978b", ["openai/whisper-base"]),
        ("recipes/sample/llm", None),
        ("C:\\models\\llm", None),
    ):
        settings["llm"] = settings["encoder"] = {"source": source}
        data = huggingface_hub.ModelCard(model_card(settings)).data
        assert data.base_model == (named and named * 2)
