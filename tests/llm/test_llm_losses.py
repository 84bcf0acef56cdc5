"""Through the frozen LLM: gradients reach the vectors, and the LLM stays as it was."""

import pytest
import torch
import transformers as hf

from ssr_plugin.llm import generation, llm_losses, next_token
from ssr_plugin.llm.generation import (
    cache_settings,
    transcribe,
    transcription_prompts,
)
from ssr_plugin.llm.llm_losses import first_layers_kl, transcription_loss
from ssr_plugin.llm.next_token import read_logits
from ssr_plugin.llm.scoring import pad_rows, states_at
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM

TINY = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": None,
}
GEMMA2 = {**TINY, "head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 9.0}
GPT2 = {"vocab_size": 32, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64}
OPT = {
    "vocab_size": 32,
    "hidden_size": 16,
    "word_embed_proj_dim": 8,
    "ffn_dim": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
}
# The tower has as many layers as the LLM.
GEMMA3 = {"text_config": {**TINY, "head_dim": 8}, "vision_config": VISION}
FAMILIES = {
    "llama": (hf.LlamaForCausalLM, TINY),
    "qwen3": (hf.Qwen3ForCausalLM, {**TINY, "head_dim": 8}),
    "gemma2, scaled and capped": (hf.Gemma2ForCausalLM, GEMMA2),
    "gemma3, with a vision tower": (hf.Gemma3ForConditionalGeneration, GEMMA3),
    "gpt2": (hf.GPT2LMHeadModel, GPT2),
    "opt, narrow embeddings": (hf.OPTForCausalLM, OPT),
}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module", params=FAMILIES)
def llm(request, tmp_path_factory, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("llm")
    model_class, settings = FAMILIES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**settings))
        for parameter in model.requires_grad_(False).parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    # Settings that would change what is written.
    model.generation_config = hf.GenerationConfig(
        repetition_penalty=5.0,
        suppress_tokens=[4, 5],
        eos_token_id=[6, 7],
        do_sample=True,
        temperature=9.0,
    )
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    llm = TextLLM(folder)
    llm.load_model()
    return llm


@pytest.fixture
def frozen(llm):
    """Checks that a test leaves the LLM as it found it."""
    model = llm.load_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modules, config = list(model.modules()), model.generation_config
    yield
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    assert model.generation_config is config
    assert not any(m._forward_pre_hooks for m in modules)


@pytest.fixture
def batch(llm):
    """Vectors near the embeddings of three sentences, the embeddings, the mask."""
    return vectors_and_embeddings(llm, [9, 4, 6])


def vectors_and_embeddings(llm, counts):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 32, (len(counts), max(counts)), generator=generator)
    h = llm.embed(ids)
    z = h + 0.3 * h.std() * torch.randn(h.shape, generator=generator)
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    return z, h, mask


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_are_the_plain_models_on_either_side_of_padding(llm, batch, side):
    _, h, mask = batch
    rows = [row[valid] for row, valid in zip(h, mask, strict=True)]
    plain = [llm.load_model()(inputs_embeds=row[None]).logits[0] for row in rows]
    embeds, mask = pad_rows(rows, side)
    places = mask.flatten().nonzero().squeeze(1)
    states = states_at(llm.load_model(), embeds, mask, places)
    logits = read_logits(llm.load_model(), states)
    torch.testing.assert_close(logits, torch.cat(plain), **CLOSE)


# The loss of the first layers.


@pytest.mark.usefixtures("frozen")
def test_kl_is_nothing_for_the_embeddings_and_positive_for_others(llm, batch):
    z, h, mask = batch
    for num_layers in (1, 2, 3):
        assert first_layers_kl(llm, h, h, mask, num_layers).abs() < 1e-6
        assert first_layers_kl(llm, z, h, mask, num_layers) > 1e-3


@pytest.mark.usefixtures("frozen")
def test_kl_through_all_layers_is_the_plain_models(llm, batch):
    z, h, mask = batch
    model = llm.load_model()
    total = 0.0
    for row, count in enumerate(mask.sum(1).tolist()):
        p, q = (
            model(inputs_embeds=torch.cat([start(llm), x[row, :count]])[None])
            .logits[0, 1:]
            .softmax(-1)
            for x in (h, z)
        )
        total += (p * (p / q).log()).sum()
    expected = total / mask.sum()
    torch.testing.assert_close(first_layers_kl(llm, z, h, mask, 3), expected, **CLOSE)


def start(llm):
    return llm.embed(torch.tensor([llm.start_id]))


