"""A contract is a class: no code asks by a name what a component can do."""

import ast
import pathlib

import ssr_plugin

PACKAGE = pathlib.Path(ssr_plugin.__file__).parent
# File -> names that may be asked for there, of what is no component of this package.
ALLOWED = {
    # Configurations, tokenizers and models of transformers, which differ by family.
    "alignment/ctc_model.py": {
        "word_delimiter_token",
        "inputs_to_logits_ratio",
        "feat_extract_norm",
    },
    "inference/growing_prompt.py": {"max_position_embeddings"},
    "demo/hearing.py": {"max_position_embeddings"},
    # bitsandbytes' layers, on processors that have them pack their weights.
    "llm/compact_weights.py": {"quantization_config", "support_avx512bf16_for_cpu"},
    "training/config_models.py": {"num_mel_bins"},
    # Arrays of any library, tensors among other values, what a system has.
    "data/audio_stream.py": {"detach"},
    "data/shards.py": {"_file", "posix_fadvise"},
    "training/step_traces.py": {"requires_grad"},
    "encoders/backbone.py": {
        "adapter",
        "add_adapter",
        "embed_positions",
        "max_source_positions",
    },
    "encoders/frontends.py": {"sampling_rate", "n_samples"},
    "evaluation/benchmarks/text_perplexity.py": {"max_position_embeddings"},
    "evaluation/harness/item_scoring.py": {"max_position_embeddings"},
    "inference/speech_lm.py": {"num_return_sequences"},
    "llm/embeddings.py": {"tie_word_embeddings"},
    "llm/generation.py": {"_can_compile_fullgraph", "max_cache_len"},
    "llm/packing.py": {"layer_types", "sliding_window"},
    "llm/scoring.py": {"_is_stateful"},
    "training/stage1_model.py": {"activation_checkpointing_enable"},
    "recognizers/whisper.py": {"alignment_heads", "is_multilingual", "lang_to_id"},
    "training/text_data.py": {"max_position_embeddings"},
    # What PyTorch and the operating system have on some machines alone.
    "processes.py": {"sched_getaffinity"},
    "nnet/precision.py": {"get_capabilities"},
    # Whether the embedding is read already, of the class's own.
    "llm/text_llm.py": {"embedding"},
    # What DDP wraps, by the name that it has there.
    "training/brain.py": {"module"},
    # Items with choices, and benchmarks with texts.
    "evaluation/harness/conditions.py": {"choices"},
    "tts/speak_texts.py": {"texts"},
}


def asked_names(path):
    """Names that getattr with a default, or hasattr, asks for in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        asks = node.func.id == "hasattr"
        asks |= node.func.id == "getattr" and len(node.args) == 3
        if asks and isinstance(node.args[1], ast.Constant):
            names.add(node.args[1].value)
    return names


def test_no_getattr_of_the_package_asks_what_a_component_can_do():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if names := asked_names(path) - ALLOWED.get(name, set()):
            found[name] = names
    assert not found


def test_a_capability_test_is_found(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "getattr(x, 'scores_tokens', False)\n"
        "hasattr(x, 'align_text')\n"
        "getattr(x, name)\n"
        "getattr(x, 'plain')\n"
    )
    assert asked_names(path) == {"scores_tokens", "align_text"}
