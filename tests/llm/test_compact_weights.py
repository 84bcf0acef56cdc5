"""LLMs in fewer bits: the layers are rounded, the table of embeddings is not."""

import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ssr_plugin import SpeechLM
from ssr_plugin.cli import main
from ssr_plugin.llm.compact_weights import let_gradients_through
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM

IDS = torch.tensor([[4, 9, 17, 3, 28, 11]])


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def folder(request, tmp_path_factory, tiny_tokenizer):
    """A Llama whose widths are multiples of a block of numbers."""
    folder = tmp_path_factory.mktemp("llm")
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=request.param,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def difference(one, other):
    """Of two models' states, as a share of the first's."""
    with torch.no_grad():
        first, second = (
            model.get_decoder()(IDS).last_hidden_state for model in (one, other)
        )
    return ((second.float() - first).norm() / first.norm()).item()


# --- Quantised as it is loaded --------------------------------------------------------


@pytest.mark.parametrize("kind, most", [("8bit", 0.05), ("4bit", 0.3)])
def test_layers_are_quantised_and_the_table_is_not(kind, most, folder):
    pytest.importorskip("bitsandbytes")
    whole, small = TextLLM(folder), TextLLM(folder, quantization=kind)
    table = small.table().clone()
    model = small.load_model()
    assert torch.equal(small.table(), table) and torch.equal(table, whole.table())
    assert 0 < difference(whole.load_model(), model) < most
    layers = [small.model.model.layers, whole.model.model.layers]
    few, many = (sum(x.nbytes for x in each.parameters()) for each in layers)
    assert few < many / (3 if kind == "8bit" else 5)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_speech_lm_writes_and_scores_with_a_quantised_llm(tiny_speech_lm_folder):
    pytest.importorskip("bitsandbytes")
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, quantization="8bit")
    whole = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    wav = (torch.rand(16000, generator=torch.Generator().manual_seed(0)), 16000)
    # Vectors are of the connector and the table: the same to the bit.
    assert torch.equal(lm.embed(wav).vectors, whole.embed(wav).vectors)
    assert isinstance(lm.generate([wav, " the"], max_new_tokens=3), str)
    scores = [each.score([wav], [" cat", " sat"]) for each in (lm, whole)]
    assert scores[0] == pytest.approx(scores[1], rel=0.1) and scores[0] != scores[1]


def test_adapters_go_on_top_of_quantised_layers(folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    learnt = TunedLLM(TextLLM(folder), "lora", r=2)
    with torch.no_grad():
        for name, parameter in learnt.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3)
    learnt.save(tmp_path)
    tuned = TunedLLM.load(TextLLM(folder, quantization="8bit"), tmp_path)
    assert difference(learnt.model, tuned.model) < 0.1
    with tuned.base_model() as llm, learnt.base_model() as whole:
        assert difference(whole.load_model(), llm.load_model()) < 0.05
        base = whole.load_model().get_decoder()(IDS).last_hidden_state
    moved = learnt.model.get_decoder()(IDS).last_hidden_state
    assert (moved - base).norm() > 0.2 * base.norm()


def gradients(tuned):
    """Of adapters that are the same for LLMs of the same sizes."""
    generator = torch.Generator().manual_seed(0)
    adapters = {n: p for n, p in tuned.named_parameters() if p.requires_grad}
    assert adapters.keys() == tuned.trained
    with torch.no_grad():
        for adapter in adapters.values():
            adapter.copy_(0.2 * torch.randn(adapter.shape, generator=generator))
    tuned.model(IDS, labels=IDS).loss.backward()
    return torch.cat([p.grad.flatten() for p in adapters.values()])


def test_adapters_on_quantised_layers_learn_as_on_what_those_stand_for(folder):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    tuned = TunedLLM(TextLLM(folder, quantization="4bit"), "lora", r=2)
    whole = TunedLLM(TextLLM(folder), "lora", r=2)
    let_gradients_through(tuned.model)
    layers = dict(whole.model.named_modules())
    for name, layer in tuned.model.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, bitsandbytes.nn.Linear4bit) and weight is not None:
            state = weight.quant_state
            values = bitsandbytes.functional.dequantize_4bit(weight.data, state)
            layers[name].weight.data.copy_(values)
    expected = gradients(whole)
    assert (gradients(tuned) - expected).norm() < 1e-4 * expected.norm()


