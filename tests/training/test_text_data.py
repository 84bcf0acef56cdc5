"""Text-only data of stage 2: written by the LLM or read, packed, held out, scored."""

import json
import math

import pytest
import torch
from transformers import GenerationConfig

from ssr_plugin.llm import sampling
from ssr_plugin.llm.sampling import sample_documents
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.metrics.perplexity import document_loss
from ssr_plugin.training import text_data
from ssr_plugin.training.text_data import Text, cut_documents, make_text, tokenize

import runs


@pytest.fixture
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture
def settings(tmp_path):
    """``settings(**others)``: keys of the YAML."""

    def make(**others):
        return {
            "text_source": "self",
            "text_heldout": None,
            "text_tokens": 400,
            "text_heldout_tokens": 50,
            "text_block": 8,
            "text_ratio": 1.0,
            "cache_folder": tmp_path / "cache",
            "seed": 1,
            **others,
        }

    return make


# --- Text that the LLM writes ------------------------------------------------------


def test_texts_are_drawn_with_the_llms_own_probabilities(llm):
    # The model's own settings of generation have no say.
    llm.load_model().generation_config = GenerationConfig(
        do_sample=False, temperature=0.1, top_k=1, repetition_penalty=9.0
    )
    drawn = sample_documents(llm, 4000, 1, seed=1, batch_size=512)
    with torch.no_grad():
        logits = llm.load_model()(torch.tensor([[1]])).logits[0, 0]
    expected = logits.softmax(-1)
    # Texts without a token are none.
    expected[2] = 0
    expected = expected / expected.sum()
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=32)
    shares = counts / counts.sum()
    deviation = (expected * (1 - expected) / counts.sum()).sqrt()
    assert ((shares - expected).abs() <= 4.5 * deviation + 1e-9).all()


def test_texts_end_at_the_end_token_which_is_no_part_of_them(llm, monkeypatch):
    drawn = sample_documents(llm, 2000, 20, seed=1)
    assert not any(2 in ids for ids in drawn)
    assert len({len(ids) for ids in drawn}) > 5


def test_the_same_seed_draws_the_same_and_leaves_random_numbers_alone(llm):
    state = torch.get_rng_state()
    drawn = [sample_documents(llm, 50, 8, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), state)


class Interrupted(Exception):
    pass


def test_drawing_goes_on_where_it_was_interrupted(llm, tmp_path, monkeypatch):
    model, calls = llm.load_model(), []
    generate = model.generate

    def counted(*args, **options):
        if len(calls) == 2:
            raise Interrupted
        calls.append(args)
        return generate(*args, **options)

    def draw(**options):
        return sample_documents(llm, 150, 8, seed=1, batch_size=8, **options)

    whole = draw()
    monkeypatch.setattr(model, "generate", counted)
    with pytest.raises(Interrupted):
        draw(folder=tmp_path)
    calls[:] = [None] * 3
    assert draw(folder=tmp_path) == whole
    # Two batches were there, and there were more to draw.
    drawn = len(list(tmp_path.iterdir()))
    assert len(calls) - 3 == drawn - 2 > 0


def test_an_llm_that_writes_nothing_is_named(llm, monkeypatch):
    def generate(start, **options):
        return torch.cat([start, torch.full_like(start, 2)], 1)

    monkeypatch.setattr(llm.load_model(), "generate", generate)
    with pytest.raises(ValueError, match="writes no text of itself"):
        sample_documents(llm, 50, 8, seed=1)


def test_what_the_llm_wrote_is_kept_for_the_next_run(llm, settings, monkeypatch):
    first = make_text(settings(), llm)
    (file,) = (settings()["cache_folder"] / "text").iterdir()
    assert sum(map(len, json.loads(file.read_text()))) >= 400
    monkeypatch.setattr(text_data, "sample_documents", pytest.fail)
    again = make_text(settings(), llm)
    assert all(map(torch.equal, first.parts, again.parts))
    assert len(first.parts) == len(again.parts) and first.heldout == again.heldout
    monkeypatch.setattr(text_data, "sample_documents", sampling.sample_documents)
    (file.parent / f"{file.stem}.parts").mkdir()
    make_text(settings(), llm)
    # What a run was killed over is swept up.
    assert list(file.parent.iterdir()) == [file]
    other = make_text(settings(seed=2), llm)
    assert other.heldout != first.heldout


# --- Cut into parts ----------------------------------------------------------------


def test_each_token_and_each_end_is_predicted_once():
    documents = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    parts = cut_documents(documents, start=1, end=2, size=2)
    assert all(part[0] == 1 for part in parts)
    predicted = sorted(token for part in parts for token in part[1:].tolist())
    assert predicted == [2, 2, 2, *range(5, 14)]
    lengths = [len(part) for part in parts]
    assert lengths == sorted(lengths) and lengths[-1] == 3


def test_without_an_end_token_documents_have_no_end():
    (part,) = cut_documents([[5, 6]], start=1, end=None, size=4)
    assert part.tolist() == [1, 5, 6]


def test_documents_that_were_cut_off_get_no_end():
    parts = cut_documents([[5, 6], [7]], 1, 2, size=2, unfinished=2)
    assert sorted(part.tolist() for part in parts) == [[1, 5, 6], [1, 7, 2]]


