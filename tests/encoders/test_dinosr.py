"""DinoSR's checkpoint, converted: the same frames in every layer, and no other file."""

import argparse

import pytest
import torch
import torch.nn.functional as F

from ssr_plugin.cli import main
from ssr_plugin.encoders.dinosr import build_model, convert_dinosr
from ssr_plugin.encoders.encoder import SpeechEncoder

# Widths of convolutions, layers and inner layers; heads; groups of the positional
# convolutions.
CHANNELS, WIDTH, INNER, HEADS, GROUPS = 8, 24, 40, 3, 4
LAYERS, DEPTH, KERNEL = 3, 5, 5
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
SETTINGS = {
    "_name": "dinosr",
    "extractor_mode": "layer_norm",
    "encoder_attention_heads": HEADS,
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(8,2,2)]",
    "layer_norm_first": False,
    "pos_conv_depth": DEPTH,
}


@pytest.fixture(scope="module")
def weights():
    """A small model in the layout that the published one has."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, scale=0.3, mean=0.0):
        return mean + scale * torch.randn(shape, generator=generator)

    def linear(name, rows, columns):
        found = {f"{name}.weight": draw(rows, columns, scale=columns**-0.5)}
        return found | {f"{name}.bias": draw(rows)}

    def norm(name, size):
        return {f"{name}.weight": draw(size, mean=1.0), f"{name}.bias": draw(size)}

    found = {"mask_emb": draw(WIDTH)}
    for i, kernel in enumerate(KERNELS):
        rows = CHANNELS if i else 1
        prefix = f"feature_extractor.conv_layers.{i}"
        found[f"{prefix}.0.weight"] = draw(CHANNELS, rows, kernel)
        found |= norm(f"{prefix}.2.1", CHANNELS)
    found |= norm("layer_norm", CHANNELS)
    found |= linear("post_extract_proj", WIDTH, CHANNELS)
    for i in range(DEPTH):
        name = f"encoder.pos_conv.{i}.0"
        found[f"{name}.weight"] = draw(WIDTH, WIDTH // GROUPS, KERNEL)
        found[f"{name}.bias"] = draw(WIDTH)
    found |= norm("encoder.layer_norm", WIDTH)
    for i in range(LAYERS):
        prefix = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(f"{prefix}.self_attn.{part}", WIDTH, WIDTH)
        found |= norm(f"{prefix}.self_attn_layer_norm", WIDTH)
        found |= linear(f"{prefix}.fc1", INNER, WIDTH)
        found |= linear(f"{prefix}.fc2", WIDTH, INNER)
        found |= norm(f"{prefix}.final_layer_norm", WIDTH)
    # Of the pretraining alone.
    found |= linear("heads.0", 16, WIDTH)
    found["_ema"] = {"layers.0.fc1.bias": draw(INNER)}
    found["_codebook0"], found["_codebook_cnts0"] = draw(16, WIDTH), torch.ones(16)
    return found


def published_forward(weights, wav):
    """What each layer gives, [T, D], as the published code computes it unmasked."""

    def norm(x, name, size):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.layer_norm(x, (size,), weight, bias)

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = wav[None, None]
    for i, stride in enumerate(STRIDES):
        prefix = f"feature_extractor.conv_layers.{i}"
        x = F.conv1d(x, weights[f"{prefix}.0.weight"], stride=stride)
        x = F.gelu(norm(x.transpose(1, 2), f"{prefix}.2.1", CHANNELS).transpose(1, 2))
    x = norm(x.transpose(1, 2), "layer_norm", CHANNELS)
    x = linear(x, "post_extract_proj")
    position = x.transpose(1, 2)
    for i in range(DEPTH):
        name = f"encoder.pos_conv.{i}.0"
        position = F.conv1d(
            position,
            weights[f"{name}.weight"],
            weights[f"{name}.bias"],
            padding=KERNEL // 2,
            groups=GROUPS,
        )
        normed = F.layer_norm(position.transpose(1, 2), (WIDTH,))
        position = F.gelu(normed.transpose(1, 2))
    x = norm(x + position.transpose(1, 2), "encoder.layer_norm", WIDTH)[0]
    given = [x]
    size = WIDTH // HEADS
    for i in range(LAYERS):
        prefix = f"encoder.layers.{i}"
        query, key, value = (
            linear(x, f"{prefix}.self_attn.{part}_proj").view(-1, HEADS, size)
            for part in "qkv"
        )
        scores = torch.einsum("qhd,khd->hqk", query * size**-0.5, key)
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)
        mixed = linear(mixed.flatten(1), f"{prefix}.self_attn.out_proj")
        x = norm(x + mixed, f"{prefix}.self_attn_layer_norm", WIDTH)
        inner = F.gelu(linear(x, f"{prefix}.fc1"))
        x = x + linear(inner, f"{prefix}.fc2")
        x = norm(x, f"{prefix}.final_layer_norm", WIDTH)
        given.append(x)
    return given


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    """The folder made of a checkpoint that holds all that fairseq writes."""
    folder = tmp_path_factory.mktemp("dinosr")
    content = {
        "args": None,
        "cfg": {"model": SETTINGS, "task": {"normalize": True}},
        "model": weights,
        "extra_state": {"epoch": 1},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    torch.save(content, folder / "checkpoint.pt")
    words = ["convert", str(folder / "checkpoint.pt"), str(folder / "encoder")]
    assert main(words) == 0
    return folder / "encoder"


@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_every_layer_gives_what_the_published_code_gives(layer, folder, weights):
    wav = torch.randn(4000, generator=torch.Generator().manual_seed(1)) + 0.2
    encoder = SpeechEncoder(folder, layer=layer)
    frames, lengths = encoder(wav[None], torch.tensor([len(wav)]))
    # The published task normalises: mean 0, variance 1.
    expected = published_forward(weights, F.layer_norm(wav, wav.shape))[layer]
    assert lengths.tolist() == [len(expected)] and encoder.frame_rate == 50.0
    torch.testing.assert_close(frames[0], expected, atol=2e-5, rtol=1e-4)


def test_the_folder_holds_no_pickle(folder):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]


def refused(weights, settings=SETTINGS):
    with pytest.raises(ValueError) as error:
        build_model(weights, settings)
    return str(error.value)


def test_another_network_is_refused_with_what_tells_it(weights):
    less = {k: x for k, x in weights.items() if k != "encoder.layers.1.fc1.bias"}
    assert "lacks encoder.layers.1.feed_forward.intermediate" in refused(less)
    more = weights | {"quantizer.vars": torch.zeros(2)}
    assert "1 unknown entries, such as quantizer.vars" in refused(more)
    # Of one layer more than there are norms for.
    more = weights | {"encoder.layers.7.fc1.bias": torch.zeros(INNER)}
    assert "has no place for encoder.layers.7.fc1.bias" in refused(more)
    other = weights | {"encoder.layers.1.fc1.bias": torch.zeros(INNER + 1)}
    assert f"has shape [{INNER + 1}], not [{INNER}]" in refused(other)
    # wav2vec 2.0 has one positional convolution, with its weight in two parts.
    other = {k: x for k, x in weights.items() if ".pos_conv." not in k}
    other["encoder.pos_conv.0.weight_g"] = torch.zeros(1, 1, KERNEL)
    assert "such as encoder.pos_conv.0.weight_g" in refused(other)
    tuned = {f"w2v_encoder.{name}": x for name, x in weights.items()}
    assert "it is fine-tuned" in refused(tuned)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer_norm_first": True}, "layer_norm_first is True; DinoSR's is False"),
        ({"extractor_mode": "default"}, "extractor_mode is 'default'"),
        ({"conv_feature_layers": "exit()"}, "cannot be read: 'exit()'"),
        ({"conv_feature_layers": "[(8, 10, 5)]"}, "are not those of its weights"),
    ],
)
def test_settings_that_are_not_dinosrs_are_refused(weights, change, message):
    assert message in refused(weights, SETTINGS | change)


def test_without_settings_strides_are_those_of_wav2vec_2(weights):
    config = build_model(weights).config
    assert tuple(config.conv_stride) == STRIDES
    assert config.num_attention_heads == 1  # 64 wide, if there is room
    key = "feature_extractor.conv_layers.0.0.weight"
    other = weights | {key: torch.zeros(CHANNELS, 1, 7)}
    assert "no settings (cfg) that tell their strides" in refused(other, None)


class Dangerous:
    """What a pickle may hold."""

    def __reduce__(self):
        return (print, ("ran",))


def test_a_file_that_holds_code_or_no_checkpoint_is_not_loaded(
    weights, tmp_path, capsys
):
    path = tmp_path / "x.pt"
    torch.save({"model": weights, "cfg": Dangerous()}, path)
    with pytest.raises(ValueError, match="holds more than numbers and settings"):
        convert_dinosr(path, tmp_path / "out")
    assert "ran" not in capsys.readouterr().out
    torch.save({"state_dict": weights}, path)
    with pytest.raises(ValueError, match="no checkpoint of fairseq: it has no 'model'"):
        convert_dinosr(path, tmp_path / "out")
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="x.pt is (damaged|no checkpoint)"):
        convert_dinosr(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_of_an_old_checkpoint_are_read(weights, tmp_path):
    content = {"model": weights, "args": argparse.Namespace(**SETTINGS), "cfg": None}
    torch.save(content, tmp_path / "x.pt")
    model = convert_dinosr(tmp_path / "x.pt", tmp_path / "out")
    assert model.config.num_attention_heads == HEADS
