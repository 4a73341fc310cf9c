"""Fitting what turns logits into calibrated probabilities and prediction sets, on held-out photos."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from model.calibration import Calibration, Conformal
from training.errors import TrainingError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SHRINKAGE: Final = 0.01
"""Weight of the squared log temperature and biases: a dozen photos a label must not make certainty."""


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
    counts = np.bincount(labels, minlength=width)
    if (counts == 0).any():
        raise TrainingError(
            "label_without_photos",
            f"label number {int(np.argmin(counts))} has no held-out photo to calibrate on",
        )
    weights = 1 / counts[labels] / width
    rows = np.arange(len(labels))

    def loss(parameters: Floats) -> float:
        temperature, bias = math.exp(parameters[0]), parameters[1:]
        scores = logits / temperature + bias
        peak = scores.max(axis=1, keepdims=True)
        log_total = peak[:, 0] + np.log(np.exp(scores - peak).sum(axis=1))
        likelihood = float((weights * (scores[rows, labels] - log_total)).sum())
        return -likelihood + _SHRINKAGE * float((parameters**2).sum())

    best = minimize(loss, np.zeros(width + 1), method="L-BFGS-B").x
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
