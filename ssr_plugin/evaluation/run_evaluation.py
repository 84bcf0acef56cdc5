"""``ssr evaluate`` and every recipe's ``evaluate.py``: a model, tasks, a report."""

import logging
import pathlib
import shlex
import sys

import speechbrain as sb

from ssr_plugin import build
from ssr_plugin.alignment.cache import align
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.report import evaluation_report
from ssr_plugin.files import check_writable, digest, file_identity
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.inference.pretrained import SETTINGS, find_folder
from ssr_plugin.inference.pretrained import read_settings as model_settings
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.problems import named, told_in_a_line
from ssr_plugin.registry import get_registry

logger = logging.getLogger(__name__)


def main(dataset_class=None, argv=None, program="evaluate.py"):
    """Evaluates a model on tasks and writes a report.

    Arguments
    ---------
    dataset_class : type or None
        A subclass of :class:`ssr_plugin.data.datasets.DataSet`, for tasks on a corpus.
        None takes the one that the registry has under the YAML's key ``dataset``.
    argv : list of str or None
        The YAML and overrides of its keys, by default those of the command line.
    program : str
        What stands before them, for messages and the report.

    Returns
    -------
    dict
        What is in ``metrics.json``; empty in all processes but the first.

    Raises
    ------
    SystemExit
        With the message alone, where the user's input is at fault.
    """
    if (sb.utils.distributed.get_rank() or 0) > 0:
        # Under torchrun the first process does it all: it is not much.
        return {}
    argv = sys.argv[1:] if argv is None else argv
    with told_in_a_line():
        job = parse_command_line(argv, program)
        job.require("model", "task_options")
        dataset_class = job.dataset_class(dataset_class)
        # Before tasks, whose items may take long to align.
        with named("model"):
            model_settings(find_folder(job.settings["model"]))
        for key in ("output_folder", "cache_folder"):
            check_writable(key, job.settings[key])
        sb.create_experiment_directory(job.settings["output_folder"])
        job.save(job.settings["output_folder"])
        command = shlex.join([*program.split(), *map(str, argv)])
        return evaluate(job.load(), job.run_opts, dataset_class, command)


def evaluate(hparams, run_opts, dataset_class, command):
    """Runs all tasks, each in its turn, and writes the report after each.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/evaluate.yaml``.
    run_opts : dict
        As ``speechbrain.parse_arguments`` gives them.
    dataset_class : type
    command : str
        For the report.

    Returns
    -------
    dict
    """
    folder = pathlib.Path(hparams["output_folder"])
    source = hparams["model"]
    # Tasks first: what is wrong with them shows before a model is loaded.
    tasks = [make_task(name, hparams, dataset_class) for name in hparams["tasks"]]
    align_all = make_align(hparams)
    found = [(task, task.items(align_all)) for task in tasks]
    lm = SpeechLM.from_pretrained(
        source,
        device=run_opts.get("device"),
        dtype=hparams["llm_dtype"],
        encoder_dtype=hparams["encoder_dtype"],
        encoder_source=hparams["encoder_source"],
        llm_source=hparams["llm_source"],
    )
    identity = digest(
        model_identity(source),
        [hparams["llm_dtype"], hparams["encoder_dtype"]],
        [hparams["aligner"], hparams["aligner_options"]],
    )
    metrics = {
        "model": f"{source} (LLM {lm.llm.source}, encoder {lm.encoder.source})",
        "command": command,
        "versions": evaluation_report.versions(),
        "tasks": {},
    }
    examples = []
    for task, items in found:
        columns, notes = task.columns(lm, items)
        settings = task.settings()
        records, problems = answer_items(
            lm,
            items,
            columns,
            align_all,
            path=folder / "answers" / f"{task.name}.jsonl",
            identity=digest(identity, settings) if settings else identity,
            title=task.name,
            max_skipped_share=hparams["max_skipped_share"],
            answer=task.answer,
        )
        if "cascade" in columns and not all("cascade" in r["read"] for r in records):
            notes = [
                *notes,
                "no cascade column: the segmenter does not say what it hears",
            ]
        for title, figures in task.figures(records, columns, hparams["seed"]).items():
            metrics["tasks"][title] = {
                **figures,
                "task": task.name,
                "about": task.about,
                "notes": [*task.notes, *notes],
                "skipped": problems.reasons,
            }
            show(title, metrics["tasks"][title])
        examples += task.examples(items, records, hparams["num_shown"])
        evaluation_report.write_report(folder, metrics, examples)
    logger.info("Report, metrics and answers are in %s", folder)
    return metrics


def make_task(name, hparams, dataset_class):
    """The task of that name, with its options and what they have in common.

    Arguments
    ---------
    name : str
    hparams : dict
    dataset_class : type

    Returns
    -------
    ssr_plugin.evaluation.harness.benchmark.Task
    """
    given = {}
    if get_registry().tasks.get(name).reads_corpus:
        given = {
            "dataset": dataset_class(hparams["data_folder"]),
            "splits": hparams["test_splits"],
            "seed": hparams["seed"],
        }
    return build.task(name, hparams["task_options"], **given)


def make_align(hparams):
    """A function that aligns, or finds in the cache what was aligned before.

    Arguments
    ---------
    hparams : dict

    Returns
    -------
    callable
        List of AlignmentItem -> mapping from id to Alignment.
    """
    aligner = build.aligner(hparams["aligner"], hparams["aligner_options"])
    folder = pathlib.Path(hparams["cache_folder"]) / "alignments"
    share = hparams["max_skipped_share"]
    return lambda items: align(items, aligner, folder, max_skipped_share=share)[0]


def model_identity(source):
    """What tells a model's files from those of another.

    Arguments
    ---------
    source : str
        Folder or hub id.

    Returns
    -------
    list
    """
    folder = find_folder(source)
    files = [folder / SETTINGS, *sorted(folder.glob("*.safetensors"))]
    for part in ("segmenter", "tuned"):
        files += sorted(path for path in (folder / part).glob("*") if path.is_file())
    return [file_identity(path) for path in files if path.is_file()]


def show(title, figures):
    """Prints a task's figures in a line.

    Arguments
    ---------
    title : str
    figures : dict
    """
    name, unit = figures["measure"]["name"], figures["measure"]["unit"]
    shown = "  ".join(
        f"{column} {found[name]:.1f}"
        for column, found in figures["columns"].items()
        if found[name] is not None
    )
    what = f"{name} in {unit}" if unit else name
    logger.info("%s, %d items, %s: %s", title, figures["items"], what, shown)
