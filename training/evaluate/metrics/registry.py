"""Every figure of an evaluation, by name, with its interval.

To add a figure, write one function here and mark it with `@family("name")`. It reads a `Sample`
and yields `Figure`s; intervals, subgroups, the report and paired differences follow from that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from calcinosis.training.evaluate.bootstrap import (
    group_resamples,
    percentile_interval,
    wilson_interval,
)
from calcinosis.training.evaluate.metrics import kernels as measures
from calcinosis.training.evaluate.metrics.kernels import Array, Mask
from calcinosis.training.evaluate.predictions import Predictions, PredictionsError
from numpy.typing import NDArray

LOOKALIKE: Final = "lookalike"
SPECIFICITIES: Final = (0.90, 0.95)
COVERAGE: Final = 0.80
SMALLEST_SUBGROUP: Final = 10
"""Subgroups with fewer photos are shown by their counts alone."""
FEW_GROUPS: Final = 5
"""With fewer patients than this, resampling them says too little about how sure a figure is."""
_CELLS_AT_ONCE: Final = 2_000_000
"""Photos times resamples held in memory together: 16 MB for each array of doubles."""


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
        return measures.reweight_to_prior(self.predictions.label, self.prior, self.weights)

    @cached_property
    def prior_weight(self) -> Array:
        """(n,) the same for the table itself, each photo once."""
        ones = np.ones((len(self), 1))
        if self.prior is None:
            return ones[:, 0]
        return measures.reweight_to_prior(self.predictions.label, self.prior, ones)[:, 0]

    def among(self, rows: Mask) -> "Sample":
        """The photos that a mask (n,) keeps, with their weights; the prior does not carry over."""
        return Sample(self.predictions.where(rows), self.weights[rows])

    def count(self, label: int) -> int:
        """How many photos have the label."""
        return int((self.predictions.label == label).sum())


@dataclass(frozen=True)
class Figure:
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


Family = Callable[[Sample], Iterable[Figure]]
FAMILIES: Final[dict[tuple[str, ...], Family]] = {}


def family(name: str) -> Callable[[Family], Family]:
    """Register a function that yields the figures whose names begin with `name`."""

    def register(function: Family) -> Family:
        FAMILIES[tuple(name.split("."))] = function
        return function

    return register


def _share(name: tuple[str, ...], sample: Sample, rows: Mask, hit: Mask, nobody: str) -> Figure:
    """The share of hits among some rows."""
    values = measures.weighted_mean(hit[rows], sample.weights[rows])
    groups = _groups(sample.predictions, rows)
    return Figure(name, values, int(rows.sum()), groups=groups, share=True, reason=nobody)


def _groups(predictions: Predictions, rows: Mask) -> int:
    return len({predictions.group[row] for row in np.flatnonzero(rows)})


def _ranked(
    name: tuple[str, ...],
    sample: Sample,
    label: int,
    rows: Mask,
    measure: Callable[[Array, Mask, Array], Array],
) -> Figure:
    """A measure of how the probability of a label ranks the rows that have it above those not."""
    score = sample.predictions.probabilities[rows, label]
    positive = sample.predictions.label[rows] == label
    words = sample.predictions.labels[label]
    reason = f"no photo of {words} here" if not positive.any() else f"nothing but {words} here"
    values = measure(score, positive, sample.weights[rows])
    own = sample.predictions.label == label
    groups = min(_groups(sample.predictions, rows & own), _groups(sample.predictions, rows & ~own))
    positives = int(positive.sum())
    return Figure(name, values, len(score), positives=positives, groups=groups, reason=reason)


def _everyone(sample: Sample) -> Mask:
    return np.ones(len(sample), dtype=np.bool_)


def _recalls(sample: Sample, called: NDArray[np.int64], labels: Sequence[int]) -> Figure:
    """The mean over labels of the share of its photos that are called by it."""
    label = sample.predictions.label
    absent = [sample.predictions.labels[index] for index in labels if not sample.count(index)]
    groups = min(_groups(sample.predictions, label == index) for index in labels)
    recalls = [
        measures.weighted_mean(called[label == index] == index, sample.weights[label == index])
        for index in labels
    ]
    reason = f"no photo of {' or '.join(absent)} here"
    return Figure((), np.mean(recalls, axis=0), len(sample), groups=groups, reason=reason)


def _conditions_only(sample: Sample) -> tuple[Sample, Array]:
    """The photos of the conditions, and their probabilities (m, k - 1) among the conditions."""
    targets = sample.among(sample.predictions.label != sample.predictions.background)
    p = targets.predictions.probabilities[:, :-1]
    total = p.sum(axis=1, keepdims=True)
    even = np.full_like(p, 1 / p.shape[1])
    return targets, np.divide(p, total, out=even, where=total > 0)


@family("accuracy")
def accuracy(sample: Sample) -> Iterator[Figure]:
    """Share of photos whose most probable label is right, at the sample's own frequencies."""
    yield _share((), sample, _everyone(sample), sample.correct, "")


