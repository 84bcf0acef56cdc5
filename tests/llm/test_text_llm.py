"""A text LLM of any family: its embeddings are what its first layer reads."""

import pathlib
import warnings

import pytest
import safetensors.torch
import torch
import transformers as hf

from ssr_plugin.llm import embeddings
from ssr_plugin.llm.text_llm import TextLLM

TINY = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
GEMMA = {**TINY, "head_dim": 8}
OPT = {
    "vocab_size": 32,
    "hidden_size": 16,
    "ffn_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
GPT2 = {"vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
FAMILIES = {
    "llama": (hf.LlamaForCausalLM, TINY),
    "llama, tied": (hf.LlamaForCausalLM, {**TINY, "tie_word_embeddings": True}),
    "mistral": (hf.MistralForCausalLM, TINY),
    "qwen2": (hf.Qwen2ForCausalLM, TINY),
    "qwen3": (hf.Qwen3ForCausalLM, {**TINY, "head_dim": 8}),
    "gemma": (hf.GemmaForCausalLM, GEMMA),
    "gemma2": (hf.Gemma2ForCausalLM, GEMMA),
    "gemma3": (hf.Gemma3ForCausalLM, GEMMA),
    "granite": (hf.GraniteForCausalLM, {**TINY, "embedding_multiplier": 3.0}),
    "gpt2": (hf.GPT2LMHeadModel, GPT2),
    "gpt-neox": (hf.GPTNeoXForCausalLM, {k: TINY[k] for k in list(TINY)[:5]}),
    "opt": (hf.OPTForCausalLM, OPT),
    "opt, narrow embeddings": (hf.OPTForCausalLM, {**OPT, "word_embed_proj_dim": 8}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_tokenizer):
    """``folders(family)``: a folder with a tiny LLM of the family, and the model."""
    made = {}

    def get(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("llm")
            made[family] = (folder, make_folder(folder, family, tiny_tokenizer))
        return made[family]

    return get


def make_folder(folder, family, tokenizer, **options):
    model_class, settings = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = model_class.config_class(**settings, pad_token_id=None)
        model = model_class(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return model


IDS = torch.tensor([[1, 7, 30, 2, 4, 4]])


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_their_embeddings_give_the_same_logits(folders, family):
    folder, model = folders(family)
    llm = TextLLM(folder)
    assert llm.model is None
    embedded = llm.embed(IDS)
    assert embedded.shape == (*IDS.shape, llm.hidden_size)
    assert torch.equal(model(inputs_embeds=embedded).logits, model(IDS).logits)
    assert torch.equal(llm.table()[IDS], embedded)
    assert llm.table().shape == (32, llm.hidden_size)
    loaded = llm.load_model()
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert torch.equal(llm.embed(IDS), embedded)


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3"])
def test_a_scale_of_the_embeddings_is_included(folders, family):
    folder, model = folders(family)
    weight = model.get_input_embeddings().weight
    torch.testing.assert_close(TextLLM(folder).table(), 4 * weight)


def test_narrow_embeddings_keep_their_width(folders):
    assert TextLLM(folders("opt, narrow embeddings")[0]).hidden_size == 8


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
def test_a_checkpoint_of_the_bare_model_will_do(
    folders, family, tmp_path, tiny_tokenizer
):
    _, model = folders(family)
    model.base_model.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    llm = TextLLM(tmp_path)
    assert llm.model is None
    assert torch.equal(llm.embed(IDS), model.get_input_embeddings()(IDS))


def rename(folder, old, new):
    """Renames a tensor of a checkpoint."""
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors[new] = tensors.pop(old)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    "name", ["language_model.model.embed_tokens.weight", "embed_tokens.weight"]
)
def test_a_prefix_more_or_less_does_not_hide_the_table(tmp_path, tiny_tokenizer, name):
    model = make_folder(tmp_path, "llama", tiny_tokenizer)
    rename(tmp_path, "model.embed_tokens.weight", name)
    assert torch.equal(TextLLM(tmp_path).table(), model.get_input_embeddings().weight)


def test_a_tied_table_saved_as_the_output_layer_is_found(tmp_path, tiny_tokenizer):
    model = make_folder(tmp_path, "llama, tied", tiny_tokenizer)
    rename(tmp_path, "model.embed_tokens.weight", "lm_head.weight")
    assert torch.equal(TextLLM(tmp_path).table(), model.get_input_embeddings().weight)


def test_two_tables_of_the_same_name_are_not_guessed_between():
    with torch.device("meta"):
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**TINY))
    names = ["a.model.embed_tokens.weight", "b.model.embed_tokens.weight"]
    assert embeddings.find_embedding_key(model, names[:1]) == names[0]
    assert embeddings.find_embedding_key(model, names) is None


def test_only_the_shard_with_the_table_is_read(tmp_path, tiny_tokenizer):
    model = make_folder(tmp_path, "llama", tiny_tokenizer, max_shard_size=3000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    for path in shards:
        with safetensors.safe_open(path, "pt") as file:
            holds = "model.embed_tokens.weight" in file.keys()  # noqa: SIM118
        if not holds:
            path.unlink()
    assert torch.equal(TextLLM(tmp_path).table(), model.get_input_embeddings().weight)


def test_a_missing_shard_is_named(tmp_path, tiny_tokenizer):
    make_folder(tmp_path, "llama", tiny_tokenizer, max_shard_size=3000)
    for path in tmp_path.glob("model-*.safetensors"):
        path.unlink()
    with pytest.raises(ValueError, match=r"lacks model-\d+.*embed_tokens"):
        TextLLM(tmp_path)


def test_a_pickle_of_weights_is_loaded_only_if_asked_and_whole_with_a_warning(
    tmp_path, tiny_tokenizer, monkeypatch
):
    model = make_folder(tmp_path, "llama", tiny_tokenizer)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no safetensors: a pickle may hold code"):
        TextLLM(tmp_path)
    monkeypatch.setenv("SSR_ALLOW_PICKLE", "1")
    with pytest.warns(UserWarning, match="the whole model is loaded"):
        llm = TextLLM(tmp_path)
    assert torch.equal(llm.table(), model.get_input_embeddings().weight)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        '{"weight_map": 3, "metadata": {}}',
        '{"weight_map": {"a": 3}, "metadata": {}}',
        '{"weight_map": {"a": "../x.safetensors"}, "metadata": {}}',
        '{"weight_map": {}}',
        "[" * 100000,
    ],
)
def test_a_damaged_index_is_named(tmp_path, tiny_tokenizer, index):
    make_folder(tmp_path, "llama", tiny_tokenizer)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=r"index\.json is no index of safetensors"):
        TextLLM(tmp_path)


