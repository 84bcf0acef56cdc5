"""Aligning with trained segmenters: alone, by name, in a batch, through the cache."""

import shutil

import numpy as np
import pytest
import torch

from ssr_plugin import build
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.char_ctc import CharCTCSegmenter
from ssr_plugin.segmenters.character_segmenter import CharacterSegmenter
from ssr_plugin.segmenters.trained import save_segmenter
from ssr_plugin.segmenters.trained_aligner import TrainedAligner

NAMES = ["unity2", "char_ctc"]
TINY = {"width": 8, "num_heads": 2}


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return SpeechEncoder(tiny_encoder_folder, layer=1)


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture
def save(tmp_path, encoder, llm):
    """``save(name, seed=0, **options)``: the folder of a random segmenter."""

    def save(name, seed=0, **options):
        torch.manual_seed(seed)
        options = {**TINY, **options}
        part = get_registry().segmenters.get(name)
        segmenter = part(
            input_size=encoder.width, llm=llm, frame_rate=encoder.frame_rate, **options
        )
        if isinstance(segmenter, CharacterSegmenter):
            segmenter.set_alphabet(" abcdefghijklmnopqrstuvwxyz'")
        folder = tmp_path / "segmenter"
        save_segmenter(folder, segmenter, name, options, encoder, llm)
        return folder

    return save


