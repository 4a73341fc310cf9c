"""Of the photos that are called suggestive of a condition, how many show it; and who is called so wrongly."""

from collections.abc import Iterator

import numpy as np

from calcinosis.data.curation import is_malignant
from calcinosis.model.finding import DEPOSIT
from calcinosis.training.evaluate.metrics.kernels import Mask
from calcinosis.training.evaluate.metrics.registry import Estimate, Sample, metric, share_of


def called_suggestive(sample: Sample) -> Mask:
    """(n,) whether the outcome names one condition."""
    return np.array([outcome == "suggestive" for outcome in sample.predictions.outcome], dtype=bool)


def called_deposit(sample: Sample) -> Mask:
    """(n,) whether the set holds calcinosis and tophus and nothing else: a deposit, whichever it is."""
    pair = np.array([label in DEPOSIT for label in sample.predictions.labels])
    if pair.sum() < len(DEPOSIT):
        return np.zeros(len(sample), dtype=bool)
    held: Mask = (sample.predictions.prediction_set == pair).all(axis=1)
    return held


def called_condition(sample: Sample) -> Mask:
    """(n,) whether the finding's headline names a condition, or a deposit of one of two."""
    return called_suggestive(sample) | called_deposit(sample)


def malignant(sample: Sample) -> Mask:
    """(n,) whether the photo shows a cancer, by its label at the source."""
    return np.array([is_malignant(name) for name in sample.predictions.source_label], dtype=bool)


def _named(sample: Sample) -> Iterator[tuple[str, Mask, Mask]]:
    """Each name that a photo can be called by: the name, which photos are, and which show it."""
    table, suggestive = sample.predictions, called_suggestive(sample)
    for index, label in sample.conditions:
        yield label, suggestive & table.prediction_set[:, index], table.label == index
    if set(table.labels) >= DEPOSIT:
        shows = np.isin(table.label, [table.labels.index(label) for label in DEPOSIT])
        yield "deposit", called_deposit(sample), shows


@metric("suggestive.precision", "Shows it when called suggestive of it", percent=True)
def precision(sample: Sample) -> Iterator[Estimate]:
    """Of the photos called suggestive of a condition, the share that shows it.

    `deposit` stands for the photos of which calcinosis and tophus remain, and nothing else.
    """
    for name, called, shows in _named(sample):
        reason = f"no photo is called suggestive of {name.replace('_', ' ')} alone here"
        yield share_of((name,), sample, called, shows, reason)


@metric("suggestive.count", "Photos called suggestive of it", counts=True)
def count(sample: Sample) -> Iterator[Estimate]:
    """How many photos are called suggestive of a condition."""
    for name, called, _ in _named(sample):
        yield Estimate((name,), called.astype(np.float64) @ sample.weights, int(called.sum()))


@metric(
    "suggestive.false_rate",
    "Something else that is called suggestive of a condition",
    percent=True,
    lower_is_better=True,
)
def false_rate(sample: Sample) -> Iterator[Estimate]:
    """Share of the background's photos that are called suggestive of anything, be it a deposit."""
    other = sample.predictions.label == sample.predictions.background
    yield share_of((), sample, other, called_condition(sample), "no photo of other here")


@metric(
    "suggestive.false_rate_malignant",
    "Skin cancer that is called suggestive of a condition",
    percent=True,
    lower_is_better=True,
)
def false_rate_malignant(sample: Sample) -> Iterator[Estimate]:
    """Share of the photos of cancers that are called suggestive of anything, be it a deposit."""
    reason = "no photo here is known to show a cancer"
    yield share_of((), sample, malignant(sample), called_condition(sample), reason)


@metric(
    "suggestive.other_left_out_malignant",
    "Skin cancer whose set holds conditions alone",
    percent=True,
    lower_is_better=True,
)
def other_left_out_malignant(sample: Sample) -> Iterator[Estimate]:
    """Share of the photos of cancers whose set leaves the background out, whatever the outcome."""
    left_out = ~sample.predictions.prediction_set[:, sample.predictions.background]
    reason = "no photo here is known to show a cancer"
    yield share_of((), sample, malignant(sample), left_out, reason)
