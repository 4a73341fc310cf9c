"""The linear head on features: it is weights and biases, and so fits into the network's last layer."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Integers = NDArray[np.int64]

_ITERATIONS: Final = 500


@dataclass(frozen=True)
class Head:
    """Logits from features.

    Attributes:
        weights: (labels, width).
        biases: (labels,).
    """

    weights: Floats
    biases: Floats

    def logits(self, features: Features) -> Floats:
        """Logits (n, labels) of features (n, width)."""
        logits: Floats = features.astype(np.float64) @ self.weights.T + self.biases
        return logits


def fit_logistic(features: Features, labels: Integers, count: int, C: float) -> Head:  # noqa: N803
    """A balanced logistic regression on standardised features.

    Balanced means that the logits hold for labels that are equally likely.

    Args:
        features: (n, width).
        labels: (n,).
        count: of labels; the weights of one without photos are 0.
        C: scikit-learn's inverse strength of the penalty.
    """
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=_ITERATIONS)
    model.fit(scaler.transform(features), labels)
    head = _every_label(model.coef_, model.intercept_, model.classes_, count)
    weights = head.weights / scaler.scale_
    return Head(weights, head.biases - weights @ scaler.mean_)


def _every_label(weights: Floats, biases: Floats, known: Integers, count: int) -> Head:
    """A head of all the labels, from what scikit-learn fitted to those it has seen."""
    if len(known) == 2:  # scikit-learn keeps one row for two labels
        sides = np.array([[-0.5], [0.5]])
        weights, biases = sides * weights, sides[:, 0] * biases
    whole = Head(np.zeros((count, weights.shape[1])), np.zeros(count))
    whole.weights[known], whole.biases[known] = weights, biases
    return whole
