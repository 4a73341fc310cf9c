"""The same run on Ray Data: one machine or a cluster whose machines share the folders.

A task is one part of the table. It is written by the worker that read it, so a worker that dies loses at most
the part it was at, and Ray gives that part to another.
"""

import logging
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from calcinosis.bulk.table import claim
from calcinosis.bulk.worker_pool import WorkerPool
from calcinosis.common.errors import BulkError

if TYPE_CHECKING:
    from calcinosis.bulk.run import Run


class PartReader:
    """What a worker of Ray does: it reads the parts that it is given, in a crew of one."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._crew = WorkerPool(run.job, workers=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        told: dict[str, list[int]] = {"rows": [], "failed": []}
        for number in batch["part"]:
            run = self._run.only(self._run.listing.chunks[int(number)])
            told["rows"].append(sum(run.read_with(self._crew)))
            told["failed"].append(run.failed)
        return told


def read_on_ray(run: "Run", *, workers: int) -> Generator[tuple[int, int], None, None]:
    """Read what is left of a run; says of each part how many rows it has and how many failed.

    Joins the cluster that `RAY_ADDRESS` names or that runs on this machine, and starts one here otherwise.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior is not usable.
        BulkError: `not_installed`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
        import ray.data
    except ImportError:
        raise BulkError(
            "not_installed", "Ray is not installed; run: pip install 'calcinosis[scale]'"
        ) from None
    if not run.left:
        return
    from calcinosis.model.predictor import Predictor

    Predictor(run.job.checkpoint, prior=run.job.prior)  # what is wrong with it is said here, once
    claim(run.out, run.depends_on)
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is one already
    parts = [{"part": piece.number} for piece in run.left]
    read = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
        PartReader,
        fn_constructor_args=(run,),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    for told in read.iter_rows():
        yield told["rows"], told["failed"]
