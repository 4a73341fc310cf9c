"""Running a baseline's command within its budget, and what it took: processor time, memory, load."""

import contextlib
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from calcinosis.benchmarks.baselines.task import CORES

_ROOT: Final = Path(__file__).parents[2]
_STARVED: Final = 20
"""Times that limit by the clock, after which it is taken to hang."""
_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "passive",  # a thread that waits must not count as one that works
    # By default glibc hands the large blocks of each step back to the system and fetches them anew, which took half
    # of the processor's time of fp32 training here: 182 ms a photo of EfficientNet-Lite2 beside 112.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
}
"""The same for all."""


def watch(command: list[str], log: Path, *, limit_minutes: float | None) -> dict[str, Any]:
    """Run a command, and end it when it has used its limit.

    Gives its minutes of processor time for each core, which others who work on the machine hardly change; its
    minutes by the clock; its exit code; and the most memory that its processes held together.
    """
    began, before, most, loads = time.monotonic(), children_used(), 0.0, [os.getloadavg()[0]]
    with log.open("w", encoding="utf-8") as stream:
        process = psutil.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": str(_ROOT)},
        )
        while True:
            try:
                process.wait(1)
                break
            except psutil.TimeoutExpired:
                pass
            held, used = held_and_used(process)
            most = max(most, held)
            loads.append(os.getloadavg()[0])
            by_clock = (time.monotonic() - began) / 60
            if limit_minutes is not None and (
                used / 60 / CORES > limit_minutes or by_clock > limit_minutes * _STARVED
            ):
                end(process)
    return {
        "minutes": (children_used() - before) / 60 / CORES,
        "minutes_by_the_clock": (time.monotonic() - began) / 60,
        "peak_memory_mb": most / 1e6,
        "exit_code": process.returncode,
        "load_average": float(np.mean(loads)),
    }


def end(top: psutil.Popen) -> None:
    """Kill a process and those below it."""
    for process in [*top.children(recursive=True), top]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()


def children_used() -> float:
    """Processor seconds of every process that this one began and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def held_and_used(top: psutil.Process) -> tuple[float, float]:
    """Bytes that a process and those below it hold, shared pages counted once, and their processor seconds."""
    held = used = 0.0
    try:
        for process in [top, *top.children(recursive=True)]:
            held += process.memory_full_info().pss
            used += sum(process.cpu_times()[:2])
        used += sum(top.cpu_times()[2:4])  # of those below it that have ended
    except psutil.Error:  # processes come and go
        pass
    return held, used
