"""What each fold says of the photos that it held out, and how that is read out."""

from pathlib import Path

import numpy as np
from calcinosis.common.errors import TrainingError
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import Calibrator, fit_calibrator
from calcinosis.training.evaluate.predictions import Predictions, make_predictions
from calcinosis.training.fit.base_learners import fit, part_logits
from calcinosis.training.fit.finetune import Integers, Report
from calcinosis.training.fit.prepare import Floats, PreparedData, kept_logits
from numpy.typing import NDArray


def oof_logits(
    study: PreparedData,
    work: Path,
    *,
    resume: bool,
    report: Report,
    kept: NDArray[np.bool_] | None = None,
    tops: Path | None = None,
) -> Floats:
    """Logits (rows, parts, labels) of every photo, from the fold that held it out.

    Args:
        study: the recipe with its photographs.
        work: folder for what is kept of each fold.
        resume: go on with a run that was stopped.
        report: is told what is being done.
        kept: (rows,) which photos may be learnt from, where not all may.
        tops: the `work` of a run whose folds' tops are taken as they are, where it learns nothing of the conditions.
    """
    folds = study.folds
    learnable = np.ones(len(folds), dtype=bool) if kept is None else kept
    parts = {}
    for fold in np.unique(folds):
        folder, learnt = work / f"fold-{fold}", np.flatnonzero((folds != fold) & learnable)
        held_out = np.flatnonzero(folds == fold)

        def ask(
            folder: Path = folder, learnt: Integers = learnt, held_out: Integers = held_out
        ) -> Floats:
            report(f"{folder.name}: learning from {len(learnt)} photographs")
            top = tops / folder.name if tops else None
            fitted = fit(study, learnt, folder, top=top, resume=resume, report=report)
            return part_logits(fitted, study, study.activations, held_out)

        parts[fold] = kept_logits(folder / "logits.safetensors", ask, study.hardware, resume=resume)
    logits = np.full((len(folds), *next(iter(parts.values())).shape[1:]), np.nan)
    for fold, part in parts.items():
        logits[folds == fold] = part
    if not np.isfinite(logits).all():
        raise TrainingError("diverged", "a held-out photo has no finite logits", name=str(work))
    return logits


def fold_calibrators(study: PreparedData, logits: Floats) -> dict[int, Calibrator]:
    """The readout of each fold's photos, fitted on the held-out logits of the other folds.

    So no photo has a say in how its own probabilities or its own prediction set are made.
    """
    folds, recipe = study.folds, study.recipe
    calibrators = {}
    for fold in np.unique(folds):
        rest = np.flatnonzero(folds != fold)
        calibrators[int(fold)] = fit_calibrator(
            logits[rest],
            study.targets.labels[rest],
            [study.rows[row].group for row in rest],
            recipe.coverages,
            joined(recipe.labels),
        )
    return calibrators


def oof_predictions(study: PreparedData, logits: Floats) -> Predictions:
    """The predictions table of held-out logits (rows, parts, labels), read out fold by fold."""
    probabilities = np.zeros((len(study.rows), len(study.recipe.labels)))
    members = np.zeros(probabilities.shape, dtype=bool)
    for fold, readout in fold_calibrators(study, logits).items():
        own = study.folds == fold
        probabilities[own], members[own] = readout.read(logits[own], study.recipe.stated_prior)
    return make_predictions(study.rows, study.recipe.labels, probabilities, members)
