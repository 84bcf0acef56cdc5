"""Trains the aligner of a language that has none, before anything else.

Where a YAML says ``aligner: auto`` and the language is not English, a ``unity2`` learns
from the run's own transcripts when their characters are spoken, in a subfolder of the
run's folder. It needs no times to start from: those of the aligner ``even`` will do.
"""

from __future__ import annotations

import pathlib
from typing import Any

from ssr_plugin.data.prepare import Manifests
from ssr_plugin.hparams import Job, make_job
from ssr_plugin.languages import AUTO
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import TextAligner
from ssr_plugin.segmenters.trained import SETTINGS
from ssr_plugin.training.segmenter_first import shared_settings, train_before

#: Where it is trained, in the run's ``output_folder``.
FOLDER = "aligner_training"
_YAML = "hparams/segmenter.yaml"


def with_aligner(job: Job) -> Job:
    """A job that names the aligner that ``auto`` stands for.

    A segmenter that learns from transcripts itself, as ``unity2`` and ``char_ctc`` do,
    needs but ``even``. Stage 2 takes the one of stage 1, and an evaluation that of its
    model.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        That knows its language: :func:`ssr_plugin.training.job_language.with_language`.

    Returns
    -------
    ssr_plugin.hparams.Job

    Raises
    ------
    ValueError
        If the model of stage 1, or the evaluated one, was trained with no such aligner.

    Example
    -------
    >>> job = make_job("hparams/distill.yaml", {"language": "de"})
    >>> settings = with_aligner(job).settings
    >>> settings["aligner"], settings["aligner_options"]["trained"]["source"]
    ('trained', 'results/distill/aligner_training')
    """
    settings = job.settings
    if settings.get("aligner") != AUTO:
        return job
    if learns_from_text(settings):
        even: Job = job.replaced(aligner="even")
        return even
    model = settings.get("model") or settings.get("stage1")
    folder = pathlib.Path(model or settings["output_folder"]) / FOLDER
    if model is not None and not (folder / SETTINGS).is_file():
        raise ValueError(
            f"aligner: auto finds none of the language '{settings['language']}' in the "
            f"model's folder ({folder}): name one, such as ctc with a model of that "
            f"language, files, or trained with the folder of another"
        )
    options = {"trained": {"source": str(folder)}}
    trained: Job = job.with_more({"aligner": "trained", "aligner_options": options})
    return trained


def learns_from_text(settings: dict[str, Any]) -> bool:
    """Whether what is trained is a segmenter that learns from transcripts alone."""
    if "connector" in settings or "segmenter" not in settings or "model" in settings:
        return False
    table = get_registry().segmenters
    return table.makes(settings["segmenter"], TextAligner)


def train_aligner_first(job: Job, manifests: Manifests) -> None:
    """Trains the aligner that :func:`with_aligner` has named, unless that is done.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
    manifests : ssr_plugin.data.prepare.Manifests
    """
    settings = job.settings
    folder = pathlib.Path(settings["output_folder"]) / FOLDER
    chosen = (settings.get("aligner_options") or {}).get("trained") or {}
    if settings.get("aligner") != "trained" or chosen.get("source") != str(folder):
        return
    overrides = {
        **shared_settings(settings),
        "aligner": "even",
        "output_folder": str(folder),
        "segmenter": "unity2",
        **(settings.get("aligner_training") or {}),
    }
    train_before(
        make_job(_YAML, overrides, job.run_opts),
        manifests,
        back_to=settings["output_folder"],
        message=f"First an aligner of '{settings['language']}' is trained",
    )
