"""Shards made on the machines of a Ray cluster, by a Ray Data pipeline.

Ray hands the shards out, moves work to machines that have room, and replaces workers
that die. What a shard is made of, and whether it is there already, is
:class:`ssr_plugin.training.make_shards.ShardMaker`'s to know: a shard that is tried
again is not written twice.
"""

import json
import os
import pathlib

from ssr_plugin.data.shards import shard_name
from ssr_plugin.problems import TooManyProblems

#: What starts Ray on this machine alone.
LOCAL = "local"
# How often a shard is tried again when the worker that makes it dies.
_RETRIES = 2
# More of them would only be more to keep count of.
_MOST_BLOCKS = 5000


def make_by_ray(maker, jobs, address=LOCAL, num_workers=None):
    """Makes shards on a Ray cluster, whose machines see the same folders.

    Arguments
    ---------
    maker : ssr_plugin.training.make_shards.ShardMaker
    jobs : list of (str, int)
        Its jobs.
    address : str
        Of the cluster: "auto" for the one that this machine is part of, "ray://...", or
        "local", which starts one here.
    num_workers : int or None
        By default one for each core, or each GPU where an encoder runs on one.

    Returns
    -------
    list of ((str, int), dict)
        Each job with what it made, in order.

    Raises
    ------
    ImportError
        If Ray is not installed.
    TooManyProblems
        If workers keep dying over a shard. All others that were made are kept.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            "--ray needs Ray Data: pip install 'ssr-plugin[ray]'"
        ) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not jobs:
        return []
    options = {"include_dashboard": False} if address == LOCAL else {"address": address}
    if address == LOCAL and num_workers:
        options["num_cpus"] = num_workers
    started = not ray.is_initialized()
    if started:
        ray.init(ignore_reinit_error=True, **options)
    try:
        models = [x for x in (maker.frames, maker.hypotheses) if x is not None]
        on_gpu = any("cuda" in str(x.device) for x in models)
        kind = "GPU" if on_gpu else "CPU"
        if num_workers is None:
            num_workers = max(int(ray.cluster_resources().get(kind, 1)), 1)
        items = [{"split": split, "number": number} for split, number in jobs]
        rows = ray.data.from_items(
            items, override_num_blocks=min(len(items), _MOST_BLOCKS)
        ).map(
            _Worker,
            fn_constructor_args=(maker, os.getcwd()),
            concurrency=min(num_workers, len(jobs)),
            num_cpus=1,
            num_gpus=1 if on_gpu else None,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
        made = {
            (row["split"], int(row["number"])): json.loads(row["entry"])
            for row in rows.iter_rows()
        }
    except ray.exceptions.RayActorError as error:
        left = [job for job in jobs if not _is_there(maker, job)]
        names = ", ".join(f"{split}/{shard_name(i)}" for split, i in left[:10])
        raise TooManyProblems(
            f"workers keep dying over a shard: perhaps a file that breaks its decoder, "
            f"or too little memory. {len(left)} shards are not there: {names}"
        ) from error
    except ray.exceptions.RayTaskError as error:
        # What the worker itself would have raised.
        cause = error.as_instanceof_cause()
        raise cause from None
    finally:
        if started:
            ray.shutdown()
    return [(job, made[job]) for job in jobs]


def _is_there(maker, job):
    """Whether a shard has been written."""
    split, number = job
    return (maker.folder / split / f"{shard_name(number)}.json").is_file()


class _Worker:
    """What makes shards in a process of Ray."""

    def __init__(self, maker, folder):
        if pathlib.Path(folder).is_dir():
            # Where relative paths of an aligner or encoder begin.
            os.chdir(folder)
        self._maker = maker

    def __call__(self, row):
        entry = self._maker((row["split"], int(row["number"])))
        return {**row, "entry": json.dumps(entry)}
