"""Give a checkpoint another coverage on its own out-of-fold predictions; weights and graph stay as they are.

    python -m calcinosis.training.recalibrate model/weights --coverage other=0.998

rewrites `config.json` (the prediction sets and the frequencies), `predictions.csv` (sets and outcomes),
`metrics.json` and the card. Probabilities do not change. Training does all of this itself.

The folder is changed in place: give it a copy of a checkpoint that shall stay. Figures of prediction sets on what was
left out of training are removed from `metrics.json`, since of those no predictions were kept.

Only probabilities were kept, each fold calibrated on the others, and no logits. A label whose coverage stays keeps its
thresholds; another's are the probabilities at the new rank of the patients, an approximation of what calibrating
anew would give.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from calcinosis.common.files import write_json
from calcinosis.model.config import CONFIG, CheckpointConfig, load_config, write_config
from calcinosis.model.conformal import Conformal
from calcinosis.model.finding import outcome_of
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import (
    BY_FOLD,
    check_coverage,
    patient_scores,
    threshold_at,
)
from calcinosis.training.evaluate.frequencies import count_frequencies, reference_probabilities
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
)

Floats = NDArray[np.float64]

_OF_SETS: Final = ("conformal", "outcomes", "suggestive")
"""What a block of figures says of prediction sets: out of date where its sets cannot be made anew."""


def recalibrate(folder: Path, coverage: dict[str, float]) -> dict[str, Any]:
    """Give a checkpoint's predictions and settings the sets of other coverages; returns its metrics.

    Args:
        folder: of the checkpoint, with `predictions.csv` and `metrics.json`.
        coverage: of the labels that shall have another than the checkpoint's.

    Raises:
        TrainingError: `too_few_patients`.
        CheckpointError, PredictionsError: naming the file.
    """
    config = load_config(folder)
    predictions = read_predictions(folder / "predictions.csv")
    before = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    names = [predictions.labels[label] for label in predictions.label]
    check_coverage(names, predictions.group, predictions.fold.tolist(), coverage)
    shares = tuple(
        coverage.get(label, share)
        for label, share in zip(config.labels, config.conformal.coverage, strict=True)
    )
    known = before["conformal"].get(BY_FOLD, {})
    thresholds = {
        str(fold): _thresholds(
            predictions, config, shares, predictions.fold != fold, known.get(str(fold))
        )
        for fold in np.unique(predictions.fold).tolist()
    }
    everyone = np.ones(len(predictions), dtype=bool)
    of_all = _thresholds(predictions, config, shares, everyone, config.conformal.thresholds)
    conformal = config.conformal.model_copy(
        update={"coverage": shares, "thresholds": tuple(of_all)}
    )
    predictions = with_sets(predictions, config, shares, thresholds)
    metrics = compute_metrics(predictions, prior=before["prior"], resamples=before["resamples"])
    metrics["conformal"][BY_FOLD] = thresholds
    for name, block in before.items():
        if name not in metrics:
            metrics[name] = _without_sets(block)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    settings["conformal"] = conformal.model_dump(mode="json")
    frequencies = count_frequencies(predictions, config.prior)
    settings["frequencies"] = frequencies.model_dump(mode="json")
    write_predictions(predictions, folder / "predictions.csv")
    write_json(folder / "metrics.json", metrics)
    write_config(folder, settings)
    return metrics


def _thresholds(
    predictions: Predictions,
    config: CheckpointConfig,
    coverage: tuple[float, ...],
    rows: NDArray[np.bool_],
    kept: Sequence[float] | None,
) -> list[float]:
    """Each label's threshold: the kept one where its coverage stays, else set on the patients of some rows."""
    reference = reference_probabilities(predictions, config.prior)
    thresholds = []
    for label, share in enumerate(coverage):
        if kept is not None and share == config.conformal.coverage[label]:
            thresholds.append(kept[label])
        else:
            own = rows & (predictions.label == label)
            scores = patient_scores(reference[:, label], own, predictions.group)
            thresholds.append(threshold_at(scores, share))
    return thresholds


def with_sets(
    predictions: Predictions,
    config: CheckpointConfig,
    coverage: tuple[float, ...],
    thresholds: dict[str, list[float]],
) -> Predictions:
    """The table with the sets and outcomes that the thresholds of each fold give."""
    reference = reference_probabilities(predictions, config.prior)
    members = np.zeros(reference.shape, dtype=bool)
    for fold, values in thresholds.items():
        own = predictions.fold == int(fold)
        conformal = Conformal(
            coverage=coverage, thresholds=tuple(values), joined=joined(config.labels)
        )
        members[own] = conformal.prediction_sets(reference[own])
    outcomes = [
        outcome_of([label for label, member in zip(config.labels, row, strict=True) if member])
        for row in members
    ]
    return replace(predictions, prediction_set=members, outcome=tuple(outcomes))


def _without_sets(block: Any) -> Any:
    """A block of figures without what it says of sets that cannot be made anew."""
    if not isinstance(block, dict):
        return block
    return {name: _without_sets(value) for name, value in block.items() if name not in _OF_SETS}


def main(
    folder: Annotated[Path, typer.Argument(help="the checkpoint's folder")],
    coverage: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=SHARE, as often as needed; other=0.995 unless given"),
    ] = None,
) -> None:
    """Give a checkpoint another coverage on its own out-of-fold predictions.

    The folder is changed in place: give it a copy of what shall stay. Figures of prediction sets on what was left
    out of training, which cannot be made anew, are removed.
    """
    from calcinosis.training.report.card import write_card

    table = {
        label: float(share)
        for label, _, share in (text.partition("=") for text in coverage or ["other=0.995"])
    }
    recalibrate(folder, table)
    write_card(folder)
    typer.echo(
        f"changed {folder} in place; metrics.json has no longer figures of prediction sets on what was left "
        "out of training",
        err=True,
    )


if __name__ == "__main__":
    typer.run(main)
