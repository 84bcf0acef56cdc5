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
from ssr_plugin.training.text_data import Text, chunk_documents, make_text, tokenize

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


def test_sample_documents_draws_with_the_llms_own_probabilities(llm):
    # The model's own settings of generation change nothing.
    llm.load_model().generation_config = GenerationConfig(
        do_sample=False, temperature=0.1, top_k=1, repetition_penalty=9.0
    )
    texts = sample_documents(llm, 4000, 1, seed=1, batch_size=512)
    with torch.no_grad():
        logits = llm.load_model()(torch.tensor([[1]])).logits[0, 0]
    expected = logits.softmax(-1)
    # Texts without a token are none.
    expected[2] = 0
    expected = expected / expected.sum()
    counts = torch.bincount(torch.tensor(texts).flatten(), minlength=32)
    shares = counts / counts.sum()
    deviation = (expected * (1 - expected) / counts.sum()).sqrt()
    assert ((shares - expected).abs() <= 4.5 * deviation + 1e-9).all()


def test_sampled_documents_end_before_the_end_token(llm, monkeypatch):
    texts = sample_documents(llm, 2000, 20, seed=1)
    assert not any(2 in ids for ids in texts)
    assert len({len(ids) for ids in texts}) > 5


def test_sample_documents_depends_on_the_seed_alone_and_keeps_the_random_state(llm):
    state = torch.get_rng_state()
    texts = [sample_documents(llm, 50, 8, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), state)


class Interrupted(Exception):
    pass


def test_sample_documents_goes_on_where_it_was_interrupted(llm, tmp_path, monkeypatch):
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
    num_batches = len(list(tmp_path.iterdir()))
    assert len(calls) - 3 == num_batches - 2 > 0


def test_sample_documents_refuses_an_llm_that_writes_nothing(llm, monkeypatch):
    def generate(start, **options):
        return torch.cat([start, torch.full_like(start, 2)], 1)

    monkeypatch.setattr(llm.load_model(), "generate", generate)
    with pytest.raises(ValueError, match="writes no text of itself"):
        sample_documents(llm, 50, 8, seed=1)


def test_make_text_keeps_what_the_llm_wrote_for_the_next_run(
    llm, settings, monkeypatch
):
    first = make_text(settings(), llm)
    (file,) = (settings()["cache_folder"] / "text").iterdir()
    assert sum(map(len, json.loads(file.read_text()))) >= 400
    monkeypatch.setattr(text_data, "sample_documents", pytest.fail)
    again = make_text(settings(), llm)
    assert all(map(torch.equal, first.chunks, again.chunks))
    assert len(first.chunks) == len(again.chunks) and first.heldout == again.heldout
    monkeypatch.setattr(text_data, "sample_documents", sampling.sample_documents)
    (file.parent / f"{file.stem}.parts").mkdir()
    make_text(settings(), llm)
    # What a killed run left is deleted.
    assert list(file.parent.iterdir()) == [file]
    other = make_text(settings(seed=2), llm)
    assert other.heldout != first.heldout


# --- Cut into chunks ---------------------------------------------------------------


def test_chunks_predict_each_token_and_each_end_once():
    documents = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    chunks = chunk_documents(documents, start=1, end=2, size=2)
    assert all(chunk[0] == 1 for chunk in chunks)
    predicted = sorted(token for chunk in chunks for token in chunk[1:].tolist())
    assert predicted == [2, 2, 2, *range(5, 14)]
    lengths = [len(chunk) for chunk in chunks]
    assert lengths == sorted(lengths) and lengths[-1] == 3


def test_chunks_have_no_end_if_the_llm_has_no_end_token():
    (chunk,) = chunk_documents([[5, 6]], start=1, end=None, size=4)
    assert chunk.tolist() == [1, 5, 6]


def test_chunks_of_documents_that_were_cut_off_have_no_end():
    chunks = chunk_documents([[5, 6], [7]], 1, 2, size=2, unfinished=2)
    assert sorted(chunk.tolist() for chunk in chunks) == [[1, 5, 6], [1, 7, 2]]


def test_text_draws_all_chunks_alike_and_about_as_many_tokens_as_asked_for():
    sizes = torch.arange(1, 101)
    chunks = [torch.full((int(n) + 1,), int(n)) for n in sizes]
    text = Text(chunks, [], "")
    torch.manual_seed(0)
    counts, predicted = torch.zeros(101), []
    for _ in range(4000):
        drawn_chunks = text.draw(300)
        lengths = [len(chunk) - 1 for chunk in drawn_chunks]
        predicted.append(sum(lengths))
        counts[lengths] += 1
    # Those at the very ends have fewer or more neighbours.
    inner = counts[30:95]
    assert inner.min() > 0.7 * inner.mean() and inner.max() < 1.3 * inner.mean()
    assert 300 <= sum(predicted) / len(predicted) <= 420
    assert len(text.draw(0)) == 1