def test_only_the_first_layers_matter(llm, batch, monkeypatch):
    z, h, mask = batch
    holder, name = llm_losses._find_layers(llm.load_model())
    layers = getattr(holder, name)
    assert len(layers) == 3
    before = [first_layers_kl(llm, z, h, mask, n) for n in (2, 3)]
    # A later layer that does not even run.
    monkeypatch.setattr(layers[2], "forward", None)
    assert first_layers_kl(llm, z, h, mask, 2) == before[0]
    monkeypatch.undo()
    assert before[0] != before[1]
    monkeypatch.setattr(layers[1], "forward", None)
    with pytest.raises(TypeError):
        first_layers_kl(llm, z, h, mask, 2)


@pytest.mark.usefixtures("frozen")
def test_gradient_of_the_kl_reaches_valid_vectors_alone(llm, batch):
    z, h, mask = (x.requires_grad_(x.is_floating_point()) for x in batch)
    first_layers_kl(llm, z, h, mask, 2).backward()
    assert torch.equal(z.grad.abs().sum(-1) > 0, mask)
    assert h.grad is None


@pytest.mark.usefixtures("frozen")
def test_gradient_of_the_kl_is_the_slope(llm, batch):
    z, h, mask = batch
    z.requires_grad_()
    first_layers_kl(llm, z, h, mask, 2).backward()
    step = 1e-3 * z.grad / z.grad.norm()
    up, down = (first_layers_kl(llm, z.detach() + s, h, mask, 2) for s in (step, -step))
    torch.testing.assert_close((up - down) / 2e-3, z.grad.norm(), atol=0, rtol=0.02)


def test_padding_does_not_change_the_kl(llm, batch):
    z, h, mask = batch
    counts = mask.sum(1).tolist()
    alone = [
        first_layers_kl(llm, z[i : i + 1, :n], h[i : i + 1, :n], mask[i : i + 1, :n], 2)
        for i, n in enumerate(counts)
    ]
    mean = sum(n * loss for n, loss in zip(counts, alone, strict=True)) / sum(counts)
    torch.testing.assert_close(first_layers_kl(llm, z, h, mask, 2), mean, **CLOSE)
    noise = torch.where(mask[..., None], z, torch.full_like(z, 100.0))
    torch.testing.assert_close(first_layers_kl(llm, noise, h, mask, 2), mean, **CLOSE)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("positions", [1, 13])
def test_a_few_positions_at_a_time_give_the_same_kl(llm, batch, monkeypatch, positions):
    z, h, mask = batch
    z.requires_grad_()
    at_once = first_layers_kl(llm, z, h, mask, 2)
    (gradient,) = torch.autograd.grad(at_once, z)
    monkeypatch.setattr(next_token, "_LOGITS", 32 * positions)
    seen = []
    hook = (
        llm.load_model()
        .get_output_embeddings()
        .register_forward_hook(lambda _, args, logits: seen.append(logits.shape[1]))
    )
    in_parts = first_layers_kl(llm, z, h, mask, 2)
    hook.remove()
    assert max(seen) == positions and sum(seen) == 2 * (9 + 4 + 6)
    torch.testing.assert_close(in_parts, at_once, **CLOSE)
    torch.testing.assert_close(torch.autograd.grad(in_parts, z)[0], gradient, **CLOSE)


@pytest.mark.usefixtures("frozen")
def test_the_llm_is_whole_again_after_an_exception(llm, batch):
    z, h, mask = batch
    with pytest.raises(RuntimeError):
        first_layers_kl(llm, z[..., :-1], h[..., :-1], mask, 1)
    with pytest.raises(ValueError, match="are no match for"):
        first_layers_kl(llm, z, h[:, :2], mask, 1)
    z.requires_grad_()
    loss = first_layers_kl(llm, z, h, mask, 1)
    z.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loss.backward()
    z.grad = None


