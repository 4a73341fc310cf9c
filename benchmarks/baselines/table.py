"""The table of a comparison: what was left out leads, then the folds; this project stands beside each baseline."""

import ast
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.benchmarks.baselines.splits import Split
from calcinosis.benchmarks.baselines.task import CORES
from calcinosis.common.files import write_json
from calcinosis.model.labels import LABELS, joined
from calcinosis.training.evaluate.calibrate import Calibrator, fit_calibrator
from calcinosis.training.evaluate.metrics.compute import (
    compute_metrics,
    find_figure,
    paired_difference,
)
from calcinosis.training.evaluate.metrics.registry import share_over_groups
from calcinosis.training.evaluate.predictions import (
    Predictions,
    make_predictions,
    read_predictions,
    write_predictions,
)

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
_AUROC: Final = tuple(f"auroc.{label}" for label in LABELS[:-1])
FIGURES: Final = ("balanced_accuracy", "three_way_balanced_accuracy", *_AUROC)
EXTERNAL_FIGURES: Final = (*_AUROC, "suggestive.false_rate", "suggestive.false_rate_malignant")
NAMED: Final = "named"
"""Share of the conditions' photos, held out by the folds, whose prediction set leaves `other` out."""
_LEAST_PROBABLE: Final = 1e-9
"""What a baseline that calls a label impossible is taken to say, where it is calibrated."""

Shares = NDArray[np.float64]


def answer_of(folder: Path, split: Split) -> Shares | None:
    """The probabilities (test photos, labels) that a baseline gave, at equal chances of the labels.

    Each is divided by how frequent its label was where the baseline learnt: few of the photos show a condition, and
    most baselines learn that as well, so that their most probable label is seldom one. This project's probabilities
    assume equal chances already. None where the baseline gave no answer.
    """
    path = folder / split.name / "answer.csv"
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    asked = [Path(row.file).parts for row in split.test]
    if len(records) != len(asked) or not all(
        Path(record["path"]).parts[-len(file) :] == file
        for record, file in zip(records, asked, strict=True)
    ):
        raise SystemExit(
            f"{path}: answers for other photos than {split.name} has; delete {path.parent}"
        )
    said = [[float(record[label]) for label in LABELS] for record in records]
    learnt = [row.label for row in split.train]
    p: Shares = np.array(said) / np.array([max(1, learnt.count(label)) for label in LABELS])
    return p / p.sum(axis=1, keepdims=True)


def answers(folder: Path, folds: Sequence[Split], coverage: Sequence[float]) -> Predictions | None:
    """What a baseline said of the photos of these folds; None where it did not answer for all of them.

    A baseline states no prediction set. It gets those of this project, by the same calibration and thresholds, fitted
    on its answers for the other folds.

    Args:
        folder: of the baseline.
        folds: what it was asked about.
        coverage: (labels,) of the sets.
    """
    table = _without_sets(folder, folds)
    if table is None:
        return None
    p, sets = table.probabilities, table.prediction_set.copy()
    fold = np.repeat(np.arange(len(folds)), [len(split.test) for split in folds])
    for held_out in range(len(folds) if len(folds) > 1 else 0):
        calibrator = _calibrator(table.where(fold != held_out), coverage)
        sets[fold == held_out] = _sets(calibrator, p[fold == held_out])
    rows = [row for split in folds for row in split.test]
    return make_predictions(rows, LABELS, p, sets)


def _without_sets(folder: Path, folds: Sequence[Split]) -> Predictions | None:
    """What a baseline said of the photos of these folds, with every label in each set; None as for `answers`."""
    said = [answer_of(folder, split) for split in folds]
    given = [p for p in said if p is not None]
    if not given or len(given) < len(folds):
        return None
    p = np.concatenate(given)
    rows = [row for split in folds for row in split.test]
    return make_predictions(rows, LABELS, p, np.ones_like(p, dtype=bool))


def _calibrator(table: Predictions, coverage: Sequence[float]) -> Calibrator:
    return fit_calibrator(
        _logits(table.probabilities), table.label, table.group, coverage, joined(table.labels)
    )


