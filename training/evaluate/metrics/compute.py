"""Every figure of an evaluation, by name, with its interval, overall and by subgroup."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.data.curation import disease_key
from calcinosis.training.evaluate.bootstrap import (
    RESAMPLES,
    SEED,
    group_resamples,
    wilson_interval,
)
from calcinosis.training.evaluate.metrics import (
    calibration,
    classification,
    conformal,
    ranking,
    selective,
    suggestive,
)
from calcinosis.training.evaluate.metrics.kernels import Array
from calcinosis.training.evaluate.metrics.ranking import LOOKALIKE
from calcinosis.training.evaluate.metrics.registry import (
    METRICS,
    Estimate,
    Metric,
    Sample,
    metric_of,
)
from calcinosis.training.evaluate.predictions import Predictions, PredictionsError

FAMILIES: Final = (suggestive, classification, ranking, calibration, conformal, selective)
"""The modules whose metrics are computed; importing them registers those."""
SMALLEST_SUBGROUP: Final = 10
"""Subgroups with fewer photos are shown by their counts alone."""
_CELLS_AT_ONCE: Final = 2_000_000
"""Photos times resamples held in memory together: 16 MB for each array of doubles."""


def compute_metrics(
    predictions: Predictions,
    *,
    prior: Sequence[float] | None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Every figure of a predictions table, overall and by subgroup, as plain JSON values.

    Args:
        predictions: the table of n photos and k labels.
        prior: (k,) the label frequencies that the probabilities assume; `ece`, `ece_top_label`,
            `brier` and `conformal.mean_set_size_prior` are weighted to them. None keeps the
            frequencies of the table.
        resamples: bootstrap draws of whole groups behind each interval.

    Returns:
        Nested by the dots of a name: `metrics["auroc"]["milium"]`. A figure is
        `{"value", "low", "high", "n"}`, ranking figures with their `positives` too. Where
        something cannot be computed it is null and `reason` says why. A share on which every
        resample agrees (9 of 9), or that rests on fewer than five groups, takes Wilson's interval
        over its groups, and `interval` says so; other figures then have none.
        Intervals are widened to hold the value where need be: resampling biases calibration
        errors upwards. `by_source`, `by_skin_tone`, `by_body_site` and `by_kind` hold the same
        block for each subgroup; `by_lookalike` what each condition at the source was called; `confusion` and
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
        "seed": SEED,
    }
    metrics |= compute_block(predictions, frequencies, resamples)
    for field, names in (
        ("by_source", predictions.source),
        ("by_skin_tone", predictions.skin_tone),
        ("by_body_site", predictions.body_site),
        ("by_kind", predictions.kind),
    ):
        metrics[field] = {
            name: compute_block(
                predictions.where(np.array([n == name for n in names])),
                frequencies,
                resamples,
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
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """A figure of `a` minus the same figure of `b`, on the same photos and the same resamples.

    Args:
        a: one model's predictions.
        b: the other's, of the same photos in any order.
        metric: a dotted name, such as `auroc.calcinosis_cutis`.
        prior: as for `compute_metrics`, for both.
        resamples: bootstrap draws of whole groups.

    Returns:
        `{"value", "low", "high", "n"}` of the difference; null with a `reason` where undefined, and
        the interval alone where the figure rests on fewer than five groups.

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

    found = metric_of(metric)
    if found is None:
        raise KeyError(f"no figure is named {metric}")
    frequencies = checked_prior(prior, len(a.labels))
    first, second = (
        {
            ".".join((found.name, *estimate.name)): estimate
            for estimate in _all_weightings(table, frequencies, resamples, [found])[found.name]
        }
        for table in (a, b)
    )
    if metric not in first:
        raise KeyError(f"no figure is named {metric}; there are {', '.join(first)}")
    one, two = first[metric], second[metric]
    groups = min((e.groups for e in (one, two) if e.groups is not None), default=None)
    difference = replace(one, values=one.values - two.values, positives=None, groups=groups)
    return replace(difference, share=False).to_json(may_be_certain=True)


