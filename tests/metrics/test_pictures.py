"""Pictures are drawn whole, whatever the length of what they show."""

import math

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import (
    _curves,
    centred_cosines,
    draw_learning_curves,
    draw_segmentations,
    draw_similarity,
    draw_utterance,
    learning_curves,
    spread_places,
    token_labels,
)

pytestmark = pytest.mark.filterwarnings("error")


def utterance(seconds, count, sample_rate=8000):
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(0, seconds, count + 1))
    audio = 0.1 * rng.standard_normal(round(seconds * sample_rate))
    return audio, sample_rate, edges[:-1], edges[1:], [f" w{i}" for i in range(count)]


def pixels(path):
    image = matplotlib.image.imread(path)
    assert np.isfinite(image).all()
    assert image[..., :3].std() > 0.01, "an empty page"
    return image


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.05, 1), (1.0, 4), (13.0, 60), (0.0, 0), (0.5, 0)]
)
def test_utterances_of_any_length_are_drawn(tmp_path, seconds, count):
    path = tmp_path / "utterance.png"
    audio, rate, starts, ends, labels = utterance(seconds, count)
    draw_utterance(path, audio, rate, starts, ends, labels, labels, title="utt-1")
    assert pixels(path).size > 100_000
    assert [file.name for file in tmp_path.iterdir()] == ["utterance.png"]


def test_a_long_utterance_is_broken_into_rows_and_cut_at_the_limit(tmp_path):
    heights = []
    for seconds in (5, 11, 30):
        draw_utterance(
            tmp_path / "a.png", *utterance(seconds, 5), max_seconds=18, title="a"
        )
        heights.append(pixels(tmp_path / "a.png").shape[0])
    one, two, three = heights
    assert two - one == pytest.approx(three - two, abs=2)


def test_a_wrong_reading_is_red_and_a_right_one_is_not(tmp_path):
    def red(reading):
        draw_utterance(tmp_path / "a.png", *utterance(2, 3), reading=reading)
        image = pixels(tmp_path / "a.png")
        return int(((image[..., 0] > 0.7) & (image[..., 2] < 0.25)).sum())

    right = red([" w0", " w1", " w2"])
    assert red([" w0", " xx", " w2"]) > right


def test_any_characters_may_stand_in_labels_and_titles(tmp_path):
    labels = ["$", " a_b^{", "\n", "語", "Ġthe", "x" * 100]
    audio, rate, starts, ends, _ = utterance(3.0, len(labels))
    draw_utterance(tmp_path / "a.png", audio, rate, starts, ends, labels, title="$1_")
    vectors = torch.rand(len(labels), 4)
    draw_similarity(tmp_path / "b.png", vectors, vectors, labels, title="$1_")
    pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")


def test_labels_keep_their_order_their_distance_and_the_bounds():
    places = np.array([0.1, 0.1, 0.11, 0.5, 0.99, 0.99])
    spread = spread_places(places, 0.1, 0.0, 1.0)
    assert np.diff(spread).min() >= 0.1 - 1e-9
    assert spread[0] >= 0.0
    assert spread[-1] <= 1.0
    assert spread[3] == 0.5
    crowded = spread_places(np.full(50, 0.5), 0.1, 0.0, 1.0)
    assert np.diff(crowded).min() > 0
    assert crowded[0] >= 0
    assert crowded[-1] <= 1


def test_vectors_that_equal_the_embeddings_give_a_bright_diagonal(tmp_path):
    table = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    labels = list("abcdef")
    for name, vectors in (("right", table), ("wrong", table.flip(0))):
        draw_similarity(tmp_path / f"{name}.png", vectors, table, labels)
    right, wrong = (pixels(tmp_path / f"{n}.png") for n in ("right", "wrong"))
    assert np.abs(right - wrong).max() > 0.5


def test_a_mean_that_all_embeddings_share_does_not_hide_the_diagonal():
    generator = torch.Generator().manual_seed(0)
    common = 5 * torch.randn(32, generator=generator)
    embeddings = torch.randn(12, 32, generator=generator) + common
    vectors = embeddings + 0.2 * torch.randn(12, 32, generator=generator)
    plain = torch.nn.functional.cosine_similarity(
        vectors[:, None], embeddings[None], dim=-1
    )
    off = ~torch.eye(12, dtype=torch.bool)
    assert plain[off].min() > 0.9, "without centring, all is bright"
    centred = centred_cosines(vectors, embeddings)
    assert centred.diagonal().min() > 0.9
    assert centred[off].mean().abs() < 0.15 and centred[off].max() < 0.6