def test_tokenize_takes_no_more_tokens_than_asked_for(tiny_tokenizer):
    def endless():
        while True:
            yield "the cat sat"

    assert tokenize(endless(), tiny_tokenizer, 5) == [[29, 30, 31], [29, 30]]


# --- Held out ----------------------------------------------------------------------


def test_make_text_holds_out_the_whole_file_text_heldout(llm, settings, tmp_path):
    (tmp_path / "a.txt").write_text("the cat\n" * 20)
    (tmp_path / "b.txt").write_text("a b\nc\n")
    text = make_text(
        settings(
            text_source=str(tmp_path / "a.txt"), text_heldout=str(tmp_path / "b.txt")
        ),
        llm,
    )
    assert text.heldout == [[3, 4], [5]]
    assert text.heldout_source == str(tmp_path / "b.txt")
    assert [chunk.tolist() for chunk in text.chunks] == [[1, 29, 30, 2]] * 20


def test_make_text_without_text_heldout_holds_out_some_documents(
    llm, settings, tmp_path
):
    letters = [chr(ord("a") + i) for i in range(26)]
    (tmp_path / "a.txt").write_text("\n".join(letters))
    source = str(tmp_path / "a.txt")
    text = make_text(settings(text_source=source, text_block=1), llm)
    assert text.heldout == [[3], [23]]
    learnt = set(torch.cat(text.chunks).tolist())
    assert not learnt & {3, 23} and len(learnt) == 24 + 2
    assert text.heldout_source == f"of {source}"


def test_make_text_lets_the_llm_write_nothing_if_no_text_is_learnt_from(
    llm, settings, monkeypatch
):
    monkeypatch.setattr(text_data, "sample_documents", pytest.fail)
    heldout = str(runs.PROJECT / "recipes" / "sample" / "text" / "heldout.txt")
    text = make_text(settings(text_ratio=0, text_heldout=heldout), llm)
    assert text.chunks == [] and len(text.heldout) > 1


@pytest.mark.parametrize(
    "others, message",
    [
        ({"text_block": 0}, "text_block: the LLM reads 1 to 2047 tokens .* not 0"),
        ({"text_block": 4096}, "text_block: the LLM reads 1 to 2047 tokens"),
        ({"text_heldout_tokens": 0}, "text_heldout_tokens: it is 0"),
        ({"text_heldout": "nowhere.txt"}, "text_heldout: there is no text file"),
    ],
)
def test_make_text_names_bad_settings_by_their_keys(llm, settings, others, message):
    with pytest.raises(ValueError, match=message):
        make_text(settings(**others), llm)


def test_make_text_refuses_to_hold_out_and_learn_one_document(llm, settings, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat")
    with pytest.raises(ValueError, match="a.txt' has one document .* text_heldout"):
        make_text(settings(text_source=str(tmp_path / "a.txt")), llm)


# --- Perplexity --------------------------------------------------------------------


def test_document_loss_of_several_is_that_of_each_alone(llm, monkeypatch):
    documents = [list(range(3, 3 + n)) for n in (1, 9, 4, 20, 2)]
    together = document_loss(llm, documents, 64)
    alone = [document_loss(llm, [ids], 64) * len(ids) for ids in documents]
    assert together == pytest.approx(sum(alone) / 36, abs=1e-5)
    assert document_loss(llm, documents[::-1], 64) == pytest.approx(together, abs=1e-6)


def test_document_loss_is_that_of_the_ids_after_the_start_token(llm):
    ids = [5, 9, 30, 4]
    inputs = torch.tensor([[1, *ids]])
    with torch.no_grad():
        expected = llm.load_model()(inputs, labels=inputs).loss.item()
    assert document_loss(llm, [ids], 64) == pytest.approx(expected, abs=1e-5)


def test_document_loss_of_a_long_document_is_that_of_its_chunks(llm):
    in_chunks = document_loss(llm, [[5, 9, 30], [4, 6]], 3)
    whole = document_loss(llm, [[5, 9, 30, 4, 6]], 3)
    assert whole == pytest.approx(in_chunks, abs=1e-6)


def test_the_samples_llm_has_the_perplexity_that_its_readme_says():
    sample = runs.PROJECT / "recipes" / "sample"
    llm = TextLLM(sample / "llm")
    lines = (sample / "text" / "heldout.txt").read_text().splitlines()
    documents = tokenize(lines, llm.tokenizer, 10**6)
    assert math.exp(document_loss(llm, documents, 256)) == pytest.approx(36.5, abs=0.1)
