"""Prediction sets: monotone, never empty, with a promise that counts patients."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta

from calcinosis.model.conformal import Conformal, patients_needed, threshold_rank
from calcinosis.model.labels import LABELS, joined

weights = arrays(np.float64, (3, len(LABELS)), elements=st.floats(0, 1)).filter(
    lambda w: (w.sum(axis=1) > 0).all()
)
thresholds = st.tuples(*[st.floats(0, 1)] * len(LABELS))
OTHER = len(LABELS) - 1


def sets(probabilities: np.ndarray, bounds: tuple[float, ...], **more: object) -> np.ndarray:
    return Conformal(coverage=0.9, thresholds=bounds, **more).prediction_sets(probabilities)


@given(weights, thresholds)
def test_no_label_stands_outside_that_is_more_probable_than_one_inside(
    drawn: np.ndarray, bounds: tuple[float, ...]
) -> None:
    probabilities = drawn / drawn.sum(axis=1, keepdims=True)
    for p, members in zip(probabilities, sets(probabilities, bounds), strict=True):
        assert members.any()
        assert members[p.argmax()]
        assert not members.all() or p.min() >= 0
        if not members.all():
            assert p[~members].max() < p[members].min()


@given(weights, thresholds)
def test_a_mimic_joins_its_leader_and_changes_nothing_else(
    drawn: np.ndarray, bounds: tuple[float, ...]
) -> None:
    probabilities = drawn / drawn.sum(axis=1, keepdims=True)
    plain, with_mimics = sets(probabilities, bounds), sets(probabilities, bounds, joined=((1, 0),))
    led = probabilities.argmax(axis=1) == 1
    assert with_mimics[led, 0].all()
    assert (with_mimics[~led] == plain[~led]).all()
    assert (with_mimics[:, 1:] == plain[:, 1:]).all()


@given(weights, thresholds, st.floats(0, 1))
def test_raising_the_coverage_of_other_never_takes_it_from_a_set(
    drawn: np.ndarray, bounds: tuple[float, ...], share: float
) -> None:
    probabilities = drawn / drawn.sum(axis=1, keepdims=True)
    higher = (*bounds[:-1], bounds[-1] * share)  # more coverage is a lower threshold
    before, after = sets(probabilities, bounds), sets(probabilities, higher)
    assert (after[:, OTHER] >= before[:, OTHER]).all()
    assert (after >= before).all()


@given(st.integers(1, 5000), st.floats(0.5, 0.999))
def test_the_lower_bound_is_the_quantile_of_the_beta_law(patients: int, coverage: float) -> None:
    conformal = Conformal(coverage=coverage, thresholds=(0.1,), patients=(patients,))
    k = threshold_rank(patients, coverage)
    if k == 0:
        assert patients < patients_needed(coverage)
        assert conformal.lower_bound(0) is None
        return
    expected = beta.ppf(0.05, patients + 1 - k, k)
    assert conformal.lower_bound(0) == pytest.approx(expected, rel=1e-6)
    assert k / (patients + 1) <= 1 - coverage + 1e-6, "on average the coverage is what was asked"


def test_what_few_patients_can_promise() -> None:
    """The figures of the literature: 14 patients for 80 % at 95 % confidence, 29 for 90 %."""

    def worst(n: int) -> float:
        bound = Conformal(coverage=n / (n + 1), thresholds=(0.0,), patients=(n,)).lower_bound(0)
        assert bound is not None
        return bound

    assert worst(15) == pytest.approx(0.05 ** (1 / 15))
    assert next(n for n in range(1, 99) if worst(n) >= 0.80) == 14
    assert next(n for n in range(1, 99) if worst(n) >= 0.90) == 29
    assert [patients_needed(share) for share in (0.9, 0.95, 0.995)] == [9, 19, 199]
    assert all(worst(a) < worst(b) for a, b in pairwise(range(1, 40)))
    second = Conformal(coverage=14 / 16, thresholds=(0.0,), patients=(15,))
    assert second.lower_bound(0) == pytest.approx(0.72, abs=0.005)


def test_the_bound_is_what_the_small_sample_correction_starts_from() -> None:
    """Of `ssbc` (Zwart, arXiv:2509.15349): the corrected error rate is one whose bound keeps the target."""
    ssbc = pytest.importorskip("ssbc")
    n = 50
    corrected = ssbc.ssbc_correct(alpha_target=0.10, n=n, delta=0.05, mode="beta")
    k = corrected.u_star
    assert k == max(k for k in range(1, n) if beta.ppf(0.05, n + 1 - k, k) >= 0.90)
    conformal = Conformal(coverage=1 - k / (n + 1), thresholds=(0.0,), patients=(n,))
    assert conformal.lower_bound(0) >= 0.90


def test_a_checkpoint_of_before_has_one_coverage_and_promises_nothing() -> None:
    stored = json.dumps({"coverage": 0.9, "thresholds": [0.1, 0.2, 0.3, 0.4]})
    conformal = Conformal.model_validate_json(stored)
    assert conformal.coverage == (0.9,) * 4
    assert conformal.lower_bounds == (None,) * 4
    assert joined(LABELS) == ((1, 0),)
    assert joined(("wart", "other")) == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"coverage": (0.9,), "thresholds": (0.1, 0.2)},
        {"coverage": (0.9, 1.0), "thresholds": (0.1, 0.2)},
        {"coverage": 0.9, "thresholds": (0.1, 0.2), "patients": (3,)},
        {"coverage": 0.9, "thresholds": (0.1, 0.2), "joined": ((2, 0),)},
        {"coverage": math.nan, "thresholds": (0.1,)},
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"coverage|joined"):
        Conformal(**settings)
