"""The segmenter that a run of stage 1 asks for by name: trained before it, then taken.

A connector whose model shall listen to audio alone needs a segmenter. Where the YAML
names one that is trained, rather than the folder of one, it is trained here, as another
YAML says, in a folder below the run's own.
"""

import logging
import pathlib

import speechbrain as sb

from ssr_plugin import hparams
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import TrainableSegmenter
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
    if not _is_trainable(settings.get("segmenter")):
        return job
    folder = pathlib.Path(settings["output_folder"]) / FOLDER
    if not (folder / SETTINGS).is_file():
        logger.info("First the segmenter '%s' is trained", settings["segmenter"])
        first = hparams.make_job(
            settings["segmenter_yaml"], _overrides(settings, folder), job.run_opts
        )
        sb.create_experiment_directory(
            experiment_directory=folder,
            hyperparams_to_save=first.path,
            overrides=first.overrides,
        )
        loaded = first.load()
        loaded["stage"](loaded, job.run_opts, manifests)
        # What ranks do alone at the end, such as to save, is done before all go on.
        sb.utils.distributed.ddp_barrier()
    return job.replaced(segmenter=str(folder))


def _is_trainable(name):
    """Whether a YAML's ``segmenter`` is the name of one that is trained."""
    table = get_registry().segmenters
    if name not in table.names() or pathlib.Path(name).is_dir():
        return False
    return issubclass(table.get(name), TrainableSegmenter)


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
