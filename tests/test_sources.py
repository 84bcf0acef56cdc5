"""Models by hub id and revision, from the hub's own cache: no network is needed."""

import os
import shutil
import subprocess
import sys

import runs

SCRIPT = """
import torch
from ssr_plugin import hub
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.sources import pin

for kind, make in (("llm", TextLLM), ("encoder", SpeechEncoder)):
    model = make(f"us/{kind}@v1")
    assert hub.fingerprint(model.source) == hub.fingerprint(f"us/{kind}")
    print(pin(model.source))
print(TextLLM("us/llm@v1").load_model().num_parameters() > 0)
try:
    TextLLM("us/llm@v2")
except ValueError as error:
    print(error)
"""


def put_in_cache(cache, repo, commit, folder, revisions):
    """A model in the layout of the hub's cache, as if it had been fetched."""
    root = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, root / "snapshots" / commit)
    (root / "refs").mkdir()
    for revision in revisions:
        (root / "refs" / revision).write_text(commit)


def test_a_source_with_a_revision_loads_that_revision(
    tmp_path, tiny_llm_folder, tiny_encoder_folder
):
    put_in_cache(tmp_path, "us/llm", "a" * 40, tiny_llm_folder, ["main", "v1"])
    put_in_cache(tmp_path, "us/encoder", "b" * 40, tiny_encoder_folder, ["main", "v1"])
    environment = {
        "HF_HUB_CACHE": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(runs.PROJECT),
    }
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert process.returncode == 0, process.stderr
    llm, encoder, loaded, refused = process.stdout.splitlines()[:4]
    assert llm == f"us/llm@{'a' * 40}" and encoder == f"us/encoder@{'b' * 40}"
    assert loaded == "True"
    assert "'us/llm@v2' is neither a folder on this machine nor a model" in refused