@pytest.fixture
def items(tmp_path, write_audio):
    texts = ["The cat sat.", "a b c d", "Thé 日本 cat’s"]
    return [
        AlignmentItem(f"utt-{i}", str(write_audio(tmp_path / f"{i}.wav", s)), text)
        for i, (text, s) in enumerate(zip(texts, (0.8, 0.5, 1.1), strict=True))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_trained_aligner_gives_every_letter_a_time_through_the_cache(
    save, items, tmp_path, name
):
    aligner = build.aligner("trained", {"trained": {"source": str(save(name))}})
    found, problems = align(items, aligner, tmp_path / "cache")
    assert not len(problems)
    for item in items:
        alignment = found[item.id]
        assert (alignment.kind, alignment.text) == ("char", item.text)
        letters = {i for i, character in enumerate(item.text) if character.isalnum()}
        assert letters <= {unit.offset for unit in alignment.units}
        assert alignment.units[-1].end <= alignment.duration
    again, _ = align(items, TrainedAligner(aligner.source), tmp_path / "cache")
    assert dict(again) == dict(found)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_seconds", [0.1, 120.0])
def test_alignments_of_a_batch_are_those_of_single_utterances(
    save, items, name, batch_seconds
):
    aligner = TrainedAligner(save(name), batch_seconds=batch_seconds)
    alone = [aligner.align([item])[0] for item in items]
    for one, other in zip(aligner.align(items), alone, strict=True):
        assert [unit.text for unit in one.units] == [unit.text for unit in other.units]
        times = [[(u.start, u.end) for u in each.units] for each in (one, other)]
        np.testing.assert_allclose(*times, atol=1e-4)


def test_the_trained_aligner_gives_an_error_of_the_utterance_it_cannot_align(
    save, items, tmp_path, write_audio
):
    short = str(write_audio(tmp_path / "short.wav", 0.01))
    other = [
        AlignmentItem("gone", "gone.wav", "a"),
        AlignmentItem("mute", items[0].wav, "..."),
        AlignmentItem("much", items[1].wav, "too many letters " * 9),
        AlignmentItem("short", short, "a"),
    ]
    aligner = TrainedAligner(save("unity2"))
    found = aligner.align([items[0], *other, items[1]])
    assert [isinstance(each, AlignmentError) for each in found] == [0, 1, 1, 1, 1, 0]
    assert [each.id for each in found[1:5]] == ["gone", "mute", "much", "short"]
    assert "no letter or digit" in found[2].reason
    assert "126 characters do not fit in its 24 frames" in found[3].reason
    assert "1 characters do not fit in its 0 frames" in found[4].reason


def test_settings_of_the_trained_aligner_tell_weights_and_offsets_not_paths(
    save, tmp_path
):
    folder = save("unity2")
    first = TrainedAligner(folder).settings()
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert TrainedAligner(moved).settings() == first
    assert TrainedAligner(save("unity2", seed=1)).settings() != first
    assert TrainedAligner(save("unity2", end_offset=10.0)).settings() != first


def test_the_trained_aligner_takes_other_sources_of_models_that_moved(
    save, items, tmp_path, tiny_encoder_folder, tiny_llm_folder, monkeypatch
):
    folder = save("unity2")
    wanted = TrainedAligner(folder).align(items)
    settings = folder / "segmenter.json"
    text = settings.read_text()
    for path in (tiny_encoder_folder, tiny_llm_folder):
        text = text.replace(str(path), "/no/such/folder")
    settings.write_text(text)
    with pytest.raises(
        ValueError, match="/no/such/folder.*say where with encoder_sour"
    ):
        TrainedAligner(folder).align(items)
    with pytest.raises(ValueError, match="/no/such/folder.*say where with llm_source"):
        TrainedAligner(folder, encoder_source=str(tiny_encoder_folder)).align(items)
    sources = str(tiny_encoder_folder), str(tiny_llm_folder)
    assert TrainedAligner(folder, *sources).align(items) == wanted
    with pytest.raises(ValueError, match="trained with another llm"):
        TrainedAligner(folder, sources[0], changed_llm(tmp_path, sources[1])).align([])


def changed_llm(tmp_path, source):
    """A folder with the same LLM but for a setting."""
    folder = shutil.copytree(source, tmp_path / "llm")
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    return str(folder)


def test_the_trained_aligner_refuses_a_folder_without_a_segmenter_that_aligns(
    save, tmp_path
):
    with pytest.raises(ValueError, match="holds no trained segmenter"):
        build.aligner("trained", {"trained": {"source": str(tmp_path)}})
    with pytest.raises(ValueError, match=r"\(boundary\) cannot align a text: train un"):
        TrainedAligner(save("boundary"))


# --- Character CTC -----------------------------------------------------------------


@pytest.fixture
def ctc(llm):
    """A segmenter that tells "c" in frames 1 and 2, "a" in 5, "t" in 6."""
    segmenter = CharCTCSegmenter(4, llm, 50.0, alphabet=" act", **TINY).eval()
    log_probs = torch.full((9, 5), -8.0)
    for frame, letter in enumerate("_cc__at__"):
        log_probs[frame, segmenter.labels.get(letter, 0)] = 0.0
    segmenter.log_probs = lambda states: log_probs[: len(states)]
    return segmenter


def test_char_ctc_finds_characters_where_they_are_told(ctc):
    found = ctc.align_text(torch.zeros(9, 4), "Cät")
    # A character lasts until the next is told.
    assert found == [(0, 0.02, 0.1), (1, 0.1, 0.12), (2, 0.12, 0.14)]
    assert isinstance(ctc.align_text(torch.zeros(9, 4), "c at"), list)


def test_offsets_move_char_ctc_with_and_without_a_text(ctc):
    ctc.start_offset, ctc.end_offset = -10.0, 30.0
    found = ctc.align_text(torch.zeros(9, 4), "cat")
    # The end is moved where no other character follows.
    assert found == [(0, 0.01, 0.09), (1, 0.09, 0.11), (2, 0.11, 0.17)]
    assert ctc.symbols() == {
        "alphabet": " act",
        "start_offset": -10.0,
        "end_offset": 30.0,
    }
    (found,) = ctc.segment_frames(torch.zeros(1, 9, 4), torch.tensor([9]))
    segments = found.segments
    assert found.hypothesis == ctc.tokenizer.decode(segments.tokens) == "cat"
    assert segments.starts.tolist() == [0]
    ctc.start_offset = 30.0
    (found,) = ctc.segment_frames(torch.zeros(1, 9, 4), torch.tensor([9]))
    assert found.segments.starts.tolist() == [2]


def test_char_ctc_is_as_sure_of_a_token_as_of_its_letters_together(ctc):
    log_probs = ctc.log_probs(torch.zeros(9, 4))
    # The surer of the two frames that tell "c" counts.
    log_probs[[1, 2, 5], [3, 3, 2]] = torch.tensor([0.2, 0.5, 0.9]).log()
    (found,) = ctc.segment_frames(torch.zeros(1, 9, 4), torch.tensor([9]))
    assert found.posteriors.token_ids.tolist() == [[x] for x in found.segments.tokens]
    (sure,) = np.exp(found.posteriors.log_probs[:, 0])
    assert sure == pytest.approx(0.5 * 0.9)


def test_char_ctc_has_a_star_for_what_its_alphabet_lacks(ctc):
    found = ctc.align_text(torch.zeros(9, 4), "c日t")
    assert [i for i, *_ in found] == [0, 1, 2]
    assert found[0][1] == 0.02 and found[2][1:] == (0.12, 0.14)
    assert found[1][1] >= found[0][2] and found[1][2] == 0.12


def test_char_ctc_refuses_what_does_not_fit(ctc, monkeypatch):
    with pytest.raises(AlignmentError, match="10 characters do not fit in its 9 fr"):
        ctc.align_text(torch.zeros(9, 4), "aaccatt")
    with pytest.raises(AlignmentError, match="no letter or digit"):
        ctc.align_text(torch.zeros(9, 4), "!")
    monkeypatch.setattr("ssr_plugin.segmenters.character_segmenter.MOST_MEMORY", 10)
    with pytest.raises(AlignmentError, match="too long to align"):
        ctc.align_text(torch.zeros(9, 4), "cat")


def test_the_forced_segmenter_cuts_by_a_trained_aligners_alignment(save, items, llm):
    (alignment,) = TrainedAligner(save("unity2")).align(items[:1])
    assert isinstance(alignment, Alignment)
    assert Alignment.from_json(alignment.to_json()) == alignment
    forced = get_registry().segmenters.get("forced")(6, llm, 50.0)
    assert len(forced.segment(alignment, 39)) == 4
