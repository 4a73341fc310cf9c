"""Fitting what turns logits into calibrated probabilities and prediction sets, on held-out photos."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from model.calibration import Calibration, Conformal
from training.errors import TrainingError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SHRINKAGE: Final = 0.01
"""Weight of the squared log temperatures and biases: a dozen photos a label must not make certainty."""


def fit_blend(logits: Floats, labels: Integers) -> Floats:
    """Weights (b,) of b sets of logits whose weighted sum makes held-out labels most likely.

    Stacking (Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1) with one weight a set, above 0, and a bias a
    label that is left to the calibration; every label weighs the same. A single set keeps the weight 1.

    Args:
        logits: (n, b, k) of photos that the networks did not learn from.
        labels: (n,) index of each photo's label.
    """
    sets = logits.shape[1]
    if sets == 1:
        return np.ones(1)

    def blended(parameters: Floats) -> Floats:
        total: Floats = np.einsum("nbk,b->nk", logits, np.exp(parameters[:sets]))
        return total + parameters[sets:]

    start = np.concatenate([np.full(sets, -math.log(sets)), np.zeros(logits.shape[2])])
    return np.exp(_most_likely(blended, start, labels, logits.shape[2])[:sets])


def _most_likely(
    scores_of: Callable[[Floats], Floats], start: Floats, labels: Integers, width: int
) -> Floats:
    """The parameters whose scores (n, k) make the labels most likely, near the start where unsure."""
    counts = np.bincount(labels, minlength=width)
    if (counts == 0).any():
        raise TrainingError(
            "label_without_photos",
            f"label number {int(np.argmin(counts))} has no held-out photo to calibrate on",
        )
    weights = 1 / counts[labels] / width
    rows = np.arange(len(labels))

    def loss(parameters: Floats) -> float:
        scores = scores_of(parameters)
        likelihood = float((weights * (scores[rows, labels] - logsumexp(scores, axis=1))).sum())
        return -likelihood + _SHRINKAGE * float(((parameters - start) ** 2).sum())

    best: Floats = minimize(loss, start, method="L-BFGS-B").x
    return best


def fit_calibration(logits: Floats, labels: Integers) -> Calibration:
    """Temperature and biases that make held-out logits most likely, every label weighing the same.

    Weighing the labels alike states the probabilities under equal chances, whatever the proportions of
    the photos at hand. The fit is by maximum likelihood (Guo et al. 2017, arXiv:1706.04599).

    Args:
        logits: (n, k) of photos that the network did not learn from.
        labels: (n,) index of each photo's label; each of the k labels occurs.

    Raises:
        TrainingError: `label_without_photos`.
    """
    width = logits.shape[1]
    best = _most_likely(
        lambda parameters: logits / math.exp(parameters[0]) + parameters[1:],
        np.zeros(width + 1),
        labels,
        width,
    )
    return Calibration(
        temperature=math.exp(best[0]), bias=tuple((best[1:] - best[1:].mean()).tolist())
    )


def fit_conformal(probabilities: Floats, labels: Integers, coverage: float) -> Conformal:
    """One threshold a label, such that a new photo of the label reaches it with chance `coverage`.

    Of the n probabilities that held-out photos gave their own label, the threshold is the
    (n + 1 - ⌈(n + 1) · coverage⌉)-th smallest (Vovk 2013, arXiv:1209.2673; Angelopoulos and Bates,
    arXiv:2107.07511). Where n is too small for the coverage, the threshold is 0 and the label is never
    excluded: 9 photos are the fewest for 90 %.

    Args:
        probabilities: (n, k) under equal chances of the labels.
        labels: (n,) index of each photo's label.
        coverage: the share of each label's photos that shall keep it in their set.
    """
    thresholds = []
    for label in range(probabilities.shape[1]):
        own = np.sort(probabilities[labels == label, label])
        rank = len(own) + 1 - math.ceil((len(own) + 1) * coverage)
        thresholds.append(float(own[rank - 1]) if rank >= 1 else 0.0)
    return Conformal(coverage=coverage, thresholds=tuple(thresholds))
