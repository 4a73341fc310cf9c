"""Runs every peer on the same folds with the same budget of time, and writes one table.

    python -m benchmarks.peers.compare --manifest data/curated/pool.csv --root photos --out runs/peers \
        --minutes 8 --folds 0 1

Started again it goes on where it was. A peer that fails, or is not installed, is named in the table with the
last line it said. This project itself is cross-validated once with `--recipe`, on all folds; its minutes are
those of one fold.
"""

import argparse
import ast
import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from safetensors.torch import save_file

from benchmarks.peers.task import ARCHITECTURE
from data.manifest import Row, read_manifest
from model.backbones import lite_weights
from model.labels import LABELS
from training.metrics import compute_metrics, find_figure, paired_difference
from training.predictions import Predictions, read_predictions, write_predictions
from training.storage import write_json
from training.study import make_predictions

HERE: Final = Path(__file__).parent
OURS: Final = "calcinosis"
PEERS: Final = {
    "fastai": "fastai_vision",
    "torchvision": "torchvision_reference",
    "timm": "timm_defaults",
    "huggingface": "huggingface_trainer",
    "autogluon": "autogluon_multimodal",
    "logistic-regression": "logistic_regression",
    "nearest-neighbours": "nearest_neighbours",
}
FIGURES: Final = (
    "balanced_accuracy",
    "three_way_balanced_accuracy",
    "auroc.calcinosis_cutis",
    "auroc.gouty_tophus",
    "auroc.milium",
)
_LATE: Final = 2
"""A peer is ended after so many times its budget, as a user would, and `_GRACE` minutes to begin."""
_GRACE: Final = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--manifest", type=Path, required=True, help="with folds")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="for each fold of each peer")
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[OURS, *PEERS], default=[OURS, *PEERS])
    parser.add_argument("--recipe", type=Path, default=Path("training/configs/lite2.toml"))
    parser.add_argument(
        "--python", action="append", default=[], metavar="PEER=PATH", help="a peer's own Python"
    )
    given = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in given.python)
    given.out.mkdir(parents=True, exist_ok=True)
    weights = given.out / "start.safetensors"
    if not weights.exists():
        start = lite_weights(ARCHITECTURE.removeprefix("tf_"))
        save_file({name: value.contiguous() for name, value in start.items()}, weights)
    rows = read_manifest(given.manifest, labels=LABELS)
    for name in given.only:
        if name == OURS:
            cross_validate(given.manifest, given.root, given.recipe, given.out / OURS)
            continue
        for fold in given.folds:
            python = pythons.get(name, sys.executable)
            folder = given.out / name / f"fold-{fold}"
            run_peer(name, python, rows, fold, given.root, weights, given.minutes, folder)
    write_table(given.out, rows, given.folds, given.only, given.minutes)


