"""Fitting what turns logits into calibrated probabilities and prediction sets, on held-out photos."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from calcinosis.common.errors import TrainingError
from calcinosis.model.calibration import Calibration
from calcinosis.model.conformal import Conformal, patients_needed, threshold_rank
from calcinosis.model.ood import OODDetector

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BY_FOLD: Final = "thresholds_by_fold"
"""Where `metrics.json` keeps the thresholds of the folds' prediction sets, below `conformal`."""
UNKNOWN: Final = 1.0
"""The threshold, in `BY_FOLD`, of a label that a fold did not know."""
_SHRINKAGE: Final = 0.01
"""Weight of the squared log temperatures and biases: a dozen photos per label must not make certainty."""


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


def fit_conformal(
    probabilities: Floats,
    labels: Integers,
    groups: Sequence[str],
    coverage: Sequence[float],
    mimics: Sequence[tuple[int, int]] = (),
) -> Conformal:
    """One threshold per label, such that of its patients about a share `coverage` reach it with all photos.

    A patient counts once, by the photo that gave the label the lowest probability: photos of one patient are
    no independent draws (Dunn, Wasserman and Ramdas, arXiv:1809.07441; Lee, Barber and Willett,
    arXiv:2306.06342). Of the n scores, the threshold is the (n + 1 - ⌈(n + 1) · coverage⌉)-th smallest (Vovk
    2013, arXiv:1209.2673). Where n is too small for the coverage, the threshold is 0 and the label never
    leaves a set; `check_coverage` refuses what a recipe asks for in vain.

    Args:
        probabilities: (n, k) under equal chances of the labels.
        labels: (n,) index of each photo's label.
        groups: (n,) the patient of each photo.
        coverage: (k,) of each label.
        mimics: pairs (leader, mimic) of labels that a photograph does not tell apart.
    """
    thresholds, patients = [], []
    for label, share in enumerate(coverage):
        scores = patient_scores(probabilities[:, label], labels == label, groups)
        thresholds.append(threshold_at(scores, share))
        patients.append(len(scores))
    return Conformal(
        coverage=tuple(coverage),
        thresholds=tuple(thresholds),
        patients=tuple(patients),
        joined=tuple(mimics),
    )


def patient_scores(scores: Floats, rows: NDArray[np.bool_], groups: Sequence[str]) -> Floats:
    """The lowest score of each patient among some photos, in rising order."""
    worst: dict[str, float] = {}
    for row in np.flatnonzero(rows).tolist():
        worst[groups[row]] = min(float(scores[row]), worst.get(groups[row], math.inf))
    return np.sort(np.array(list(worst.values()), dtype=np.float64))


def threshold_at(scores: Floats, coverage: float) -> float:
    """The score that about this share of patients reaches, of `patient_scores`; 0 where they are too few for it."""
    rank = threshold_rank(len(scores), coverage)
    return float(scores[rank - 1]) if rank else 0.0


def fewest_patients(
    label: str, labels: Sequence[str], groups: Sequence[str], folds: Sequence[int]
) -> int:
    """The fewest calibration patients of a label that any fold has; arguments as of `check_coverage`."""
    own = [(g, f) for g, f, name in zip(groups, folds, labels, strict=True) if name == label]
    return min((len({g for g, f in own if f != fold}) for fold in set(folds)), default=0)


def check_coverage(
    labels: Sequence[str],
    groups: Sequence[str],
    folds: Sequence[int],
    coverage: Mapping[str, float],
) -> None:
    """Make sure that every fold's calibration patients support the coverage asked for a label.

    Args:
        labels: (n,) of each photo.
        groups: (n,) its patient.
        folds: (n,) the fold that holds it out; its calibration patients are those of the others.
        coverage: of the labels that a recipe names.

    Raises:
        TrainingError: `too_few_patients`, with the number it takes.
    """
    for label, share in coverage.items():
        fewest = fewest_patients(label, labels, groups, folds)
        needed = patients_needed(share)
        if fewest < needed:
            most = math.floor(1000 * fewest / (fewest + 1)) / 1000
            raise TrainingError(
                "too_few_patients",
                f"coverage.{label} = {share:g} takes {needed} calibration patients of the label in every fold, "
                f"and one has {fewest}; those support {most:g} at most: ask for "
                f"{label} = {most:g} in `coverage`, or add photographs of more patients",
            )


@dataclass(frozen=True)
class Calibrator:
    """What turns a network's logits into probabilities and prediction sets."""

    calibration: Calibration
    conformal: Conformal

    def predict(self, logits: Floats, prior: Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
        """Probabilities and membership of the prediction sets, both (n, labels)."""
        members = self.conformal.prediction_sets(self.calibration.probabilities(logits))
        return self.calibration.probabilities(logits, prior), members


def fit_calibrator(
    logits: Floats,
    labels: Integers,
    groups: Sequence[str],
    coverage: Sequence[float],
    mimics: Sequence[tuple[int, int]] = (),
) -> Calibrator:
    """Calibration and prediction sets from out-of-fold logits (n, labels).

    The thresholds are set on the photos that the calibration was fitted on, and by the networks of the folds, while
    they are used with one that is fitted on all photos: an approximation, which the coverage measured fold by fold,
    on photos that had no part in any of it, shows the size of.
    """
    calibration = fit_calibration(logits, labels)
    probabilities = calibration.probabilities(logits)
    return Calibrator(calibration, fit_conformal(probabilities, labels, groups, coverage, mimics))


def fit_ood_detector(
    embeddings: NDArray[np.floating], cosines: Floats, share: float
) -> OODDetector:
    """The centre of embeddings (n, channels), and the cosine that a share of photos reaches.

    Args:
        embeddings: of the network that is asked, of all photos.
        cosines: (n,) of each photo with the centre of the photos of the other folds.
        share: of the photos that are to pass.
    """
    threshold = float(np.quantile(cosines, 1 - share))
    return OODDetector(centre=centre_of(embeddings), threshold=round(threshold, 4))


def centre_of(embeddings: NDArray[np.floating]) -> tuple[float, ...]:
    """The mean of embeddings (n, channels), to four digits."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return tuple(float(f"{value:.4g}") for value in mean)
