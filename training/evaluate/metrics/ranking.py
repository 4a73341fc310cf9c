"""How well the probability of a label ranks the photos that show it above those that do not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.kernels import Array, Mask
from calcinosis.training.evaluate.metrics.registry import (
    Estimate,
    Sample,
    count_groups,
    everyone,
    metric,
)

LOOKALIKE: Final = "lookalike"
SPECIFICITIES: Final = (0.90, 0.95)


def rank_by(
    name: tuple[str, ...],
    sample: Sample,
    label: int,
    rows: Mask,
    measure: Callable[[Array, Mask, Array], Array],
) -> Estimate:
    """A measure of how the probability of a label ranks the rows that have it above those not."""
    score = sample.predictions.probabilities[rows, label]
    positive = sample.predictions.label[rows] == label
    words = sample.predictions.labels[label]
    reason = f"no photo of {words} here" if not positive.any() else f"nothing but {words} here"
    values = measure(score, positive, sample.weights[rows])
    own = sample.predictions.label == label
    groups = min(
        count_groups(sample.predictions, rows & own), count_groups(sample.predictions, rows & ~own)
    )
    positives = int(positive.sum())
    return Estimate(name, values, len(score), positives=positives, groups=groups, reason=reason)


@metric("auroc", "AUROC against every other photo")
def auroc(sample: Sample) -> Iterator[Estimate]:
    """Area under the ROC curve of each label against every other photo."""
    for index, label in enumerate(sample.predictions.labels):
        yield rank_by((label,), sample, index, everyone(sample), kernels.area_under_roc)


@metric("auroc_lookalike", "AUROC against other conditions and look-alikes")
def auroc_lookalike(sample: Sample) -> Iterator[Estimate]:
    """Area under the ROC curve of each condition against other conditions and look-alikes."""
    table = sample.predictions
    lookalike = np.array([kind == LOOKALIKE for kind in table.kind], dtype=np.bool_)
    rows = (table.label != table.background) | lookalike
    for index, label in sample.conditions:
        figure = rank_by((label,), sample, index, rows, kernels.area_under_roc)
        if lookalike.any() or np.isnan(figure.values).all():
            yield figure
        else:
            reason = "no photo here is marked as a look-alike"
            unknown = np.full(sample.weights.shape[1], np.nan)
            yield replace(figure, values=unknown, reason=reason)


@metric("average_precision", "Average precision")
def average_precision(sample: Sample) -> Iterator[Estimate]:
    """Average precision of each label against every other photo."""
    for index, label in enumerate(sample.predictions.labels):
        yield rank_by((label,), sample, index, everyone(sample), kernels.average_precision)


@metric(
    "sensitivity_at_specificity", "Sensitivity at a stated specificity", percent=True, listed=False
)
def sensitivity_at_specificity(sample: Sample) -> Iterator[Estimate]:
    """Highest sensitivity to each label of any threshold that keeps a stated specificity."""
    for index, label in enumerate(sample.predictions.labels):
        for target in SPECIFICITIES:

            def measure(s: Array, y: Mask, w: Array, target: float = target) -> Array:
                return kernels.sensitivity_at(target, s, y, w)

            name, rows = (label, f"{target:.2f}"), everyone(sample)
            groups = count_groups(sample.predictions, sample.predictions.label == index)
            figure = rank_by(name, sample, index, rows, measure)
            yield replace(figure, groups=groups, share=True)
