"""An evaluation as a YAML describes it: model, benchmarks, report.

What is imported here takes seconds, so that a command line is read before it is
(:mod:`ssr_plugin.evaluation.run_evaluation`).
"""

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import speechbrain as sb
from speechbrain.utils.run_opts import RunOptions

from ssr_plugin import build
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.number_aligner import with_number_words
from ssr_plugin.data.datasets import DataSet
from ssr_plugin.data.distorted_set import (
    DistortedSet,
    make_distorted_sets,
    noise_settings,
)
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.benchmark import Align, Benchmark
from ssr_plugin.evaluation.harness.condition import Condition
from ssr_plugin.evaluation.harness.conditions import make_conditions, sort_conditions
from ssr_plugin.evaluation.harness.records import add_unheard, answers_path
from ssr_plugin.evaluation.report import evaluation_report
from ssr_plugin.evaluation.report.noise_sounds import noise_sounds
from ssr_plugin.files import check_writable, digest, file_identity
from ssr_plugin.folder_lock import locked
from ssr_plugin.hparams import Job
from ssr_plugin.inference.pretrained import SETTINGS, find_folder
from ssr_plugin.inference.pretrained import read_settings as model_settings
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.problems import prefix_errors
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.trained import segmenter_mark
from ssr_plugin.training.aligner_first import with_aligner
from ssr_plugin.training.job_language import with_language

logger = logging.getLogger(__name__)

#: A folder's data set: a class, or a function that makes one.
MakeDataSet = Callable[[str], DataSet]


def evaluate_job(job: Job, make_dataset: MakeDataSet, command: str) -> dict[str, Any]:
    """Checks what a job names, and evaluates as it says.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        Of ``hparams/evaluate.yaml``.
    make_dataset : callable
    command : str
        For the report.

    Returns
    -------
    dict
        Of :func:`evaluate`.
    """
    # Before benchmarks, whose items may take long to align.
    table = get_registry().benchmarks
    names = job.settings["benchmarks"]
    if any(table.made_by(name).needs_model for name in names):
        with prefix_errors("model"):
            model_settings(find_folder(job.settings["model"]))
    said = None
    if any(table.made_by(name).reads_corpus for name in names):
        said = make_dataset(job.settings["data_folder"]).language
    job = with_aligner(with_language(job, said))
    for key in ("output_folder", "cache_folder"):
        check_writable(key, job.settings[key])
    folder = job.settings["output_folder"]
    # Two would answer, and report, over each other.
    with locked(folder):
        sb.create_experiment_directory(folder)
        job.save(folder)
        return evaluate(job.load(), job.run_opts, make_dataset, command)