@family("balanced_accuracy")
def balanced_accuracy(sample: Sample) -> Iterator[Figure]:
    """Mean over the labels of the share of photos called rightly."""
    yield _recalls(sample, sample.predictions.argmax, range(len(sample.predictions.labels)))


@family("three_way_balanced_accuracy")
def three_way_balanced_accuracy(sample: Sample) -> Iterator[Figure]:
    """The same for photos of the conditions only, told apart among the conditions."""
    targets, p = _conditions_only(sample)
    yield _recalls(targets, p.argmax(axis=1), range(p.shape[1]))


@family("auroc")
def auroc(sample: Sample) -> Iterator[Figure]:
    """Area under the ROC curve of each label against every other photo."""
    for index, label in enumerate(sample.predictions.labels):
        yield _ranked((label,), sample, index, _everyone(sample), measures.area_under_roc)


@family("auroc_lookalike")
def auroc_lookalike(sample: Sample) -> Iterator[Figure]:
    """Area under the ROC curve of each condition against other conditions and look-alikes."""
    table = sample.predictions
    lookalike = np.array([kind == LOOKALIKE for kind in table.kind], dtype=np.bool_)
    rows = (table.label != table.background) | lookalike
    for index, label in sample.conditions:
        figure = _ranked((label,), sample, index, rows, measures.area_under_roc)
        if lookalike.any() or np.isnan(figure.values).all():
            yield figure
        else:
            reason = "no photo here is marked as a look-alike"
            unknown = np.full(sample.weights.shape[1], np.nan)
            yield replace(figure, values=unknown, reason=reason)


@family("average_precision")
def average_precision(sample: Sample) -> Iterator[Figure]:
    """Average precision of each label against every other photo."""
    for index, label in enumerate(sample.predictions.labels):
        yield _ranked((label,), sample, index, _everyone(sample), measures.average_precision)


@family("sensitivity")
def sensitivity(sample: Sample) -> Iterator[Figure]:
    """Share of a label's photos for which it is the most probable label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, called = sample.predictions.label == index, sample.predictions.argmax == index
        yield _share((label,), sample, rows, called, f"no photo of {label} here")


@family("specificity")
def specificity(sample: Sample) -> Iterator[Figure]:
    """Share of the other photos for which a label is not the most probable label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, called = sample.predictions.label != index, sample.predictions.argmax == index
        yield _share((label,), sample, rows, ~called, f"nothing but {label} here")


@family("sensitivity_at_specificity")
def sensitivity_at_specificity(sample: Sample) -> Iterator[Figure]:
    """Highest sensitivity to each label of any threshold that keeps a stated specificity."""
    for index, label in enumerate(sample.predictions.labels):
        for target in SPECIFICITIES:

            def measure(s: Array, y: Mask, w: Array, target: float = target) -> Array:
                return measures.sensitivity_at(target, s, y, w)

            name, rows = (label, f"{target:.2f}"), _everyone(sample)
            groups = _groups(sample.predictions, sample.predictions.label == index)
            figure = _ranked(name, sample, index, rows, measure)
            yield replace(figure, groups=groups, share=True)


