"""The metrics by name, each with its title, direction and format; and what they are computed from.

To add one, write a function in the module of its kind and mark it with `@metric(name, title, …)`. It reads
a `Sample` and yields `Estimate`s; intervals, subgroups, paired differences, report and card follow from that.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from calcinosis.training.evaluate.bootstrap import (
    RESAMPLES,
    SEED,
    group_resamples,
    groups_worth,
    percentile_interval,
    wilson_interval,
)
from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.kernels import Array, Mask
from calcinosis.training.evaluate.predictions import Predictions

FEW_GROUPS: Final = 5
"""With fewer patients than this, resampling them says too little about how sure a figure is."""
FEW_ON_A_SIDE: Final = 10
"""With fewer patients than this among the hits, or the misses, of a share, resampling is too narrow."""


@dataclass(frozen=True)
class Sample:
    """What a figure is computed from: a table, and many weightings of its photos.

    Attributes:
        predictions: the table of n photos.
        weights: (n, r) one weighting of the photos a column.
        prior: (k,) the label frequencies that the probabilities assume, or None for the table's.
    """

    predictions: Predictions
    weights: Array
    prior: Array | None = None

    def __len__(self) -> int:
        return len(self.predictions)

    @cached_property
    def conditions(self) -> tuple[tuple[int, str], ...]:
        """Index and name of each label but the background."""
        return tuple(enumerate(self.predictions.labels[:-1]))

    @cached_property
    def correct(self) -> Mask:
        """(n,) whether the most probable label is the photo's label."""
        return self.predictions.argmax == self.predictions.label

    @cached_property
    def confidence(self) -> Array:
        """(n,) the highest probability."""
        return self.predictions.probabilities.max(axis=1)

    @cached_property
    def prior_weights(self) -> Array:
        """(n, r) the weights with label frequencies made equal to the prior, if there is one."""
        if self.prior is None:
            return self.weights
        return kernels.reweight_to_prior(self.predictions.label, self.prior, self.weights)

    @cached_property
    def prior_weight(self) -> Array:
        """(n,) the same for the table itself, each photo once."""
        ones = np.ones((len(self), 1))
        if self.prior is None:
            return ones[:, 0]
        return kernels.reweight_to_prior(self.predictions.label, self.prior, ones)[:, 0]

    def among(self, rows: Mask) -> "Sample":
        """The photos that a mask (n,) keeps, with their weights; the prior does not carry over."""
        return Sample(self.predictions.where(rows), self.weights[rows])

    def count(self, label: int) -> int:
        """How many photos have the label."""
        return int((self.predictions.label == label).sum())


@dataclass(frozen=True)
class Estimate:
    """One named value under each weighting of a sample.

    Attributes:
        name: the last parts of its name, such as `("milium",)` in the family `auroc`.
        values: (r,) NaN where undefined.
        n: photos it was computed from.
        positives: how many of them show the condition, where the figure ranks photos.
        groups: how many groups the figure rests on: of the rarer side, where it compares sides.
        share: whether the figure is a share of photos, so that Wilson's interval can step in.
        reason: why there is no value, where there is none.
    """

    name: tuple[str, ...]
    values: Array
    n: int
    positives: int | None = None
    groups: int | None = None
    share: bool = False
    reason: str = ""

    def to_json(self, *, may_be_certain: bool = False) -> dict[str, Any]:
        """The first value with the interval that the others give, or why there is none."""
        value = float(self.values[0])
        told: dict[str, Any] = {"value": None, "low": None, "high": None, "n": self.n}
        if self.positives is not None:
            told["positives"] = self.positives
        if not np.isfinite(value):
            return told | {"reason": self.reason or "undefined on these photos"}
        told["value"] = value
        few = self.groups is not None and self.groups < FEW_GROUPS
        interval = percentile_interval(self.values[1:])
        low, high = interval or (value, value)
        low, high = min(low, value), max(high, value)
        agree = low == high and not may_be_certain
        if self.share and self.groups and (few or agree):
            low, high = wilson_interval(value * self.groups, self.groups)
            told["interval"] = "wilson"
        elif few or interval is None:
            return told | {"reason": f"fewer than {FEW_GROUPS} patients or pictures to go by"}
        elif agree:
            return told | {"reason": "every resample agrees, so they cannot show uncertainty"}
        return told | {"low": low, "high": high}


