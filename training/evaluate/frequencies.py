"""How often each kind of finding was right in cross-validation, counted for the findings to come."""

from collections import Counter
from collections.abc import Sequence
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


def count_frequencies(predictions: Predictions, prior: Sequence[float]) -> Frequencies:
    """What photographs showed that got the same prediction set, leader and band of its probability.

    Args:
        predictions: out of fold, of photos at the pool's own composition.
        prior: what the probabilities assume.
    """
    reference = reference_probabilities(predictions, prior)
    leader, members = reference.argmax(axis=1), predictions.prediction_set
    rows = []
    for members_of in np.unique(members, axis=0):
        for first in range(len(predictions.labels)):
            alike = (members == members_of).all(axis=1) & (leader == first)
            for low, high in _bands(predictions, reference[:, first], alike):
                inside = (reference[:, first] >= low) & ((reference[:, first] < high) | (high == 1))
                rows.append(_count(predictions, alike & inside, members_of, first, (low, high)))
    counts = Counter(predictions.label.tolist())
    return Frequencies(
        photos={label: counts[index] for index, label in enumerate(predictions.labels)},
        rows=tuple(rows),
        malignant=_dangerous(predictions),
    )


def _bands(
    predictions: Predictions, probability: NDArray[np.float64], alike: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Bands from 0 to 1, joined from the highest down until each holds enough patients."""
    if not alike.any():
        return []
    found: list[tuple[float, float]] = []
    high = BANDS[-1]
    for low in reversed(BANDS[:-1]):
        if (
            low == 0
            or _patients(predictions, alike & (probability >= low) & (probability <= high))
            >= FEWEST
        ):
            found.append((low, high))
            high = low
    low, high = found[-1]
    if len(found) > 1 and _patients(predictions, alike & (probability < high)) < FEWEST:
        found[-2:] = [(0.0, found[-2][1])]
    return found[::-1]


def _patients(predictions: Predictions, rows: NDArray[np.bool_]) -> int:
    return len({predictions.group[row] for row in np.flatnonzero(rows).tolist()})


def _count(
    predictions: Predictions,
    rows: NDArray[np.bool_],
    members: NDArray[np.bool_],
    leader: int,
    band: tuple[float, float],
) -> Frequency:
    labels, photos, patients = predictions.labels, int(rows.sum()), _patients(predictions, rows)
    held = tuple(label for label, member in zip(labels, members, strict=True) if member)
    counts = Counter(predictions.label[rows].tolist())
    shown = {label: counts[index] for index, label in enumerate(labels)}
    share = sum(shown[label] for label in named(held)) / photos
    return Frequency(
        prediction_set=held,
        leader=labels[leader],
        low=band[0],
        high=band[1],
        photos=photos,
        patients=patients,
        shown=shown,
        interval=wilson_interval(share * patients, patients),
    )


def _dangerous(predictions: Predictions) -> DangerousLookalikes | None:
    sample = Sample(predictions, np.ones((len(predictions), 1)))
    cancers = malignant(sample)
    if not cancers.any():
        return None
    alone = cancers & ~predictions.prediction_set[:, predictions.background]
    return DangerousLookalikes(
        photos=int(cancers.sum()), patients=_patients(predictions, cancers), called=int(alone.sum())
    )