def cross_validate(manifest: Path, root: Path, recipe: Path, out: Path) -> None:
    """This project, as its user would run it."""
    if (out / "ran.json").exists():
        return
    command = [
        sys.executable, "-m", "cli", "crossval", "--manifest", str(manifest), "--root", str(root),
        "--config", str(recipe), "--out", str(out / "run"), "--no-watermark", "--resume",
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    measured = watch(command, out / "log.txt", limit_minutes=None)
    folds = len({row.fold for row in read_manifest(manifest, labels=LABELS)})
    if measured["exit_code"] == 0:
        measured["minutes"] /= folds
        write_json(out / "ran.json", measured)


def run_peer(
    name: str,
    python: str,
    rows: Sequence[Row],
    fold: int,
    root: Path,
    weights: Path,
    minutes: float,
    folder: Path,
) -> None:
    """Let a peer learn from all folds but one and answer for that one, unless it has."""
    if (folder / "answer.csv").exists() and (folder / "ran.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    top = root.resolve()
    write_csv(
        folder / "train.csv",
        ["path", "label"],
        [[str(top / row.file), row.label] for row in rows if row.fold != fold],
    )
    write_csv(
        folder / "test.csv", ["path"], [[str(top / row.file)] for row in rows if row.fold == fold]
    )
    command = [
        python, "-m", f"benchmarks.peers.{PEERS[name]}", "--train", str(folder / "train.csv"),
        "--test", str(folder / "test.csv"), "--labels", *LABELS, "--weights", str(weights),
        "--minutes", str(minutes), "--out", str(folder / "answer.csv"),
    ]  # fmt: skip
    print(f"{name}, fold {fold}", flush=True)
    measured = watch(command, folder / "log.txt", limit_minutes=_GRACE + minutes * _LATE)
    write_json(folder / "ran.json", measured)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(header)
        table.writerows(rows)


def watch(command: list[str], log: Path, *, limit_minutes: float | None) -> dict[str, Any]:
    """Run a command; gives its minutes, exit code, and the most memory that its processes held together."""
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 (our own scripts)
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "HF_HUB_OFFLINE": "1"},
        )
        most, ended = [0.0], threading.Event()
        watcher = threading.Thread(target=note_memory, args=(process.pid, most, ended))
        watcher.start()
        try:
            process.wait(None if limit_minutes is None else 60 * limit_minutes)
        except subprocess.TimeoutExpired:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
            process.wait()
        finally:
            ended.set()
            watcher.join()
    return {
        "minutes": (time.monotonic() - began) / 60,
        "peak_memory_mb": most[0] / 1e6,
        "exit_code": process.returncode,
        "load_average": os.getloadavg()[0],
    }


def note_memory(root: int, most: list[float], ended: threading.Event) -> None:
    """Keep the largest sum of what the processes hold, with shared pages counted once, in bytes."""
    while not ended.wait(1):
        held = 0.0
        try:
            top = psutil.Process(root)
            for process in [top, *top.children(recursive=True)]:
                held += process.memory_full_info().pss
        except psutil.Error:  # processes come and go
            continue
        most[0] = max(most[0], held)


def answers(out: Path, name: str, rows: Sequence[Row], folds: Sequence[int]) -> Predictions | None:
    """What a peer said of the photos of these folds; None where it did not answer for all of them."""
    asked = [row for row in rows if row.fold in folds]
    if name == OURS:
        path = out / OURS / "run" / "predictions.csv"
        if not path.exists():
            return None
        table = read_predictions(path)
        return table.where(np.isin(table.fold, folds))
    said: dict[str, list[float]] = {}
    for fold in folds:
        path = out / name / f"fold-{fold}" / "answer.csv"
        if not path.exists():
            return None
        tests = [row.file for row in rows if row.fold == fold]
        with path.open(newline="", encoding="utf-8") as stream:
            for file, record in zip(tests, csv.DictReader(stream), strict=True):
                said[file] = [float(record[label]) for label in LABELS]
    p = np.array([said[row.file] for row in asked])
    # A peer states no prediction set; the most probable label stands in the column, and nothing is read there.
    return make_predictions(asked, LABELS, p, np.eye(len(LABELS), dtype=bool)[p.argmax(axis=1)])


def at_equal_chances(table: Predictions, rows: Sequence[Row]) -> Predictions:
    """The same with each probability divided by how frequent its label was where the peer learnt.

    Few of the photos show a condition, and most peers learn that as well: their most probable label is
    seldom one. This project's probabilities assume equal chances already.
    """
    p = table.probabilities.copy()
    for fold in np.unique(table.fold):
        learnt = [row.label for row in rows if row.fold != fold]
        own = table.fold == fold
        p[own] /= np.array([learnt.count(label) for label in LABELS])
    return replace(table, probabilities=p / p.sum(axis=1, keepdims=True))


