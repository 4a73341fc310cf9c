"""Whether prediction sets keep what they promise, and at which size."""

from collections.abc import Iterator

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.registry import (
    Estimate,
    Sample,
    at_prior,
    metric,
    share_of,
)


@metric("conformal.coverage", "Prediction set holds the label", percent=True)
def conformal_coverage(sample: Sample) -> Iterator[Estimate]:
    """Share of a label's photos whose prediction set holds the label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, held = sample.predictions.label == index, sample.predictions.prediction_set[:, index]
        yield share_of((label,), sample, rows, held, f"no photo of {label} here")


@metric("conformal.mean_set_size", "Mean size of the prediction set", lower_is_better=True)
def mean_set_size(sample: Sample) -> Iterator[Estimate]:
    """Mean number of labels in the prediction set, at the sample's own frequencies."""
    sizes = sample.predictions.prediction_set.sum(axis=1)
    yield Estimate((), kernels.weighted_mean(sizes, sample.weights), len(sample))


@metric(
    "conformal.mean_set_size_prior",
    "Mean size of the prediction set at the stated prior",
    lower_is_better=True,
    listed=False,
)
def mean_set_size_prior(sample: Sample) -> Iterator[Estimate]:
    """The same at the prior's label frequencies."""
    sizes = sample.predictions.prediction_set.sum(axis=1)
    yield at_prior(sample, lambda: kernels.weighted_mean(sizes, sample.prior_weights))
