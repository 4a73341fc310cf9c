"""The same run on Ray Data: one machine or a cluster whose machines share the folders.

A task is one part of the table. It is written by the worker that read it, so a worker that dies loses at most
the part it was at, and Ray gives that part to another.
"""

import logging
from collections.abc import Generator
from typing import Any

from calcinosis.bulk.run import Run
from calcinosis.bulk.worker_pool import WorkerPool


class PartReader:
    """What a worker of Ray does: it reads the parts that it is given, in a pool of one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pool = WorkerPool(run.job, workers=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        told: dict[str, list[int]] = {"rows": [], "failed": []}
        for number in batch["part"]:
            run = self._run.only(self._run.index.chunks[int(number)])
            told["rows"].append(sum(run.read_with(self._pool)))
            told["failed"].append(run.failed)
        return told


def read_on_ray(run: Run, *, workers: int) -> Generator[int, None, None]:
    """Read what is left of a run; says of each part how many rows it has.

    Joins the cluster that `RAY_ADDRESS` names or that runs on this machine, and starts one here otherwise.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior, the context or the language is not usable.
        BulkError: `other_run` or `damaged_note`.
        RayError: Ray's own, where a worker met an error, such as the ManifestError `changed_manifest`.
        ModuleNotFoundError: where the extra `scale` is missing.
    """
    import ray
    import ray.data

    if run.left:
        yield from _read_parts(ray, run, workers)
    run.finish()


def _read_parts(ray: Any, run: Run, workers: int) -> Generator[int, None, None]:
    run.job.open_predictor()  # what is wrong with its settings is said here, once
    run.claim()
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is one already
    parts = [{"part": chunk.number} for chunk in run.left]
    read = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
        PartReader,
        fn_constructor_args=(run,),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    for told in read.iter_rows():
        run.failed += told["failed"]
        yield told["rows"]
