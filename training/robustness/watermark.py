"""The counterfactual effect of a watermark: pasted onto photos that bear none, inpainted where one is."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from calcinosis.data.dataset import PhotoDataset
from calcinosis.model.photo import open_photo
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.evaluate.bootstrap import (
    RESAMPLES,
    SEED,
    group_resamples,
    percentile_interval,
)
from calcinosis.training.evaluate.metrics.kernels import Array, weighted_mean
from calcinosis.training.evaluate.out_of_fold import FoldCalibrator, kept_logits
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.fit.features import FeatureMaps, cached_feature_maps
from calcinosis.training.fit.fitted import fit
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.marks import Box, find_all_marks
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.robustness.watermark_look import Watermark, find_watermark

log = logging.getLogger(__name__)

Integers = NDArray[np.int64]

CHANGES: Final = ("pasted", "masked")
"""How a photo's watermark is changed; `masked` is inpainted."""


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
        `pasted`, over the photos on which no mark was found, and `masked`, over those that bear it. Each has the
        figures of `watermark_effect` for the first label, the same for every label in `by_label`, and in
        `photos` which photos they are. Without a mark the figures say why.
    """
    log.info("looking for a watermark that recurs in the photos of a source")
    with data.device.main_process_first():
        marks = find_all_marks(data.rows, data.root, data.cache)
    found = find_watermark(data.rows, data.root, marks)
    effect = {}
    for change in CHANGES:
        if isinstance(found, str):
            effect[change] = _not_measured(found)
            continue
        if not len(rows_to_change(len(data.rows), found, change)):
            effect[change] = _not_measured("every photo bears a mark already")
            continue
        maps = changed_maps(data, found, change)
        log.info("watermark of %s: %s for %d photographs", found.source, change, len(maps.rows))
        logits = _changed_logits(data, work, change, maps)
        after = np.zeros(logits.shape)
        for fold, calibrator in calibrators.items():
            own = data.folds[maps.rows] == fold
            after[own], _ = calibrator.predict(logits[own], data.recipe.normalised_prior)
        effect[change] = _effects(predictions.where(maps.rows), after) | {
            "photos": f"those that bear the mark of {found.source}"
            if change == "masked"
            else f"those on which no mark was found, given that of {found.source}"
        }
    return effect


def _changed_logits(data: PreparedData, work: Path, change: str, maps: FeatureMaps) -> Floats:
    """Logits (m, labels) of the changed photos, each from the fold that held it out."""
    folds = data.folds[maps.rows]
    logits = np.zeros((len(folds), len(data.recipe.labels)))
    for fold in np.unique(folds):
        places, folder = np.flatnonzero(folds == fold), work / f"fold-{fold}"

        def compute(fold: int = fold, places: np.ndarray = places, folder: Path = folder) -> Floats:
            fitted = fit(data, np.flatnonzero(data.folds != fold), folder)
            return fitted.logits_of(maps, places, data.device)

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
    before: Array, after: Array, group: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """How far a probability moves when a watermark is pasted onto, or masked out of, each photo.

    Args:
        before: (n,) the probability of one label for each photo as it is.
        after: (n,) the same for the changed photo.
        group: (n,) the photos' groups.
        resamples: bootstrap draws of whole groups.

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
    draws = list(group_resamples(group, resamples=resamples, seed=SEED, chunk_size=100))
    return {
        name: _mean_with_interval(values, draws)
        for name, values in (("mean_change", change), ("mean_absolute_change", np.abs(change)))
    }


def _mean_with_interval(values: Array, draws: Sequence[Array]) -> dict[str, Any]:
    resampled = np.concatenate([weighted_mean(values, weights) for weights in draws])
    low, high = percentile_interval(resampled) or (None, None)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def rows_to_change(count: int, watermark: Watermark, change: str) -> Integers:
    """Numbers, among `count` photos, of those that can be changed in a way.

    The mark is inpainted (`masked`) where it is, and pasted where neither it nor another one is.
    """
    everyone = range(count)
    bears = np.array([n in watermark.sightings for n in everyone])
    other = np.array([n in watermark.others for n in everyone])
    return np.flatnonzero(bears if change == "masked" else ~bears & ~other)


@dataclass(frozen=True)
class ChangedPhoto:
    """A transform: the network's input for a photo with the mark pasted onto it, or inpainted."""

    watermark: Watermark
    boxes: tuple[Box | None, ...]
    preprocessing: Preprocessing

    def __call__(self, source: Path | bytes, i: int) -> torch.Tensor:
        photo, box = open_photo(source), self.boxes[i]
        changed = self.watermark.inpaint(photo, box) if box else self.watermark.paste(photo)
        return self.preprocessing(changed)


def changed_maps(data: PreparedData, watermark: Watermark, change: str) -> FeatureMaps:
    """What the network's frozen stages make of the photos that can be changed in a way."""
    numbers = rows_to_change(len(data.rows), watermark, change)
    files = [data.rows[n].file for n in numbers]
    boxes = tuple(watermark.sightings.get(int(n)) if change == "masked" else None for n in numbers)
    looks = hashlib.sha256(watermark.colour.tobytes() + watermark.opacity.tobytes()).hexdigest()
    key = {
        "change": change,
        "preprocessing": data.preprocessing.model_dump(mode="json"),
        "watermark": [looks, watermark.box, watermark.size],
        "boxes": boxes,
    }
    photos = PhotoDataset(files, data.root, ChangedPhoto(watermark, boxes, data.preprocessing))
    what = f"Reading the photographs, watermark {change}"
    return cached_feature_maps(photos, numbers, key, data.network, data.cache, data.device, what)