def _sets(calibrator: Calibrator, p: Shares) -> NDArray[np.bool_]:
    return calibrator.conformal.prediction_sets(calibrator.calibration.probabilities(_logits(p)))


def _logits(p: Shares) -> Shares:
    logits: Shares = np.log(np.maximum(p, _LEAST_PROBABLE))
    return logits


def named(table: Predictions) -> dict[str, Any] | None:
    """The figure `NAMED`, with its 95 % interval over groups; None where no photo shows a condition."""
    shown_by = table.where(table.label != table.background)
    if not len(shown_by):
        return None
    left_out = ~shown_by.prediction_set[:, shown_by.background]
    return share_over_groups(left_out, shown_by.group)


def external_figures(
    folder: Path, split: Split, inner: Sequence[Split], coverage: Sequence[float]
) -> dict[str, Any] | None:
    """What a baseline makes of a source that it did not learn from; None where it did not answer.

    None too where a label shows nowhere else, so that no threshold can be set.

    Its prediction sets are fitted as this project's are by `--leave-source-out`: on answers for held-out photos of
    what it learnt from, and for a left-out photo on those of the other folds than its own.

    Args:
        folder: of the baseline.
        split: a left-out source, or its `other`.
        inner: the folds of what the split learns from.
        coverage: (labels,) of the sets.
    """
    p = answer_of(folder, split)
    if p is None or not _all_labels_are_held_out(inner):
        return None
    held_out = _without_sets(folder, inner)
    if held_out is None:
        return None
    fold = np.array([row.fold for row in split.test])
    sets = np.ones_like(p, dtype=bool)
    for own in np.unique(fold):
        others = held_out.where(held_out.fold != own) if len(inner) > 1 else held_out
        sets[fold == own] = _sets(_calibrator(others, coverage), p[fold == own])
    table = make_predictions(split.test, LABELS, p, sets)
    return chosen(compute_metrics(table, prior=None), EXTERNAL_FIGURES)


def _all_labels_are_held_out(inner: Sequence[Split]) -> bool:
    """Whether thresholds can be set on any of these folds' others, or on the only fold."""
    rest = [[other for other in inner if other is not fold] or [fold] for fold in inner]
    return all(
        {row.label for fold in others for row in fold.test} >= set(LABELS) for others in rest
    )


def our_external_figures(out: Path, split: Split) -> dict[str, Any] | None:
    """What this project made of a left-out source; None where that was not measured."""
    path = out / OURS / "run" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    whole = split.name == f"without-{split.test[0].source}"
    blocks = metrics.get("leave_source_out" if whole else "leave_other_out", {})
    if split.test[0].source not in blocks:
        return None
    figures = chosen(blocks[split.test[0].source], EXTERNAL_FIGURES)
    if not whole:  # there it is ranked against the held-out conditions, which the baselines are not asked about
        figures |= dict.fromkeys(_AUROC)
    return figures