def test_a_model_without_weights_is_named(tmp_path, tiny_tokenizer):
    make_folder(tmp_path, "llama", tiny_tokenizer)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"'{tmp_path}' has no weights"):
        TextLLM(tmp_path)


def test_safetensors_give_no_warning(folders):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextLLM(folders("gemma3")[0])


def test_weights_of_another_size_are_refused(tmp_path, tiny_tokenizer):
    model = make_folder(tmp_path, "llama", tiny_tokenizer)
    model.config.vocab_size = 48
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"shape \[32, 16\].*\[48, 16\]"):
        TextLLM(tmp_path)


def test_a_damaged_weight_file_is_named(tmp_path, tiny_tokenizer):
    make_folder(tmp_path, "llama", tiny_tokenizer)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        TextLLM(tmp_path)


def test_the_llm_is_frozen(folders):
    llm = TextLLM(folders("llama")[0])
    model = llm.load_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    llm.train()
    embedded = llm.embed(IDS).requires_grad_()
    model(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad is not None
    assert not any(m.training for m in llm.modules())
    assert all(p.grad is None and not p.requires_grad for p in llm.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert llm.load_model() is model
    assert model.get_input_embeddings() is llm.embedding


def test_vocabulary_and_tokenizer_stay_as_they_are(folders, tiny_tokenizer):
    llm = TextLLM(folders("llama")[0])
    assert len(llm.tokenizer) == len(tiny_tokenizer)
    assert llm.load_model().config.vocab_size == llm.vocab_size == 32
    assert llm.tokenizer.pad_token is None


def test_dtype_is_the_tables_and_the_models(folders):
    llm = TextLLM(folders("gemma2")[0], dtype="bfloat16")
    assert llm.embed(IDS).dtype == torch.bfloat16
    assert llm.load_model().dtype == torch.bfloat16


def test_bos_is_what_the_tokenizer_puts_first(folders, tmp_path, tiny_tokenizer):
    assert TextLLM(folders("llama")[0]).bos_id == 1
    make_folder(tmp_path, "gpt2", tiny_tokenizer)
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(tmp_path)
    assert TextLLM(tmp_path).bos_id is None


def test_a_slow_tokenizer_is_refused(folders, monkeypatch):
    class Slow:
        is_fast = False

    monkeypatch.setattr(hf.AutoTokenizer, "from_pretrained", lambda *a, **k: Slow())
    with pytest.raises(ValueError, match="gives no character offsets"):
        TextLLM(folders("llama")[0])


def test_a_folder_without_tokenizer_says_so(folders, tmp_path):
    folders("llama")[1].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no tokenizer that can be loaded"):
        TextLLM(tmp_path)


def test_a_model_of_another_kind_is_refused(tmp_path, tiny_tokenizer):
    hf.HubertConfig().save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no causal language model"):
        TextLLM(tmp_path)


@pytest.mark.parametrize("source", ["/no/such/folder", pathlib.Path("no/such/model/x")])
def test_an_unknown_source_says_that_it_is_neither_folder_nor_model(source):
    with pytest.raises(
        ValueError, match="neither a folder on this machine nor a model"
    ):
        TextLLM(source)
