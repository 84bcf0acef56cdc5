"""What stage 2 starts from: found, compared with this run's data, told apart."""

import logging
import shutil

import numpy as np
import pytest
import torch

from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.data.prepare import Manifests
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.llm.packing import can_pack, make_pack
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.training.checkpoints import AtomicCheckpointer
from ssr_plugin.training.stage1_model import (
    compare_data,
    load_stage1,
    same_models,
    tune,
)


@pytest.fixture
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture
def write_manifests():
    """``write_manifests(folder, **wavs)``: manifests of files, by split."""

    def write(folder, **wavs):
        folder.mkdir(exist_ok=True)
        for split, names in wavs.items():
            rows = [(name, 1.0, f"/{name}.wav", "a", "the cat") for name in names]
            write_manifest(folder / f"{split}.csv", rows)
        paths = {split: folder / f"{split}.csv" for split in wavs}
        return Manifests(
            paths.pop("train", None), paths.pop("valid", None), tests=paths
        )

    return write


def test_load_stage1_of_a_missing_folder_says_which_command_makes_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    # It could be a hub id, but the folder "results" is there.
    with pytest.raises(ValueError, match="stage1: there is no folder 'results/distill"):
        load_stage1("results/distill")
    with pytest.raises(ValueError, match="made by the same command with hparams/dist"):
        load_stage1(tmp_path)


def test_load_stage1_names_a_damaged_folder(tiny_speech_lm_folder, tmp_path):
    folder = shutil.copytree(tiny_speech_lm_folder, tmp_path / "stage1")
    (folder / "connector.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"stage1: .*{folder}"):
        load_stage1(folder)


def test_load_stage1_refuses_an_llm_that_is_tuned_already(
    tiny_speech_lm_folder, tmp_path
):
    lm = load_stage1(tiny_speech_lm_folder)
    lm.tuned = TunedLLM(lm.llm)
    lm.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="stage1: .* is tuned already"):
        load_stage1(tmp_path)


def messages(caplog, source, manifests):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        compare_data(source, manifests)
    return [record.message for record in caplog.records]


def test_compare_data_warns_of_other_training_data_and_of_tested_training_data(
    write_manifests, tmp_path, caplog
):
    write_manifests(tmp_path / "manifests", train="abc", valid="de")
    mine = tmp_path / "mine"
    manifests = write_manifests(mine, train="abc", valid="de", test="fg")
    assert messages(caplog, tmp_path, manifests) == []
    # Training on some of the same data is fine; testing on training data is not.
    manifests = write_manifests(mine, train="ax", valid="de", test="fg")
    assert messages(caplog, tmp_path, manifests) == []
    manifests = write_manifests(mine, train="xyz", valid="de", test="fg")
    (message,) = messages(caplog, tmp_path, manifests)
    assert "learnt from other data than this run's" in message
    manifests = write_manifests(mine, train="a", valid="cd", test="fg")
    (message,) = messages(caplog, tmp_path, manifests)
    assert "learnt from 1 of the 2 utterances of valid" in message
    # A published model has no manifests.
    assert messages(caplog, tmp_path / "elsewhere", manifests) == []


def settings(**others):
    """Keys of hparams/finetune.yaml."""
    return {
        "tuning": "lora",
        "tuning_options": {"lora": {"r": 2}, "full": {}},
        "gradient_checkpointing": False,
        "quantization": None,
        "seed": 1,
        **others,
    }


def test_the_first_weights_of_tuning_depend_on_the_seed_alone(tiny_llm_folder):
    weights = []
    for seed in (1, 1, 2):
        torch.rand(len(weights))
        tuned = tune(TextLLM(tiny_llm_folder), settings(seed=seed))
        weights.append(torch.cat([x.flatten() for x in tuned.state_dict().values()]))
    first, same_seed, other_seed = weights
    assert torch.equal(first, same_seed) and not torch.equal(first, other_seed)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_gradient_checkpointing_gives_the_same_gradients(tiny_llm_folder, kind):
    gradients = []
    for saves in (False, True):
        options = settings(tuning=kind, gradient_checkpointing=saves)
        tuned = tune(TextLLM(tiny_llm_folder), options).train()
        ids = np.array([4, 5, 6, 7])
        pack = make_pack([ids], [ids], can_pack(tuned.model))
        layers, calls = tuned.model.get_decoder().layers, []
        layers[0].self_attn.register_forward_hook(lambda *_, c=calls: c.append(1))
        states = tuned(pack.embed(tuned), pack.layout, pack.wanted, pack.packed)
        next_token_loss(tuned.model, states, pack.targets).backward()
        # The layers run once more in the backward pass.
        assert len(calls) == 1 + saves
        gradients.append([p.grad for p in tuned.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    "others, message",
    [
        ({"tuning": "qlora"}, "tuning is 'qlora'; it may be none, lora, full"),
        ({"tuning_options": {"lora": {"rank": 2}}}, "tuning_options: .*'rank'"),
        (
            {"tuning_options": {"lora": {"target_modules": ["w_q"]}}},
            "tuning_options: .* no module is named w_q .*q_proj",
        ),
    ],
)
def test_tune_names_bad_settings_by_their_keys(llm, others, message):
    with pytest.raises(ValueError, match=message):
        tune(llm, settings(**others))


def test_a_checkpoint_of_another_connector_is_refused(tiny_speech_lm_folder, tmp_path):
    lm = load_stage1(tiny_speech_lm_folder)
    AtomicCheckpointer(tmp_path, {"models": same_models(lm)}).save_checkpoint()
    checkpointer = AtomicCheckpointer(tmp_path, {"models": same_models(lm)})
    checkpointer.recover_if_possible()
    with torch.no_grad():
        next(lm.connector.parameters()).add_(1)
    checkpointer = AtomicCheckpointer(tmp_path, {"models": same_models(lm)})
    with pytest.raises(ValueError, match="it was made with another connector"):
        checkpointer.recover_if_possible()