def evaluate(
    hparams: Mapping[str, Any],
    run_opts: RunOptions,
    make_dataset: MakeDataSet,
    command: str,
) -> dict[str, Any]:
    """Runs all benchmarks, each in its turn, and writes the report after each.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/evaluate.yaml``.
    run_opts : dict
        As ``speechbrain.parse_arguments`` gives them.
    make_dataset : callable
        A class, or what makes one: folder -> data set.
    command : str
        For the report.

    Returns
    -------
    dict
    """
    folder = pathlib.Path(hparams["output_folder"])
    # Benchmarks first: what is wrong with them shows before a model is loaded.
    benchmarks = [
        make_benchmark(name, hparams, make_dataset) for name in hparams["benchmarks"]
    ]
    wanted = make_conditions(hparams["conditions"])
    noises = make_noises(hparams, make_dataset, benchmarks)
    align_all = make_align(hparams)
    pairs = [(benchmark, benchmark.items(align_all)) for benchmark in benchmarks]
    lm = None
    if any(benchmark.needs_model for benchmark in benchmarks):
        lm = load_model(hparams, run_opts)
    aligner = [hparams["aligner"], hparams["aligner_options"]]
    metrics: dict[str, Any] = {
        "model": describe_model(hparams["model"], lm),
        "command": command,
        "versions": evaluation_report.versions(),
        "conditions": {},
        "benchmarks": {},
    }
    shown: set[Condition] = set()
    examples: list[Any] = []
    sounds: list[Any] = []
    for benchmark, items in pairs:
        identity = digest(
            model_identity(hparams) if benchmark.needs_model else None,
            aligner,
            benchmark.settings(),
        )
        conditions, notes = benchmark.conditions(wanted, lm, items)
        asked = [*conditions, *benchmark.partners(conditions, lm, items)]
        shown |= {*conditions}
        metrics["conditions"] = {
            condition.name: {
                "title": condition.title,
                "segmentation": condition.segmentation,
                "lm_fusion": condition.lm_fusion,
            }
            for condition in sort_conditions(shown)
        }
        listening = [condition for condition in asked if condition.listens]
        heard_in = noises if listening and hears_corpus(benchmark) else []
        clean: list[dict[str, Any]] = []
        # Clean audio comes first: noise changes nothing for those that do not listen.
        for noise in [None, *heard_in]:
            name = None if noise is None else noise.distortion.name
            path = answers_path(folder, benchmark.name, name)
            records, problems = answer_items(
                lm,
                items,
                asked if noise is None else listening,
                align_all,
                path=path,
                identity=identity,
                title=path.stem,
                max_skipped_share=hparams["max_skipped_share"],
                answer=benchmark.answer,
                distorted=noise,
                timed=benchmark.timed,
            )
            if noise is None:
                clean = records
                examples += benchmark.examples(items, records, hparams["num_shown"])
            else:
                records = add_unheard(records, clean)
            reasons = [*notes, *unanswered_notes(records, conditions)]
            summaries = benchmark.metrics(records, conditions, hparams["seed"])
            for title, summary in summaries.items():
                summary |= {
                    "benchmark": benchmark.name,
                    "about": benchmark.about,
                    "notes": [*benchmark.notes, *reasons],
                    "skipped": problems.reasons,
                }
                if noise is not None:
                    summary["noise"] = {"of": title, **describe_noise(noise)}
                    title = f"{title}, {name}"
                metrics["benchmarks"][title] = summary
                show(title, summary)
        if heard_in and not sounds and hparams["num_shown"]:
            assert lm is not None, "what is heard needs a model"
            (item,) = (item for item in items if item.id == records[0]["id"])
            sounds = noise_sounds(folder, heard_in, item, lm.encoder.sample_rate)
        evaluation_report.write_report(folder, metrics, [*sounds, *examples])
    logger.info("Report, metrics and answers are in %s", folder)
    return metrics


def make_benchmark(
    name: str, hparams: Mapping[str, Any], make_dataset: MakeDataSet
) -> Benchmark:
    """The benchmark of that name, with its options and what they have in common.

    Arguments
    ---------
    name : str
    hparams : dict
    make_dataset : callable
        Of :func:`evaluate`.

    Returns
    -------
    ssr_plugin.evaluation.harness.benchmark.Benchmark
    """
    corpus: dict[str, Any] = {}
    if get_registry().benchmarks.made_by(name).reads_corpus:
        corpus = {
            "dataset": make_dataset(hparams["data_folder"]),
            "splits": hparams["test_splits"],
            "seed": hparams["seed"],
        }
    return build.benchmark(name, hparams["benchmark_options"], **corpus)


def make_noises(
    hparams: Mapping[str, Any],
    make_dataset: MakeDataSet,
    benchmarks: Sequence[Benchmark],
) -> list[DistortedSet]:
    """The noises and rooms in which benchmarks of a corpus are measured again.

    Arguments
    ---------
    hparams : dict
    make_dataset : callable
        Of :func:`evaluate`.
    benchmarks : list of Benchmark

    Returns
    -------
    list of DistortedSet

    Raises
    ------
    ValueError
        If there are some, and no benchmark hears a corpus.
    """
    noise = noise_settings(hparams.get("noise"))
    if not noise["kinds"]:
        return []
    if not any(map(hears_corpus, benchmarks)):
        raise ValueError(
            f"noise: none of the benchmarks hears a corpus: "
            f"{', '.join(benchmark.name for benchmark in benchmarks)}"
        )
    dataset = make_dataset(hparams["data_folder"])
    utterances = {
        split: [x for x in dataset.utterances(split) if x.problem is None]
        for split in dataset.splits()
    }
    return make_distorted_sets(noise, utterances, hparams["seed"])


