"""Fitting what turns logits into calibrated probabilities and prediction sets, on held-out photos."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from calcinosis.common.errors import TrainingError
from calcinosis.model.calibration import Calibration
from calcinosis.model.conformal import Conformal
from calcinosis.model.ood import OODDetector
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SHRINKAGE: Final = 0.01
"""Weight of the squared log temperatures and biases: a dozen photos a label must not make certainty."""
_EVEN_CHANCES: Final = -2.0
"""How many standard deviations above the last label's photos the chances are taken to be even, before
the conditions' photos speak."""


@dataclass(frozen=True)
class StackingWeights:
    """How the logits of several heads become one: a weighted sum of their margins over the last label.

    Attributes:
        weights: (heads, labels - 1).
        offsets: (labels - 1,).
    """

    weights: Floats
    offsets: Floats

    def __call__(self, logits: Floats) -> Floats:
        """Logits (n, labels), 0 for the last label, of those (n, heads, labels) of the heads."""
        margins = logits[:, :, :-1] - logits[:, :, -1:]
        mixed = np.einsum("nbk,bk->nk", margins, self.weights) + self.offsets
        return np.concatenate([mixed, np.zeros((len(mixed), 1))], axis=1)


def fit_stacking_weights(logits: Floats, labels: Integers) -> StackingWeights:
    """The blend of several heads' logits that makes held-out labels most likely.

    Stacking (Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1), one weight a head and condition: the head
    that knows tophi best need not be the one that knows calcinosis best. Each margin is first measured in
    standard deviations of what the head says of the last label's photos, which are many; how the heads
    are weighed stays near an even mean where the few photos of a condition do not say otherwise.

    Args:
        logits: (n, heads, labels) of photos that the heads did not learn from.
        labels: (n,) index of each photo's label.

    Raises:
        TrainingError: `label_without_photos`.
    """
    _, heads, width = logits.shape
    conditions = width - 1
    margins = logits[:, :, :-1] - logits[:, :, -1:]
    background = margins[labels == conditions]
    if not len(background):
        raise _without_photos(conditions)
    centre = background.mean(axis=0)
    spread = np.maximum(background.std(axis=0), 1e-9)
    measured = (margins - centre) / spread

    def unpack(parameters: Floats) -> tuple[Floats, Floats]:
        weights = parameters[: heads * conditions].reshape(heads, conditions)
        return weights * np.exp(parameters[-1]), parameters[heads * conditions : -1]

    def scores(parameters: Floats) -> Floats:
        weights, biases = unpack(parameters)
        mixed = np.einsum("nbk,bk->nk", measured, weights) + biases
        return np.concatenate([mixed, np.zeros((len(mixed), 1))], axis=1)

    even = np.full(heads * conditions, 1 / heads)
    start = np.concatenate([even, np.full(conditions, _EVEN_CHANCES), [0.0]])
    weights, biases = unpack(_most_likely(scores, start, labels, width))
    weights = weights / spread
    return StackingWeights(weights, biases - (weights * centre).sum(axis=0))


def _most_likely(
    scores_of: Callable[[Floats], Floats], start: Floats, labels: Integers, width: int
) -> Floats:
    """The parameters whose scores (n, k) make the labels most likely, near the start where unsure."""
    counts = np.bincount(labels, minlength=width)
    if (counts == 0).any():
        raise _without_photos(int(np.argmin(counts)))
    weights = 1 / counts[labels] / width
    rows = np.arange(len(labels))

    def loss(parameters: Floats) -> float:
        scores = scores_of(parameters)
        likelihood = float((weights * (scores[rows, labels] - logsumexp(scores, axis=1))).sum())
        return -likelihood + _SHRINKAGE * float(((parameters - start) ** 2).sum())

    best: Floats = minimize(loss, start, method="L-BFGS-B").x
    return best


def _without_photos(label: int) -> TrainingError:
    return TrainingError(
        "label_without_photos", f"label number {label} has no held-out photo to calibrate on"
    )


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


@dataclass(frozen=True)
class Calibrator:
    """What turns the logits of a recipe's parts into probabilities and prediction sets."""

    blend: StackingWeights
    calibration: Calibration
    conformal: Conformal

    def read(self, logits: Floats, prior: Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
        """Probabilities and membership of the prediction sets, both (n, labels)."""
        mixed = self.blend(logits)
        members = self.conformal.prediction_sets(self.calibration.probabilities(mixed))
        return self.calibration.probabilities(mixed, prior), members


def fit_calibrator(logits: Floats, labels: Integers, coverage: float) -> Calibrator:
    """StackingWeights, calibration and prediction sets from held-out logits (n, parts, labels)."""
    blend = fit_stacking_weights(logits, labels)
    mixed = blend(logits)
    calibration = fit_calibration(mixed, labels)
    conformal = fit_conformal(calibration.probabilities(mixed), labels, coverage)
    return Calibrator(blend, calibration, conformal)


def fit_ood_detector(
    embeddings: NDArray[np.floating], folds: Integers, share: float
) -> OODDetector:
    """The centre of embeddings (n, channels), and the cosine that a share of held-out photos reaches.

    Each photo (n,) of a fold is compared with the mean of the other folds.
    """
    cosines = np.zeros(len(folds))
    for fold in np.unique(folds):
        own = folds == fold
        others = OODDetector(centre=_centre(embeddings[~own]), threshold=0.0)
        cosines[own] = others.cosines(embeddings[own])
    least = float(np.quantile(cosines, 1 - share))
    return OODDetector(centre=_centre(embeddings), threshold=round(least, 4))


def _centre(embeddings: NDArray[np.floating]) -> tuple[float, ...]:
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return tuple(float(f"{value:.4g}") for value in mean)