def our_answers(out: Path, folds: Sequence[Split]) -> Predictions | None:
    """What this project said of the photos of these folds; None where it was not cross-validated."""
    path = out / OURS / "run" / "predictions.csv"
    if not path.exists():
        return None
    table = read_predictions(path)
    return table.where(
        np.isin(np.array(table.file), [r.file for split in folds for r in split.test])
    )


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
    out: Path,
    folds: Sequence[Split],
    external: Sequence[Split],
    inner: Mapping[str, Sequence[Split]],
    names: Sequence[str],
    minutes: float,
    coverage: Sequence[float],
) -> None:
    """Write `table.json` and `table.md`: figures with intervals, and this project's lead over each baseline.

    Args:
        out: where the answers are.
        folds: what all were asked about.
        external: what was left out, and asked about.
        inner: of each of these, by its name, the folds of what it learns from.
        names: of the baselines.
        minutes: that each had.
        coverage: (labels,) of the prediction sets that each gets.
    """
    ours = our_answers(out, folds)
    told: dict[str, Any] = {
        "folds": [split.name for split in folds],
        "budget_minutes": minutes,
        "cores": CORES,
        "baselines": {},
    }
    for name in names:
        entry = {"lines": lines_of(name), **what_it_took(out, name, folds)}
        table = ours if name == OURS else answers(out / name, folds, coverage)
        if table is None:
            entry["failed"] = last_words(out / name)
        else:
            write_predictions(table, out / name / "predictions.csv")
            entry["at_equal_chances"] = chosen(compute_metrics(table, prior=None), FIGURES)
            entry[NAMED] = named(table) if name == OURS or len(folds) > 1 else None
            if ours is not None and name != OURS:
                entry["calcinosis_minus_this"] = {
                    figure: paired_difference(ours, table, figure) for figure in FIGURES
                }
        entry["external"] = {
            split.name: our_external_figures(out, split)
            if name == OURS
            else external_figures(out / name, split, inner[split.name], coverage)
            for split in external
        }
        told["baselines"][name] = entry
    write_json(out / "table.json", told)
    text = "\n".join([*(_external_part(told, split) for split in external), _folds_part(told)])
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def what_it_took(out: Path, name: str, folds: Sequence[Split]) -> dict[str, Any]:
    """Mean minutes and load, and the peak of memory, of those folds of a baseline that have run."""
    runs = (
        [out / OURS / "ran.json"]
        if name == OURS
        else [out / name / split.name / "ran.json" for split in folds]
    )
    took: dict[str, Any] = {}
    if ran := [json.loads(path.read_text()) for path in runs if path.exists()]:
        for key in ("minutes", "minutes_by_the_clock"):
            took[f"{key}_a_fold"] = float(np.mean([run[key] for run in ran]))
        took["peak_memory_mb"] = max(run["peak_memory_mb"] for run in ran)
        took["load_average"] = float(np.mean([run["load_average"] for run in ran]))
    gone_through = [path.with_name("epochs.txt") for path in runs]
    if all(path.exists() for path in gone_through):
        took["epochs"] = [float(path.read_text()) for path in gone_through]
    return took


def chosen(metrics: dict[str, Any], figures: Sequence[str]) -> dict[str, Any]:
    return {name: find_figure(metrics, name) for name in figures}


def last_words(folder: Path) -> str:
    """The last line that a baseline said that gave no answer."""
    logs = sorted(folder.rglob("log.txt"))
    lines = logs[-1].read_text(encoding="utf-8", errors="replace").split("\n") if logs else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "was not run")


def _external_part(told: dict[str, Any], split: Split) -> str:
    """What was made of photos that were left out, as a person reads it."""
    conditions = [label for label in LABELS[:-1] if any(r.label == label for r in split.test)]
    counts = [*conditions, LABELS[-1]]
    of_each = ", ".join(f"{sum(r.label == label for r in split.test)} {label}" for label in counts)
    lines = [
        f"{split.name}: learnt from {len(split.train)} photos, asked about {len(split.test)} ({of_each}). Each "
        "gets the same prediction sets, fitted on what folds of these held out; last, of the conditions' photos that the folds of all "
        "held out, the share whose set leaves `other` out.",
        "",
        "| baseline | " + " | ".join([*EXTERNAL_FIGURES, NAMED]) + " |",
        "|" + "---|" * (len(EXTERNAL_FIGURES) + 2),
    ]
    for name, entry in told["baselines"].items():
        figures = entry["external"][split.name]
        if figures is None:
            lines.append(f"| {name} | not measured |" + " |" * len(EXTERNAL_FIGURES))
        else:
            cells = [shown(figures[figure]) for figure in EXTERNAL_FIGURES]
            cells.append(shown(entry.get(NAMED)))
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _folds_part(told: dict[str, Any]) -> str:
    """What was made of the folds, as a person reads it; the figures are those at equal chances."""
    last = ["epochs", "minutes a fold", "by the clock", "load", "peak memory, MB", "lines"]
    columns = ["baseline", *FIGURES, *last]
    lines = [
        f"{', '.join(told['folds'])}; {told['budget_minutes']:g} minutes a fold for each baseline. "
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
