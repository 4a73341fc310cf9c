"""How long from a photo to a finding, beside the network alone and what a user would pick instead.

    calcinosis bench
    calcinosis bench --photos DIR --manifest CSV --out speed.json

All contenders hold the same weights and take turns in one run, so that their ratios stand even where the
machine is busy; the load is printed with them. The network alone in ONNX Runtime or OpenVINO, on
inputs that are ready, is the practical limit. Without photographs, pictures are drawn. Needs the extra
`bench`; a contender that is not installed is left out, and said to be.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

import calcinosis
from calcinosis.benchmarks import ratios
from calcinosis.benchmarks.contenders import CONTENDERS, Ask, gather, in_onnxruntime
from calcinosis.common.cpu import available_cores
from calcinosis.data.locating import resolve
from calcinosis.data.manifest import read_manifest
from calcinosis.data.synthetic import draw
from calcinosis.model import predictor
from calcinosis.model.config import SHIPPED, load_config
from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.model.preprocessing import Preprocessing

PEER_START: Final = (
    "import torch, timm; from calcinosis.model.checkpoint import load_checkpoint; load_checkpoint()"
)
"""What is done before a photo can be read by who takes PyTorch and timm."""

_WARM_UP: Final = 3


def measure(photos: list[Path], *, repeats: int, starts: int) -> dict[str, Any]:
    """All figures of one run; milliseconds, photos a second and megabytes."""
    load = [os.getloadavg()[0]]
    # First, for what this process has in memory would count as the peak of those that it starts.
    begin = start_cold(photos[0], starts)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "model.onnx"
        export_apart(exported)
        reader = Predictor(skip_ood_check=True)
        inputs = {
            path: reader.config.preprocessing.array(open_photo(path))[None] for path in photos
        }
        contenders, absent = gather(exported, reader)
        one = ask_in_turns(contenders, inputs, repeats)
        stages = ask_by_stages(Predictor(threads=1, skip_ood_check=True), photos, repeats)
        many = ask_for_many(exported, photos, inputs, repeats)
        evaluated = ratios.evaluate_beside_predict(photos, repeats)
        shown = ratios.page_beside_predict(photos, repeats)
        shared = ratios.beside_busy_processes(next(iter(inputs.values())), repeats)
        load.append(os.getloadavg()[0])
    return {
        "machine": {"cores": available_cores(), "processor": platform.processor(), "load": load},
        "versions": {name: version_of(name) for name in ("torch", *CONTENDERS, "timm")},
        "photos": len(photos),
        "repeats": repeats,
        "absent": absent,
        "one_photo_ms": one,
        "stages_ms": stages,
        "many_photos_per_second": many,
        "cold_start": begin,
        "evaluate_seconds": evaluated,
        "page_ms": shown,
        "beside_busy_processes_ms": shared,
    }


def export_apart(out: Path) -> None:
    """Export in another process, so that PyTorch is loaded here no earlier than its turn."""
    command = [sys.executable, "-m", "calcinosis", "export", "--out", str(out)]
    subprocess.run(command, check=True, env=environment(), stderr=subprocess.DEVNULL)  # noqa: S603


def environment() -> dict[str, str]:
    """That of a program that finds this package, where it is not installed either."""
    return {**os.environ, "PYTHONPATH": str(Path(calcinosis.__file__).parents[1])}


def ask_in_turns(
    contenders: dict[str, Ask], inputs: dict[Path, np.ndarray], repeats: int
) -> dict[str, dict[str, float]]:
    """p50 and p95 of each contender in milliseconds.

    A turn is all the photos, for threads go on spinning a while in wait for more work: who is asked photo
    by photo after another would be timed with the other's threads on its cores.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    photos = list(inputs.items())
    for _ in range(repeats):
        for name, ask in contenders.items():
            for number, (path, ready) in enumerate([*photos[:_WARM_UP], *photos]):
                begun = time.perf_counter()
                ask(path, ready)
                if number >= _WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - begun))
    return {name: quantiles(values) for name, values in times.items()}


def ask_by_stages(
    reader: Predictor, photos: list[Path], repeats: int
) -> dict[str, dict[str, float]]:
    """p50 and p95 of what reading a photo consists of, clocked while a predictor with one thread reads it."""
    stages = {
        "decode": (predictor, "open_photo"),
        "quality": (predictor, "find_quality_issue"),
        "input": (Preprocessing, "array"),
        "network": (reader.backend, "forward_with_cam"),
        "decision": (predictor, "decide"),
        "heat map": (reader, "_heat_map"),
    }
    times: dict[str, list[float]] = {name: [] for name in ("all", *stages)}
    with clocked(stages, times):
        for path in photos * repeats:
            begun = time.perf_counter()
            reader.read(path)
            times["all"].append(1000 * (time.perf_counter() - begun))
    return {name: quantiles(values) for name, values in times.items() if values}


