"""The labels that stay on a photo's list, and how sure it is that the right one is among them."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Floats = NDArray[np.float64]

_ROUNDING = 1e-9
_BISECTIONS = 60
_CONFIDENCE = 0.95


class Conformal(BaseModel):
    """Class-conditional (Mondrian) split conformal prediction, one threshold per label (Vovk 2013, arXiv:1209.2673).

    A label is in the prediction set when its probability under the reference prior reaches its threshold.
    Thresholds are set on patients, each by its worst photo, so that of new patients *of that label* about
    a share `coverage` keep it in the sets of all their photos, if they come as the calibration patients
    came. About, because the thresholds are those of cross-validated scores while the network that is asked
    was fitted on all photos (arXiv:2503.01495 says what such reuse can cost). How far few patients can be
    off is what `lower_bound` says.

    Sets are monotone: no label stands outside that is more probable than one inside. A label that `joined` keeps
    beside its leading mimic counts as one with it, and so may be less probable than one outside.

    Attributes:
        coverage: of each label; one number stands for all.
        thresholds: of each label; 0 where a label is never left out.
        patients: of each label, how many the threshold was set on; null where photos were counted.
        joined: pairs (leader, mimic) of label numbers: where the leader is the most probable label, the
            mimic stays in the set beside it, however improbable, because no photograph tells them apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    coverage: tuple[float, ...]
    thresholds: tuple[float, ...]
    patients: tuple[int, ...] | None = None
    joined: tuple[tuple[int, int], ...] = Field(default=())

    @model_validator(mode="before")
    @classmethod
    def _one_coverage_stands_for_all(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("coverage"), int | float):
            values = values | {
                "coverage": (values["coverage"],) * len(values.get("thresholds", ()))
            }
        return values

    @field_validator("coverage")
    @classmethod
    def _coverage_is_a_share(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in value):
            raise ValueError("each coverage lies between 0 and 1")
        return value

    @model_validator(mode="after")
    def _lengths_agree(self) -> "Conformal":
        labels = len(self.thresholds)
        if len(self.coverage) != labels or (self.patients and len(self.patients) != labels):
            raise ValueError("coverage, thresholds and patients hold one number per label")
        if any(not 0 <= label < labels for pair in self.joined for label in pair):
            raise ValueError("joined names labels by their numbers, from 0")
        return self

    def prediction_sets(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Membership (n, labels) for probabilities (n, labels) under the reference prior.

        The most probable label is always among them, even below its threshold, and no set is empty.
        """
        members = probabilities >= np.asarray(self.thresholds)
        leader = probabilities.argmax(axis=1)
        members[np.arange(len(members)), leader] = True
        members = monotone(members, probabilities)
        for named, mimic in self.joined:
            members[leader == named, mimic] = True
        return members

    def lower_bound(self, label: int) -> float | None:
        """The coverage that a label has with 95 % confidence, given how few patients set its threshold.

        Over draws of n calibration patients, the coverage of a threshold at the k-th smallest of their
        scores follows Beta(n + 1 - k, k) (Marques F. 2023, arXiv:2303.02770). The bound is its quantile at
        0.05, for new patients who come as these came. None where patients were not counted, and
        where they are too few for a bound: the label then stands in every set.

        >>> conformal = Conformal(coverage=0.9, thresholds=(0.1, 0.2), patients=(15, 29))
        >>> round(conformal.lower_bound(0), 3), round(conformal.lower_bound(1), 3)
        (0.819, 0.847)
        """
        if self.patients is None:
            return None
        n = self.patients[label]
        k = threshold_rank(n, self.coverage[label])
        return None if k == 0 else _beta_quantile(1 - _CONFIDENCE, n, k)

    @cached_property
    def lower_bounds(self) -> tuple[float | None, ...]:
        """`lower_bound` of each label."""
        return tuple(self.lower_bound(label) for label in range(len(self.thresholds)))


def monotone(members: NDArray[np.bool_], probabilities: Floats) -> NDArray[np.bool_]:
    """The sets with all labels that are more probable than one inside; (n, labels) both."""
    least = np.where(members, probabilities, np.inf).min(axis=1, keepdims=True)
    closed: NDArray[np.bool_] = probabilities >= least
    return closed


def threshold_rank(patients: int, coverage: float) -> int:
    """Which of n calibration scores, counted from the worst, is the threshold; 0 where n is too small."""
    return patients + 1 - math.ceil((patients + 1) * coverage - _ROUNDING)


def patients_needed(coverage: float) -> int:
    """The fewest calibration patients that support a coverage: 9 for 0.90, 199 for 0.995."""
    return math.ceil(coverage / (1 - coverage) - _ROUNDING)


def _beta_quantile(share: float, n: int, k: int) -> float:
    """The quantile of Beta(n + 1 - k, k), by bisection of its distribution function as a binomial sum."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        x = (low + high) / 2
        logs = [
            math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1)
            + j * math.log1p(-x) + (n - j) * math.log(x)
            for j in range(k)
        ]  # fmt: skip
        low, high = (x, high) if math.fsum(map(math.exp, logs)) < share else (low, x)
    return (low + high) / 2
