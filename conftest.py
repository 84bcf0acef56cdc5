"""Fixtures that tests and the docstrings' examples share: tiny models in folders."""

import importlib.util
import os

import pytest
import torch

# Its base class is lmms-eval's, which most machines do not have.
if importlib.util.find_spec("lmms_eval") is None:
    collect_ignore = ["ssr_plugin/evaluation/lmms/model.py"]

# Tests share the cores: audio is read by the test's own process, unless it says so.
os.environ.setdefault("SSR_NUM_WORKERS", "0")

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # They share the cores, and so do the processes that they start.
    threads = max((os.cpu_count() or 1) // workers, 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory):
    """A folder with a random HuBERT encoder: 2 layers, D = 32, 50 Hz, group norm."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    folder = tmp_path_factory.mktemp("tiny_encoder")
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A fast tokenizer: <s> before each text, </s>, <unk>, letters and some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", "the", "cat", "sat"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


@pytest.fixture(scope="session")
def tiny_llm_folder(tmp_path_factory, tiny_tokenizer):
    """A folder with a random Llama: 2 layers, H = 16, V = 32, and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny_llm")
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_speech_lm_folder(tmp_path_factory, tiny_encoder_folder, tiny_llm_folder):
    """A folder with a random SpeechLM of the two: five vectors a second at most."""
    from ssr_plugin import SpeechLM, build
    from ssr_plugin.encoders.encoder import SpeechEncoder
    from ssr_plugin.llm.text_llm import TextLLM

    folder = tmp_path_factory.mktemp("tiny_speech_lm")
    encoder, llm = SpeechEncoder(tiny_encoder_folder), TextLLM(tiny_llm_folder)
    options = {"num_layers": 1, "num_pooling_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        connector = build.connector("ssr", encoder, llm, {"ssr": options})
    settings = {
        "connector": {"name": "ssr", "options": options},
        "forced": {},
        "segmenter": {"name": "fixed", "options": {}},
        "lm_fusion": {"steps": 1, "weight": 0.7, "inverse_temperature": 2.0},
    }
    segmenters = build.segmenters("fixed", encoder, llm)
    SpeechLM(encoder, llm, connector, segmenters, settings).save_pretrained(folder)
    return folder
