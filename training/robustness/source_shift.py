"""How a recipe does on a source that it learnt nothing from, and on a source's `other` alone."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calcinosis.training.evaluate.bootstrap import RESAMPLES
from calcinosis.training.evaluate.metrics.compute import checked_prior, compute_block
from calcinosis.training.evaluate.out_of_fold import Mask, predictions_without
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.fit.prepare import PreparedData

log = logging.getLogger(__name__)


def evaluate_left_out_sources(data: PreparedData, work: Path) -> dict[str, Any]:
    """How the recipe does on each source when it learns from the others alone.

    Returns:
        For each source the block of figures of `compute_metrics` over its photos. A label that no other
        source holds cannot be learnt: its photos are left out of the figures, and counted in
        `not_learnt`.
    """
    sources = np.array([row.source for row in data.rows])
    blocks = {}
    for number, source in enumerate(np.unique(sources)):
        left_out = sources == source
        log.info("without %s: %d photographs left out", source, left_out.sum())
        predictions = predictions_without(data, left_out, work / f"without-{number}")
        blocks[str(source)] = left_out_block(predictions, left_out, data.recipe.normalised_prior)
    return blocks


def evaluate_left_out_others(data: PreparedData, work: Path) -> dict[str, Any]:
    """How the recipe does on the `other` of each source when it learns from all else.

    Returns:
        For each source that is not the only one with `other` the block of figures over its `other` and
        over the conditions' photos of all sources, which are ranked and told apart from it.
    """
    sources = np.array([row.source for row in data.rows])
    other = data.labels == len(data.recipe.labels) - 1
    blocks: dict[str, Any] = {}
    for number, source in enumerate(np.unique(sources)):
        left_out = other & (sources == source)
        if not left_out.any() or left_out[other].all():
            continue
        log.info("without the `other` of %s: %d photographs left out", source, left_out.sum())
        predictions = predictions_without(data, left_out, work / f"without-other-{number}")
        blocks[str(source)] = figures_of(
            predictions.where(left_out | ~other), data.recipe.normalised_prior
        )
    return blocks


def left_out_block(
    predictions: Predictions,
    left_out: Mask,
    prior: Sequence[float] | None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The figures of left-out photos, among the labels that the others could teach.

    Args:
        predictions: of all photos.
        left_out: (n,) which of them were left out.
        prior: as for `compute_metrics`.
        resamples: bootstrap draws of whole groups.
    """
    labels, names = predictions.label, predictions.labels
    learnt = np.isin(labels, np.unique(labels[~left_out]))
    missing = labels[left_out & ~learnt]
    block: dict[str, Any] = {
        "n": int(left_out.sum()),
        "not_learnt": {names[i]: int((missing == i).sum()) for i in np.unique(missing)},
    }
    if (left_out & learnt).any():
        block |= figures_of(predictions.where(left_out & learnt), prior, resamples)
    return block


def figures_of(
    predictions: Predictions, prior: Sequence[float] | None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The block of figures of a predictions table."""
    return compute_block(predictions, checked_prior(prior, len(predictions.labels)), resamples)