def test_all_parts_are_drawn_alike_and_about_as_much_as_wanted():
    sizes = torch.arange(1, 101)
    parts = [torch.full((int(n) + 1,), int(n)) for n in sizes]
    found = Text(parts, [], "")
    torch.manual_seed(0)
    counts, predicted = torch.zeros(101), []
    for _ in range(4000):
        drawn = found.draw(300)
        lengths = [len(part) - 1 for part in drawn]
        predicted.append(sum(lengths))
        counts[lengths] += 1
    # Those at the very ends have fewer or more neighbours.
    inner = counts[30:95]
    assert inner.min() > 0.7 * inner.mean() and inner.max() < 1.3 * inner.mean()
    assert 300 <= sum(predicted) / len(predicted) <= 420
    assert len(found.draw(0)) == 1


def test_no_more_tokens_are_taken_than_asked_for(tiny_tokenizer):
    def endless():
        while True:
            yield "the cat sat"

    assert tokenize(endless(), tiny_tokenizer, 5) == [[29, 30, 31], [29, 30]]


# --- Held out ----------------------------------------------------------------------


def test_a_file_of_its_own_is_held_out_whole(llm, settings, tmp_path):
    (tmp_path / "a.txt").write_text("the cat\n" * 20)
    (tmp_path / "b.txt").write_text("a b\nc\n")
    found = make_text(
        settings(
            text_source=str(tmp_path / "a.txt"), text_heldout=str(tmp_path / "b.txt")
        ),
        llm,
    )
    assert found.heldout == [[3, 4], [5]]
    assert found.heldout_source == str(tmp_path / "b.txt")
    assert [part.tolist() for part in found.parts] == [[1, 29, 30, 2]] * 20


def test_without_one_some_documents_are_not_learnt_from(llm, settings, tmp_path):
    letters = [chr(ord("a") + i) for i in range(26)]
    (tmp_path / "a.txt").write_text("\n".join(letters))
    source = str(tmp_path / "a.txt")
    found = make_text(settings(text_source=source, text_block=1), llm)
    assert found.heldout == [[3], [23]]
    learnt = set(torch.cat(found.parts).tolist())
    assert not learnt & {3, 23} and len(learnt) == 24 + 2
    assert found.heldout_source == f"of {source}"


def test_where_no_text_is_learnt_from_none_is_written(llm, settings, monkeypatch):
    monkeypatch.setattr(text_data, "sample_documents", pytest.fail)
    heldout = str(runs.PROJECT / "recipes" / "sample" / "text" / "heldout.txt")
    found = make_text(settings(text_ratio=0, text_heldout=heldout), llm)
    assert found.parts == [] and len(found.heldout) > 1


@pytest.mark.parametrize(
    "others, message",
    [
        ({"text_block": 0}, "text_block: the LLM reads 1 to 2047 tokens .* not 0"),
        ({"text_block": 4096}, "text_block: the LLM reads 1 to 2047 tokens"),
        ({"text_heldout_tokens": 0}, "text_heldout_tokens: it is 0"),
        ({"text_heldout": "nowhere.txt"}, "text_heldout: there is no text file"),
    ],
)
def test_bad_settings_are_named_by_their_keys(llm, settings, others, message):
    with pytest.raises(ValueError, match=message):
        make_text(settings(**others), llm)


def test_a_document_alone_is_not_both_held_out_and_learnt_from(llm, settings, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat")
    with pytest.raises(ValueError, match="a.txt' has one document .* text_heldout"):
        make_text(settings(text_source=str(tmp_path / "a.txt")), llm)


# --- Perplexity --------------------------------------------------------------------


def test_documents_score_alone_as_together(llm, monkeypatch):
    documents = [list(range(3, 3 + n)) for n in (1, 9, 4, 20, 2)]
    together = document_loss(llm, documents, 64)
    alone = [document_loss(llm, [ids], 64) * len(ids) for ids in documents]
    assert together == pytest.approx(sum(alone) / 36, abs=1e-5)
    assert document_loss(llm, documents[::-1], 64) == pytest.approx(together, abs=1e-6)


def test_the_loss_is_that_of_the_ids_after_the_start_token(llm):
    ids = [5, 9, 30, 4]
    inputs = torch.tensor([[1, *ids]])
    with torch.no_grad():
        expected = llm.load_model()(inputs, labels=inputs).loss.item()
    assert document_loss(llm, [ids], 64) == pytest.approx(expected, abs=1e-5)


def test_long_documents_are_read_in_parts(llm):
    parts = document_loss(llm, [[5, 9, 30], [4, 6]], 3)
    assert document_loss(llm, [[5, 9, 30, 4, 6]], 3) == pytest.approx(parts, abs=1e-6)


def test_the_samples_llm_knows_the_samples_text_as_its_readme_says():
    sample = runs.PROJECT / "recipes" / "sample"
    llm = TextLLM(sample / "llm")
    lines = (sample / "text" / "heldout.txt").read_text().splitlines()
    documents = tokenize(lines, llm.tokenizer, 10**6)
    assert math.exp(document_loss(llm, documents, 256)) == pytest.approx(36.5, abs=0.1)
