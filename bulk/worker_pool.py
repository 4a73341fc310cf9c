"""Worker processes that outlive their own deaths: a killed one is replaced, and its photos are read again."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.connection import wait
from types import TracebackType
from typing import Final

from calcinosis.bulk.reading import Job, Record, Worker, failure
from calcinosis.common.errors import BulkError
from calcinosis.common.memory import return_large_blocks

Task = tuple[int, list[str]]
"""The number of the first row, and the files of the rows from there on."""

_AHEAD: Final = 3
"""Tasks a worker is given before the first is collected, so that none waits for another."""
_TRIES: Final = 2
"""How often a photo may end its worker before it is held to be the photo's doing."""
_THREAD_SETTINGS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_job: Job | None = None


class WorkerPool:
    """So many processes, each with a network of its own, that read rows.

    Attributes:
        labels: of the checkpoint.

    Raises:
        CheckpointError: if a worker cannot load it.
        ValueError: if the prior, the context or the language is not usable.
        BulkError: `workers_end`, when workers end before they read anything.

    Example:
        >>> with WorkerPool(job, workers=2) as pool:  # doctest: +SKIP
        ...     for records in pool.read(tasks): ...
    """

    def __init__(self, job: Job, *, workers: int) -> None:
        self._job, self._workers = job, workers
        self._pool, self.labels = self._spawn(workers)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, tasks: Iterable[Task]) -> Iterator[list[Record]]:
        """The records of each task, in the order of the tasks. Only a few tasks are held at a time.

        A photo that ends its worker twice gets a record with the code `crashed`.

        Raises:
            BulkError: `workers_end`, when new workers end before they read anything.
        """
        given: deque[tuple[Task, Future[list[Record]]]] = deque()
        for task in tasks:
            given.append((task, self._submit(task)))
            if len(given) >= self._workers * _AHEAD:
                yield self._collect(given)
        while given:
            yield self._collect(given)

    def _submit(self, task: Task) -> Future[list[Record]]:
        try:
            return self._pool.submit(_read, *task)
        except BrokenProcessPool as error:
            # What is given already is read again when it is collected.
            broken: Future[list[Record]] = Future()
            broken.set_exception(error)
            return broken

    def _collect(self, given: deque[tuple[Task, Future[list[Record]]]]) -> list[Record]:
        task, future = given.popleft()
        with contextlib.suppress(BrokenProcessPool):
            return future.result()
        # Somebody killed a worker, or a photo did. Nobody knows which: the oldest task is read photo by
        # photo, the others go to a new pool.
        self._pool.shutdown(cancel_futures=True)
        records = self._read_one_by_one(task)
        self._pool, _ = self._spawn(self._workers)
        again = [waiting for waiting, _ in given]
        given.clear()
        given.extend((waiting, self._submit(waiting)) for waiting in again)
        return records

    def _read_one_by_one(self, task: Task) -> list[Record]:
        first, files = task
        records: list[Record] = []
        pool, _ = self._spawn(1)
        try:
            for row, file in enumerate(files, start=first):
                for _ in range(_TRIES):
                    try:
                        records += pool.submit(_read, row, [file]).result()
                        break
                    except BrokenProcessPool:
                        pool.shutdown()
                        pool, _ = self._spawn(1)
                else:
                    message = "ended the process that read it; open it elsewhere and save it again"
                    records.append(failure(row, file, "crashed", message))
        finally:
            pool.shutdown()
        return records

    def _spawn(self, workers: int) -> tuple[ProcessPoolExecutor, tuple[str, ...]]:
        # Not by fork: a copy of a process whose libraries run threads may wait for ever.
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, spawn, _begin, (self._job,))
        try:
            return pool, pool.submit(_labels).result()
        except BrokenProcessPool:
            raise BulkError(
                "workers_end",
                "a worker ended before it read anything; look for missing memory, and use fewer --workers",
            ) from None
        except BaseException:
            pool.shutdown()
            raise


def _begin(job: Job) -> None:
    """Make this process a worker."""
    # Ctrl-C is for the process that gives out the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in _THREAD_SETTINGS:
        os.environ[name] = "1"  # each worker has one core
    return_large_blocks()
    global _job
    _job = job


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@cache
def _worker() -> Worker:
    # Not where the process begins: what goes wrong there is not told to the one who started it.
    if _job is None:
        raise RuntimeError("this process was not made a worker")
    return Worker(_job)


def _labels() -> tuple[str, ...]:
    return _worker().labels


def _read(first: int, files: list[str]) -> list[Record]:
    return _worker().read(first, files)
