"""Whether the label can be told from what is no sign of disease: the source, a mark, light and colour.

A model that scores well on a data set in which these score well has not been shown to see skin.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score, mutual_info_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calcinosis.data.audit.scan import BLUR_SIDE, ScannedPhoto, small_pictures
from calcinosis.data.manifest import Row

Box = tuple[float, float, float, float]
Figures = dict[str, float | dict[str, float]]

FOLDS: Final = 5
_MARK_CANVAS: Final = (32, 16)


def source_alone(rows: Sequence[Row]) -> Figures | None:
    """How well the name of the source tells the label.

    Returns:
        `balanced_accuracy` of guessing, for each source, the label most of whose photos lie there
        (chance: 1 / number of labels); `explained`, the share of the label's entropy that the source
        removes, from 0 to 1; `auroc.<label>`, of the label's share in the source against all other
        photos. None with fewer than two labels.
    """
    labels = np.array([row.label for row in rows])
    sources = np.array([row.source for row in rows])
    names = sorted({row.label for row in rows})
    if len(names) < 2:
        return None
    guess_of, share_of = {}, {}
    for source in sorted(set(sources)):
        held = {label: float(np.mean(sources[labels == label] == source)) for label in names}
        guess_of[source] = max(names, key=held.__getitem__)
        share_of[source] = {
            label: float(np.mean(labels[sources == source] == label)) for label in names
        }
    guess = [guess_of[source] for source in sources]
    entropy = mutual_info_score(labels, labels)
    return {
        "balanced_accuracy": _rounded(balanced_accuracy_score(labels, guess)),
        "chance": _rounded(1 / len(names)),
        "explained": _rounded(mutual_info_score(labels, sources) / entropy),
        "auroc": {
            label: _rounded(roc_auc_score(labels == label, [share_of[s][label] for s in sources]))
            for label in names
        },
    }


def predictability_from(
    features: NDArray[Any], rows: Sequence[Row], groups: Sequence[str]
) -> Figures | None:
    """How well a ridge classifier tells the label from some features, on photos it has not seen.

    Five folds that no group crosses; labels weigh the same however many photos they have.

    Args:
        features: n × d.
        rows: the n photos.
        groups: of the photos; what shares one never crosses a fold.

    Returns:
        `balanced_accuracy`, its `chance`, and `auroc.<label>` against all other photos, over the
        labels with at least five groups; None with fewer than two of these.
    """
    all_labels = np.array([row.label for row in rows])
    names = [
        label
        for label in sorted({row.label for row in rows})
        if len({group for row, group in zip(rows, groups, strict=True) if row.label == label})
        >= FOLDS
    ]
    if len(names) < 2:
        return None
    used = np.isin(all_labels, names)
    labels, group = all_labels[used], np.array(groups)[used]
    values = np.asarray(features).reshape(len(rows), -1)[used].astype(np.float32)
    scores = np.full((len(labels), len(names)), -1.0)  # where a fold's training lacks the label
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(values, labels, group):
        probe = make_pipeline(
            StandardScaler(copy=False),
            RidgeClassifier(alpha=len(train), class_weight="balanced", copy_X=False),
        ).fit(values[train], labels[train])
        known = [names.index(label) for label in probe.classes_]
        scores[np.ix_(test, known)] = _one_column_a_label(probe.decision_function(values[test]))
    guess = np.array(names)[scores.argmax(axis=1)]
    return {
        "balanced_accuracy": _rounded(balanced_accuracy_score(labels, guess)),
        "chance": _rounded(1 / len(names)),
        "auroc": {
            label: _rounded(roc_auc_score(labels == label, scores[:, i]))
            for i, label in enumerate(names)
        },
    }


def _one_column_a_label(scores: NDArray[Any]) -> NDArray[Any]:
    """n × labels; for two labels scikit-learn gives the second one's score alone."""
    return scores if scores.ndim == 2 else np.stack([-scores, scores], axis=1)


def confounding(
    photos: Sequence[ScannedPhoto],
    rows: Sequence[Row],
    groups: Sequence[str],
    places: Sequence[Box],
    boxes_of: Mapping[int, Sequence[Box]],
) -> dict[str, Figures | None]:
    """How well the label is told from what is no sign of disease, before and after masking the marks.

    Args:
        photos: the readable photos.
        rows: of the same photos.
        groups: of the same photos, duplicates joined.
        places: where marks are, over the whole data set.
        boxes_of: by photo, where its own marks are.

    Returns:
        `source`: from the source's name alone. `mark_place`: from the places where marks are, and
        nothing else of the photo, 32 × 16 pixels each. `blur`: from the photo at 16 × 16 pixels.
        `blur_masked_where_marked`: the same with each mark painted over. `blur_masked_everywhere`:
        the same with those places painted over on every photo, marked or not, so that the paint
        says nothing. `embedding`: from the backbone's, for comparison. None where the data cannot
        answer.
    """
    if not photos:
        return {}
    places = merged(places)
    figures: dict[str, Figures | None] = {"source": source_alone(rows)}
    if places:
        patches = [
            np.concatenate([_patch(picture, place).ravel() for place in places])
            for picture in small_pictures(photos)
        ]
        figures["mark_place"] = predictability_from(np.stack(patches), rows, groups)
    figures["blur"] = predictability_from(_blurred(photos, lambda number: ()), rows, groups)
    if places:
        figures["blur_masked_where_marked"] = predictability_from(
            _blurred(photos, lambda number: boxes_of.get(number, ())), rows, groups
        )
        figures["blur_masked_everywhere"] = predictability_from(
            _blurred(photos, lambda number: places), rows, groups
        )
    figures["embedding"] = predictability_from(
        np.stack([photo.embedding for photo in photos]), rows, groups
    )
    return figures


def merged(boxes: Sequence[Box]) -> list[Box]:
    """The boxes, with those that overlap made one: logos of one corner are one place."""
    apart: list[Box] = []
    for box in boxes:
        for other in [other for other in apart if _overlap(box, other)]:
            apart.remove(other)
            low, high = np.minimum(box, other), np.maximum(box, other)
            box = (float(low[0]), float(low[1]), float(high[2]), float(high[3]))
        apart.append(box)
    return apart


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _blurred(
    photos: Sequence[ScannedPhoto], masked: Callable[[int], Sequence[Box]]
) -> NDArray[Any]:
    """n × 16 × 16 × 3: the photos with some boxes painted in the mean colour of the rest."""
    small = []
    for number, picture in enumerate(small_pictures(photos)):
        height, width, _ = picture.shape
        kept = np.ones((height, width), bool)
        for left, upper, right, lower in masked(number):
            rows = slice(int(upper * height), int(np.ceil(lower * height)))
            kept[rows, int(left * width) : int(np.ceil(right * width))] = False
        if not kept.all() and kept.any():
            picture = picture.copy()
            picture[~kept] = picture[kept].mean(axis=0).round()
        side = (BLUR_SIDE, BLUR_SIDE)
        small.append(cv2.resize(picture, side, interpolation=cv2.INTER_AREA))
    return np.stack(small)


def _patch(picture: NDArray[Any], box: Box) -> NDArray[Any]:
    """16 × 32 × 3: what is inside a box."""
    height, width, _ = picture.shape
    left, upper = int(box[0] * width), int(box[1] * height)
    right, lower = max(left + 1, int(box[2] * width)), max(upper + 1, int(box[3] * height))
    inside = picture[upper:lower, left:right]
    return cv2.resize(inside, _MARK_CANVAS, interpolation=cv2.INTER_AREA)


def _rounded(value: float) -> float:
    return round(float(value), 4)