def _class_wise_error(sample: Sample, weight: Array, weights: Array) -> Array:
    errors = []
    for index in range(len(sample.predictions.labels)):
        p = sample.predictions.probabilities[:, index]
        bin_of = measures.equal_mass_bins(p, weight)
        hit = sample.predictions.label == index
        errors.append(measures.calibration_error(p, hit, weights, bin_of))
    return np.asarray(np.mean(errors, axis=0))


def _at_prior(sample: Sample, measure: Callable[[], Array]) -> Figure:
    """A figure at the prior's label frequencies; undefined where a label of the prior is absent."""
    if np.isnan(sample.prior_weight).any():
        reason = "a label is absent, so the photos cannot be weighted to the stated prior"
        return Figure((), np.full(sample.weights.shape[1], np.nan), len(sample), reason=reason)
    return Figure((), measure(), len(sample))


@family("ece")
def ece(sample: Sample) -> Iterator[Figure]:
    """Class-wise expected calibration error at the prior's label frequencies.

    For each label, as a yes-or-no question: the gap between probability and frequency in 15 bins
    of equal mass; then the mean over the labels (class-wise: Kull et al., Beyond temperature
    scaling, 2019; equal mass: Nixon et al., 2019). Photos are weighted so that each label is as
    frequent as the stated prior says, because that is what the probabilities claim.
    """
    yield _at_prior(
        sample, lambda: _class_wise_error(sample, sample.prior_weight, sample.prior_weights)
    )


@family("ece_unweighted")
def ece_unweighted(sample: Sample) -> Iterator[Figure]:
    """The same at the sample's own label frequencies."""
    values = _class_wise_error(sample, np.ones(len(sample)), sample.weights)
    yield Figure((), values, len(sample))


@family("ece_top_label")
def ece_top_label(sample: Sample) -> Iterator[Figure]:
    """Calibration error of the highest probability alone (Guo et al., 2017), prior and bins as `ece`."""

    def measure() -> Array:
        bin_of = measures.equal_mass_bins(sample.confidence, sample.prior_weight)
        return measures.calibration_error(
            sample.confidence, sample.correct, sample.prior_weights, bin_of
        )

    yield _at_prior(sample, measure)


@family("brier")
def brier(sample: Sample) -> Iterator[Figure]:
    """Brier score of all labels together at the prior's frequencies: 0 is perfect, 2 the worst.

    The sum over the labels of the squared gap to what the label is (Brier, 1950), so for two
    labels it is twice the usual two-class score.
    """
    truth = np.eye(len(sample.predictions.labels))[sample.predictions.label]
    score = ((sample.predictions.probabilities - truth) ** 2).sum(axis=1)
    yield _at_prior(sample, lambda: measures.weighted_mean(score, sample.prior_weights))


@family("conformal.coverage")
def conformal_coverage(sample: Sample) -> Iterator[Figure]:
    """Share of a label's photos whose prediction set holds the label."""
    for index, label in enumerate(sample.predictions.labels):
        rows, held = sample.predictions.label == index, sample.predictions.prediction_set[:, index]
        yield _share((label,), sample, rows, held, f"no photo of {label} here")


@family("conformal.mean_set_size")
def mean_set_size(sample: Sample) -> Iterator[Figure]:
    """Mean number of labels in the prediction set, at the sample's own frequencies."""
    sizes = sample.predictions.prediction_set.sum(axis=1)
    yield Figure((), measures.weighted_mean(sizes, sample.weights), len(sample))


