"""What a finding's time is compared with besides: `evaluate`, the page, and cores that others use, too."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from calcinosis.benchmarks.visitor import Visitor, served
from calcinosis.common.cpu import available_cores
from calcinosis.data.manifest import Row
from calcinosis.model.config import SHIPPED
from calcinosis.model.engine import open_backend
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor

BUSY: Final = 2
"""Processes that compute beside a forward pass and want a core each."""


def evaluate_beside_predict(photos: list[Path], repeats: int) -> dict[str, float]:
    """Seconds in which `evaluate` and `predict` ask about the same photos, medians of turns.

    What `evaluate` does once for all photos, such as intervals, is not counted.
    """
    from calcinosis.training.evaluation import read_logits  # with PyTorch, so no earlier than here

    reader = Predictor(threads=1, skip_ood_check=True)
    root = Path(os.path.commonpath([photo.parent for photo in photos]))
    files = [photo.relative_to(root).as_posix() for photo in photos]
    rows = [Row(file, LABELS[-1], "bench", file) for file in files]
    ways: dict[str, Callable[[], object]] = {
        "predict": lambda: list(reader.read_each(photos, workers=available_cores())),
        "evaluate": lambda: read_logits(reader, rows, root),
    }
    return in_turns(ways, repeats)


def page_beside_predict(photos: list[Path], repeats: int) -> dict[str, float]:
    """Milliseconds from a photo's file to its finding, and from a click to the page's HTML of it, medians.

    The page is asked over HTTP as its script does; what a browser needs to draw is not in it. The page
    gives each reading one core, so `predict` has one here as well.
    """
    reader = Predictor(threads=1, skip_ood_check=True)
    times: dict[str, list[float]] = {"predict": [], "page": []}
    with served(SHIPPED) as server:
        visitor = Visitor(server.address)
        ways = {"predict": reader.read, "page": lambda content: visitor.ask([content])}
        for turn in range(repeats + 1):
            for name, ask in ways.items():
                for content in [photo.read_bytes() for photo in photos]:
                    begun = time.perf_counter()
                    ask(content)
                    if turn:
                        times[name].append(1000 * (time.perf_counter() - begun))
        visitor.close()
    return {name: float(np.median(values)) for name, values in times.items()}


def beside_busy_processes(ready: np.ndarray, repeats: int) -> dict[str, float]:
    """Milliseconds of a forward pass with one thread and one per core, quiet and beside busy processes, medians."""
    backends = {
        "one thread": open_backend(threads=1)[0],
        "a thread per core": open_backend(threads=available_cores())[0],
    }
    ways: dict[str, Callable[[], object]] = {
        name: lambda backend=backend: backend.forward_with_cam(ready)  # type: ignore[misc]
        for name, backend in backends.items()
    }
    quiet = in_turns(ways, 10 * repeats)
    with _busy(BUSY):
        busy = in_turns(ways, 10 * repeats)
    return {
        f"{name}, {state}": 1000 * seconds
        for state, found in (("nobody else", quiet), (f"{BUSY} busy processes", busy))
        for name, seconds in found.items()
    }


def show(figures: dict[str, Any]) -> list[str]:
    """The figures as lines in Markdown."""
    evaluated, page = figures["evaluate_seconds"], figures["page_ms"]
    lines = ["", "| the same photos | of `predict` |", "|---|---|"]
    lines += [
        f"| `evaluate`, asking, {evaluated['evaluate']:.2f} s of {evaluated['predict']:.2f} s | "
        f"{evaluated['evaluate'] / evaluated['predict']:.2f} |",
        f"| the page, click to finding, {page['page']:.1f} ms of {page['predict']:.1f} ms | "
        f"{page['page'] / page['predict']:.2f} |",
        "",
        "| one forward pass | p50 ms |",
        "|---|---|",
    ]
    for name, value in figures["beside_busy_processes_ms"].items():
        lines.append(f"| {name} | {value:.1f} |")
    return lines


def in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each, medians; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return {name: float(np.median(values)) for name, values in seconds.items()}


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that do nothing but compute, for a while."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]  # noqa: S603 (this Python, with fixed words)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
