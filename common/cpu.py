"""How many processor cores there are to use, and how several of them are."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import TypeVar

First = TypeVar("First")
Second = TypeVar("Second")
Given = TypeVar("Given")
Made = TypeVar("Made")

_CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The cores that this process may use: of the machine, by its affinity, by its container's quota.

    Examples:
        >>> available_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota(_CGROUP)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time that a container may use (cgroup v2, else v1); None where there is no bound."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return cores if cores > 0 else None


def side_by_side(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """What two functions return that are called at the same time, the first in a thread of its own.

    The thread is new each time (0.1 ms): one that waits for the next call is gone in a forked process, and
    takes none once the interpreter is ending. What either raises is raised, the second's before the first's.
    """
    done: Future[First] = Future()

    def run() -> None:
        try:
            done.set_result(first())
        except BaseException as error:
            done.set_exception(error)

    try:
        Thread(target=run).start()
    except RuntimeError:  # no thread is started any more, or there are too many
        run()
    other = second()
    return done.result(), other


def map_in_order(
    function: Callable[[Given], Made],
    items: Iterable[Given],
    *,
    workers: int,
    ahead: int | None = None,
) -> Iterator[Made]:
    """The function of each item, in their order, in as many threads as `workers`.

    No more than `ahead` of them are begun before they are asked for: twice as many as threads unless given.
    """
    ahead = 2 * workers if ahead is None else ahead
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