@family("conformal.mean_set_size_prior")
def mean_set_size_prior(sample: Sample) -> Iterator[Figure]:
    """The same at the prior's label frequencies."""
    sizes = sample.predictions.prediction_set.sum(axis=1)
    yield _at_prior(sample, lambda: measures.weighted_mean(sizes, sample.prior_weights))


@family("selective.aurc")
def aurc(sample: Sample) -> Iterator[Figure]:
    """Area under the risk-coverage curve, most_confident photos first by the highest probability."""
    area = measures.area_under_risk_coverage(sample.confidence, ~sample.correct, sample.weights)
    yield Figure((), area, len(sample))


@family("selective.augrc")
def augrc(sample: Sample) -> Iterator[Figure]:
    """Area under the generalised risk-coverage curve (Traub et al., 2024), same order."""
    area = measures.area_under_generalised_risk(sample.confidence, ~sample.correct, sample.weights)
    yield Figure((), area, len(sample))


@family("selective.risk_at_80")
def risk_at_80(sample: Sample) -> Iterator[Figure]:
    """Share of wrong labels among the most_confident 80 % of photos."""
    risk = measures.selective_risk(COVERAGE, sample.confidence, ~sample.correct, sample.weights)
    yield Figure((), risk, len(sample), groups=_accepted_groups(sample), share=True)


def _accepted_groups(sample: Sample) -> int:
    return max(1, round(COVERAGE * _groups(sample.predictions, _everyone(sample))))


@family("three_way.selective.risk_at_80")
def three_way_risk_at_80(sample: Sample) -> Iterator[Figure]:
    """The same for photos of the conditions only, told apart among the conditions."""
    targets, p = _conditions_only(sample)
    if not len(targets):
        reason = "no photo of a condition here"
        yield Figure((), np.full(sample.weights.shape[1], np.nan), 0, reason=reason)
        return
    wrong = p.argmax(axis=1) != targets.predictions.label
    risk = measures.selective_risk(COVERAGE, p.max(axis=1), wrong, targets.weights)
    yield Figure((), risk, len(targets), groups=_accepted_groups(targets), share=True)


