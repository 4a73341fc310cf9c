"""Linear heads against their slow twins."""

import numpy as np
import pytest
from calcinosis.training.fit.heads import (
    fit_distilled,
    fit_lda,
    fit_logistic,
    fit_ridge,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COUNT = 4


def draw_features(seed: int = 0, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features (120, width) of uneven scales, and labels of which one is rare."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(COUNT), (10, 20, 30, 60))
    centres = generator.normal(size=(COUNT, width))
    features = centres[labels] + generator.normal(size=(len(labels), width))
    scales = np.linspace(0.1, 5, width)
    return (features * scales + 3).astype(np.float32), labels


def test_logistic_equals_a_pipeline_of_scikit_learn() -> None:
    features, labels = draw_features()
    head = fit_logistic(features, labels, COUNT, 0.1)
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
    ).fit(features, labels)
    assert head.logits(features) == pytest.approx(model.decision_function(features), abs=1e-3)


def test_discriminant_equals_its_formula() -> None:
    """Place by place: each label's covariance with an equal part, shrunk, and the distance to its mean."""
    features, labels = draw_features()
    head = fit_lda(features, labels, COUNT, 0.3)
    covariance = np.zeros((12, 12))
    for label in range(COUNT):
        own = np.cov(features[labels == label].T, bias=True)
        shrunk = 0.7 * own + 0.3 * np.trace(own) / 12 * np.eye(12)
        covariance += shrunk / COUNT
    inverse = np.linalg.inv(covariance)
    for n in (0, 50, 119):
        distances = [
            (features[n] - mean) @ inverse @ (features[n] - mean)
            for mean in (features[labels == label].mean(axis=0) for label in range(COUNT))
        ]
        found = head.logits(features[n : n + 1])[0]
        wanted = -0.5 * np.array(distances)
        assert found - found[0] == pytest.approx(wanted - wanted[0], abs=1e-2)


def test_distilled_equals_its_two_steps() -> None:
    features, labels = draw_features()
    taught = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
    taught = np.tanh(features @ taught / 20)
    head = fit_distilled(features, labels, COUNT, taught, ridge=0.5, strength=0.1)
    x = StandardScaler().fit_transform(features)
    ridge = Ridge(alpha=0.5 * (x**2).sum() / len(x), fit_intercept=False)
    predicted = ridge.fit(x, StandardScaler().fit_transform(taught)).predict(x)
    wanted = fit_logistic(predicted.astype(np.float32), labels, COUNT, 0.1).logits(predicted)
    assert head.logits(features) == pytest.approx(wanted, abs=1e-2)


@pytest.mark.parametrize("count", [12, 120])
def test_foretelling_equals_ridge_with_more_features_than_photos_and_with_fewer(count: int) -> None:
    features = draw_features(width=40)[0][:count]
    taught = np.random.default_rng(3).normal(size=(count, 5)).astype(np.float32)
    found = fit_ridge(features, taught, ridge=0.5).logits(features)
    x = StandardScaler().fit_transform(features).astype(np.float64)
    ridge = Ridge(alpha=0.5 * (x**2).sum() / len(x), fit_intercept=False)
    assert found == pytest.approx(ridge.fit(x, taught).predict(x), abs=1e-4)


def test_a_teacher_who_knows_makes_up_for_photographs() -> None:
    """Among 200 features one tells the labels apart; 12 photos cannot say which, a teacher can."""
    generator = np.random.default_rng(2)
    labels = np.arange(400) % 2
    features = generator.normal(size=(400, 200)).astype(np.float32)
    features[:, 7] += 2 * labels
    shown = np.where(np.arange(400) < 12, labels, 2)  # the others have some third label
    taught = features[:, 5:10]
    head = fit_distilled(features, shown, 3, taught, ridge=0.1, strength=0.1)
    plain = fit_logistic(features, shown, 3, 0.1)
    new = generator.normal(size=(400, 200)).astype(np.float32)
    new[:, 7] += 2 * labels

    def right(logits: np.ndarray) -> float:
        return float((logits[:, :2].argmax(axis=1) == labels).mean())

    assert right(head.logits(new)) > right(plain.logits(new)) + 0.1


@pytest.mark.parametrize("fit", [fit_logistic, fit_lda])
@pytest.mark.parametrize("known", [[0, 3], [1, 2, 3]])
def test_a_label_without_photos_weighs_nothing(fit: object, known: list[int]) -> None:
    features, labels = draw_features()
    there = np.isin(labels, known)
    head = fit(features[there], labels[there], COUNT, 0.3)  # type: ignore[operator]
    for label in range(COUNT):
        assert head.weights[label].any() == (label in known)
    logits = head.logits(features[there])[:, known]
    right = np.asarray(known)[logits.argmax(axis=1)] == labels[there]
    assert right.mean() > 0.8
