"""Probabilities that sum to 1 and move by Bayes' rule, and prediction sets that are never empty."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from calcinosis.model.calibration import Calibration, check_prior
from calcinosis.model.conformal import Conformal

LABELS = 4
PLAIN = Calibration(temperature=1.0, bias=(0.0,) * LABELS)
LIMIT = 3.4e38  # the largest number that a network's float32 can hold

logits = arrays(np.float64, (3, LABELS), elements=st.floats(-30, 30))
extreme_logits = arrays(np.float64, (3, LABELS), elements=st.floats(-LIMIT, LIMIT))
biases = st.tuples(*[st.floats(-5, 5)] * LABELS)
temperatures = st.floats(0.05, 20)
priors = st.tuples(*[st.floats(1e-6, 1e3)] * LABELS)
thresholds = st.tuples(*[st.floats(0, 1)] * LABELS)


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


@given(extreme_logits, temperatures, biases, st.none() | priors)
def test_probabilities_sum_to_one(
    scores: np.ndarray, temperature: float, bias: tuple, prior: tuple | None
) -> None:
    found = Calibration(temperature=temperature, bias=bias).probabilities(scores, prior)
    assert found.shape == scores.shape
    assert (found >= 0).all()
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-12)


@given(logits, temperatures, biases)
def test_without_a_prior_it_is_a_softmax(
    scores: np.ndarray, temperature: float, bias: tuple
) -> None:
    found = Calibration(temperature=temperature, bias=bias).probabilities(scores)
    for row, own in zip(found, scores, strict=True):
        expected = softmax([s / temperature + b for s, b in zip(own, bias, strict=True)])
        assert row == pytest.approx(expected, abs=1e-12)


@given(logits, temperatures, biases, priors)
def test_a_prior_moves_probabilities_by_bayes_rule(
    scores: np.ndarray, temperature: float, bias: tuple, prior: tuple
) -> None:
    calibration = Calibration(temperature=temperature, bias=bias)
    reference = calibration.probabilities(scores)
    found = calibration.probabilities(scores, prior)
    for row, own in zip(found, reference, strict=True):
        # Under equal chances the posterior is the likelihood, up to its scale.
        joint = [likelihood * chance for likelihood, chance in zip(own, prior, strict=True)]
        evidence = math.fsum(joint)
        assert row == pytest.approx([p / evidence for p in joint], rel=1e-6, abs=1e-12)


@given(logits, st.floats(1e-3, 1e3))
def test_equal_chances_change_nothing(scores: np.ndarray, chance: float) -> None:
    plain = PLAIN.probabilities(scores)
    assert PLAIN.probabilities(scores, (chance,) * LABELS) == pytest.approx(plain, abs=1e-12)


@given(priors, st.floats(1e-3, 1e3))
def test_the_scale_of_a_prior_does_not_matter(prior: tuple, scale: float) -> None:
    scaled = check_prior([chance * scale for chance in prior], LABELS)
    assert scaled == pytest.approx(check_prior(prior, LABELS), rel=1e-9)
    assert math.fsum(scaled) == pytest.approx(1)


@pytest.mark.parametrize(
    "prior",
    [
        (),
        (1, 1, 1),
        (1, 1, 1, 1, 1),
        (1, 1, 1, 0),
        (1, 1, 1, -0.1),
        (1, 1, 1, math.nan),
        (1, 1, 1, math.inf),
        ((1, 1), (1, 1)),
    ],
)
def test_what_is_no_prior_is_refused(prior: tuple) -> None:
    with pytest.raises(ValueError, match="a prior is 4 numbers above 0"):
        check_prior(prior, LABELS)
    with pytest.raises(ValueError, match="a prior is 4 numbers above 0"):
        PLAIN.probabilities(np.zeros((1, LABELS)), prior)


def test_large_chances_are_a_prior() -> None:
    assert check_prior((1e308,) * LABELS, LABELS) == pytest.approx([0.25] * LABELS)


@given(logits, thresholds)
def test_no_set_is_empty(scores: np.ndarray, bounds: tuple) -> None:
    members = Conformal(coverage=0.9, thresholds=bounds).prediction_sets(
        PLAIN.probabilities(scores)
    )
    assert members.any(axis=1).all()


@given(logits, thresholds)
def test_a_set_holds_the_most_probable_label_and_those_as_probable_as_one_that_reaches_its_threshold(
    scores: np.ndarray, bounds: tuple
) -> None:
    probabilities = PLAIN.probabilities(scores)
    members = Conformal(coverage=0.9, thresholds=bounds).prediction_sets(probabilities)
    for row, own in zip(members, probabilities, strict=True):
        least = min(p for label, p in enumerate(own) if p >= bounds[label] or label == own.argmax())
        for label, member in enumerate(row):
            assert member == (own[label] >= least)


@given(logits, thresholds, st.integers(0, LABELS - 1), st.floats(0, 1))
def test_a_lower_threshold_never_takes_its_label_away(
    scores: np.ndarray, bounds: tuple, label: int, share: float
) -> None:
    probabilities = PLAIN.probabilities(scores)
    lower = list(bounds)
    lower[label] *= share
    before = Conformal(coverage=0.9, thresholds=bounds).prediction_sets(probabilities)
    after = Conformal(coverage=0.9, thresholds=tuple(lower)).prediction_sets(probabilities)
    assert (after[:, label] >= before[:, label]).all()


@given(logits, thresholds, st.floats(0, 1))
def test_lower_thresholds_never_make_a_set_smaller(
    scores: np.ndarray, bounds: tuple, share: float
) -> None:
    probabilities = PLAIN.probabilities(scores)
    before = Conformal(coverage=0.9, thresholds=bounds).prediction_sets(probabilities)
    lower = tuple(bound * share for bound in bounds)
    after = Conformal(coverage=0.9, thresholds=lower).prediction_sets(probabilities)
    assert (after >= before).all()


def test_the_probabilities_that_were_given_stay_as_they_were() -> None:
    probabilities = PLAIN.probabilities(np.eye(LABELS))
    before = probabilities.copy()
    Conformal(coverage=0.9, thresholds=(0.99,) * LABELS).prediction_sets(probabilities)
    assert (probabilities == before).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0, "bias": (0.0,) * LABELS},
        {"temperature": -1, "bias": (0.0,) * LABELS},
        {"temperature": math.nan, "bias": (0.0,) * LABELS},
        {"temperature": math.inf, "bias": (0.0,) * LABELS},
        {"temperature": 1, "bias": (0.0, 0.0, 0.0, math.nan)},
        {"temperature": 1, "bias": (0.0,) * LABELS, "slope": 1},
    ],
)
def test_a_calibration_that_would_spoil_every_number_is_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        Calibration(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"coverage": 0, "thresholds": (0.1,) * LABELS},
        {"coverage": 1, "thresholds": (0.1,) * LABELS},
        {"coverage": 0.9, "thresholds": (0.1, 0.1, 0.1, math.nan)},
        {"coverage": 0.9, "thresholds": (0.1, 0.1, 0.1, -math.inf)},
    ],
)
def test_conformal_settings_without_a_meaning_are_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        Conformal(**settings)
