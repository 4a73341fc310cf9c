"""Calibration and conformal thresholds against slow twins."""

import math

import numpy as np
import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.model.conformal import Conformal
from calcinosis.training.evaluate.calibrate import (
    check_coverage,
    fit_calibration,
    fit_calibrator,
    fit_conformal,
)
from calcinosis.training.evaluate.out_of_fold import FoldCalibrator, thresholds_by_fold


def draw_logits(n: int, seed: int = 0, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth for equally likely labels, then stretched."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(3, p=p) for p in chances])
    return logits * stretch, labels


def test_temperature_undoes_a_stretch() -> None:
    logits, labels = draw_logits(6000, stretch=2.5)
    calibration = fit_calibration(logits, labels)
    assert calibration.temperature == pytest.approx(2.5, rel=0.1)
    assert calibration.bias == pytest.approx((0, 0, 0), abs=0.15)


def test_bias_undoes_uneven_proportions() -> None:
    """Photos of one label taken four times as often must not move the probabilities."""
    logits, labels = draw_logits(6000)
    repeated = np.concatenate([np.arange(len(labels)), *[np.flatnonzero(labels == 0)] * 3])
    even, uneven = (
        fit_calibration(logits, labels),
        fit_calibration(logits[repeated], labels[repeated]),
    )
    assert uneven.bias == pytest.approx(even.bias, abs=0.02)


def test_a_label_without_photos_is_refused() -> None:
    logits, labels = draw_logits(60)
    with pytest.raises(TrainingError) as caught:
        fit_calibration(logits[labels != 2], labels[labels != 2])
    assert caught.value.code == "label_without_photos"


def patients(n: int) -> list[str]:
    """A patient for each photo."""
    return [str(number) for number in range(n)]


@pytest.mark.parametrize("n", [1, 8, 9, 10, 18, 19, 57])
def test_threshold_is_the_largest_that_keeps_enough_of_the_label(n: int) -> None:
    generator = np.random.default_rng(n)
    own = generator.random(n)
    probabilities = np.stack([own, 1 - own], axis=1)
    labels = np.zeros(n, dtype=np.int64)
    threshold = fit_conformal(probabilities, labels, patients(n), (0.9, 0.9)).thresholds[0]
    needed = math.ceil((n + 1) * 0.9)
    candidates = [t for t in [0.0, *own] if (own >= t).sum() + (t == 0.0) >= needed]
    assert threshold == max(candidates, default=0.0)
    assert (threshold == 0.0) == (n < 9)


def test_new_photos_are_covered_as_often_as_stated() -> None:
    """Averaged over many draws of a small calibration set, coverage is at least what was asked."""
    covered = []
    for seed in range(300):
        logits, labels = draw_logits(160, seed)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        conformal = fit_conformal(probabilities[:80], labels[:80], patients(80), (0.9,) * 3)
        members = conformal.prediction_sets(probabilities[80:])
        covered.append(members[np.arange(80), labels[80:]].mean())
    assert 0.895 <= np.mean(covered) <= 0.96


def test_a_patient_counts_once_by_the_worst_photo() -> None:
    own = np.array([0.9, 0.1, 0.8, 0.7, 0.6])
    probabilities, labels = np.stack([own, 1 - own], axis=1), np.zeros(5, dtype=np.int64)
    groups = ["a", "a", "b", "c", "c"]
    conformal = fit_conformal(probabilities, labels, groups, (0.5, 0.5))
    assert conformal.patients == (3, 0)
    assert conformal.thresholds == (0.6, 0.0)  # the second smallest of 0.1, 0.6 and 0.8
    doubled = fit_conformal(
        np.repeat(probabilities, 3, axis=0),
        np.repeat(labels, 3),
        np.repeat(groups, 3).tolist(),
        (0.5, 0.5),
    )
    assert doubled == conformal


def test_a_coverage_that_too_few_patients_support_is_refused_with_the_number() -> None:
    labels = ["other"] * 240 + ["milium"] * 240
    folds = [n % 5 for n in range(240)] * 2
    check_coverage(labels, patients(480), folds, {"milium": 0.9, "other": 0.994})
    with pytest.raises(
        TrainingError,
        match=r"takes 199 .* one has 192; those support 0.994 .*ask for other = 0.994 in `coverage`",
    ) as caught:
        check_coverage(labels, patients(480), folds, {"milium": 0.9, "other": 0.995})
    assert caught.value.code == "too_few_patients"


def test_a_label_that_a_fold_did_not_know_is_in_none_of_its_sets() -> None:
    logits, labels = draw_logits(60)
    known = np.array([0, 1, 3])
    fitted = fit_calibrator(logits, labels, patients(60), [0.8] * 3, ())
    fold = FoldCalibrator(known, fitted)
    thresholds = thresholds_by_fold({0: fold, 1: FoldCalibrator(np.array([3]), None)}, 4)
    assert thresholds["1"] == [1, 1, 1, 0]
    p, members = fold.predict(np.insert(logits, 2, 0.0, axis=1), [0.25] * 4)
    again = Conformal(coverage=0.8, thresholds=tuple(thresholds["0"])).prediction_sets(p)
    assert (again == members).all()
    assert not again[:, 2].any()