Function = Callable[[Sample], Iterable[Estimate]]


@dataclass(frozen=True)
class Metric:
    """A function that yields the estimates whose names begin with `name`, and how they are shown.

    Attributes:
        name: with dots between its parts.
        title: what it says, in a few words; a label's name follows where it is computed per label.
        function: what computes it.
        percent: shown as a percentage.
        lower_is_better: which way is good.
        listed: shown on card and report.
        counts: photos, not a share: shown without decimals.
    """

    name: str
    title: str
    function: Function
    percent: bool
    lower_is_better: bool
    listed: bool
    counts: bool

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of its name."""
        return tuple(self.name.split("."))


METRICS: Final[dict[str, Metric]] = {}
"""By name, in the order in which they are shown."""


def metric(
    name: str,
    title: str,
    *,
    percent: bool = False,
    lower_is_better: bool = False,
    listed: bool = True,
    counts: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as a metric."""

    def register(function: Function) -> Function:
        METRICS[name] = Metric(name, title, function, percent, lower_is_better, listed, counts)
        return function

    return register


def metric_of(name: str) -> Metric | None:
    """The metric that an estimate with this dotted name belongs to."""
    belonging = [metric for metric in METRICS.values() if f"{name}.".startswith(f"{metric.name}.")]
    return max(belonging, key=lambda metric: len(metric.name), default=None)


def share_of(name: tuple[str, ...], sample: Sample, rows: Mask, hit: Mask, nobody: str) -> Estimate:
    """The share of hits among some rows."""
    values = kernels.weighted_mean(hit[rows], sample.weights[rows])
    groups = count_groups(sample.predictions, rows)
    return Estimate(name, values, int(rows.sum()), groups=groups, share=True, reason=nobody)


def share_over_groups(hit: Mask, groups: Sequence[str]) -> dict[str, Any]:
    """The share (n,) that is true, as a figure with its interval over groups (n,).

    It is Wilson's over as many groups as unequal ones are worth where each is a group of its own, or where fewer than
    `FEW_ON_A_SIDE` hold a hit, or a miss: resampling a handful is too narrow.
    """
    names = np.asarray(groups)
    few = min(len(np.unique(names[hit])), len(np.unique(names[~hit]))) < FEW_ON_A_SIDE
    if len(hit) and (few or len(np.unique(names)) == len(hit)):
        value, worth = float(hit.mean()), groups_worth(names)
        low, high = wilson_interval(value * worth, worth)
        return {"value": value, "low": low, "high": high, "n": len(hit), "interval": "wilson"}
    draws = group_resamples(groups, resamples=RESAMPLES, seed=SEED, chunk_size=100)
    weightings = [np.ones((len(hit), 1)), *draws]
    values = np.concatenate([kernels.weighted_mean(hit, weights) for weights in weightings])
    return Estimate((), values, len(hit), groups=len(set(groups)), share=True).to_json()


def count_groups(predictions: Predictions, rows: Mask) -> int:
    return len({predictions.group[row] for row in np.flatnonzero(rows)})


def everyone(sample: Sample) -> Mask:
    return np.ones(len(sample), dtype=np.bool_)


def conditions_only(sample: Sample) -> tuple[Sample, Array]:
    """The photos of the conditions, and their probabilities (m, k - 1) among the conditions."""
    targets = sample.among(sample.predictions.label != sample.predictions.background)
    p = targets.predictions.probabilities[:, :-1]
    total = p.sum(axis=1, keepdims=True)
    even = np.full_like(p, 1 / p.shape[1])
    return targets, np.divide(p, total, out=even, where=total > 0)


def at_prior(sample: Sample, measure: Callable[[], Array]) -> Estimate:
    """A figure at the prior's label frequencies; undefined where a label of the prior is absent."""
    if np.isnan(sample.prior_weight).any():
        reason = "a label is absent, so the photos cannot be weighted to the stated prior"
        return Estimate((), np.full(sample.weights.shape[1], np.nan), len(sample), reason=reason)
    return Estimate((), measure(), len(sample))