def test_a_layer_that_breaks_leaves_the_llm_whole(llm, batch, monkeypatch):
    holder, name = llm_losses._find_layers(llm.load_model())
    layers = getattr(holder, name)
    monkeypatch.setattr(layers[0], "forward", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first_layers_kl(llm, *batch, 1)
    assert getattr(holder, name) is layers and len(layers) == 3


@pytest.mark.parametrize("num_layers", [0, 4])
def test_layers_that_do_not_exist_are_refused(llm, batch, num_layers):
    with pytest.raises(ValueError, match=f"has 3 layers.*not {num_layers}"):
        first_layers_kl(llm, *batch, num_layers)


def test_no_vectors_at_all_have_no_kl(llm):
    z = torch.zeros(2, 3, llm.hidden_size, requires_grad=True)
    loss = first_layers_kl(llm, z, z.detach(), torch.zeros(2, 3).bool(), 1)
    loss.backward()
    assert loss == 0 and not z.grad.any()


# The loss of the transcript.

TOKENS = torch.tensor([[9, 4, 30, 11], [5, -1, -1, -1], [8, 8, 29, -1], [7, 3, -1, -1]])
COUNTS = torch.tensor([3, 9, 0, 6])


@pytest.fixture
def heard(llm):
    """Ids of four utterances, which stand for speech, and their vectors."""
    ids = torch.randint(3, 32, (4, 9), generator=torch.Generator().manual_seed(2))
    return ids, llm.embed(ids)


def plain_nlls(llm, heard_ids, prompt):
    """Losses of the transcripts' tokens and ends, from ids, one utterance at a time."""
    nlls = []
    for ids, count, tokens in zip(heard_ids, COUNTS, TOKENS, strict=True):
        question = [llm.start_id, *ids[:count], *prompt]
        answer = [*tokens[tokens >= 0], llm.tokenizer.eos_token_id]
        logits = llm.load_model()(torch.tensor([[*question, *answer]])).logits[0]
        scores = logits[len(question) - 1 : -1].log_softmax(-1)
        nlls.append(-scores.gather(1, torch.tensor(answer)[:, None])[:, 0])
    return nlls


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("prompt, ids", [("the cat", [29, 30]), ("\n", [])])
def test_transcription_loss_of_embeddings_is_that_of_their_ids(llm, heard, prompt, ids):
    assert llm.tokenizer(prompt, add_special_tokens=False).input_ids == ids
    loss = transcription_loss(llm, heard[1], COUNTS, TOKENS, prompt)
    expected = torch.cat(plain_nlls(llm, heard[0], ids)).mean()
    torch.testing.assert_close(loss, expected, **CLOSE)


@pytest.mark.usefixtures("frozen")
def test_a_prompt_gets_no_space_between_it_and_the_speech(
    llm, heard, monkeypatch, spacing_tokenizer
):
    monkeypatch.setattr(llm, "tokenizer", spacing_tokenizer)
    ids = [spacing_tokenizer.convert_tokens_to_ids("\n")]
    loss = transcription_loss(llm, heard[1], COUNTS, TOKENS, "\n")
    expected = torch.cat(plain_nlls(llm, heard[0], ids)).mean()
    torch.testing.assert_close(loss, expected, **CLOSE)


def test_padding_does_not_change_the_transcription_loss(llm, heard):
    vectors = heard[1]
    losses, sizes = [], []
    for row, count, tokens in zip(vectors, COUNTS, TOKENS, strict=True):
        answer = tokens[tokens >= 0][None]
        row = row[None, :count]
        losses.append(transcription_loss(llm, row, count[None], answer))
        sizes.append(answer.numel() + 1)
    together = transcription_loss(llm, vectors, COUNTS, TOKENS)
    mean = sum(n * x for n, x in zip(sizes, losses, strict=True)) / sum(sizes)
    torch.testing.assert_close(together, mean, **CLOSE)
    vectors[torch.arange(9) >= COUNTS[:, None]] = 100.0
    again = transcription_loss(llm, vectors, COUNTS, TOKENS)
    torch.testing.assert_close(again, mean, **CLOSE)


@pytest.mark.usefixtures("frozen")
def test_gradient_of_the_transcription_loss_reaches_valid_vectors_alone(llm, heard):
    vectors = heard[1].requires_grad_()
    transcription_loss(llm, vectors, COUNTS, TOKENS).backward()
    valid = torch.arange(9) < COUNTS[:, None]
    assert torch.equal(vectors.grad.abs().sum(-1) > 0, valid)


def test_only_the_asked_positions_get_logits(llm, heard):
    seen = []
    layer = llm.load_model().get_output_embeddings()
    hook = layer.register_forward_hook(lambda _, args, out: seen.append(out.shape[1]))
    transcription_loss(llm, heard[1], COUNTS, TOKENS)
    hook.remove()
    assert sum(seen) == (TOKENS >= 0).sum() + len(TOKENS)


def test_an_empty_transcript_is_its_end_alone(llm, heard):
    loss = transcription_loss(llm, heard[1][:1], COUNTS[:1], torch.full((1, 2), -1))
    ids = torch.tensor([[llm.start_id, *heard[0][0, :3]]])
    logits = llm.load_model()(ids).logits[0, -1]
    expected = -logits.log_softmax(-1)[llm.tokenizer.eos_token_id]
    torch.testing.assert_close(loss, expected, **CLOSE)


# Writing.


@pytest.fixture
def writer(llm):
    """An LLM whose generate() takes embeddings."""
    if isinstance(llm.load_model(), hf.Gemma3ForConditionalGeneration):
        pytest.skip("transformers' generate() refuses its embeddings")
    return llm


def write(llm, ids, length):
    """The LLM's likeliest next tokens, by the whole prefix at each step."""
    written = []
    while len(written) < length:
        logits = llm.load_model()(torch.tensor([[*ids, *written]])).logits[0, -1]
        written.append(logits.argmax().item())
        if written[-1] == llm.tokenizer.eos_token_id:
            break
    return llm.tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("prompt, ids", [("the cat", [29, 30]), ("\n", [])])
def test_transcripts_are_the_likeliest_tokens_after_the_ids(writer, heard, prompt, ids):
    expected = [
        write(writer, [writer.start_id, *row[:count], *ids], 12)
        for row, count in zip(heard[0], COUNTS, strict=True)
    ]
    assert transcribe(writer, heard[1], COUNTS, 12, prompt) == expected
    assert len(set(expected)) > 1


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("num_beams", [1, 3])
def test_transcripts_are_the_same_alone_and_in_a_batch(writer, heard, num_beams):
    together = transcribe(writer, heard[1], COUNTS, 12, num_beams=num_beams)
    alone = [
        transcribe(writer, row[None, :n], n[None], 12, num_beams=num_beams)[0]
        for row, n in zip(heard[1], COUNTS, strict=True)
    ]
    assert together == alone


@pytest.mark.usefixtures("frozen")
def test_static_caches_give_the_same_texts(writer, heard, monkeypatch):
    expected = transcribe(writer, heard[1], COUNTS, 12)
    monkeypatch.setattr(generation, "_is_on_gpu", lambda model: True)
    model, kept = writer.load_model(), []
    wanted = "static" if model._can_compile_fullgraph else None
    prompts = transcription_prompts(writer, heard[1], COUNTS, "\n")
    generate = model.generate

    def note(**arguments):
        kept.append(model.generation_config.cache_implementation)
        return generate(**arguments)

    monkeypatch.setattr(model, "generate", note)
    texts = generation.write(writer, prompts, [12] * 4, static_cache=True)
    assert texts == expected and kept == [wanted]


@pytest.mark.long  # A minute or so: the model is compiled.
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_static_caches_on_a_gpu_give_the_same_texts(tiny_llm_folder):
    llm = TextLLM(tiny_llm_folder).to("cuda")
    settings = cache_settings(llm.load_model(), 100)
    if not settings:
        pytest.skip("needs transformers 5.24")
    prompts = [llm.embed(torch.arange(3, 3 + n, device="cuda")) for n in (4, 9)]
    expected = generation.write(llm, prompts, [12] * 2)
    assert generation.write(llm, prompts, [12] * 2, static_cache=True) == expected


def test_a_model_with_adapters_gets_no_static_cache(tiny_llm_folder, monkeypatch):
    monkeypatch.setattr(generation, "_is_on_gpu", lambda model: True)
    llm = TextLLM(tiny_llm_folder)
    assert cache_settings(llm.load_model(), 100)["max_cache_len"] == 256
    assert cache_settings(TunedLLM(llm, "lora").model, 100) == {}


def test_a_transcript_ends_at_the_end_token(writer, heard):
    """The output layer is told what to say: a, the end, and b for ever after."""
    told = iter([3, writer.tokenizer.eos_token_id, *[4] * 10])

    def say(layer, args, logits):
        chosen = torch.zeros_like(logits)
        chosen[..., next(told)] = 1.0
        # The second utterance never ends.
        chosen[1] = 0.0
        chosen[1, :, 5] = 1.0
        return chosen

    hook = writer.load_model().get_output_embeddings().register_forward_hook(say)
    texts = transcribe(writer, heard[1][:2], COUNTS[:2], 5)
    hook.remove()
    assert texts == ["a", "c c c c c"]


def test_a_tokenizer_without_an_end_is_refused(llm, heard, monkeypatch):
    monkeypatch.setattr(llm, "tokenizer", WithoutSpecials())
    with pytest.raises(ValueError, match="no end-of-text token"):
        transcription_loss(llm, heard[1], COUNTS, TOKENS)
    with pytest.raises(ValueError, match="no end-of-text token"):
        transcribe(llm, heard[1], COUNTS, 5)
    with pytest.raises(ValueError, match="neither a start-of-text nor an end-of-text"):
        _ = llm.start_id


def test_a_text_starts_with_its_end_where_there_is_no_start(llm, monkeypatch):
    assert llm.start_id == 1
    tokenizer = WithoutSpecials()
    tokenizer.eos_token_id = 2
    monkeypatch.setattr(llm, "tokenizer", tokenizer)
    assert llm.start_id == 2


class WithoutSpecials:
    bos_token_id = eos_token_id = None
