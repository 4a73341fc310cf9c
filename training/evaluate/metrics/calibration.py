"""Whether probabilities mean what they say."""

from collections.abc import Iterator

import numpy as np

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.kernels import Array
from calcinosis.training.evaluate.metrics.registry import Estimate, Sample, at_prior, metric


def _class_wise_error(sample: Sample, weight: Array, weights: Array) -> Array:
    errors = []
    for index in range(len(sample.predictions.labels)):
        p = sample.predictions.probabilities[:, index]
        bin_of = kernels.equal_mass_bins(p, weight)
        hit = sample.predictions.label == index
        errors.append(kernels.calibration_error(p, hit, weights, bin_of))
    return np.asarray(np.mean(errors, axis=0))


@metric("ece", "Expected calibration error at the stated prior, 15 bins", lower_is_better=True)
def ece(sample: Sample) -> Iterator[Estimate]:
    """Class-wise expected calibration error at the prior's label frequencies.

    For each label, as a yes-or-no question: the gap between probability and frequency in 15 bins
    of equal mass; then the mean over the labels (class-wise: Kull et al., Beyond temperature
    scaling, 2019; equal mass: Nixon et al., 2019). Photos are weighted so that each label is as
    frequent as the stated prior says, because that is what the probabilities claim.
    """
    yield at_prior(
        sample, lambda: _class_wise_error(sample, sample.prior_weight, sample.prior_weights)
    )


@metric(
    "ece_unweighted",
    "Expected calibration error at the frequencies of these photos",
    lower_is_better=True,
    listed=False,
)
def ece_unweighted(sample: Sample) -> Iterator[Estimate]:
    """The same at the sample's own label frequencies."""
    values = _class_wise_error(sample, np.ones(len(sample)), sample.weights)
    yield Estimate((), values, len(sample))


@metric(
    "ece_top_label",
    "Calibration error of the highest probability",
    lower_is_better=True,
    listed=False,
)
def ece_top_label(sample: Sample) -> Iterator[Estimate]:
    """Calibration error of the highest probability alone (Guo et al., 2017), prior and bins as `ece`."""

    def measure() -> Array:
        bin_of = kernels.equal_mass_bins(sample.confidence, sample.prior_weight)
        return kernels.calibration_error(
            sample.confidence, sample.correct, sample.prior_weights, bin_of
        )

    yield at_prior(sample, measure)


@metric("brier", "Brier score at the stated prior, all labels, 0 to 2", lower_is_better=True)
def brier(sample: Sample) -> Iterator[Estimate]:
    """Brier score of all labels together at the prior's frequencies: 0 is perfect, 2 the worst.

    The sum over the labels of the squared gap to what the label is (Brier, 1950), so for two
    labels it is twice the usual two-class score.
    """
    truth = np.eye(len(sample.predictions.labels))[sample.predictions.label]
    score = ((sample.predictions.probabilities - truth) ** 2).sum(axis=1)
    yield at_prior(sample, lambda: kernels.weighted_mean(score, sample.prior_weights))
