"""Training speech at other speeds: more of it, as if by other speakers, cut alike."""

from types import SimpleNamespace

import pytest
import torch

from ssr_plugin import build
from ssr_plugin.data.audio import read_audio, read_row
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.training.data_pipeline import make_splits
from ssr_plugin.training.speed_perturbation import add_speeds

SPEEDS = [0.8, 1.0, 1.25]


@pytest.fixture
def splits(tmp_path, write_audio, tiny_encoder_folder, tiny_llm_folder):
    """``splits(**overrides)``: of a corpus of two utterances in each split."""
    paths = {}
    for split in ("train", "valid", "test"):
        rows = []
        for i in (1, 2):
            wav = write_audio(tmp_path / f"{split}-{i}.wav", seconds=i)
            rows.append((f"{split}-{i}", i, wav, "anna", "the cat sat"))
        paths[split] = tmp_path / f"{split}.csv"
        write_manifest(paths[split], rows)
    manifests = SimpleNamespace(
        train=paths["train"],
        valid=paths["valid"],
        tests={"test": paths["test"]},
        skipped={},
    )
    encoder, llm = SpeechEncoder(tiny_encoder_folder), TextLLM(tiny_llm_folder)

    def make(**overrides):
        hparams = {
            "encoder": encoder,
            "segmenters": build.segmenters("forced", encoder, llm, {}),
            "aligner": "even",
            "aligner_options": {},
            "cache_folder": tmp_path / "cache",
            "cache_features": True,
            "cache_dtype": "float16",
            "resample": True,
            "max_skipped_share": 0.0,
            "speed_perturbation": SPEEDS,
            **overrides,
        }
        return make_splits(hparams, {"device": "cpu"}, manifests)

    return make


def test_make_splits_perturbs_the_speed_of_training_speech_alone(splits):
    ids = {name: set(split.segments) for name, split in splits().items()}
    assert ids == {
        "train": {
            *("train-1", "sp0.8-train-1", "sp1.25-train-1"),
            *("train-2", "sp0.8-train-2", "sp1.25-train-2"),
        },
        "valid": {"valid-1", "valid-2"},
        "test": {"test-1", "test-2"},
    }


def test_speed_perturbation_keeps_tokens_and_scales_boundaries(splits):
    train = splits()["train"]
    original, slow = train.segments["train-2"], train.segments["sp0.8-train-2"]
    assert slow.tokens.tolist() == original.tokens.tolist()
    scaled = torch.as_tensor(original.boundaries[:-1]) / 0.8
    assert (torch.as_tensor(slow.boundaries[:-1]) - scaled).abs().max() <= 1
    (example,) = (x for x in train.dataset if x["id"] == "sp0.8-train-2")
    assert len(example["input"]) == pytest.approx(2 * 50 / 0.8, abs=2)
    assert original.boundaries[-1] < 100 < slow.boundaries[-1] < len(example["input"])


def test_frames_at_other_speeds_are_the_same_cached_or_not(splits, tiny_encoder_folder):
    encoder = SpeechEncoder(tiny_encoder_folder)
    cached = {x["id"]: x["input"] for x in splits()["train"].dataset}
    audio = {x["id"]: x["input"] for x in splits(cache_features=False)["train"].dataset}
    assert cached.keys() == audio.keys() and len(cached) == 6
    for name, wav in audio.items():
        frames = encoder(wav[None], torch.tensor([len(wav)]))[0][0]
        # As they are stored: in half precision.
        stored = cached[name].float()
        torch.testing.assert_close(frames, stored, atol=1e-2, rtol=1e-2)


def test_one_feature_cache_serves_any_choice_of_speeds(splits, monkeypatch):
    splits(speed_perturbation=[1.0, 1.25])
    encoded = []
    forward = SpeechEncoder.forward

    def count(self, wavs, lengths):
        encoded.extend(lengths.tolist())
        return forward(self, wavs, lengths)

    monkeypatch.setattr(SpeechEncoder, "forward", count)
    splits(speed_perturbation=SPEEDS)
    assert sorted(encoded) == [20000, 40000]


def test_read_row_plays_faster_speech_shorter_and_higher(tmp_path, write_audio):
    path = write_audio(tmp_path / "tone.wav", seconds=1)
    row = {"wav": path, "speed": 1.25}
    original, fast = read_audio(path, 16000), read_row(row, 16000)
    assert len(fast) == 12800

    def pitch(wav):
        return torch.fft.rfft(wav).abs().argmax().item() / len(wav)

    assert pitch(fast) == pytest.approx(1.25 * pitch(original), rel=0.02)


@pytest.mark.parametrize("speeds", [[], [1.0, 1.0], [0.0, 1.0], [-1.0]])
def test_add_speeds_refuses_no_speed_repeated_speeds_and_speeds_not_above_0(speeds):
    with pytest.raises(ValueError, match="speed_perturbation: .* above 0"):
        add_speeds({}, {}, speeds)