def hears_corpus(benchmark: Benchmark) -> bool:
    """Whether a model hears utterances of a corpus in a benchmark."""
    return benchmark.reads_corpus and benchmark.needs_model


def describe_noise(noise: DistortedSet) -> dict[str, Any]:
    """What is heard, for ``metrics.json``.

    Arguments
    ---------
    noise : ssr_plugin.data.distorted_set.DistortedSet

    Returns
    -------
    dict
    """
    distortion = noise.distortion
    names = ("name", "kind", "strength", "unit", "about")
    return {name: getattr(distortion, name) for name in names}


def load_model(hparams: Mapping[str, Any], run_opts: RunOptions) -> SpeechLM:
    """The model that answers.

    Arguments
    ---------
    hparams : dict
    run_opts : dict

    Returns
    -------
    ssr_plugin.inference.speech_lm.SpeechLM
    """
    return SpeechLM.from_pretrained(
        hparams["model"],
        device=run_opts.get("device"),
        dtype=hparams["llm_dtype"],
        encoder_dtype=hparams["encoder_dtype"],
        encoder_source=hparams["encoder_source"],
        llm_source=hparams["llm_source"],
        segmenter=hparams["segmenter"],
        segmenter_options=hparams["segmenter_options"],
    )


def describe_model(source: str, lm: SpeechLM | None) -> str:
    """A model in a line, for the report.

    Arguments
    ---------
    source : str
        Folder or hub id.
    lm : ssr_plugin.inference.speech_lm.SpeechLM or None
        None where none was needed.

    Returns
    -------
    str
    """
    if lm is None:
        return "none: no benchmark in use needs a model"
    return f"{source} (LLM {lm.llm.source}, encoder {lm.encoder.source})"


def make_align(hparams: Mapping[str, Any]) -> Align:
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
    aligner = with_number_words(aligner, hparams.get("language"))
    folder = pathlib.Path(hparams["cache_folder"]) / "alignments"
    share = hparams["max_skipped_share"]
    return lambda items: align(items, aligner, folder, max_skipped_share=share)[0]


def model_identity(hparams: Mapping[str, Any]) -> list[Any]:
    """What tells a model's answers from those of another.

    Arguments
    ---------
    hparams : dict

    Returns
    -------
    list
        Of its files, and the precisions in which it is loaded.
    """
    folder = find_folder(hparams["model"])
    files = [folder / SETTINGS, *sorted(folder.glob("*.safetensors"))]
    for name in ("segmenter", "tuned"):
        files += sorted(path for path in (folder / name).glob("*") if path.is_file())
    identities = [file_identity(path) for path in files if path.is_file()]
    identity = [identities, hparams["llm_dtype"], hparams["encoder_dtype"]]
    if hparams["segmenter"] is not None:
        named = hparams["segmenter"]
        options = (hparams["segmenter_options"] or {}).get(named)
        identity.append([segmenter_mark(named), options])
    return identity


def unanswered_notes(
    records: Sequence[Mapping[str, Any]], conditions: Sequence[Condition]
) -> list[str]:
    """Why conditions are missing that a model could not give after all.

    Arguments
    ---------
    records : list of dict
        Of ``answer_items``.
    conditions : list of Condition

    Returns
    -------
    list of str
    """
    return [
        f"no {condition.name}: {condition.why_unanswered}"
        for condition in conditions
        if not all(condition.name in record["conditions"] for record in records)
    ]


def show(title: str, summary: Mapping[str, Any]) -> None:
    """Prints a benchmark's figures in a line.

    Arguments
    ---------
    title : str
    summary : dict
    """
    name, unit = summary["metric"]["name"], summary["metric"]["unit"]
    shown = "  ".join(
        f"{condition} {figures[name]:.3g}"
        for condition, figures in summary["conditions"].items()
        if figures[name] is not None
    )
    what = f"{name} in {unit}" if unit else name
    logger.info("%s, %d items, %s: %s", title, summary["items"], what, shown)
