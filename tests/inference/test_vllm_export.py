"""Prompts for vLLM, and vectors on disk: what is written is what the LLM reads.

vLLM itself needs a GPU and is not here: its own checks of a prompt are done by hand,
and transformers writes in its place.
"""

import base64
import copy
import io
import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ssr_plugin import SpeechLM
from ssr_plugin.inference.chat import render_chat
from ssr_plugin.inference.speech_files import load_speech, save_speech
from ssr_plugin.inference.vllm_export import (
    chat_request,
    completion_request,
    save_prompts,
    serving,
    to_base64,
)

RNG = np.random.default_rng(0)
WAV = (0.1 * RNG.standard_normal(24000).astype("float32"), 16000)
PROMPTS = [["the ", WAV, "\ncat"], [WAV], ["sat"]]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")


@pytest.fixture
def exported(lm, tmp_path):
    """The path of a file with all prompts."""
    path = tmp_path / "prompts.safetensors"
    embeds = lm.embed_prompts(PROMPTS)
    save_prompts(path, {f"{i}": x for i, x in enumerate(embeds)}, lm)
    return path


def decode(text):
    """A prompt as vLLM's server decodes it."""
    data = base64.b64decode(text, validate=True)
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


# --- Prompts -----------------------------------------------------------------------


def test_a_prompt_is_what_vllm_takes(lm, exported):
    for embeds in load_file(exported).values():
        assert embeds.shape[1:] == (lm.llm.hidden_size,) and len(embeds) > 0
        assert embeds.dtype == torch.float32
    with safe_open(exported, "pt") as file:
        assert file.metadata() == {
            "llm": lm.llm.source,
            "dtype": "float32",
            "tuned": "none",
        }


def test_prompts_have_the_type_of_the_llm(tiny_speech_lm_folder, tmp_path):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, dtype="bfloat16")
    save_prompts(tmp_path / "p.safetensors", {"0": lm.embed_prompts([WAV])}, lm)
    assert load_file(tmp_path / "p.safetensors")["0"].dtype == torch.bfloat16


def test_the_llm_alone_writes_after_an_exported_prompt_what_speech_lm_writes(
    lm, exported
):
    llm = AutoModelForCausalLM.from_pretrained(lm.llm.source)
    options = {"max_new_tokens": 6, "do_sample": False}
    expected = lm.generate(PROMPTS, **options)
    for (_, embeds), text in zip(load_file(exported).items(), expected, strict=True):
        for read in (embeds, decode(to_base64(embeds))):
            ids = llm.generate(inputs_embeds=read[None], **options, pad_token_id=2)
            written = lm.llm.tokenizer.decode(ids[0], skip_special_tokens=True)
            assert written == text


@given(st.integers(1, 5), st.sampled_from([torch.float32, torch.bfloat16]))
def test_base64_is_the_prompt_alone(length, dtype):
    embeds = torch.randn(1000, 4).to(dtype)
    text = to_base64(embeds[:length])
    assert torch.equal(decode(text), embeds[:length])
    assert len(text) < 4000


def test_a_request_is_json_and_the_users_to_change(lm):
    embeds = lm.embed_prompts("the cat")
    body = completion_request(embeds, "llm", 5, temperature=0.7)
    sent = json.loads(json.dumps(body))
    assert torch.equal(decode(sent.pop("prompt_embeds")), embeds)
    assert sent == {"model": "llm", "max_tokens": 5, "temperature": 0.7}
    assert completion_request(embeds, "llm")["temperature"] == 0


# --- Parts of a chat message ----------------------------------------------------------

MARK = "<prompt_embeds>"
# One that takes parts of a message, as vLLM gives them, and a string, as we do.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] "
    "{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}"
    "{% endfor %} a"
)
CHAT = [
    {"role": "system", "content": "the cat"},
    {"role": "user", "content": ["sat ", WAV, " the", WAV]},
]


@pytest.fixture
def chatting(lm, monkeypatch):
    monkeypatch.setattr(lm.llm.tokenizer, "chat_template", TEMPLATE)
    return lm


def served(lm, request):
    """What the LLM reads of a request, put together as vLLM's server does."""
    tokenizer, vectors, messages = copy.deepcopy(lm.llm.tokenizer), [], []
    tokenizer.add_special_tokens({"additional_special_tokens": [MARK]})
    for message in request["messages"]:
        parts = []
        for part in message["content"]:
            if part["type"] == "prompt_embeds":
                vectors.append(decode(part["data"]))
                part = {"type": "text", "text": MARK * len(vectors[-1])}
            parts.append(part)
        messages.append({**message, "content": parts})
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
    spoken = ids == tokenizer.convert_tokens_to_ids(MARK)
    embeds = lm.llm.embed(ids.masked_fill(spoken, 0))
    return embeds.masked_scatter(spoken[:, None], torch.cat(vectors))


