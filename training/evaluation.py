"""Measuring a checkpoint on photographs that it did not learn from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calcinosis.common.cpu import available_cores, map_in_order
from calcinosis.common.errors import DataError, PhotoError, TrainingError
from calcinosis.common.files import disk_full_error
from calcinosis.common.progress import track
from calcinosis.data.locating import check_files, open_source
from calcinosis.data.manifest import Row
from calcinosis.model.predictor import Predictor
from calcinosis.training.crossval import write_results
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.predictions import make_predictions
from calcinosis.training.robustness.skin_tone import read_skin_tones


def evaluate(rows: Sequence[Row], root: Path, checkpoint: Path, out: Path) -> dict[str, Any]:
    """Ask a checkpoint about every row; writes `predictions.csv`, `metrics.json` and `report.html` to `out`.

    The photo-quality gate is not applied: the figures are the network's. Where the manifest gives no
    skin tone it is estimated, and kept in `out/skin_tones.json`.

    Raises:
        CheckpointError, ManifestError, DataError: naming the file and the cure.
        TrainingError: `other_labels`, if a row has a label that the checkpoint does not know.
    """
    predictor = Predictor(checkpoint, threads=1)
    config = predictor.config
    for row in rows:
        if row.label not in config.labels:
            raise TrainingError(
                "other_labels",
                f"the checkpoint knows {', '.join(config.labels)} and not {row.label}",
                name=row.file,
            )
    check_files(rows, root)
    rows = [replace(row, fold=None) for row in rows]  # no fold of these held a photo out
    again = "give the same command again"
    with disk_full_error(out, again):
        rows = read_skin_tones(rows, root, out / "skin_tones.json")

    logits = read_logits(predictor, rows, root)
    reference = config.calibration.probabilities(logits)
    predictions = make_predictions(
        rows,
        config.labels,
        config.calibration.probabilities(logits, config.prior),
        config.conformal.prediction_sets(reference),
    )
    metrics = compute_metrics(predictions, prior=config.prior)
    with disk_full_error(out, again):
        write_results(predictions, metrics, out)
    return metrics


def read_logits(predictor: Predictor, rows: Sequence[Row], root: Path) -> NDArray[np.float64]:
    """What a predictor with one thread gives for each row (rows, labels), a photo at a time on each core.

    So does `predict`: no photo's figures depend on its neighbours.

    Raises:
        DataError: naming the photo that cannot be read.
        TrainingError: `not_answered`, `not_finite`.
    """

    def ask(row: Row) -> NDArray[np.float32]:
        try:
            return predictor.logits(open_source(root, row.file))
        except PhotoError as error:
            raise DataError(error.code, error.message, name=row.file) from error

    logits = np.full((len(rows), len(predictor.config.labels)), np.nan)
    answered = 0
    asked = map_in_order(ask, rows, workers=available_cores())
    for values in track(asked, "Asking about the photographs", total=len(rows)):
        logits[answered] = values
        answered += 1
    if answered < len(rows):
        raise TrainingError(
            "not_answered",
            f"{len(rows)} photos were asked about and {answered} answered; this is one that was not",
            name=rows[answered].file,
        )
    if not np.isfinite(logits).all():
        raise TrainingError(
            "not_finite", "the network's answer is not a number", name=str(predictor.checkpoint)
        )
    return logits
