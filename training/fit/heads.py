"""Linear heads on frozen features, each fitted in another way to the same few photographs.

What comes out is always weights and biases, so that any blend of heads is one linear layer again.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Integers = NDArray[np.int64]
HeadName = Literal["logistic", "discriminant", "distilled"]
TopHeadName = Literal["predicted", "logistic"]

_ROUNDS: Final = 500


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


def fit_logistic(features: Features, labels: Integers, count: int, strength: float) -> Head:
    """A balanced logistic regression on standardised features.

    Balanced means that the logits hold for labels that are equally likely.

    Args:
        features: (n, width).
        labels: (n,).
        count: of labels; the weights of one without photos are 0.
        strength: scikit-learn's C.
    """
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_ROUNDS)
    model.fit(scaler.transform(features), labels)
    head = _every_label(model.coef_, model.intercept_, model.classes_, count)
    weights = head.weights / scaler.scale_
    return Head(weights, head.biases - weights @ scaler.mean_)


def fit_lda(features: Features, labels: Integers, count: int, shrinkage: float) -> Head:
    """Fisher's linear discriminant, with every label weighing the same.

    The covariance within the labels is shrunk towards a multiple of the identity (Ledoit and Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4). Each label has an equal part in it: how photographs of one rare
    condition differ from each other, in light, distance and site, then counts as much as how all the
    others do, and the directions in which they do are discounted.

    Args:
        features: (n, width).
        labels: (n,).
        count: of labels; the weights of one without photos are 0.
        shrinkage: share of the identity, above 0 and at most 1.
    """
    known = np.unique(labels)
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.full(len(known), 1 / len(known))
    )
    model.fit(features, labels)
    return _every_label(model.coef_, model.intercept_, model.classes_, count)


def fit_distilled(
    features: Features,
    labels: Integers,
    count: int,
    taught: Features,
    ridge: float,
    strength: float,
) -> Head:
    """A logistic regression in the space of a teacher, as far as features predict it.

    The teacher's embedding of a photo is predicted from the features by ridge regression; a logistic
    regression then reads the predicted embedding. Two linear maps are one, so the teacher (Hinton et al.
    2015, arXiv:1503.02531, whose student is a network and ours a layer) is not needed again. It says which
    of thousands of directions matter, which a few dozen labels cannot.

    Args:
        features: (n, width).
        labels: (n,).
        count: of labels; the weights of one without photos are 0.
        taught: (n, d) the teacher's embeddings of the same photos.
        ridge: penalty, in units of the mean squared length of the standardised features.
        strength: scikit-learn's C of the logistic regression.
    """
    predicting = fit_ridge(features, StandardScaler().fit_transform(taught), ridge)
    return fit_on_predicted(features, labels, count, predicting, strength)


def fit_on_predicted(
    features: Features, labels: Integers, count: int, predicting: Head, strength: float
) -> Head:
    """A logistic regression on what features (n, width) predict, as one layer that reads the features."""
    predicted = predicting.logits(features).astype(np.float32)
    head = fit_logistic(predicted, labels, count, strength)
    return Head(head.weights @ predicting.weights, head.biases + head.weights @ predicting.biases)


def fit_ridge(features: Features, taught: Features, ridge: float) -> Head:
    """The ridge regression of standardised embeddings (n, d) on features (n, width), whose outputs are d.

    `ridge` is the penalty, in units of the mean squared length of the standardised features.
    """
    scaler = StandardScaler().fit(features)
    x = scaler.transform(features).astype(np.float64)
    # By likeness where there are fewer photos than features, by the features' covariance otherwise.
    narrow = x.shape[1] < len(x)
    likeness = x.T @ x if narrow else x @ x.T
    likeness.flat[:: len(likeness) + 1] += ridge * (x**2).sum() / len(x)
    factor = cho_factor(likeness, overwrite_a=True)
    solved = cho_solve(factor, x.T @ taught) if narrow else x.T @ cho_solve(factor, taught)
    weights = solved.T / scaler.scale_
    return Head(weights, -weights @ scaler.mean_)


def _every_label(weights: Floats, biases: Floats, known: Integers, count: int) -> Head:
    """A head of all the labels, from what scikit-learn fitted to those it has seen."""
    if len(known) == 2:  # scikit-learn keeps one row for two labels
        sides = np.array([[-0.5], [0.5]])
        weights, biases = sides * weights, sides[:, 0] * biases
    whole = Head(np.zeros((count, weights.shape[1])), np.zeros(count))
    whole.weights[known], whole.biases[known] = weights, biases
    return whole
