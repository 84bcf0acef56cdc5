"""Trains the segmenter that stage 1 asks for by name, before stage 1 itself.

To read audio without a transcript, a model needs a segmenter. If the YAML gives the
name of a trainable one, and not the folder of a trained one, it is trained here, as
another YAML says, in a subfolder of the run's folder.
"""

import logging
import pathlib

import speechbrain as sb

from ssr_plugin import build
from ssr_plugin.hparams import make_job
from ssr_plugin.segmenters.trained import SETTINGS
from ssr_plugin.training.run_folder import check_settings

logger = logging.getLogger(__name__)

#: Where the segmenter is trained, in the run's ``output_folder``.
FOLDER = "segmenter_training"
# Keys with the same meaning in both stages.
_SHARED = (
    "data_folder",
    "dataset",
    "encoder_source",
    "encoder_layer",
    "encoder_dtype",
    "llm_source",
    "llm_dtype",
    "language",
    "train_splits",
    "valid_splits",
    "test_splits",
    "seed",
    "valid_share",
    "valid_fold",
    "extra_train",
    "max_skipped_share",
    "resample",
    "speed_perturbation",
    "cache_folder",
    "cache_features",
    "cache_dtype",
    "loggers",
    "precision",
    "ckpt_interval_minutes",
    "num_workers",
    "shuffle_buffer",
)


def train_segmenter_first(job, manifests):
    """Trains the segmenter that a job asks for by name, unless that is done.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        If it names a trainable segmenter, its ``segmenter_yaml`` says how to train it,
        and ``segmenter_training`` overrides keys of that YAML.
    manifests : Manifests or ShardCorpus
        Of a folder, or of a folder of shards.

    Returns
    -------
    ssr_plugin.hparams.Job
        The job with the segmenter's folder in place of its name; the same job if there
        is nothing to train.
    """
    settings = job.settings
    if not build.is_trainable(settings.get("segmenter")):
        return job
    folder = pathlib.Path(settings["output_folder"]) / FOLDER
    overrides = _overrides(settings, folder)
    train_before(
        make_job(settings["segmenter_yaml"], overrides, job.run_opts),
        manifests,
        back_to=settings["output_folder"],
        message=f"First the segmenter '{settings['segmenter']}' is trained",
    )
    return job.replaced(segmenter=str(folder))


def train_before(job, manifests, back_to, message):
    """Trains a segmenter that another job needs, unless that is done.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        Of ``hparams/segmenter.yaml``.
    manifests : Manifests or ShardCorpus
    back_to : path-like
        The ``output_folder`` of the job that needs it.
    message : str
        For the log.
    """
    folder = pathlib.Path(job.settings["output_folder"])
    check_settings(folder, job.settings)
    if (folder / SETTINGS).is_file():
        return
    logger.info("%s", message)
    sb.create_experiment_directory(folder)
    sb.utils.distributed.run_on_main(job.save, [folder])
    hparams = job.load()
    hparams["stage"](hparams, job.run_opts, manifests)
    # One process alone writes the segmenter, which all then read.
    sb.utils.distributed.ddp_barrier()
    sb.create_experiment_directory(back_to)


def shared_settings(settings):
    """Those of a job's keys that mean the same in ``hparams/segmenter.yaml``."""
    return {key: settings[key] for key in _SHARED if key in settings}


def _overrides(settings, folder):
    """Overrides of the segmenter's YAML."""
    name, options = settings["segmenter"], settings["segmenter_options"] or {}
    aligner = settings["aligner"]
    overrides = shared_settings(settings) | {
        "aligner": aligner,
        "output_folder": str(folder),
        "segmenter": name,
        "segmenter_options": {name: options.get(name) or {}},
        "forced_options": options.get("forced") or {},
    }
    aligner_options = (settings["aligner_options"] or {}).get(aligner)
    if aligner_options:
        overrides["aligner_options"] = {aligner: aligner_options}
    return {**overrides, **(settings["segmenter_training"] or {})}
