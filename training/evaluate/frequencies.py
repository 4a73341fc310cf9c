"""How often each kind of finding was right in cross-validation, counted for the findings to come."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.model.frequencies import DangerousLookalikes, Frequencies, Frequency, named
from calcinosis.training.evaluate.bootstrap import wilson_interval
from calcinosis.training.evaluate.metrics.registry import Sample
from calcinosis.training.evaluate.metrics.suggestive import malignant
from calcinosis.training.evaluate.predictions import Predictions

BANDS: Final = (0.0, 0.5, 0.8, 0.95, 0.99, 1.0)
"""Edges of the bands of the leading label's probability under the reference prior."""
FEWEST: Final = 20
"""Bands with fewer patients are joined with the next."""


def reference_probabilities(
    predictions: Predictions, prior: Sequence[float]
) -> NDArray[np.float64]:
    """The probabilities (n, k) under equal chances of the labels, from those at a prior, by Bayes' rule."""
    scaled = predictions.probabilities / np.asarray(prior)
    reference: NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return reference


@dataclass(frozen=True)
class _Answers:
    """What was answered in all rounds, a photo once in each.

    Attributes:
        labels: the k label names.
        label: (n,) what each photo shows.
        group: (n,) its patient.
        reference: (n, k) its probabilities under equal chances of the labels.
        members: (n, k) its prediction set.
        rounds: how many there were.
    """

    labels: tuple[str, ...]
    label: NDArray[np.int64]
    group: NDArray[np.str_]
    reference: NDArray[np.float64]
    members: NDArray[np.bool_]
    rounds: int

    def patients(self, rows: NDArray[np.bool_]) -> int:
        return len(np.unique(self.group[rows]))


def count_frequencies(rounds: Sequence[Predictions], prior: Sequence[float]) -> Frequencies:
    """What photographs showed that got the same prediction set, leader and band of its probability.

    Args:
        rounds: the tables of one or more cross-validations of the same photos, at the pool's own composition.
        prior: what the probabilities assume.
    """
    first = rounds[0]
    answers = _Answers(
        labels=first.labels,
        label=np.concatenate([table.label for table in rounds]),
        group=np.array([group for table in rounds for group in table.group]),
        reference=np.concatenate([reference_probabilities(table, prior) for table in rounds]),
        members=np.concatenate([table.prediction_set for table in rounds]),
        rounds=len(rounds),
    )
    leader = answers.reference.argmax(axis=1)
    rows = []
    for members_of in np.unique(answers.members, axis=0):
        for best in range(len(answers.labels)):
            p = answers.reference[:, best]
            alike = (answers.members == members_of).all(axis=1) & (leader == best)
            for low, high in _bands(answers, p, alike):
                inside = (p >= low) & ((p < high) | (high == 1))
                rows.append(_count(answers, alike & inside, members_of, best, (low, high)))
    counts = Counter(first.label.tolist())
    return Frequencies(
        photos={label: counts[index] for index, label in enumerate(first.labels)},
        rows=tuple(rows),
        malignant=_dangerous(rounds),
    )


def _bands(
    answers: _Answers, probability: NDArray[np.float64], alike: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Bands from 0 to 1, joined from the highest down until each holds enough patients."""
    if not alike.any():
        return []
    found: list[tuple[float, float]] = []
    high = BANDS[-1]
    for low in reversed(BANDS[:-1]):
        inside = alike & (probability >= low) & (probability <= high)
        if low == 0 or answers.patients(inside) >= FEWEST:
            found.append((low, high))
            high = low
    low, high = found[-1]
    if len(found) > 1 and answers.patients(alike & (probability < high)) < FEWEST:
        found[-2:] = [(0.0, found[-2][1])]
    return found[::-1]


def _count(
    answers: _Answers,
    rows: NDArray[np.bool_],
    members: NDArray[np.bool_],
    leader: int,
    band: tuple[float, float],
) -> Frequency:
    labels, photos, patients = answers.labels, int(rows.sum()), answers.patients(rows)
    held = tuple(label for label, member in zip(labels, members, strict=True) if member)
    counts = Counter(answers.label[rows].tolist())
    shown = {label: counts[index] for index, label in enumerate(labels)}
    share = sum(shown[label] for label in named(held)) / photos
    return Frequency(
        prediction_set=held,
        leader=labels[leader],
        low=band[0],
        high=band[1],
        photos=photos,
        patients=patients,
        rounds=answers.rounds,
        shown=shown,
        interval=wilson_interval(share * patients, patients),
    )


def _dangerous(rounds: Sequence[Predictions]) -> DangerousLookalikes | None:
    first = rounds[0]
    cancers = malignant(Sample(first, np.ones((len(first), 1))))
    if not cancers.any():
        return None
    shown = set(first.where(cancers).file)
    called = 0
    for table in rounds:
        alone = ~table.prediction_set[:, table.background]
        called += sum(file in shown for file in table.where(alone).file)
    return DangerousLookalikes(
        photos=len(shown),
        patients=len(set(first.where(cancers).group)),
        rounds=len(rounds),
        called=called,
    )
