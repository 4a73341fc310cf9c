"""Renew the rules of a checkpoint on its own out-of-fold predictions; weights and graph stay as they are.

    python -m calcinosis.training.recalibrate model/weights --coverage other=0.995

rewrites `config.json` (the prediction sets and the frequencies), `predictions.csv` (sets and outcomes),
`metrics.json` and the card. Probabilities do not change. It is for checkpoints whose sets were calibrated on
photographs, or with another coverage: training does all of this itself.

Only probabilities were kept, calibrated fold by fold, and no logits. Where the photograph that set a
condition's threshold is still the one that sets it, the threshold stays as the fold, or the checkpoint, had it;
elsewhere it is the probability at the new rank.
"""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from calcinosis.common.files import write_json
from calcinosis.model.config import CONFIG, CheckpointConfig, load_config, write_config
from calcinosis.model.conformal import Conformal, threshold_rank
from calcinosis.model.finding import outcome_of
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import check_coverage
from calcinosis.training.evaluate.frequencies import count_frequencies, reference_probabilities
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
)

Floats = NDArray[np.float64]

BODY_SITES: Final = Path(__file__).parents[1] / "data" / "curated" / "body_site.csv"
BY_FOLD: Final = "thresholds_by_fold"
_OF_SETS: Final = ("conformal", "outcomes", "suggestive")
"""What a block of figures says of prediction sets: out of date where its sets cannot be made anew."""


def recalibrate(folder: Path, coverage: dict[str, float]) -> dict[str, Any]:
    """Give a checkpoint's predictions and settings the sets of today's rules; returns its metrics.

    Args:
        folder: of the checkpoint, with `predictions.csv` and `metrics.json`.
        coverage: of the labels that shall have another than the checkpoint's.

    Raises:
        TrainingError: `too_few_patients`.
        CheckpointError, PredictionsError: naming the file.
    """
    config = load_config(folder)
    predictions = _with_body_sites(read_predictions(folder / "predictions.csv"))
    before = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    names = [predictions.labels[label] for label in predictions.label]
    check_coverage(names, predictions.group, predictions.fold.tolist(), coverage)
    shares = tuple(
        coverage.get(label, share)
        for label, share in zip(config.labels, config.conformal.coverage, strict=True)
    )
    thresholds = fold_thresholds(predictions, config, shares, before)
    predictions = with_sets(predictions, config, shares, thresholds)
    conformal = _of_checkpoint(predictions, config, shares)
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


def fold_thresholds(
    predictions: Predictions,
    config: CheckpointConfig,
    coverage: tuple[float, ...],
    metrics: dict[str, Any],
) -> dict[str, list[float]]:
    """The thresholds of each fold's sets, set on the patients of the other folds.

    They are those that the metrics hold. Where they hold none, because sets were calibrated on photographs,
    a condition's threshold is read from the sets that the fold had.
    """
    reference = reference_probabilities(predictions, config.prior)
    known = metrics["conformal"].get(BY_FOLD, {})
    thresholds = {}
    for fold in np.unique(predictions.fold).tolist():
        own = predictions.fold == fold
        row = []
        for label, share in enumerate(coverage):
            stored = known.get(str(fold), [None] * len(coverage))[label]
            by_patient = _at_rank(predictions, reference, label, ~own, share)
            by_photo = _at_rank(
                predictions,
                reference,
                label,
                ~own,
                config.conformal.coverage[label],
                patients=False,
            )
            if label == predictions.background:
                row.append(_probability(reference, by_patient, label))
            elif stored is not None:
                row.append(stored)
            elif by_patient == by_photo:
                row.append(_threshold_of_sets(predictions, reference, label, own))
            else:
                row.append(_probability(reference, by_patient, label))
        thresholds[str(fold)] = row
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


def _of_checkpoint(
    predictions: Predictions, config: CheckpointConfig, coverage: tuple[float, ...]
) -> Conformal:
    """What the checkpoint itself decides by: thresholds set on the patients of all folds."""
    reference = reference_probabilities(predictions, config.prior)
    everyone = np.ones(len(predictions), dtype=bool)
    thresholds, patients = [], []
    for label, share in enumerate(coverage):
        old = config.conformal
        by_patient = _at_rank(predictions, reference, label, everyone, share)
        by_photo = _at_rank(
            predictions,
            reference,
            label,
            everyone,
            old.coverage[label],
            patients=old.patients is not None,
        )
        same = by_patient == by_photo and label != predictions.background
        thresholds.append(
            old.thresholds[label] if same else _probability(reference, by_patient, label)
        )
        rows = np.flatnonzero(predictions.label == label).tolist()
        patients.append(len({predictions.group[row] for row in rows}))
    return Conformal(
        coverage=coverage,
        thresholds=tuple(thresholds),
        patients=tuple(patients),
        joined=joined(config.labels),
    )


def _at_rank(
    predictions: Predictions,
    reference: Floats,
    label: int,
    rows: NDArray[np.bool_],
    coverage: float,
    *,
    patients: bool = True,
) -> int | None:
    """The photo whose probability is the threshold, each patient by the worst one; None where none is."""
    worst: dict[str, int] = {}
    for row in np.flatnonzero(rows & (predictions.label == label)).tolist():
        who = predictions.group[row] if patients else predictions.file[row]
        if who not in worst or reference[row, label] < reference[worst[who], label]:
            worst[who] = row
    ranked = sorted(worst.values(), key=lambda row: reference[row, label])
    rank = threshold_rank(len(ranked), coverage)
    return ranked[rank - 1] if rank >= 1 else None


def _probability(reference: Floats, row: int | None, label: int) -> float:
    return 0.0 if row is None else float(reference[row, label])


def _threshold_of_sets(
    predictions: Predictions, reference: Floats, label: int, rows: NDArray[np.bool_]
) -> float:
    """The lowest probability with which a label stood in a set without being the most probable."""
    p, follows = reference[:, label], reference.argmax(axis=1) != label
    held = p[rows & follows & predictions.prediction_set[:, label]]
    left_out = p[rows & follows & ~predictions.prediction_set[:, label]]
    if len(held):
        return float(held.min())
    return float(np.nextafter(left_out.max(initial=0.0), 1.0))


def _without_sets(block: Any) -> Any:
    """A block of figures without what it says of sets that cannot be made anew."""
    if not isinstance(block, dict):
        return block
    return {name: _without_sets(value) for name, value in block.items() if name not in _OF_SETS}


def _with_body_sites(predictions: Predictions) -> Predictions:
    """The table with the sites that were seen by eye, where it knows none."""
    if any(predictions.body_site) or not BODY_SITES.exists():
        return predictions
    with BODY_SITES.open(newline="", encoding="utf-8") as stream:
        seen = {
            row["file"]: row["body_site"] for row in csv.DictReader(stream) if row["basis"] == "eye"
        }
    return replace(predictions, body_site=tuple(seen.get(file, "") for file in predictions.file))


def main(
    folder: Annotated[Path, typer.Argument(help="the checkpoint's folder")],
    coverage: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=SHARE, as often as needed; other=0.995 unless given"),
    ] = None,
) -> None:
    """Renew the rules of a checkpoint on its own out-of-fold predictions."""
    from calcinosis.training.report.card import write_card

    table = {
        label: float(share)
        for label, _, share in (text.partition("=") for text in coverage or ["other=0.995"])
    }
    recalibrate(folder, table)
    write_card(folder)


if __name__ == "__main__":
    typer.run(main)