def compute_metrics(
    predictions: Predictions,
    *,
    prior: Sequence[float] | None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure of a predictions table, overall and by subgroup, as plain JSON values.

    Args:
        predictions: the table of n photos and k labels.
        prior: (k,) the label frequencies that the probabilities assume; `ece`, `ece_top_label`,
            `brier` and `conformal.mean_set_size_prior` are weighted to them. None keeps the
            frequencies of the table.
        resamples: bootstrap draws of whole groups behind each interval.
        seed: of the draws.

    Returns:
        Nested by the dots of a name: `metrics["auroc"]["milium"]`. A figure is
        `{"value", "low", "high", "n"}`, ranking figures with their `positives` too. Where
        something cannot be computed it is null and `reason` says why. A share on which every
        resample agrees (9 of 9), or that rests on fewer than five groups, takes Wilson's interval
        over its groups, and `interval` says so; other figures then have none.
        Intervals are widened to hold the value where need be: resampling biases calibration
        errors upwards. `by_source`, `by_skin_tone` and `by_kind` hold the same block for each
        subgroup; `by_lookalike` what each condition at the source was called; `confusion` and
        `outcomes` counts by label.

    Raises:
        PredictionsError: the table is empty.
        ValueError: the prior has another length, a negative part, or does not add up to 1.
    """
    if not len(predictions):
        raise PredictionsError("no_photos", "there is no photo to measure on")
    frequencies = checked_prior(prior, len(predictions.labels))
    metrics: dict[str, Any] = {
        "labels": list(predictions.labels),
        "prior": None if frequencies is None else frequencies.tolist(),
        "resamples": resamples,
        "seed": seed,
    }
    metrics |= compute_block(predictions, frequencies, resamples, seed)
    for field, names in (
        ("by_source", predictions.source),
        ("by_skin_tone", predictions.skin_tone),
        ("by_kind", predictions.kind),
    ):
        metrics[field] = {
            name: compute_block(
                predictions.where(np.array([n == name for n in names])),
                frequencies,
                resamples,
                seed,
                smallest=SMALLEST_SUBGROUP,
            )
            for name in sorted(set(names) - {""})
        }
    metrics["by_lookalike"] = _lookalike_errors(predictions)
    return metrics


def paired_difference(
    a: Predictions,
    b: Predictions,
    metric: str,
    *,
    prior: Sequence[float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """A figure of `a` minus the same figure of `b`, on the same photos and the same resamples.

    Args:
        a: one model's predictions.
        b: the other's, of the same photos in any order.
        metric: a dotted name, such as `auroc.calcinosis_cutis`.
        prior: as for `compute_metrics`, for both.
        resamples: bootstrap draws of whole groups.
        seed: of the draws.

    Returns:
        `{"value", "low", "high", "n"}` of the difference, null with a `reason` where undefined.

    Raises:
        PredictionsError: the tables differ in labels, photos, or a photo's label or group.
        KeyError: no figure has that name.
    """
    position = {file: row for row, file in enumerate(b.file)}
    if a.labels != b.labels or set(a.file) != set(position):
        raise PredictionsError("not_paired", "the two tables have other photos or other labels")
    b = b.where(np.array([position[file] for file in a.file]))
    if a.group != b.group or not np.array_equal(a.label, b.label):
        raise PredictionsError("not_paired", "a photo's label or group differs in the two tables")

    path = tuple(metric.split("."))
    # A name may hold dots of its own (a specificity of 0.90), so match on the joined name.
    family_path = max((f for f in FAMILIES if path[: len(f)] == f), key=len, default=())
    if not family_path:
        raise KeyError(f"no figure is named {metric}")
    frequencies = checked_prior(prior, len(a.labels))
    first, second = (
        {
            ".".join((*family_path, *figure.name)): figure
            for figure in _all_weightings(table, frequencies, resamples, seed, [family_path])[
                family_path
            ]
        }
        for table in (a, b)
    )
    if metric not in first:
        raise KeyError(f"no figure is named {metric}; there are {', '.join(first)}")
    figure = first[metric]
    difference = Figure(
        figure.name, figure.values - second[metric].values, figure.n, reason=figure.reason
    )
    return _stated(difference, may_be_certain=True)


def find_figure(metrics: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The figure with a dotted name, or None: `find_figure(metrics, "auroc.milium")`."""
    node: Any = metrics
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return node if isinstance(node, dict) and "value" in node else None


def checked_prior(prior: Sequence[float] | None, labels: int) -> Array | None:
    if prior is None:
        return None
    frequencies = np.asarray(prior, dtype=np.float64)
    if frequencies.shape != (labels,):
        raise ValueError(f"the prior has {frequencies.size} parts for {labels} labels")
    if not (frequencies >= 0).all() or abs(frequencies.sum() - 1) > 1e-6:
        raise ValueError("the prior's parts must be 0 or more and add up to 1")
    return frequencies


def compute_block(
    predictions: Predictions, prior: Array | None, resamples: int, seed: int, smallest: int = 0
) -> dict[str, Any]:
    """All figures of one table, nested by name, with its counts and without subgroups."""
    names = predictions.labels
    block: dict[str, Any] = {
        "n": len(predictions),
        "groups": len(set(predictions.group)),
        "label_counts": _counts(predictions.label, names),
    }
    if len(predictions) < smallest:
        return block | {"reason": f"fewer than {smallest} photos: counts only"}
    for family_path, figures in _all_weightings(predictions, prior, resamples, seed).items():
        for figure in figures:
            _put(block, (*family_path, *figure.name), _stated(figure))
    block["confusion"] = {
        name: _counts(predictions.argmax[predictions.label == index], names)
        for index, name in enumerate(names)
    }
    block["outcomes"] = _outcomes(predictions)
    return block


def _all_weightings(
    predictions: Predictions,
    prior: Array | None,
    resamples: int,
    seed: int,
    families: Iterable[tuple[str, ...]] | None = None,
) -> dict[tuple[str, ...], list[Figure]]:
    """Each family's figures: first value the table's own, then one a resample."""
    chosen = list(FAMILIES if families is None else families)
    own = Sample(predictions, np.ones((len(predictions), 1)), prior)
    figures = {path: list(FAMILIES[path](own)) for path in chosen}
    parts = {path: [[figure.values] for figure in figures[path]] for path in chosen}
    chunk_size = max(1, _CELLS_AT_ONCE // len(predictions))
    for weights in group_resamples(
        predictions.group, resamples=resamples, seed=seed, chunk_size=chunk_size
    ):
        sample = Sample(predictions, weights, prior)
        for path in chosen:
            for values, figure in zip(parts[path], FAMILIES[path](sample), strict=True):
                values.append(figure.values)
    return {
        path: [
            replace(figure, values=np.concatenate(values))
            for figure, values in zip(figures[path], parts[path], strict=True)
        ]
        for path in chosen
    }


def _stated(figure: Figure, *, may_be_certain: bool = False) -> dict[str, Any]:
    """A figure as JSON: the value, its interval, or why there is none."""
    value = float(figure.values[0])
    stated: dict[str, Any] = {"value": None, "low": None, "high": None, "n": figure.n}
    if figure.positives is not None:
        stated["positives"] = figure.positives
    if not np.isfinite(value):
        return stated | {"reason": figure.reason or "undefined on these photos"}
    stated["value"] = value
    few = figure.groups is not None and figure.groups < FEW_GROUPS
    interval = percentile_interval(figure.values[1:])
    low, high = interval or (value, value)
    low, high = min(low, value), max(high, value)
    agree = low == high and not may_be_certain
    if figure.share and figure.groups and (few or agree):
        low, high = wilson_interval(value * figure.groups, figure.groups)
        stated["interval"] = "wilson"
    elif few or interval is None:
        return stated | {"reason": f"fewer than {FEW_GROUPS} patients or pictures to go by"}
    elif agree:
        return stated | {"reason": "every resample agrees, so they cannot show uncertainty"}
    return stated | {"low": low, "high": high}


def _put(block: dict[str, Any], path: tuple[str, ...], figure: dict[str, Any]) -> None:
    for part in path[:-1]:
        block = block.setdefault(part, {})
    block[path[-1]] = figure


def _counts(label: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return {name: int((label == index).sum()) for index, name in enumerate(names)}


def _outcomes(predictions: Predictions) -> dict[str, dict[str, int]]:
    """For each label, how many photos met each outcome of the decision."""
    seen = sorted(set(predictions.outcome) - {""})
    return {
        name: {
            outcome: sum(
                found == outcome
                for found, own in zip(predictions.outcome, predictions.label, strict=True)
                if own == index
            )
            for outcome in seen
        }
        for index, name in enumerate(predictions.labels)
        if seen
    }


def _lookalike_errors(predictions: Predictions) -> dict[str, Any]:
    """For each look-alike condition at the source: what it was called, and how often wrongly."""
    table = {}
    looks = predictions.where(np.array([kind == LOOKALIKE for kind in predictions.kind]))
    for name in sorted(set(looks.source_label) - {""}):
        rows = looks.where(np.array([source_label == name for source_label in looks.source_label]))
        groups = len(set(rows.group))
        wrong = float((rows.argmax != rows.label).mean())
        low, high = wilson_interval(wrong * groups, groups)
        table[name] = {
            "n": len(rows),
            "called": _counts(rows.argmax, rows.labels),
            "taken_for_condition": {
                "value": wrong,
                "low": low,
                "high": high,
                "n": len(rows),
                "interval": "wilson",
            },
        }
    return table
