"""Give a checkpoint another coverage on its own out-of-fold predictions; weights and graph stay as they are.

    python -m calcinosis.training.recalibrate model/weights --coverage other=0.998

rewrites `config.json` (the prediction sets and the frequencies), `predictions.csv` (sets and outcomes),
`metrics.json` and the card. Probabilities do not change. Training does all of this itself.

The folder is changed in place: give it a copy of a checkpoint that shall stay. Removed from `metrics.json` is what sets
decided of which no predictions were kept: `repeated` and `out_of_distribution` whole, and of `leave_source_out`,
`leave_other_out` and `leave_site_out` the figures of sets. How often a finding was right is counted in the first round of
cross-validation alone, whose predictions were kept.

Only probabilities were kept, each fold calibrated on the others, and no logits. A label whose coverage stays keeps its
thresholds; another's are the probabilities at the new rank of the patients, an approximation of what calibrating
anew would give.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from calcinosis.common.errors import CalcinosisError, PredictionsError, TrainingError
from calcinosis.common.files import write_json
from calcinosis.model.config import CONFIG, CheckpointConfig, load_config, write_config
from calcinosis.model.conformal import Conformal
from calcinosis.model.finding import outcome_of
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import (
    BY_FOLD,
    UNKNOWN,
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

_WHOLE: Final = ("repeated", "out_of_distribution")
"""Blocks that cannot be made anew: means over cross-validations of which one was kept, and shares that sets decide."""
_LEFT_OUT: Final = "leave_"
"""How the names of the blocks begin that lose what `_OF_SETS` names."""
_OF_SETS: Final = ("conformal", "outcomes", "suggestive")
"""What a block of figures says of prediction sets."""


def recalibrate(folder: Path, coverage: dict[str, float]) -> dict[str, Any]:
    """Give a checkpoint's predictions and settings the sets of other coverages; returns its metrics.

    Args:
        folder: of the checkpoint, with `predictions.csv` and `metrics.json`.
        coverage: of the labels that shall have another than the checkpoint's.

    Raises:
        TrainingError: `unknown_label`; `too_few_patients`; `nothing_to_change`, if the coverages are the checkpoint's own.
        CheckpointError, PredictionsError: naming the file.
    """
    config = load_config(folder)
    if unknown := set(coverage) - set(config.labels):
        raise TrainingError(
            "unknown_label",
            f"has no label {', '.join(sorted(unknown))}; there are: {', '.join(config.labels)}",
            name=str(folder),
        )
    predictions = read_predictions(folder / "predictions.csv")
    before = _read_metrics(folder / "metrics.json")
    names = [predictions.labels[label] for label in predictions.label]
    check_coverage(names, predictions.group, predictions.fold.tolist(), coverage)
    shares = tuple(
        coverage.get(label, share)
        for label, share in zip(config.labels, config.conformal.coverage, strict=True)
    )
    if shares == config.conformal.coverage:
        raise TrainingError(
            "nothing_to_change",
            "has these coverages already, and nothing was changed; give one that is another",
            name=str(folder),
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
        if name not in metrics and name not in _WHOLE:
            metrics[name] = _without_sets(block) if name.startswith(_LEFT_OUT) else block
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    settings["conformal"] = conformal.model_dump(mode="json")
    frequencies = count_frequencies([predictions], config.prior)
    settings["frequencies"] = frequencies.model_dump(mode="json")
    shown = ", ".join(f"{label} {share:g}" for label, share in coverage.items())
    made = settings["training"].get("made", "")
    again = f"Recalibrated afterwards, on the first cross-validation alone: coverage of {shown}."
    settings["training"]["made"] = f"{made} {again}".strip()
    write_predictions(predictions, folder / "predictions.csv")
    write_json(folder / "metrics.json", metrics)
    write_config(folder, settings)
    return metrics


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise PredictionsError(
            "no_metrics", "cannot be read; copy the whole folder of a checkpoint", name=str(path)
        ) from None
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
        unknown = np.array(values) == UNKNOWN  # which a mimic that is known does not bring in
        members[own] = conformal.prediction_sets(reference[own]) & ~unknown
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


def _label_and_share(text: str) -> tuple[str, float]:
    label, _, number = text.partition("=")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise typer.BadParameter(
            f"--coverage takes LABEL=SHARE, a share between 0 and 1, as other=0.998; not {text}"
        )
    return label, share


def main(
    folder: Annotated[Path, typer.Argument(help="the checkpoint's folder")],
    coverage: Annotated[
        list[str],
        typer.Option(help="LABEL=SHARE of a label that shall have another; as often as needed"),
    ],
) -> None:
    """Give a checkpoint another coverage on its own out-of-fold predictions.

    The folder is changed in place: give it a copy of what shall stay. Removed is what sets decided and cannot be made
    anew: the means over several cross-validations, the shares of pictures out of distribution, and the figures of
    prediction sets on what was left out of training. How often a finding was right is counted in the first round alone.
    """
    from calcinosis.training.report.card import write_card

    table = [_label_and_share(text) for text in coverage]
    if len(dict(table)) < len(table):
        raise typer.BadParameter("--coverage names a label twice; give each one share")
    try:
        recalibrate(folder, dict(table))
    except CalcinosisError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    write_card(folder)
    typer.echo(
        f"changed {folder} in place; metrics.json has no longer means over several cross-validations, shares of "
        "pictures out of distribution, and figures of prediction sets on what was left out of training; how often a "
        "finding was right is counted in the first round of cross-validation alone",
        err=True,
    )


if __name__ == "__main__":
    typer.run(main)
