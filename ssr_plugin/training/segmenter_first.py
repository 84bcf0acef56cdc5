"""The segmenter that a run of stage 1 asks for by name: trained before it, then taken.

A connector whose model shall listen to audio alone needs a segmenter. Where the YAML
names one that is trained, rather than the folder of one, it is trained here, as another
YAML says, in a folder below the run's own.
"""

import logging
import pathlib

import speechbrain as sb

from ssr_plugin import build
from ssr_plugin.hparams import make_job
from ssr_plugin.segmenters.trained import SETTINGS

logger = logging.getLogger(__name__)

#: Where the segmenter is trained, in the run's ``output_folder``.
FOLDER = "segmenter_training"
# Keys that say of both stages alike what is read, and how.
_SHARED = (
    "data_folder",
    "dataset",
    "encoder_source",
    "encoder_layer",
    "encoder_dtype",
    "llm_source",
    "llm_dtype",
    "aligner",
    "train_splits",
    "valid_splits",
    "test_splits",
    "seed",
    "valid_share",
    "max_skipped_share",
    "resample",
    "speed_perturbation",
    "cache_folder",
    "cache_features",
    "loggers",
    "precision",
    "ckpt_interval_minutes",
    "num_workers",
)


def train_segmenter_first(job, manifests):
    """Trains the segmenter that a job asks for by name, unless it was.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        Where it names a trainable segmenter, its ``segmenter_yaml`` says how that is
        trained, and ``segmenter_training`` overrides keys of that YAML.
    manifests : ssr_plugin.data.prepare.Manifests

    Returns
    -------
    ssr_plugin.hparams.Job
        The job with the folder of the segmenter in its place; the same one where there
        is nothing to be trained.
    """
    settings = job.settings
    if not build.is_trainable(settings.get("segmenter")):
        return job
    folder = pathlib.Path(settings["output_folder"]) / FOLDER
    if not (folder / SETTINGS).is_file():
        logger.info("First the segmenter '%s' is trained", settings["segmenter"])
        overrides = _overrides(settings, folder)
        first = make_job(settings["segmenter_yaml"], overrides, job.run_opts)
        sb.create_experiment_directory(folder)
        sb.utils.distributed.run_on_main(first.save, [folder])
        hparams = first.load()
        hparams["stage"](hparams, job.run_opts, manifests)
        # One process alone writes the segmenter, which all then read.
        sb.utils.distributed.ddp_barrier()
        sb.create_experiment_directory(settings["output_folder"])
    return job.replaced(segmenter=str(folder))


def _overrides(settings, folder):
    """Overrides of the segmenter's YAML."""
    name, options = settings["segmenter"], settings["segmenter_options"] or {}
    overrides = {key: settings[key] for key in _SHARED if key in settings}
    overrides |= {
        "output_folder": str(folder),
        "segmenter": name,
        "segmenter_options": {name: options.get(name) or {}},
        "forced_options": options.get("forced") or {},
    }
    aligner = settings["aligner"]
    chosen = (settings["aligner_options"] or {}).get(aligner)
    if chosen:
        overrides["aligner_options"] = {aligner: chosen}
    return {**overrides, **(settings["segmenter_training"] or {})}
