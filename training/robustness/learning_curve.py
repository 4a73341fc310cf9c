"""A recipe that learns from fewer patients of the conditions: what more of them might bring."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.out_of_fold import oof_logits, oof_predictions
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.prepare import PreparedData

log = logging.getLogger(__name__)

SHARES: Final = (0.25, 0.5, 0.75)
REPEATS: Final = 3


def evaluate_with_fewer_patients(
    data: PreparedData, work: Path, logits: Floats
) -> list[dict[str, Any]]:
    """How well photos are ranked by what has learnt from a share of the conditions' groups.

    Every photo is judged as in cross-validation, and calibrated in the same way; only what each fold
    learns from is thinned. All photos of `other` stay: of those there is no want.

    Args:
        data: the recipe with its photographs.
        work: folder for what is kept of each run.
        logits: (rows, labels) of the ordinary cross-validation, the last point of the curve.

    Returns:
        A point a share, in ascending order: `share`; `groups`, how many of each condition stay, of
        which each fold learns from all but its own; `auroc`, for each condition against all other
        photos, the `mean`, `lowest` and `highest` over `repeats` random choices of groups.
    """
    points = []
    for share in SHARES:
        choices = [some_groups(data, share, repeat) for repeat in range(REPEATS)]
        found = []
        for repeat, kept in enumerate(choices):
            log.info(
                "training on %.0f %% of the conditions' groups, choice %d", 100 * share, repeat + 1
            )
            folder = work / f"share-{share}-{repeat}"
            thinned = oof_logits(data, folder, kept)
            found.append(_ranked(oof_predictions(data, thinned)))
        points.append(_point(data, choices[0], share, found))
    everyone = np.ones(len(data.rows), dtype=bool)
    return [*points, _point(data, everyone, 1.0, [_ranked(oof_predictions(data, logits))])]


def some_groups(data: PreparedData, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows (n,) stay when of each condition's groups a random share does, at least one a fold."""
    generator = np.random.default_rng([seed, round(1000 * share)])
    labels, folds = data.labels, data.folds
    groups = data.groups
    kept = labels == len(data.recipe.labels) - 1
    for label in range(len(data.recipe.labels) - 1):
        # Thinned fold by fold, so that no fold is left without the label.
        for fold in np.unique(folds):
            own = np.unique(groups[(labels == label) & (folds == fold)])
            count = min(len(own), max(1, round(share * len(own))))
            chosen = generator.choice(own, size=count, replace=False)
            kept |= (labels == label) & np.isin(groups, chosen)
    return kept


def _ranked(predictions: Predictions) -> list[float]:
    """AUROC of each condition against all other photos."""
    ones = np.ones((len(predictions), 1))
    return [
        float(
            kernels.area_under_roc(
                predictions.probabilities[:, label], predictions.label == label, ones
            )[0]
        )
        for label in range(len(predictions.labels) - 1)
    ]


def _point(
    data: PreparedData, kept: NDArray[np.bool_], share: float, found: Sequence[Sequence[float]]
) -> dict[str, Any]:
    conditions = data.recipe.labels[:-1]
    learnt = {name: set[str]() for name in conditions}
    for n in np.flatnonzero(kept):
        if data.rows[n].label in learnt:
            learnt[data.rows[n].label].add(data.rows[n].group)
    auroc = {
        name: {"mean": float(np.mean(values)), "lowest": min(values), "highest": max(values)}
        for name, values in zip(conditions, zip(*found, strict=True), strict=True)
    }
    return {
        "share": share,
        "groups": {name: len(groups) for name, groups in learnt.items()},
        "repeats": len(found),
        "auroc": auroc,
    }
