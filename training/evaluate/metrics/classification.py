"""How often the most probable label is right."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.registry import (
    Estimate,
    Sample,
    conditions_only,
    count_groups,
    everyone,
    metric,
    share_of,
)


def mean_recall(sample: Sample, called: NDArray[np.int64], labels: Sequence[int]) -> Estimate:
    """The mean over labels of the share of its photos that are called by it."""
    label = sample.predictions.label
    absent = [sample.predictions.labels[index] for index in labels if not sample.count(index)]
    groups = min(count_groups(sample.predictions, label == index) for index in labels)
    recalls = [
        kernels.weighted_mean(called[label == index] == index, sample.weights[label == index])
        for index in labels
    ]
    reason = f"no photo of {' or '.join(absent)} here"
    return Estimate((), np.mean(recalls, axis=0), len(sample), groups=groups, reason=reason)


@metric(
    "accuracy",
    "Most probable label right, at the frequencies of these photos",
    percent=True,
    listed=False,
)
def accuracy(sample: Sample) -> Iterator[Estimate]:
    """Share of photos whose most probable label is right, at the sample's own frequencies."""
    yield share_of((), sample, everyone(sample), sample.correct, "")


@metric("balanced_accuracy", "Balanced accuracy, all labels", percent=True)
def balanced_accuracy(sample: Sample) -> Iterator[Estimate]:
    """Mean over the labels of the share of photos called rightly."""
    yield mean_recall(sample, sample.predictions.argmax, range(len(sample.predictions.labels)))


@metric("three_way_balanced_accuracy", "Balanced accuracy among the conditions", percent=True)
def three_way_balanced_accuracy(sample: Sample) -> Iterator[Estimate]:
    """The same for photos of the conditions only, told apart among the conditions."""
    targets, p = conditions_only(sample)
    yield mean_recall(targets, p.argmax(axis=1), range(p.shape[1]))


@metric("sensitivity", "Sensitivity of the most probable label", percent=True)
def sensitivity(sample: Sample) -> Iterator[Estimate]:
    """Share of a label's photos for which it is the most probable label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, called = sample.predictions.label == index, sample.predictions.argmax == index
        yield share_of((label,), sample, rows, called, f"no photo of {label} here")


@metric("specificity", "Specificity of the most probable label", percent=True)
def specificity(sample: Sample) -> Iterator[Estimate]:
    """Share of the other photos for which a label is not the most probable label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, called = sample.predictions.label != index, sample.predictions.argmax == index
        yield share_of((label,), sample, rows, ~called, f"nothing but {label} here")