def test_the_server_makes_of_a_chat_request_what_speech_lm_reads(chatting):
    lm = chatting
    request = json.loads(json.dumps(chat_request(lm, CHAT, "llm", 6, top_p=0.5)))
    roles = [message["role"] for message in request["messages"]]
    assert roles == ["system", "user"] and request["top_p"] == 0.5
    assert (request["model"], request["max_tokens"]) == ("llm", 6)
    embeds = served(lm, request)
    assert torch.equal(embeds, lm.embed_prompts(render_chat(lm.llm, CHAT)))
    llm = AutoModelForCausalLM.from_pretrained(lm.llm.source)
    options = {"max_new_tokens": 6, "do_sample": False}
    ids = llm.generate(inputs_embeds=embeds[None], **options, pad_token_id=2)
    written = lm.llm.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert written == lm.chat(CHAT, **options)


def test_a_chat_request_has_parts_of_the_llms_type_and_none_that_are_empty(
    tiny_speech_lm_folder,
):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, dtype="bfloat16")
    messages = [{"role": "user", "content": [" ", WAV]}]
    (message,) = chat_request(lm, messages, "llm")["messages"]
    (part,) = message["content"]
    assert part["type"] == "prompt_embeds" and set(part) == {"type", "data"}
    assert decode(part["data"]).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="nothing is said in a recording"):
        chat_request(lm, [{"role": "user", "content": [([0.0], 16000)]}], "llm")
    with pytest.raises(TypeError, match="is no message"):
        chat_request(lm, [{"text": "hello"}], "llm")
    (plain,) = chat_request(lm, "the cat", "llm")["messages"]
    assert plain["content"] == [{"type": "text", "text": "the cat"}]


# --- The server --------------------------------------------------------------------


def tuned(kind):
    """What :func:`serving` looks at of a model that was tuned."""
    llm = SimpleNamespace(source="us/llm@v1")
    return SimpleNamespace(llm=llm, tuned=SimpleNamespace(kind=kind))


def test_an_llm_that_was_not_tuned_is_served_from_where_it_came(
    lm, tiny_speech_lm_folder
):
    model, command = serving(lm, tiny_speech_lm_folder)
    assert model == lm.llm.source
    assert shlex.split(command) == ["vllm", "serve", model, "--enable-prompt-embeds"]
    assert serving(tuned("none"), tiny_speech_lm_folder)[0] == "us/llm"


@pytest.mark.parametrize(("rank", "room"), [(2, "8"), (16, "16"), (100, "128")])
def test_adapters_are_served_beside_the_llm(tmp_path, rank, room):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "adapter_config.json").write_text(json.dumps({"r": rank}))
    model, command = serving(tuned("lora"), tmp_path)
    assert model == "tuned"
    assert "serve us/llm --revision v1 --enable-prompt-embeds --enable-lora" in command
    assert f"--max-lora-rank {room} " in command
    assert command.endswith(f"--lora-modules tuned={tmp_path / 'tuned'}")


def test_a_fully_tuned_llm_is_a_folder_with_the_tokenizer_elsewhere(tmp_path):
    model, command = serving(tuned("full"), tmp_path)
    assert model == str(tmp_path / "tuned")
    assert command == (
        f"vllm serve {model} --tokenizer us/llm --tokenizer-revision v1 "
        f"--enable-prompt-embeds"
    )


# --- Vectors -----------------------------------------------------------------------


def test_kept_recordings_are_those_that_were_kept(lm, tmp_path):
    spoken = {"b/a.wav": lm.embed(WAV), "none": lm.embed(([0.0], 16000))}
    save_speech(tmp_path / "all.safetensors", spoken, lm)
    kept = load_speech(tmp_path / "all.safetensors")
    assert list(kept) == list(spoken)
    for name, speech in spoken.items():
        found = dict(vars(kept[name]))
        assert torch.equal(found.pop("vectors"), speech.vectors)
        # Frames are of no use without the audio.
        left_out = ("vectors", "segments")
        assert found.pop("segments") is None
        assert found == {k: v for k, v in vars(speech).items() if k not in left_out}
    options = {"max_new_tokens": 4, "do_sample": False}
    prompt = ["the ", kept["b/a.wav"], " cat"]
    assert lm.generate(prompt, **options) == lm.generate(
        ["the ", WAV, " cat"], **options
    )


def test_what_holds_no_recordings_is_named(lm, exported, tmp_path):
    (tmp_path / "text").write_text("no safetensors")
    save_file({}, tmp_path / "bare")
    wrong = {"speech": json.dumps({"a": {"tokens": []}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "wrong", wrong)
    for path in (exported, tmp_path / "text", tmp_path / "bare", tmp_path / "wrong"):
        with pytest.raises(ValueError, match=f"{path.name} holds no recordings"):
            load_speech(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        load_speech(tmp_path / "gone")


def test_more_than_a_file_can_hold_is_refused(lm, tmp_path, monkeypatch):
    monkeypatch.setattr("ssr_plugin.inference.speech_files._MOST_METADATA", 10)
    with pytest.raises(ValueError, match="write several"):
        save_speech(tmp_path / "x", {"a": lm.embed(WAV)}, lm)
    assert not list(tmp_path.iterdir())