def test_a_token_said_often_does_not_move_the_centre():
    embeddings = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    repeated = embeddings[[0, 1, 2, 3, 3, 3, 3]]
    once, often = (centred_cosines(x, x) for x in (embeddings, repeated))
    torch.testing.assert_close(often[:4, :4], once)


def test_of_one_token_the_cosine_is_plain():
    one = torch.tensor([[3.0, 4.0]])
    assert centred_cosines(one, one).item() == pytest.approx(1.0)


@pytest.mark.parametrize("count", [0, 1, 200])
def test_similarities_of_any_number_of_tokens_are_drawn(tmp_path, count):
    vectors = torch.randn(count, 8, requires_grad=True)
    draw_similarity(tmp_path / "a.png", vectors, vectors.half(), ["x"] * count)
    assert max(pixels(tmp_path / "a.png").shape) < 6000


@pytest.mark.parametrize("count", [0, 1, 40])
def test_curves_of_any_number_of_epochs_are_drawn(tmp_path, count):
    epochs = [
        {"epoch": i + 1, "loss": 2.0 / (i + 1), "train_loss": 1.0, "lr": 1e-3}
        for i in range(count)
    ]
    draw_learning_curves(tmp_path / "a.png", epochs)
    pixels(tmp_path / "a.png")


def test_a_figure_that_some_epochs_lack_has_a_panel_all_the_same(tmp_path):
    epochs = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "cosine": 0.5}]
    draw_learning_curves(tmp_path / "one.png", [{"epoch": 1, "loss": 2.0}])
    draw_learning_curves(tmp_path / "two.png", epochs)
    one, two = (pixels(tmp_path / f"{n}.png").shape[1] for n in ("one", "two"))
    assert two > one


def test_of_one_epoch_the_learning_rate_has_no_panel(tmp_path):
    epochs = [{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0}]
    draw_learning_curves(tmp_path / "without.png", epochs)
    epochs[1]["lr"] = 0.0
    draw_learning_curves(tmp_path / "one.png", epochs)
    draw_learning_curves(tmp_path / "two.png", [*epochs, {"epoch": 2, "lr": 0.0}])
    without, one, two = (
        pixels(tmp_path / f"{n}.png").shape for n in ("without", "one", "two")
    )
    assert without == one and two[1] > one[1]


def panels(epochs):
    """Title, unit, limits and note of each panel."""
    return {
        axes.get_title(): (
            axes.get_ylabel(),
            axes.get_ylim(),
            " ".join(text.get_text() for text in axes.texts),
        )
        for axes in learning_curves(epochs).axes
        if axes.get_title()
    }


def test_panels_are_titled_in_words_and_have_a_unit():
    epochs = [{"epoch": 1, "train_loss": 2.0, "loss": 1.0, "listening_loss": 3.0}]
    found = panels(epochs)
    assert list(found) == [
        "training loss",
        "validation loss",
        "loss of the task listening",
    ]
    assert found["loss of the task listening"][0] == "nats per token"
    assert all(unit for unit, _, _ in found.values())


def test_a_first_epoch_that_is_far_off_is_told_and_does_not_make_the_scale():
    values = [154.0, 3.0, 2.5, 2.2, 2.1]
    epochs = [{"epoch": i, "loss": x} for i, x in enumerate(values)]
    ((_, (low, high), note),) = panels(epochs).values()
    assert low < 2.1 and 3.0 < high < 4.0
    assert note == "not shown, epoch 0: 154"


def test_a_figure_that_no_epoch_has_as_a_number_is_drawn_all_the_same(tmp_path):
    epochs = [{"epoch": i, "loss": math.inf} for i in range(3)]
    epochs += [{"epoch": 3, "loss": math.nan}]
    draw_learning_curves(tmp_path / "a.png", epochs)
    pixels(tmp_path / "a.png")