def test_layers_that_the_machine_does_not_compute_are_refused(folder, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")

    def forward(layer, x):
        raise AssertionError("N must be divisible by block_n")

    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", forward)
    llm = TextLLM(folder, quantization="4bit")
    with pytest.raises(ValueError, match="on this machine: .*N must be divisible by"):
        llm.load_model()


def test_what_cannot_be_quantised_is_refused_with_a_reason(
    folder, tiny_speech_lm_folder, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="quantization is '2bit'; it may be 4bit, 8"):
        TextLLM(folder, quantization="2bit")
    # Without bitsandbytes.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[quantized\]"):
        TextLLM(folder, quantization="4bit")
    words = ["transcribe", "a.wav", "--model", str(tiny_speech_lm_folder)]
    with pytest.raises(SystemExit, match=r"error: .*ssr-plugin\[quantized\]"):
        main([*words, "--quantization", "8bit"])


# --- GGUF -----------------------------------------------------------------------------


def write_gguf(path, folder, kind="Q8_0", drop=(), change=None):
    """An LLM's weights as llama.cpp has them, each in blocks of few bits."""
    gguf = pytest.importorskip("gguf")
    model = LlamaForCausalLM.from_pretrained(folder)
    config, kind = model.config, getattr(gguf.GGMLQuantizationType, kind)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
    }
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for i in range(config.num_hidden_layers):
        for ours, theirs in parts.items():
            names[f"model.layers.{i}.{ours}"] = f"blk.{i}.{theirs}"
    heads = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads,
    }
    for name, value in model.state_dict().items():
        name = name.removesuffix(".weight")
        if name in drop or (name == "lm_head" and config.tie_word_embeddings):
            continue
        value = value if change is None else change(name, value)
        count = heads.get(name.rpartition(".")[2])
        if count:
            # llama.cpp rotates neighbouring numbers, transformers halves of a head.
            value = value.view(count, 2, -1, value.shape[1]).transpose(1, 2)
            value = value.reshape(-1, value.shape[-1])
        array = value.contiguous().numpy().astype(np.float32)
        if array.ndim == 1:
            writer.add_tensor(f"{names[name]}.weight", array)
        else:
            quantized = gguf.quants.quantize(array, kind)
            writer.add_tensor(f"{names[name]}.weight", quantized, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_gives_the_layers_and_the_original_the_table(folder, tmp_path):
    path = write_gguf(tmp_path / "q8.gguf", folder)
    whole, small = TextLLM(folder), TextLLM(folder, gguf=path)
    model = small.load_model()
    assert torch.equal(small.table(), whole.table())
    assert 0 < difference(whole.load_model(), model) < 0.05
    tied = model.config.tie_word_embeddings
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert small.fingerprint == whole.fingerprint


def test_a_speech_lm_takes_a_gguf_file_for_its_llm(
    tiny_speech_lm_folder, tiny_llm_folder, tmp_path
):
    path = write_gguf(tmp_path / "f16.gguf", tiny_llm_folder, "F16")
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, llm_source=str(path))
    whole = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    wav = (torch.rand(16000, generator=torch.Generator().manual_seed(0)), 16000)
    assert torch.equal(lm.embed(wav).vectors, whole.embed(wav).vectors)
    scores = [each.score([wav], [" cat", " sat"]) for each in (lm, whole)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-3) and scores[0] != scores[1]
    with pytest.raises(ValueError, match="quantised already: leave quantization out"):
        SpeechLM.from_pretrained(
            tiny_speech_lm_folder, llm_source=str(path), quantization="4bit"
        )


def test_a_gguf_file_of_another_llm_or_a_damaged_one_is_refused(folder, tmp_path):
    def load(path):
        return TextLLM(folder, gguf=path).load_model()

    def shuffle(name, value):
        return value.flip(0) if name == "model.embed_tokens" else value

    other = write_gguf(tmp_path / "other.gguf", folder, change=shuffle)
    with pytest.raises(ValueError, match="other.gguf is not of .* embeddings are oth"):
        load(other)
    less = write_gguf(
        tmp_path / "less.gguf", folder, drop=["model.layers.1.mlp.up_proj"]
    )
    with pytest.raises(ValueError, match="less.gguf .*missing.*layers.1.mlp.up_proj"):
        load(less)
    whole = write_gguf(tmp_path / "cut.gguf", folder).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.gguf cannot be read as the weights of"):
        load(tmp_path / "cut.gguf")
    with pytest.raises(ValueError, match="there is no file '/no/llm.gguf'"):
        load("/no/llm.gguf")


def test_an_llm_that_was_tuned_as_a_whole_takes_neither(
    tiny_speech_lm_folder, tmp_path
):
    shutil.copytree(tiny_speech_lm_folder, tmp_path / "lm")
    (tmp_path / "lm" / "tuned").mkdir()
    (tmp_path / "lm" / "tuned" / "config.json").write_text("{}")
    for options in ({"quantization": "4bit"}, {"llm_source": "x.gguf"}):
        with pytest.raises(ValueError, match="tuned as a whole, and is kept there in"):
            SpeechLM.from_pretrained(tmp_path / "lm", **options)