def compute_repeated(
    tables: Sequence[Predictions],
    *,
    prior: Sequence[float] | None,
) -> dict[str, Any]:
    """Every figure as its mean over repeated cross-validations of the same photos.

    The interval is over groups: each resample of them is measured in every table, and the mean taken.
    How much the choice of folds alone moves a figure is what `lowest` and `highest` say.

    Args:
        tables: of the same photos in the same order, each predicted with folds of another seed.
        prior: as for `compute_metrics`.

    Raises:
        PredictionsError: the tables differ in labels or photos.
    """
    first = tables[0]
    if any(table.labels != first.labels or table.file != first.file for table in tables):
        raise PredictionsError("not_paired", "the tables have other photos or other labels")
    frequencies = checked_prior(prior, len(first.labels))
    weighted = [
        _all_weightings(table, frequencies, RESAMPLES, METRICS.values()) for table in tables
    ]
    block: dict[str, Any] = {"repeats": len(tables)}
    for name, found in weighted[0].items():
        for n, estimate in enumerate(found):
            values = np.stack([one[name][n].values for one in weighted])
            told = replace(estimate, values=values.mean(axis=0)).to_json()
            if told["value"] is not None:
                told |= {"lowest": float(values[:, 0].min()), "highest": float(values[:, 0].max())}
            _put(block, (*METRICS[name].path, *estimate.name), told)
    return block


def listed_metrics() -> list[Metric]:
    """The metrics that card and report show, in the order of `FAMILIES`."""
    places = {module.__name__: place for place, module in enumerate(FAMILIES)}
    listed = [metric for metric in METRICS.values() if metric.listed]
    return sorted(listed, key=lambda metric: places[metric.function.__module__])


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
    predictions: Predictions, prior: Array | None, resamples: int, smallest: int = 0
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
    estimates = _all_weightings(predictions, prior, resamples, METRICS.values())
    for name, found in estimates.items():
        for estimate in found:
            _put(block, (*METRICS[name].path, *estimate.name), estimate.to_json())
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
    metrics: Iterable[Metric],
) -> dict[str, list[Estimate]]:
    """Each metric's estimates: first the table's own value, then one per resample."""
    chosen = list(metrics)
    own = Sample(predictions, np.ones((len(predictions), 1)), prior)
    estimates = {metric.name: list(metric.function(own)) for metric in chosen}
    parts = {name: [[estimate.values] for estimate in found] for name, found in estimates.items()}
    chunk_size = max(1, _CELLS_AT_ONCE // len(predictions))
    for weights in group_resamples(
        predictions.group, resamples=resamples, seed=SEED, chunk_size=chunk_size
    ):
        sample = Sample(predictions, weights, prior)
        for metric in chosen:
            for values, estimate in zip(parts[metric.name], metric.function(sample), strict=True):
                values.append(estimate.values)
    return {
        name: [
            replace(estimate, values=np.concatenate(values))
            for estimate, values in zip(found, parts[name], strict=True)
        ]
        for name, found in estimates.items()
    }


def _put(block: dict[str, Any], path: tuple[str, ...], estimate: dict[str, Any]) -> None:
    for part in path[:-1]:
        block = block.setdefault(part, {})
    block[path[-1]] = estimate


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
    """For each look-alike condition at the source, however spelt: what it was called, and how often wrongly.

    Its name is the commonest spelling.
    """
    table = {}
    looks = predictions.where(np.array([kind == LOOKALIKE for kind in predictions.kind]))
    spellings: dict[str, Counter[str]] = {}
    for name in looks.source_label:
        if name:
            spellings.setdefault(disease_key(name), Counter())[name] += 1
    for counts in spellings.values():
        name = min(counts, key=lambda spelling: (-counts[spelling], spelling))
        rows = looks.where(
            np.array([source_label in counts for source_label in looks.source_label])
        )
        groups = len(set(rows.group))
        wrong = float((rows.argmax != rows.label).mean())
        low, high = wilson_interval(wrong * groups, groups)
        table[name] = {
            "n": len(rows),
            "groups": groups,
            "called": _counts(rows.argmax, rows.labels),
            "taken_for_condition": {
                "value": wrong,
                "low": low,
                "high": high,
                "n": len(rows),
                "interval": "wilson",
            },
        }
    return dict(sorted(table.items()))
