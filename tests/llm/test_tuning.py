"""The tuned LLM: what is trained, what is left as it was, what is saved and read."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
from safetensors.torch import load, load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from ssr_plugin.llm.generation import transcribe
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.llm.packing import make_pack
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.training.checkpoints import AtomicCheckpointer

IDS = torch.tensor([[4, 5, 6, 7]])
KINDS = ["lora", "full"]


@pytest.fixture
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture
def dropping_llm(tmp_path, tiny_tokenizer):
    """A GPT-2 whose layers drop out in training and are no linear layers of torch."""
    config = GPT2Config(
        vocab_size=len(tiny_tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tiny_tokenizer.save_pretrained(tmp_path / "gpt2")
    return TextLLM(tmp_path / "gpt2")


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def fit(tuned, steps=3):
    """Trains for a few steps; the optimizer has all that takes a gradient."""
    tuned.train()
    trained = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    ids = IDS[0].numpy()
    pack = make_pack([ids[:-1]], [ids[1:]])
    for _ in range(steps):
        states = tuned(pack.embed(tuned), pack.layout, pack.wanted, pack.packed)
        next_token_loss(tuned.model, states, pack.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return tuned.eval()


# --- The original ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_original_is_bit_identical_after_training(llm, kind):
    # Adapters come before the names of what they wrap.
    before = [x.clone() for x in llm.load_model().state_dict().values()]
    expected = logits(llm.load_model())
    tuned = fit(TunedLLM(llm, kind))
    after = [x for k, x in llm.load_model().state_dict().items() if ".lora_" not in k]
    assert len(before) == len(after) > 20
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.allclose(logits(tuned.model), expected, atol=1e-3)
    with tuned.base_model() as base:
        assert base is llm
        assert torch.equal(logits(base.load_model()), expected)
        # Once more inside does no harm.
        with tuned.base_model():
            pass
        assert torch.equal(logits(base.load_model()), expected)
    assert not torch.allclose(logits(tuned.model), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_the_original_drops_nothing_out_amid_training(dropping_llm, kind):
    expected = logits(dropping_llm.load_model())
    tuned = TunedLLM(dropping_llm, kind, dropout=0.5)
    tuned.train()
    assert torch.equal(logits(tuned.model), logits(tuned.model)) == (kind == "none")
    wanted = {n for n, p in tuned.named_parameters() if p.requires_grad}
    with tuned.base_model() as base:
        assert torch.equal(logits(base.load_model()), expected)
    assert tuned.training
    assert torch.equal(logits(tuned.model), logits(tuned.model)) == (kind == "none")
    assert {n for n, p in tuned.named_parameters() if p.requires_grad} == wanted


def test_the_base_model_block_ends_with_an_error_in_the_block(llm):
    tuned = fit(TunedLLM(llm))
    expected = logits(tuned.model)
    with pytest.raises(KeyError), tuned.base_model():
        raise KeyError
    assert torch.equal(logits(tuned.model), expected)


def test_the_base_model_is_the_threads_own(llm):
    tuned = fit(TunedLLM(llm))
    expected = logits(tuned.model)
    with ThreadPoolExecutor(1) as pool:
        with tuned.base_model():
            base = logits(tuned.model)
            assert torch.equal(pool.submit(logits, tuned.model).result(), expected)
        assert not torch.allclose(base, expected, atol=1e-3)
        assert torch.equal(logits(tuned.model), expected)


def test_the_base_model_of_one_llm_is_not_that_of_another(llm, tiny_llm_folder):
    tuned, other = fit(TunedLLM(llm)), fit(TunedLLM(TextLLM(tiny_llm_folder)))
    expected = logits(other.model)
    with tuned.base_model():
        assert torch.equal(logits(other.model), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_tuned_llm_has_a_base_model_too(llm, kind):
    expected = logits(llm.load_model())
    tuned = copy.deepcopy(fit(TunedLLM(llm, kind)))
    with tuned.base_model() as base:
        assert torch.equal(logits(base.load_model()), expected)
    assert not torch.allclose(logits(tuned.model), expected, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_input_embeddings_are_not_tuned(llm, kind):
    tuned = fit(TunedLLM(llm, kind))
    table = tuned.model.get_input_embeddings().weight
    assert table.data_ptr() == llm.embedding.weight.data_ptr()
    assert not table.requires_grad and table.grad is None
    assert torch.equal(tuned.table(), llm.table())


def test_an_output_layer_that_shares_them_is_not_tuned_either(dropping_llm):
    tuned = TunedLLM(dropping_llm, "full")
    output = tuned.model.get_output_embeddings().weight
    assert output is tuned.model.get_input_embeddings().weight
    assert not output.requires_grad


def test_it_serves_where_a_text_llm_does(llm):
    vectors, counts = torch.randn(2, 5, 16), torch.tensor([5, 2])
    expected = transcribe(llm, vectors, counts, 6)
    tuned = TunedLLM(llm, "full")
    assert transcribe(tuned, vectors, counts, 6) == expected
    fit(tuned, steps=20)
    assert transcribe(tuned, vectors, counts, 6) != expected
    assert transcribe(llm, vectors, counts, 6) == expected


# --- What is saved -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_holds_what_is_tuned_alone_and_restores_it(
    tiny_llm_folder, tmp_path, kind
):
    tuned = fit(TunedLLM(TextLLM(tiny_llm_folder), kind))
    trained = {n: p for n, p in tuned.named_parameters() if p.requires_grad}
    assert set(tuned.state_dict()) == set(trained) == tuned.trained
    AtomicCheckpointer(tmp_path, {"tuned": tuned}).save_checkpoint()

    other = TunedLLM(TextLLM(tiny_llm_folder), kind)
    AtomicCheckpointer(tmp_path, {"tuned": other}).recover_if_possible()
    assert torch.equal(logits(other.model), logits(tuned.model))
    # As part of a larger module, too.
    outer = torch.nn.ModuleDict({"lm": other, "layer": torch.nn.Linear(1, 1)})
    names = {f"lm.{name}" for name in trained} | {"layer.weight", "layer.bias"}
    assert set(outer.state_dict()) == names
    outer.load_state_dict(outer.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        outer.load_state_dict({"layer.weight": torch.ones(1, 1)})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_read_again(tiny_llm_folder, tmp_path, kind):
    tuned = fit(TunedLLM(TextLLM(tiny_llm_folder), kind, r=3, alpha=5, dropout=0.1))
    tuned.save(tmp_path / "it")
    again = TunedLLM.load(TextLLM(tiny_llm_folder), tmp_path / "it")
    assert again.kind == kind and again.trained == tuned.trained
    assert torch.equal(logits(again.model), logits(tuned.model))
    with again.base_model() as base, tuned.base_model() as expected:
        assert torch.equal(logits(base.load_model()), logits(expected.load_model()))
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


def test_adapters_are_those_of_peft(tiny_llm_folder, tmp_path):
    tuned = fit(TunedLLM(TextLLM(tiny_llm_folder), r=3, alpha=5))
    tuned.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert all(".lora_A." in key or ".lora_B." in key for key in weights)
    stock = AutoModelForCausalLM.from_pretrained(tiny_llm_folder)
    stock = peft.PeftModel.from_pretrained(stock, tmp_path)
    assert torch.equal(logits(stock), logits(tuned.model))


def test_adapters_that_peft_saved_are_read(tiny_llm_folder, tmp_path):
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False
    )
    stock = AutoModelForCausalLM.from_pretrained(tiny_llm_folder)
    stock = peft.get_peft_model(stock, config).eval()
    stock.save_pretrained(tmp_path)
    tuned = TunedLLM.load(TextLLM(tiny_llm_folder), tmp_path)
    assert torch.equal(logits(tuned.model), logits(stock))


def test_a_fully_tuned_llm_is_one_for_transformers(tiny_llm_folder, tmp_path):
    tuned = fit(TunedLLM(TextLLM(tiny_llm_folder), "full"))
    tuned.save(tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(stock), logits(tuned.model))


def test_adapters_of_half_precision_llms_are_trained_in_single(
    tiny_llm_folder, tmp_path
):
    tuned = fit(TunedLLM(TextLLM(tiny_llm_folder, dtype="bfloat16")))
    assert {x.dtype for x in tuned.state_dict().values()} == {torch.float32}
    tuned.save(tmp_path)
    again = TunedLLM.load(TextLLM(tiny_llm_folder, dtype="bfloat16"), tmp_path)
    assert torch.equal(logits(again.model), logits(tuned.model))


def test_nothing_tuned_is_not_saved(llm, tmp_path):
    tuned = TunedLLM(llm, "none")
    assert not any(p.requires_grad for p in tuned.parameters())
    assert tuned.model is llm.load_model()
    with pytest.raises(ValueError, match="nothing is tuned"):
        tuned.save(tmp_path)


# --- Bad input ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "qlora"}, "tuning is 'qlora'; it may be none, lora, full"),
        ({"target_modules": ["q_porj"]}, "no module is named q_porj .*q_proj"),
        ({"target_modules": ["embed_tokens"]}, "no module is named embed_tokens"),
        ({"target_modules": "q_porj"}, "target_modules: all-linear, or some of .*q_"),
        ({"target_modules": 3}, "target_modules: all-linear"),
        ({"r": 0}, "cannot be given such adapters: .* 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(llm, options, message):
    with pytest.raises(ValueError, match=message):
        TunedLLM(llm, **options)


def test_an_llm_is_tuned_once(llm):
    TunedLLM(llm)
    with pytest.raises(ValueError, match="has adapters in it already"):
        TunedLLM(llm)


@pytest.fixture
def adapter(tiny_llm_folder, tmp_path):
    """A folder with good adapters."""
    TunedLLM(TextLLM(tiny_llm_folder), r=3).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', not LORA"),
        ({"peft_type": None}, "peft_type: expected text, not None"),
        # These import a module by its name.
        ({"auto_mapping": {"parent_library": "os"}}, "sets auto_mapping"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "sets megatron_co"),
        # These change the LLM itself.
        ({"layer_replication": [[0, 2], [0, 2]]}, "sets layer_replication"),
        ({"modules_to_save": ["embed_tokens"]}, "sets modules_to_save"),
        ({"use_dora": True}, "sets use_dora"),
        ({"rank_pattern": {"(a+)+$": 4}}, "sets rank_pattern"),
        ({"of_another_day": "yes"}, "sets of_another_day"),
        # A pattern, which may take for ever to be matched.
        ({"target_modules": "(a+)+$"}, "is damaged"),
        ({"target_modules": [["q_proj"]]}, "is damaged"),
        ({"target_modules": ["no_proj"]}, "no module is named no_proj"),
        ({"r": 10**9}, "adapter_model.safetensors does not belong"),
        ({"r": "3"}, "is damaged"),
        ({"lora_alpha": None}, "is damaged"),
    ],
)
def test_settings_of_adapters_that_are_not_supported_are_refused(
    llm, adapter, settings, message
):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(ValueError, match=message) as raised:
        TunedLLM.load(llm, adapter)
    assert str(adapter) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"peft_type": "LORA"}'])
def test_damaged_settings_are_named(llm, adapter, text):
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match="adapter_config.json is damaged"):
        TunedLLM.load(llm, adapter)


def test_pickles_are_refused(llm, adapter):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("code of a checkpoint was run",)

    torch.save(Bomb(), adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match="adapter_model.bin may hold code"):
        TunedLLM.load(llm, adapter)


def test_damaged_weights_are_named(llm, adapter):
    path = adapter / "adapter_model.safetensors"
    whole = path.read_bytes()
    weights = load(whole)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="adapter_model.safetensors is missing or"):
        TunedLLM.load(llm, adapter)
    path.unlink()
    with pytest.raises(ValueError, match="adapter_model.safetensors is missing or"):
        TunedLLM.load(llm, adapter)
    weights.popitem()
    save_file(weights, path)
    with pytest.raises(ValueError, match="has not the weights of adapters"):
        TunedLLM.load(llm, adapter)


def test_adapters_of_another_llm_are_refused(dropping_llm, adapter):
    with pytest.raises(ValueError, match="adapter_config.json: .* no module is named"):
        TunedLLM.load(dropping_llm, adapter)


def test_a_folder_without_a_tuned_llm_is_named(llm, tmp_path):
    with pytest.raises(ValueError, match="holds no tuned LLM"):
        TunedLLM.load(llm, tmp_path)


@pytest.fixture
def whole(tiny_llm_folder, tmp_path):
    """A folder with a fully tuned LLM."""
    TunedLLM(TextLLM(tiny_llm_folder), "full").save(tmp_path / "llm")
    return tmp_path / "llm"


@pytest.mark.parametrize(
    "name, message",
    [
        ("pytorch_model.bin", "may hold code"),
        ("modeling.py", "does not belong to a tuned LLM"),
    ],
)
def test_whatever_may_hold_code_beside_a_tuned_llm_is_refused(
    llm, whole, name, message
):
    (whole / name).write_text("raise SystemExit")
    with pytest.raises(ValueError, match=f"{name} {message}"):
        TunedLLM.load(llm, whole)


def test_the_settings_of_a_fully_tuned_llm_choose_no_class(llm, whole):
    expected = logits(TunedLLM.load(llm, whole).model)
    path = whole / "config.json"
    settings = json.loads(path.read_text())
    settings |= {"architectures": ["Evil"], "auto_map": {"AutoModel": "evil.Evil"}}
    path.write_text(json.dumps(settings | {"model_type": "evil", "num_layers": 10**9}))
    assert torch.equal(logits(TunedLLM.load(llm, whole).model), expected)


def test_an_index_that_leads_out_of_the_folder_is_refused(llm, whole):
    weights = whole / "model.safetensors"
    names = list(load_file(weights))
    weights.rename(whole.parent / "model.safetensors")
    weight_map = dict.fromkeys(names, "../model.safetensors")
    index = {"metadata": {}, "weight_map": weight_map}
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="which is no file beside it"):
        TunedLLM.load(llm, whole)


def test_weights_of_another_llm_are_refused(llm, dropping_llm, whole):
    with pytest.raises(ValueError, match="damaged, or not of an LLM tuned from"):
        TunedLLM.load(dropping_llm, whole)
    weights = load((whole / "model.safetensors").read_bytes())
    weights["model.embed_tokens.weight"] += 1
    save_file(weights, whole / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="input embeddings are not the original's"):
        TunedLLM.load(llm, whole)
