"""The counterfactual effect of a watermark: pasted onto photos that bear none, inpainted where one is."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from calcinosis.training.evaluate.bootstrap import group_resamples, percentile_interval
from calcinosis.training.evaluate.metrics.kernels import Array, weighted_mean
from calcinosis.training.evaluate.out_of_fold import FoldCalibrator, kept_logits
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.fit.features import cached_features
from calcinosis.training.fit.fitted import fit, logits_of_changed
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.prepare import Changed, PreparedData
from calcinosis.training.fit.watermark import (
    CHANGES,
    changed_maps,
    estimate_watermark,
    rows_to_change,
)

log = logging.getLogger(__name__)


def evaluate_watermark(
    data: PreparedData,
    work: Path,
    predictions: Predictions,
    calibrators: Mapping[int, FoldCalibrator],
) -> dict[str, Any]:
    """How far probabilities move when the mark that most photos bear is pasted or inpainted.

    Each changed photo is judged by the network and the calibrator of the fold that held it out.

    Args:
        data: the recipe with its photographs.
        work: the folder of the cross-validation's folds.
        predictions: the cross-validation's.
        calibrators: of its folds.

    Returns:
        `pasted`, over the photos that bear no mark, and `masked`, over those that bear it. Each has the
        figures of `watermark_effect` for the first label, the same for every label in `by_label`, and in
        `photos` which photos they are. Without a mark the figures say why.
    """
    log.info("looking for a watermark that recurs in the photos of a source")
    with data.device.main_process_first():
        found = estimate_watermark(data.rows, data.root, data.cache)
    effect = {}
    for change in CHANGES:
        if isinstance(found, str):
            effect[change] = _not_measured(found)
            continue
        if not len(rows_to_change(len(data.rows), found, change)):
            effect[change] = _not_measured("every photo bears a mark already")
            continue
        maps = changed_maps(
            data.rows,
            data.root,
            found,
            change,
            data.network,
            data.preprocessing,
            data.cache,
            data.device,
        )
        log.info("watermark of %s: %s for %d photographs", found.source, change, len(maps.rows))
        features = cached_features(data.network, maps, data.cache, data.device)
        logits = _changed_logits(data, work, change, Changed(maps, features))
        after = np.zeros(logits.shape)
        for fold, calibrator in calibrators.items():
            own = data.folds[maps.rows] == fold
            after[own], _ = calibrator.predict(logits[own], data.recipe.normalised_prior)
        effect[change] = _effects(predictions.where(maps.rows), after) | {
            "photos": f"those that bear the mark of {found.source}"
            if change == "masked"
            else f"those that bear no mark, given that of {found.source}"
        }
    return effect


def _changed_logits(data: PreparedData, work: Path, change: str, changed: Changed) -> Floats:
    """Logits (m, labels) of the changed photos, each from the fold that held it out."""
    folds = data.folds[changed.maps.rows]
    logits = np.zeros((len(folds), len(data.recipe.labels)))
    for fold in np.unique(folds):
        places, folder = np.flatnonzero(folds == fold), work / f"fold-{fold}"

        def compute(fold: int = fold, places: np.ndarray = places, folder: Path = folder) -> Floats:
            fitted = fit(data, np.flatnonzero(data.folds != fold), folder)
            return logits_of_changed(fitted, data, changed.maps, changed.features, places)

        path = folder / f"{change}.safetensors"
        logits[places] = kept_logits(path, {"photos": len(places)}, compute, data)
    return logits


def _effects(before: Predictions, after: Floats) -> dict[str, Any]:
    by_label = {
        label: watermark_effect(
            np.clip(before.probabilities[:, i], 0, 1), np.clip(after[:, i], 0, 1), before.group
        )
        for i, label in enumerate(before.labels)
    }
    first = before.labels[0]
    return {**by_label[first], "label": first, "by_label": by_label}


def _not_measured(reason: str) -> dict[str, Any]:
    figure = {"value": None, "low": None, "high": None, "n": 0, "reason": reason}
    return {"mean_change": figure, "mean_absolute_change": figure}


def watermark_effect(
    before: Array, after: Array, group: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How far a probability moves when a watermark is pasted onto, or masked out of, each photo.

    Args:
        before: (n,) the probability of one label for each photo as it is.
        after: (n,) the same for the changed photo.
        group: (n,) the photos' groups.
        resamples: bootstrap draws of whole groups.
        seed: of the draws.

    Returns:
        `mean_change` (after minus before; 0 where the mark only adds noise) and
        `mean_absolute_change`, each `{"value", "low", "high", "n"}`.

    Raises:
        ValueError: the lengths differ, there is no photo, or a probability is not between 0 and 1.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or len(group) != len(before):
        raise ValueError("give one probability before, one after and one group for each photo")
    if not len(before):
        raise ValueError("there is no photo to measure on")
    for values in (before, after):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a probability lies between 0 and 1")
    change = after - before
    draws = list(group_resamples(group, resamples=resamples, seed=seed, chunk_size=100))
    return {
        name: _mean_with_interval(values, draws)
        for name, values in (("mean_change", change), ("mean_absolute_change", np.abs(change)))
    }


def _mean_with_interval(values: Array, draws: Sequence[Array]) -> dict[str, Any]:
    resampled = np.concatenate([weighted_mean(values, weights) for weights in draws])
    low, high = percentile_interval(resampled) or (None, None)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}
