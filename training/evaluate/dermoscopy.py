"""Dermoscopy, which is to be refused by name: what tells it from clinical photographs, and how well.

A network of clinical photographs takes it for skin close up, so that no distance from what was learnt finds it. A
logistic regression on the network's embedding does, from a few dozen pictures that were taken through a dermatoscope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calcinosis.common.errors import TrainingError
from calcinosis.model.ood import DermoscopyDetector, unit_length
from calcinosis.training.evaluate.metrics.registry import share_over_groups
from calcinosis.training.fit.features import Integers
from calcinosis.training.fit.heads import Floats

DERMOSCOPY: Final = "dermoscopy"
"""The source label, or the source, of such pictures."""
CLINICAL: Final = 0.998
"""Share of the clinical photographs that the detector lets pass."""
_C: Final = 0.01


@dataclass(frozen=True)
class DermoscopyFit:
    """A detector, and those that its figures come from.

    Attributes:
        detector: learnt from all photographs and pictures.
        of_fold: detectors that each held a fold of both out, from the threshold too.
        fold: (m,) the place in `of_fold` of the one that has not learnt from a picture.
        refused: (n,) which photographs are refused by the detector that has not learnt from them.
        caught: (m,) which pictures are.
        groups: (m,) the lesion or patient of each picture.
    """

    detector: DermoscopyDetector
    of_fold: tuple[DermoscopyDetector, ...]
    fold: Integers
    refused: NDArray[np.bool_]
    caught: NDArray[np.bool_]
    groups: tuple[str, ...]

    def metrics(self, conditions: NDArray[np.bool_], groups: Sequence[str]) -> dict[str, Any]:
        """The shares of pictures caught and of photographs refused, and how many of these show a condition.

        Args:
            conditions: (n,) which photographs show one.
            groups: (n,) the patient of each photograph.
        """
        return {
            "caught": share_over_groups(self.caught, self.groups),
            "photos_refused": share_over_groups(self.refused, groups),
            "conditions_refused": int((self.refused & conditions).sum()),
        }


def fit_dermoscopy(
    photos: NDArray[np.floating],
    folds: Integers,
    pictures: NDArray[np.floating],
    groups: Sequence[str],
) -> DermoscopyFit:
    """Fit the detector; its threshold is the one that `CLINICAL` of the photographs pass out of fold.

    In the figures a fold's photographs and pictures meet the threshold that `CLINICAL` of the other folds'
    photographs pass, so that the share refused is measured and not set.

    Args:
        photos: (n, channels) embeddings of clinical photographs.
        folds: (n,) their folds.
        pictures: (m, channels) embeddings of dermoscopy.
        groups: (m,) the lesion or patient of each; none of them is learnt from and judged at once.

    Raises:
        TrainingError: `too_few_patients`, if there are fewer groups than folds.
    """
    numbers = np.unique(folds)
    check_dermoscopy(groups, len(numbers))
    photos, pictures = unit_length(photos), unit_length(pictures)
    splits = GroupKFold(len(numbers), shuffle=True, random_state=0).split(pictures, groups=groups)
    place = np.zeros(len(pictures), dtype=np.int64)
    photo_scores, picture_scores = np.zeros(len(photos)), np.zeros(len(pictures))
    boundaries = []
    for number, (train, held_out) in enumerate(splits):
        own = folds == numbers[number]
        boundary = _boundary(photos[~own], pictures[train])
        photo_scores[own] = boundary.scores(photos[own])
        picture_scores[held_out] = boundary.scores(pictures[held_out])
        place[held_out] = number
        boundaries.append(boundary)
    thresholds = np.array(
        [np.quantile(photo_scores[folds != number], CLINICAL) for number in numbers]
    )
    return DermoscopyFit(
        detector=_above(_boundary(photos, pictures), float(np.quantile(photo_scores, CLINICAL))),
        of_fold=tuple(map(_above, boundaries, thresholds)),
        fold=place,
        refused=photo_scores > thresholds[np.searchsorted(numbers, folds)],
        caught=picture_scores > thresholds[place],
        groups=tuple(groups),
    )


def check_dermoscopy(groups: Sequence[str], folds: int) -> None:
    """Make sure that each fold can hold a lesion or patient out.

    Raises:
        TrainingError: `too_few_patients`, if there are fewer groups than folds.
    """
    if len(set(groups)) < folds:
        raise TrainingError(
            "too_few_patients",
            f"dermoscopy of {len(set(groups))} groups cannot be learnt from in {folds} folds; give pictures of "
            "more lesions, or call their source_label something else (and their source, where that is "
            f"{DERMOSCOPY}) to have them asked about alone",
        )


def _boundary(photos: Floats, pictures: Floats) -> DermoscopyDetector:
    """A regression on standardised embeddings, where photographs and pictures weigh alike, in one linear form."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=_C, class_weight="balanced", max_iter=2000)
    )
    shown = np.repeat([False, True], [len(photos), len(pictures)])
    model.fit(np.concatenate([photos, pictures]), shown)
    scaler, regression = model[0], model[1]
    weights = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - weights @ scaler.mean_)
    return DermoscopyDetector(weights=tuple(weights.tolist()), bias=bias)


def _above(boundary: DermoscopyDetector, threshold: float) -> DermoscopyDetector:
    """The same with its boundary at a threshold, in five digits."""
    weights = tuple(float(f"{weight:.5g}") for weight in boundary.weights)
    return DermoscopyDetector(weights=weights, bias=float(f"{boundary.bias - threshold:.5g}"))