@contextmanager
def clocked(stages: dict[str, tuple[Any, str]], times: dict[str, list[float]]) -> Iterator[None]:
    """Clock each call of the named functions, for a while."""
    before = {name: getattr(place, word) for name, (place, word) in stages.items()}

    def clock(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            result = function(*args, **kwargs)
            times[name].append(1000 * (time.perf_counter() - begun))
            return result

        return timed

    for name, (place, word) in stages.items():
        setattr(place, word, clock(name, before[name]))
    try:
        yield
    finally:
        for name, (place, word) in stages.items():
            setattr(place, word, before[name])


def ask_for_many(
    exported: Path, photos: list[Path], inputs: dict[Path, np.ndarray], repeats: int
) -> dict[str, float]:
    """Photos a second, of a folder and of the network alone in the best of three ways."""
    reader = Predictor(threads=1, skip_ood_check=True)
    wide, narrow = in_onnxruntime(exported), in_onnxruntime(exported, threads=1)
    ready = list(inputs.values())
    batches = [np.concatenate(ready[n : n + 8]) for n in range(0, len(ready), 8)]

    def side_by_side() -> None:
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(lambda one: narrow(photos[0], one), ready))

    ways: dict[str, Callable[[], object]] = {
        "calcinosis": lambda: list(reader.read_each(photos, workers=available_cores())),
        "network, one after the other": lambda: [wide(photos[0], one) for one in ready],
        "network, batches of 8": lambda: [wide(photos[0], batch) for batch in batches],
        "network, one a core": side_by_side,
    }
    seconds = ratios.in_turns(ways, repeats)
    return {name: len(photos) / taken for name, taken in seconds.items()}


def start_cold(photo: Path, starts: int) -> dict[str, dict[str, float]]:
    """Seconds and peak megabytes of whole processes, in turns; the first turn is not counted."""
    commands = {
        "calcinosis predict": ["-m", "calcinosis", "predict", str(photo), "--json"],
        "import torch, timm; load": ["-c", PEER_START],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    megabytes: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(starts + 1):
        for name, words in commands.items():
            begun = time.perf_counter()
            process = subprocess.Popen(  # noqa: S603 (this Python, with fixed words)
                [sys.executable, *words], stdout=subprocess.DEVNULL, env=environment()
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"this ended in an error: {' '.join(words)}")
            if turn:
                seconds[name].append(time.perf_counter() - begun)
                megabytes[name].append(usage.ru_maxrss / 1024)
    return {
        name: {
            "seconds": float(np.median(seconds[name])),
            "peak_megabytes": float(np.median(megabytes[name])),
        }
        for name in commands
    }


def quantiles(values: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50": float(p50), "p95": float(p95)}


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def show(figures: dict[str, Any]) -> str:
    """The figures as tables in Markdown."""
    one, many, begin = (
        figures[name] for name in ("one_photo_ms", "many_photos_per_second", "cold_start")
    )
    load = ", ".join(f"{value:.1f}" for value in figures["machine"]["load"])
    lines = [
        f"{figures['photos']} photos, {figures['repeats']} times, {figures['machine']['cores']} cores; "
        f"load before and after: {load}",
        "",
        "| one photo | p50 ms | p95 ms | of ONNX Runtime's p50 |",
        "|---|---|---|---|",
    ]
    for name, times in one.items():
        ratio = times["p50"] / one["onnxruntime"]["p50"]
        row = f"| {CONTENDERS[name]} | {times['p50']:.1f} | {times['p95']:.1f} | {ratio:.2f} |"
        lines.append(row)
    lines += ["", "| stage, with one thread | p50 ms | p95 ms |", "|---|---|---|"]
    for name, times in figures["stages_ms"].items():
        lines.append(f"| {name} | {times['p50']:.1f} | {times['p95']:.1f} |")
    limit = max(value for name, value in many.items() if name != "calcinosis")
    lines += ["", "| many photos | photos a second | of the network's best |", "|---|---|---|"]
    for name, value in many.items():
        lines.append(f"| {name} | {value:.1f} | {value / limit:.2f} |")
    lines += ["", "| cold start | seconds | peak MB |", "|---|---|---|"]
    for name, value in begin.items():
        lines.append(f"| {name} | {value['seconds']:.2f} | {value['peak_megabytes']:.0f} |")
    ours, theirs = (value["seconds"] for value in begin.values())
    lines += ["", f"cold start, ours of theirs: {ours / theirs:.2f}"]
    lines += ratios.show(figures)
    lines += [f"not installed: {', '.join(figures['absent'])}"] if figures["absent"] else []
    return "\n".join(lines)


def run(
    photos: Path | None, manifest: Path | None, count: int, repeats: int, starts: int
) -> dict[str, Any]:
    """Measure on photographs of a manifest, or on drawn pictures."""
    if photos and manifest:
        rows = read_manifest(manifest, labels=load_config(SHIPPED).labels)
        chosen = np.random.default_rng(0).permutation(len(rows))[:count]
        paths = [resolve(photos, rows[number]) for number in chosen]
        return measure(paths, repeats=repeats, starts=starts)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(count)]
        for number, path in enumerate(paths):
            label = LABELS[number % len(LABELS)]
            draw(label, number, (640, 480)).save(path, quality=90)
        return measure(paths, repeats=repeats, starts=starts)


def main(
    photos: Path | None = None,
    manifest: Path | None = None,
    *,
    count: int = 40,
    repeats: int = 3,
    starts: int = 5,
    out: Path | None = None,
) -> None:
    """Measure, print, and write where asked to."""
    figures = run(photos, manifest, count, repeats, starts)
    print(show(figures))
    if out:
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
