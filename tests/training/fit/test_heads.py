"""The linear head against its slow twin."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calcinosis.training.fit.heads import fit_logistic

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


@pytest.mark.parametrize("known", [[0, 3], [1, 2, 3]])
def test_a_label_without_photos_weighs_nothing(known: list[int]) -> None:
    features, labels = draw_features()
    there = np.isin(labels, known)
    head = fit_logistic(features[there], labels[there], COUNT, 0.3)
    for label in range(COUNT):
        assert head.weights[label].any() == (label in known)
    logits = head.logits(features[there])[:, known]
    right = np.asarray(known)[logits.argmax(axis=1)] == labels[there]
    assert right.mean() > 0.8