def lines_of(name: str) -> int:
    """Lines of code that a user writes: no blank ones, no comments, no docstring."""
    if name == OURS:
        return 1  # the command
    text = (HERE / f"{PEERS[name]}.py").read_text(encoding="utf-8")
    if PEERS[name] in ("logistic_regression", "nearest_neighbours"):
        text += (HERE / "features.py").read_text(encoding="utf-8")
    used: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            used |= {node.lineno, node.end_lineno or node.lineno}
            if not hasattr(node, "body"):
                used |= {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return len(used)


def write_table(
    out: Path, rows: Sequence[Row], folds: Sequence[int], names: Sequence[str], minutes: float
) -> None:
    """Write `table.json` and `table.md`: figures with intervals, and this project's lead over each peer."""
    ours = answers(out, OURS, rows, folds)
    told: dict[str, Any] = {"folds": list(folds), "budget_minutes": minutes, "peers": {}}
    for name in names:
        entry: dict[str, Any] = {"lines": lines_of(name)}
        runs = (
            [out / OURS / "ran.json"]
            if name == OURS
            else [out / name / f"fold-{fold}" / "ran.json" for fold in folds]
        )
        ran = [json.loads(path.read_text()) for path in runs if path.exists()]
        if ran:
            entry["minutes_a_fold"] = float(np.mean([run["minutes"] for run in ran]))
            entry["peak_memory_mb"] = max(run["peak_memory_mb"] for run in ran)
            entry["load_average"] = max(run["load_average"] for run in ran)
        table = answers(out, name, rows, folds)
        if table is None:
            entry["failed"] = last_words(out / name)
        else:
            equal = table if name == OURS else at_equal_chances(table, rows)
            write_predictions(table, out / name / "predictions.csv")
            entry["as_it_says"] = chosen(compute_metrics(table, prior=None))
            entry["at_equal_chances"] = chosen(compute_metrics(equal, prior=None))
            if ours is not None and name != OURS:
                entry["calcinosis_minus_this"] = {
                    figure: paired_difference(ours, equal, figure) for figure in FIGURES
                }
        told["peers"][name] = entry
    write_json(out / "table.json", told)
    (out / "table.md").write_text(as_markdown(told), encoding="utf-8")
    print(as_markdown(told))


def chosen(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: find_figure(metrics, name) for name in FIGURES}


def last_words(folder: Path) -> str:
    """The last line that a peer said that gave no answer."""
    logs = sorted(folder.rglob("log.txt"))
    lines = logs[-1].read_text(encoding="utf-8", errors="replace").split("\n") if logs else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "was not run")


def as_markdown(told: dict[str, Any]) -> str:
    """The table as a person reads it; the figures are those at equal chances."""
    columns = ["peer", *FIGURES, "minutes a fold", "peak memory, MB", "lines"]
    lines = [
        f"Folds {', '.join(map(str, told['folds']))}; {told['budget_minutes']:g} minutes a fold. "
        "Probabilities at equal chances of the labels; 95 % intervals over groups. "
        "Below each peer: this project minus the peer, on the same resamples.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for name, entry in told["peers"].items():
        if "failed" in entry:
            lines.append(
                f"| {name} | gave no answer: {entry['failed'][:120]} |" + " |" * (len(columns) - 2)
            )
            continue
        cells = [shown(entry["at_equal_chances"][figure]) for figure in FIGURES]
        ran = [
            f"{entry[key]:.{digits}f}" if key in entry else ""
            for key, digits in (("minutes_a_fold", 1), ("peak_memory_mb", 0))
        ]
        lines.append("| " + " | ".join([name, *cells, *ran, str(entry["lines"])]) + " |")
        if "calcinosis_minus_this" in entry:
            cells = [
                shown(entry["calcinosis_minus_this"][figure], signed=True) for figure in FIGURES
            ]
            lines.append("| | " + " | ".join([*cells, "", "", ""]) + " |")
    return "\n".join(lines) + "\n"


def shown(figure: dict[str, Any] | None, *, signed: bool = False) -> str:
    if figure is None or figure["value"] is None:
        return "not measured"
    sign = "+" if signed else ""
    value = f"{figure['value']:{sign}.3f}"
    if figure["low"] is None:
        return value
    return f"{value} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"


if __name__ == "__main__":
    main()
