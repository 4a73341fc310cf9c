"""Runs every baseline on the same folds with the same budget of time, and writes one table.

    python -m calcinosis.benchmarks.baselines.compare --manifest data/curated/pool.csv --root photos --out runs/baselines \
        --minutes 8 --folds 0 1

Minutes are those of a machine that does nothing else: processor time, divided by the number of cores. Started
again it goes on where it was. A baseline that fails, or is not installed, is named in the table with the
last line it said. This project itself is cross-validated once with `--recipe`, on all folds; its minutes are
those of one fold.
"""

import argparse
import ast
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from calcinosis.benchmarks.baselines.task import ARCHITECTURE, CORES
from calcinosis.benchmarks.baselines.watch import watch
from calcinosis.common.files import write_json
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.model.backbones import lite_weights
from calcinosis.model.labels import LABELS
from calcinosis.training.evaluate.metrics.compute import (
    compute_metrics,
    find_figure,
    paired_difference,
)
from calcinosis.training.evaluate.predictions import (
    Predictions,
    make_predictions,
    read_predictions,
    write_predictions,
)
from safetensors.torch import save_file

HERE: Final = Path(__file__).parent
OURS: Final = "calcinosis"
BASELINES: Final = {
    "fastai": ["fastai_vision"],
    "torchvision": ["torchvision_reference"],
    "timm": ["timm_defaults"],
    "timm-channels-last": ["timm_defaults", "--channels-last"],
    "huggingface": ["huggingface_trainer"],
    "autogluon": ["autogluon_multimodal"],
    "logistic-regression": ["logistic_regression"],
    "nearest-neighbours": ["nearest_neighbours"],
}
"""The script of each, and its options."""
FIGURES: Final = (
    "balanced_accuracy",
    "three_way_balanced_accuracy",
    "auroc.calcinosis_cutis",
    "auroc.gouty_tophus",
    "auroc.milium",
)
_LATE: Final = 2
"""A baseline is ended after so many times its budget, as a user would, and `_GRACE` minutes to begin."""
_GRACE: Final = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--manifest", type=Path, required=True, help="with folds")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="for each fold of each baseline, of all cores"
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[OURS, *BASELINES], default=[OURS, *BASELINES])
    parser.add_argument("--recipe", type=Path, default=Path("training/configs/lite2.toml"))
    parser.add_argument(
        "--ours",
        type=Path,
        help="predictions.csv of a crossval or train with the same folds, instead of running one",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="BASELINE=PATH",
        help="a baseline's own Python",
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
        if name == OURS and given.ours:
            take_over(given.ours, rows, given.out / OURS)
            continue
        if name == OURS:
            cross_validate(given.manifest, given.root, given.recipe, given.out / OURS)
            continue
        for fold in given.folds:
            python = pythons.get(name, sys.executable)
            folder = given.out / name / f"fold-{fold}"
            run_baseline(name, python, rows, fold, given.root, weights, given.minutes, folder)
    write_table(given.out, rows, given.folds, given.only, given.minutes)


def cross_validate(manifest: Path, root: Path, recipe: Path, out: Path) -> None:
    """This project, as its user would run it."""
    if (out / "ran.json").exists():
        return
    command = [
        sys.executable, "-m", "calcinosis", "crossval", "--manifest", str(manifest), "--root", str(root),
        "--config", str(recipe), "--out", str(out / "run"), "--no-watermark", "--resume",
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    measured = watch(command, out / "log.txt", limit_minutes=None)
    folds = len({row.fold for row in read_manifest(manifest, labels=LABELS)})
    if measured["exit_code"] == 0:
        measured["minutes"] /= folds
        measured["minutes_by_the_clock"] /= folds
        write_json(out / "ran.json", measured)


def take_over(predictions: Path, rows: Sequence[Row], out: Path) -> None:
    """Let a cross-validation on the same folds speak for this project; nobody measured its minutes."""
    table = read_predictions(predictions)
    if dict(zip(table.file, table.fold.tolist(), strict=True)) != {r.file: r.fold for r in rows}:
        raise SystemExit(f"{predictions}: its photos or their folds are not those of the manifest")
    (out / "run").mkdir(parents=True, exist_ok=True)
    (out / "ran.json").unlink(missing_ok=True)
    write_predictions(table, out / "run" / "predictions.csv")


def run_baseline(
    name: str,
    python: str,
    rows: Sequence[Row],
    fold: int,
    root: Path,
    weights: Path,
    minutes: float,
    folder: Path,
) -> None:
    """Let a baseline learn from all folds but one and answer for that one, unless it has."""
    if (folder / "answer.csv").exists() and (folder / "ran.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    top = root.resolve()
    script, *options = BASELINES[name]
    write_csv(
        folder / "train.csv",
        ["path", "label"],
        [[str(top / row.file), row.label] for row in rows if row.fold != fold],
    )
    write_csv(
        folder / "test.csv", ["path"], [[str(top / row.file)] for row in rows if row.fold == fold]
    )
    command = [
        python, "-m", f"calcinosis.benchmarks.baselines.{script}", "--train", str(folder / "train.csv"),
        "--test", str(folder / "test.csv"), "--labels", *LABELS, "--weights", str(weights),
        "--minutes", str(minutes), "--out", str(folder / "answer.csv"), *options,
    ]  # fmt: skip
    print(f"{name}, fold {fold}", flush=True)
    measured = watch(command, folder / "log.txt", limit_minutes=_GRACE + minutes * _LATE)
    write_json(folder / "ran.json", measured)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(header)
        table.writerows(rows)


def answers(out: Path, name: str, rows: Sequence[Row], folds: Sequence[int]) -> Predictions | None:
    """What a baseline said of the photos of these folds; None where it did not answer for all of them."""
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
    # A baseline states no prediction set; the most probable label stands in the column, and nothing is read there.
    return make_predictions(asked, LABELS, p, np.eye(len(LABELS), dtype=bool)[p.argmax(axis=1)])


def at_equal_chances(table: Predictions, rows: Sequence[Row]) -> Predictions:
    """The same with each probability divided by how frequent its label was where the baseline learnt.

    Few of the photos show a condition, and most baselines learn that as well: their most probable label is
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
    script = BASELINES[name][0]
    text = (HERE / f"{script}.py").read_text(encoding="utf-8")
    if script in ("logistic_regression", "nearest_neighbours"):
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
    """Write `table.json` and `table.md`: figures with intervals, and this project's lead over each baseline."""
    ours = answers(out, OURS, rows, folds)
    told: dict[str, Any] = {
        "folds": list(folds),
        "budget_minutes": minutes,
        "cores": CORES,
        "baselines": {},
    }
    for name in names:
        entry: dict[str, Any] = {"lines": lines_of(name)}
        runs = (
            [out / OURS / "ran.json"]
            if name == OURS
            else [out / name / f"fold-{fold}" / "ran.json" for fold in folds]
        )
        ran = [json.loads(path.read_text()) for path in runs if path.exists()]
        if ran:
            for key in ("minutes", "minutes_by_the_clock"):
                entry[f"{key}_a_fold"] = float(np.mean([run[key] for run in ran]))
            entry["peak_memory_mb"] = max(run["peak_memory_mb"] for run in ran)
            entry["load_average"] = float(np.mean([run["load_average"] for run in ran]))
        gone_through = [path.with_name("epochs.txt") for path in runs]
        if all(path.exists() for path in gone_through):
            entry["epochs"] = [float(path.read_text()) for path in gone_through]
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
        told["baselines"][name] = entry
    write_json(out / "table.json", told)
    (out / "table.md").write_text(as_markdown(told), encoding="utf-8")
    print(as_markdown(told))


def chosen(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: find_figure(metrics, name) for name in FIGURES}


def last_words(folder: Path) -> str:
    """The last line that a baseline said that gave no answer."""
    logs = sorted(folder.rglob("log.txt"))
    lines = logs[-1].read_text(encoding="utf-8", errors="replace").split("\n") if logs else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "was not run")


def as_markdown(told: dict[str, Any]) -> str:
    """The table as a person reads it; the figures are those at equal chances."""
    last = ["epochs", "minutes a fold", "by the clock", "load", "peak memory, MB", "lines"]
    columns = ["baseline", *FIGURES, *last]
    lines = [
        f"Folds {', '.join(map(str, told['folds']))}; {told['budget_minutes']:g} minutes a fold for each baseline. "
        f"Minutes are processor time on all {told['cores']} cores together; the load is that of the machine. "
        "Probabilities at equal chances of the labels; 95 % intervals over groups. "
        "Below each baseline: this project minus the baseline, on the same resamples.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for name, entry in told["baselines"].items():
        if "failed" in entry:
            lines.append(
                f"| {name} | gave no answer: {entry['failed'][:120]} |" + " |" * (len(columns) - 2)
            )
            continue
        cells = [shown(entry["at_equal_chances"][figure]) for figure in FIGURES]
        ran = [
            f"{entry[key]:.{digits}f}" if key in entry else ""
            for key, digits in (
                ("minutes_a_fold", 1),
                ("minutes_by_the_clock_a_fold", 1),
                ("load_average", 0),
                ("peak_memory_mb", 0),
            )
        ]
        ran.insert(0, ", ".join(f"{epochs:g}" for epochs in sorted(set(entry.get("epochs", [])))))
        lines.append("| " + " | ".join([name, *cells, *ran, str(entry["lines"])]) + " |")
        if "calcinosis_minus_this" in entry:
            cells = [
                shown(entry["calcinosis_minus_this"][figure], signed=True) for figure in FIGURES
            ]
            lines.append("| | " + " | ".join([*cells, *[""] * len(last)]) + " |")
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
