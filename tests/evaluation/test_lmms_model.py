"""``ssr`` as a model of lmms-eval: with that package, and with stand-ins for it."""

import configparser
import dataclasses
import importlib
import json
import pathlib
import sys
import types

import pytest

import ssr_plugin
from ssr_plugin import SpeechLM

ROOT = pathlib.Path(ssr_plugin.__file__).parent.parent
MODEL = "ssr_plugin.evaluation.lmms.model"


@dataclasses.dataclass
class GenerationResult:
    """lmms-eval's, which takes ``text`` as it is, and makes a str of all else."""

    text: object


class Lmms:
    """What lmms-eval's base class keeps for its subclasses."""

    rank = 0

    def __init__(self):
        self.task_dict = {}

    def clean(self):
        vars(self).clear()


@pytest.fixture
def entry_point(monkeypatch):
    """What setup.cfg tells lmms-eval to call, with stand-ins for its modules."""
    names = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.instance": {
            "GenerationResult": GenerationResult,
            "Instance": types.SimpleNamespace,
        },
        "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {
            "ModelManifest": lambda name, simple_class_path: (name, simple_class_path)
        },
    }
    for name, attributes in names.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    # Imported anew, now and by whoever comes next.
    monkeypatch.delitem(sys.modules, MODEL, raising=False)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    line = config["options.entry_points"]["lmms_eval.models"]
    module, function = line.partition("=")[2].strip().split(":")
    yield getattr(importlib.import_module(module), function)
    sys.modules.pop(MODEL, None)


def test_the_entry_point_leads_to_a_model_that_answers(
    entry_point, tiny_speech_lm_folder, write_audio, tmp_path
):
    name, path = entry_point()
    assert name == "ssr"
    module, class_name = path.rsplit(".", 1)
    ssr = getattr(importlib.import_module(module), class_name)
    with pytest.raises(ValueError, match="batch_size"):
        # Before anything is loaded.
        ssr(pretrained="nowhere", batch_size="auto")
    # As lmms-eval's command line gives them.
    folder = str(tiny_speech_lm_folder)
    model = ssr(pretrained=folder, device="cpu", batch_size="2", max_batch_size=None)
    assert model.is_simple and model.device.type == "cpu"
    wav = write_audio(tmp_path / "a.wav")
    model.task_dict["task"] = {"test": [{"wav": wav}]}

    def ask(second):
        args = (" then", second, lambda doc: [doc["wav"]], 0, "task", "test")
        return types.SimpleNamespace(args=args)

    lm = SpeechLM.from_pretrained(folder, device="cpu")
    (text,) = model.generate_until([ask({"max_new_tokens": 3})])
    assert text == lm.generate([wav, " then"], max_new_tokens=3, do_sample=False)
    ((loss, _),) = [result.text for result in model.loglikelihood([ask(" the")])]
    assert loss == pytest.approx(-lm.score([wav, " then"], " the"), abs=1e-3)
    with pytest.raises(NotImplementedError, match="several rounds"):
        model.generate_until_multi_round([])
    model.clean()
    assert not vars(model)


TASK = """
task: heard_{name}
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
doc_to_visual: !function heard_utils.audio
doc_to_text: " then"
doc_to_target: answer
"""
CHOICE = """
output_type: multiple_choice
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
WRITTEN = """
output_type: generate_until
generation_kwargs: {max_new_tokens: 4, temperature: 0}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.mark.slow
def test_lmms_eval_itself_runs_tasks_of_ones_own(
    tiny_speech_lm_folder, write_audio, tmp_path, monkeypatch
):
    pytest.importorskip("lmms_eval", reason="needs lmms-eval, of [lmms_eval]")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path / "cache"))
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import get_model_manifest
    from lmms_eval.tasks import TaskManager

    assert get_model_manifest("ssr").simple_class_path == f"{MODEL}.SSR"
    wavs = [
        write_audio(tmp_path / f"{i}.flac", 0.4 + 0.1 * i, 22050, seed=i)
        for i in range(3)
    ]
    choices = ["the cat", "sat", "the"]
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")
    scores = [lm.score([wav, " then"], [f" {x}" for x in choices]) for wav in wavs]
    lengths = [len(x) for x in choices]
    best = [row.index(max(row)) for row in scores]
    normed = [[x / n for x, n in zip(row, lengths, strict=True)] for row in scores]
    best_normed = [row.index(max(row)) for row in normed]
    # Right twice, and wrong once.
    answers = [best[0], best[1], (best[2] + 1) % 3]
    rows = [
        json.dumps({"wav": str(wav), "choices": choices, "answer": answer})
        for wav, answer in zip(wavs, answers, strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "heard_utils.py").write_text("def audio(doc):\n    return [doc['wav']]\n")
    for name, rest in {"choice": CHOICE, "written": WRITTEN}.items():
        text = TASK.format(name=name, data=tmp_path / "rows.jsonl") + rest
        (folder / f"{name}.yaml").write_text(text)
    found = simple_evaluate(
        model="ssr",
        model_args=f"pretrained={tiny_speech_lm_folder},device=cpu",
        tasks=["heard_choice", "heard_written"],
        task_manager=TaskManager("ERROR", str(folder), model_name="ssr"),
        batch_size=2,
        bootstrap_iters=0,
    )
    results = found["results"]["heard_choice"]
    assert results["acc,none"] == pytest.approx(2 / 3)
    right = sum(map(int.__eq__, best_normed, answers))
    assert results["acc_norm,none"] == pytest.approx(right / 3)
    texts = [row["filtered_resps"][0] for row in found["samples"]["heard_written"]]
    assert texts == [
        lm.generate([wav, " then"], max_new_tokens=4, do_sample=False) for wav in wavs
    ]
