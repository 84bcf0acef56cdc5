"""Models by hub id and revision, from the hub's own cache: no network is needed."""

import shutil

import huggingface_hub
import pytest

from ssr_plugin import hub
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.sources import pin


def put_in_cache(cache, repo, commit, folder, revisions):
    """A model in the layout of the hub's cache, as if it had been fetched."""
    root = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, root / "snapshots" / commit)
    (root / "refs").mkdir()
    for revision in revisions:
        (root / "refs" / revision).write_text(commit)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The folder of the hub's cache, empty; as with its variables in the environment,
    which are read when its package is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_source_with_a_revision_loads_that_revision(
    hub_cache, tiny_llm_folder, tiny_encoder_folder
):
    put_in_cache(hub_cache, "us/llm", "a" * 40, tiny_llm_folder, ["main", "v1"])
    put_in_cache(hub_cache, "us/encoder", "b" * 40, tiny_encoder_folder, ["main", "v1"])
    for kind, make, commit in (("llm", TextLLM, "a"), ("encoder", SpeechEncoder, "b")):
        model = make(f"us/{kind}@v1")
        assert hub.fingerprint(model.source) == hub.fingerprint(f"us/{kind}")
        assert pin(model.source) == f"us/{kind}@{commit * 40}"
    assert TextLLM("us/llm@v1").load_model().num_parameters() > 0
    told = "'us/llm@v2' is neither a folder on this machine nor a model"
    with pytest.raises(ValueError, match=told):
        TextLLM("us/llm@v2")
