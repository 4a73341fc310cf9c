"""Measures of a classifier as pure array functions, for many weightings of the photos at once.

Each takes `weights` of shape (n, r): a column is one weighting of the n photos, such as a column
of ones (the sample itself) or how often a bootstrap resample drew each photo. Each returns (r,)
values; where a weighting leaves a measure undefined (no positive photo, say) the value is NaN.
Photos with equal scores are never told apart: no threshold could.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BINS: Final = 15
_ROUNDING: Final = 1e-9


def weighted_mean(values: NDArray[np.generic], weights: Array) -> Array:
    """The mean of values (n,) under each weighting."""
    return _divide(np.asarray(values, dtype=np.float64) @ weights, weights.sum(axis=0))


def accepted_weight(score: Array, member: Mask | Array, weights: Array) -> Array:
    """(t, r) the weight of members at or above each distinct score, from the highest down.

    Args:
        score: (n,) higher is accepted sooner.
        member: (n,) the share of each photo that counts: a mask, or a loss.
        weights: (n, r).
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    counted = np.asarray(member, dtype=np.float64)[order]
    kept = np.flatnonzero(counted)
    # Only members move the sum, and the rare labels have few: add those up, then look up.
    total = np.zeros((len(kept) + 1, weights.shape[1]))
    np.cumsum(weights[order[kept]] * counted[kept, None], axis=0, out=total[1:])
    return total[np.searchsorted(kept, ends, side="right")]


def operating_points(score: Array, positive: Mask, weights: Array) -> tuple[Array, Array]:
    """(t, r) sensitivity and 1 - specificity at each distinct score, from the highest down."""
    true = accepted_weight(score, positive, weights)
    false = accepted_weight(score, ~positive, weights)
    return _divide(true, true[-1]), _divide(false, false[-1])


def area_under_roc(score: Array, positive: Mask, weights: Array) -> Array:
    """The chance that a positive photo scores above a negative one, ties counting half.

    Args:
        score: (n,) higher means more likely positive.
        positive: (n,) the truth.
        weights: (n, r).
    """
    if positive.all() or not positive.any():
        return np.full(weights.shape[1], np.nan)
    sensitivity, fall_out = operating_points(score, positive, weights)
    step = np.diff(fall_out, axis=0, prepend=0)
    before = np.vstack([np.zeros((1, weights.shape[1])), sensitivity[:-1]])
    return (step * (sensitivity + before)).sum(axis=0) / 2


def average_precision(score: Array, positive: Mask, weights: Array) -> Array:
    """Precision averaged over the recall gained at each distinct score (no interpolation)."""
    if not positive.any():
        return np.full(weights.shape[1], np.nan)
    true = accepted_weight(score, positive, weights)
    accepted = true + accepted_weight(score, ~positive, weights)
    gained = np.diff(_divide(true, true[-1]), axis=0, prepend=0)
    precision = np.divide(true, accepted, out=np.zeros_like(true), where=accepted > 0)
    return (gained * precision).sum(axis=0)


def sensitivity_at(specificity: float, score: Array, positive: Mask, weights: Array) -> Array:
    """The highest sensitivity of any threshold whose specificity is at least this."""
    if positive.all() or not positive.any():
        return np.full(weights.shape[1], np.nan)
    sensitivity, fall_out = operating_points(score, positive, weights)
    allowed = fall_out <= 1 - specificity + _ROUNDING
    best = np.where(allowed, sensitivity, 0).max(axis=0)
    return np.where(np.isnan(sensitivity[-1]) | np.isnan(fall_out[-1]), np.nan, best)


def equal_mass_bins(confidence: Array, weights: Array, bins: int = BINS) -> NDArray[np.int64]:
    """(n,) the bin of each photo, when bins of rising confidence hold equal weight.

    Equal mass instead of equal width, because most probabilities lie near 0 or 1 (Nixon et al.,
    Measuring Calibration in Deep Learning, 2019). Photos of one confidence share a bin.

    Args:
        confidence: (n,).
        weights: (n,) one weighting.
    """
    values, which = np.unique(confidence, return_inverse=True)
    mass = np.bincount(which, weights=weights, minlength=len(values))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.minimum((middle * bins + _ROUNDING).astype(np.int64), bins - 1)[which]


def calibration_error(
    confidence: Array, hit: Mask, weights: Array, bin_of: NDArray[np.int64]
) -> Array:
    """Expected calibration error: the gap of mean confidence and share of hits, averaged over bins.

    Args:
        confidence: (n,) the stated probability of an event.
        hit: (n,) whether the event was so.
        weights: (n, r).
        bin_of: (n,) from `equal_mass_bins`. The bins stay as they are in every weighting.
    """
    member = np.equal(np.arange(bin_of.max(initial=0) + 1)[:, None], bin_of)
    gap = (confidence - hit)[:, None] * weights
    return _divide(np.abs(member.astype(np.float64) @ gap).sum(axis=0), weights.sum(axis=0))


def risk_coverage(confidence: Array, loss: Mask | Array, weights: Array) -> tuple[Array, Array]:
    """(t, r) coverage, and the mean loss of what is kept, when only the most confident photos are kept."""
    kept = accepted_weight(confidence, np.ones_like(confidence), weights)
    return _divide(kept, kept[-1]), _divide(accepted_weight(confidence, loss, weights), kept)


def area_under_risk_coverage(confidence: Array, loss: Mask | Array, weights: Array) -> Array:
    """AURC: the mean over coverages of the risk among what is kept (Geifman et al., 2019).

    Without ties it is the mean of the risks after the first, the first two, ... photos.
    """
    coverage, risk = risk_coverage(confidence, loss, weights)
    step = np.diff(coverage, axis=0, prepend=0)
    return (step * np.where(step > 0, risk, 0)).sum(axis=0)


def area_under_generalised_risk(confidence: Array, loss: Mask | Array, weights: Array) -> Array:
    """AUGRC: the mean over coverages of the share of all photos that are kept and wrong.

    Unlike AURC it does not weigh the first few photos above the rest (Traub et al., Overcoming
    Common Flaws in the Evaluation of Selective Classification Systems, 2024, arXiv 2407.01032).
    The trapezoid rule shares ties out evenly.
    """
    coverage, risk = risk_coverage(confidence, loss, weights)
    wrong = coverage * np.where(coverage > 0, risk, 0)
    before = np.vstack([np.zeros((1, weights.shape[1])), wrong[:-1]])
    return (np.diff(coverage, axis=0, prepend=0) * (wrong + before)).sum(axis=0) / 2


def selective_risk(target: float, confidence: Array, loss: Mask | Array, weights: Array) -> Array:
    """The mean loss of the most confident photos, as few as make up at least this coverage."""
    coverage, risk = risk_coverage(confidence, loss, weights)
    first = (coverage >= target - _ROUNDING).argmax(axis=0)
    return risk[first, np.arange(weights.shape[1])]


def reweight_to_prior(label: NDArray[np.int64], prior: Array, weights: Array) -> Array:
    """(n, r) weights scaled so that, in each weighting, label frequencies equal the prior.

    A weighting that lacks a label which the prior says occurs cannot be scaled: NaN throughout.
    """
    mass = np.stack([weights[label == index].sum(axis=0) for index in range(len(prior))])
    scale = np.divide(prior[:, None], mass, out=np.zeros_like(mass), where=mass > 0)
    impossible = ((mass == 0) & (prior[:, None] > 0)).any(axis=0)
    scale[:, impossible] = np.nan
    return weights * scale[label]


def _divide(numerator: Array, denominator: Array) -> Array:
    """Division that gives NaN, and no warning, where the denominator is zero."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator != 0)
