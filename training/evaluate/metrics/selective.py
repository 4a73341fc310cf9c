"""How often a prediction is wrong, by how confident it is: selective prediction."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.registry import (
    Estimate,
    Sample,
    conditions_only,
    count_groups,
    everyone,
    metric,
)

COVERAGE: Final = 0.80


@metric("selective.aurc", "AURC", lower_is_better=True)
def aurc(sample: Sample) -> Iterator[Estimate]:
    """Area under the risk-coverage curve, most confident photos first by the highest probability."""
    area = kernels.area_under_risk_coverage(sample.confidence, ~sample.correct, sample.weights)
    yield Estimate((), area, len(sample))


@metric("selective.augrc", "AUGRC", lower_is_better=True)
def augrc(sample: Sample) -> Iterator[Estimate]:
    """Area under the generalised risk-coverage curve (Traub et al., 2024), same order."""
    area = kernels.area_under_generalised_risk(sample.confidence, ~sample.correct, sample.weights)
    yield Estimate((), area, len(sample))


@metric(
    "selective.risk_at_80",
    "Wrong among the most confident 80 %",
    percent=True,
    lower_is_better=True,
    listed=False,
)
def risk_at_80(sample: Sample) -> Iterator[Estimate]:
    """Share of wrong labels among the most confident 80 % of photos."""
    risk = kernels.selective_risk(COVERAGE, sample.confidence, ~sample.correct, sample.weights)
    yield Estimate((), risk, len(sample), groups=_accepted_groups(sample), share=True)


def _accepted_groups(sample: Sample) -> int:
    return max(1, round(COVERAGE * count_groups(sample.predictions, everyone(sample))))


@metric(
    "three_way.selective.risk_at_80",
    "Wrong among the most confident 80 %, conditions only",
    percent=True,
    lower_is_better=True,
)
def three_way_risk_at_80(sample: Sample) -> Iterator[Estimate]:
    """The same for photos of the conditions only, told apart among the conditions."""
    targets, p = conditions_only(sample)
    if not len(targets):
        reason = "no photo of a condition here"
        yield Estimate((), np.full(sample.weights.shape[1], np.nan), 0, reason=reason)
        return
    wrong = p.argmax(axis=1) != targets.predictions.label
    risk = kernels.selective_risk(COVERAGE, p.max(axis=1), wrong, targets.weights)
    yield Estimate((), risk, len(targets), groups=_accepted_groups(targets), share=True)