def test_labels_show_where_words_begin_for_both_kinds_of_tokenizer():
    def fast(pieces, decoder):
        vocab = {piece: i for i, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.BPE(vocab, []))
        tokenizer.decoder = decoder
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer)

    byte_level = fast(["Ġcaf", "Ã©", "s"], decoders.ByteLevel())
    metaspace = fast(["▁caf", "é", "s"], decoders.Metaspace())
    assert token_labels(byte_level, [0, 1, 2]) == [" caf", "é", "s"]
    assert token_labels(metaspace, torch.tensor([0, 1, 2])) == [" caf", "é", "s"]


def test_of_runs_that_differ_in_their_seed_a_panel_has_their_mean_and_their_range():
    runs = [
        [{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": 3.0}],
        [{"epoch": 1, "loss": 2.0}],
    ]
    (axes,) = _curves(runs, "").axes
    (line,), (band,) = axes.lines, axes.collections
    assert line.get_xydata().tolist() == [[1, 3.0], [2, 3.0]]
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} == {
        (1, 2.0),
        (1, 4.0),
        (2, 3.0),
    }


def test_two_segmentations_meet_in_the_middle_each_in_its_conditions_colour(tmp_path):
    audio, rate, starts, ends, labels = utterance(13.0, 9)
    forced = "forced", starts, ends, labels
    predicted = "predicted", starts[:4], ends[:4], labels[:4]
    for name, below in (("few", predicted), ("none", ("predicted", [], [], []))):
        draw_segmentations(tmp_path / f"{name}.png", audio, rate, forced, below)
    few, none = (pixels(tmp_path / f"{name}.png") for name in ("few", "none"))

    def painted(image, condition):
        colour = matplotlib.colors.to_rgb(condition_colour(condition))
        return int((np.abs(image[..., :3] - colour).max(-1) < 0.02).sum())

    assert painted(few, "forced") == pytest.approx(painted(none, "forced"), rel=0.1)
    assert painted(few, "predicted") > painted(none, "predicted") + 300


def test_of_two_segmentations_of_long_audio_the_beginning_is_drawn_and_it_is_said(
    tmp_path, monkeypatch
):
    titles = []
    monkeypatch.setattr(
        "ssr_plugin.metrics.pictures.title_style", lambda x: titles.append(x) or {}
    )
    heights = []
    for seconds in (18, 200):
        audio, rate, *segments = utterance(seconds, 9)
        both = (("forced", *segments), ("predicted", *segments))
        draw_segmentations(
            tmp_path / "a.png", audio, rate, *both, title="猫", max_seconds=18
        )
        heights.append(pixels(tmp_path / "a.png").shape[0])
    assert heights[0] == heights[1]
    assert titles == ["猫", "猫 (first 18 of 200 s)"]


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_a_picture_is_of_the_kind_of_its_ending_and_the_same_each_time(
    tmp_path, ending
):
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        draw_learning_curves(path, [{"epoch": 1, "loss": 2.0}])
    one, two = (path.read_bytes() for path in paths)
    assert one[:5] == {"svg": b"<?xml", "pdf": b"%PDF-"}[ending]
    assert one == two


def test_parts_of_a_character_are_named_by_it_where_all_are_there():
    tokenizer = AutoTokenizer.from_pretrained("recipes/sample/llm")
    whole = tokenizer("a 你", add_special_tokens=False).input_ids
    labels = token_labels(tokenizer, whole)
    assert labels[-3:] == ["你(1/3)", "你(2/3)", "你(3/3)"]
    cut = [*whole[:-1], whole[0]]
    assert token_labels(tokenizer, cut)[-3:] == ["<0xE4>", "<0xBD>", labels[0]]


def test_parts_of_a_character_of_a_byte_level_tokenizer_are_its_bytes():
    vocab = {"\u00e4\u00bd": 0, "\u0142": 1, "\u0120a": 2}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    # E4 BD and A0 are the bytes of one character.
    assert token_labels(tokenizer, [0, 1]) == ["你(1/2)", "你(2/2)"]
    assert token_labels(tokenizer, [0, 2, 1]) == ["<0xE4BD>", " a", "<0xA0>"]
