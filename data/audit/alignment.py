"""Whether two photos show the same picture.

Keypoints give the one move (a shift, a turn, a change of size, a mirror) that lays a photo over the
other; how well the pixels then agree, tile by tile, tells whether it is the same picture.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

KEYPOINTS: Final = 250
_RATIO: Final = 0.8  # Lowe, IJCV 2004, section 7.1, figure 11
FEWEST_MATCHES: Final = 7
_REPROJECTION_PIXELS: Final = 3.0
_SCALES: Final = (0.15, 6.5)
_SMALLEST_OVERLAP: Final = 0.25
_BLUR_PIXELS: Final = 1.5
_FEWEST_SPREAD: Final = 0.1  # of the overlap: what the matched keypoints span; a logo spans less
_TILES: Final = 5
_SMOOTH_LEVELS: Final = 1.5  # a tile that varies by fewer grey levels tells nothing
_SAME_SHAPE: Final = 0.06

_SIFT = cv2.SIFT.create(nfeatures=KEYPOINTS, contrastThreshold=0.01)

# SIFT counts gradients in 4 × 4 cells and 8 directions relative to the keypoint's own direction:
# in a mirror the cells swap sides and the directions turn round.
_IN_MIRROR: Final = np.arange(128).reshape(4, 4, 8)[::-1][:, :, (8 - np.arange(8)) % 8].reshape(128)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """What is needed of a photo to lay another over it.

    Attributes:
        grey: height × width, 8 bits, slightly blurred.
        points: n × 2, x and y in pixels.
        descriptors: n × 128, RootSIFT in 8 bits, since thousands of photos are kept at a time.
    """

    grey: NDArray[Any]
    points: NDArray[Any]
    descriptors: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How one photo lies over another.

    Attributes:
        agreement: correlation of the pixels where they overlap, at most 1.
        overlap: the shared area as a share of the smaller photo's.
        matches: keypoints that the move brings together.
        scale: how much larger the second photo shows the same thing.
        turn: in degrees.
        mirrored: whether the second photo is a mirror image.
    """

    agreement: float
    overlap: float
    matches: int
    scale: float
    turn: float
    mirrored: bool

    def in_words(self) -> str:
        parts = [f"overlap {self.overlap:.0%}"]
        if abs(np.log(self.scale)) > 0.03:
            parts.append(f"scale {self.scale:.2f}")
        if abs(self.turn) > 3:
            parts.append(f"turned by {self.turn:.0f}°")
        if self.mirrored:
            parts.append("mirrored")
        return ", ".join(parts)


def detect_keypoints(
    photo: Image.Image, masked: Iterable[tuple[float, float, float, float]] = ()
) -> Keypoints:
    """Keypoints and descriptors of a small picture (a long side of about 256 pixels).

    SIFT (Lowe, IJCV 2004) with the square-root descriptors of Arandjelović and Zisserman, CVPR 2012.

    Args:
        photo: the picture.
        masked: boxes in which no keypoint is looked for: left, upper, right, lower, as shares of
            width and height.
    """
    grey = np.asarray(photo.convert("L"))
    height, width = grey.shape
    seen = np.full(grey.shape, 255, np.uint8)
    for left, upper, right, lower in masked:
        rows = slice(int(upper * height), int(np.ceil(lower * height)))
        seen[rows, int(left * width) : int(np.ceil(right * width))] = 0
    points, descriptors = _SIFT.detectAndCompute(grey, seen)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    total = descriptors.sum(axis=1, keepdims=True)
    roots = np.sqrt(descriptors / np.maximum(total, 1e-9))
    return Keypoints(
        grey=cv2.GaussianBlur(grey, (0, 0), _BLUR_PIXELS),
        points=np.array([point.pt for point in points], np.float32).reshape(-1, 2),
        descriptors=(255 * roots).round().astype(np.uint8),
    )


def mirror(keypoints: Keypoints) -> Keypoints:
    """The keypoints of the photo's mirror image, without looking for keypoints again."""
    flipped = keypoints.points.copy()
    flipped[:, 0] = keypoints.grey.shape[1] - 1 - flipped[:, 0]
    return Keypoints(
        grey=np.ascontiguousarray(keypoints.grey[:, ::-1]),
        points=flipped,
        descriptors=np.ascontiguousarray(keypoints.descriptors[:, _IN_MIRROR]),
    )


def align(first: Keypoints, second: Keypoints) -> Alignment | None:
    """The best way to lay the second photo, or its mirror image, over the first.

    Moves are a shift, a turn and a change of size, as between a picture and its crop.

    Returns:
        None when no move brings enough keypoints and area together.
    """
    found = [
        alignment
        for mirrored, other in ((False, second), (True, mirror(second)))
        if (alignment := _align(first, other, mirrored=mirrored)) is not None
    ]
    return max(found, key=lambda alignment: alignment.agreement, default=None)


def _align(first: Keypoints, second: Keypoints, *, mirrored: bool) -> Alignment | None:
    pairs = _matches(first.descriptors, second.descriptors)
    if len(pairs) < FEWEST_MATCHES:
        return None
    move, inliers = cv2.estimateAffinePartial2D(
        second.points[pairs[:, 1]],
        first.points[pairs[:, 0]],
        method=cv2.RANSAC,
        ransacReprojThreshold=_REPROJECTION_PIXELS,
        maxIters=1000,
    )
    if move is None or int(inliers.sum()) < FEWEST_MATCHES:
        return None
    kept = inliers.ravel().astype(bool)
    scale = float(np.hypot(move[0, 0], move[1, 0]))
    if not _SCALES[0] <= scale <= _SCALES[1]:
        return None
    spread = float(cv2.contourArea(cv2.convexHull(first.points[pairs[kept, 0]])))
    smaller = min(first.grey.size, second.grey.size * scale**2)
    if spread < _FEWEST_SPREAD * _SMALLEST_OVERLAP * smaller:
        return None
    agreement, area = _agreement_after(first.grey, second.grey, move, scale)
    if area < _SMALLEST_OVERLAP * smaller or spread < _FEWEST_SPREAD * area:
        return None
    return Alignment(
        agreement=agreement,
        overlap=min(area / smaller, 1.0),
        matches=int(kept.sum()),
        scale=scale,
        turn=float(np.degrees(np.arctan2(move[1, 0], move[0, 0]))),
        mirrored=mirrored,
    )


def _matches(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.intp]:
    """Pairs that are each other's nearest and pass Lowe's ratio test: m × 2."""
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), np.intp)
    likeness = _of_length_one(first) @ _of_length_one(second).T
    nearest = likeness.argmax(axis=1)
    best = likeness.max(axis=1)
    two = np.partition(likeness, -2, axis=1)[:, -2]
    distance, next_distance = (np.sqrt(np.maximum(2 - 2 * x, 0)) for x in (best, two))
    own = np.arange(len(first))
    good = (distance < _RATIO * next_distance) & (likeness.argmax(axis=0)[nearest] == own)
    return np.stack([own[good], nearest[good]], axis=1)


def _of_length_one(descriptors: NDArray[Any]) -> NDArray[Any]:
    deep = descriptors.astype(np.float32)
    return deep / np.maximum(np.linalg.norm(deep, axis=1, keepdims=True), 1e-6)


def agreement_of_frames(first: Keypoints, second: Keypoints, turn: Image.Transpose | None) -> float:
    """Agreement of two whole photos, the second one turned; 0 where their shapes differ."""
    other = second.grey
    if turn is not None:
        other = np.asarray(Image.fromarray(other).transpose(turn))
    shapes = (first.grey.shape, other.shape)
    if abs(np.log(shapes[0][0] / shapes[0][1] * shapes[1][1] / shapes[1][0])) > _SAME_SHAPE:
        return 0.0
    height, width = min(shapes)
    a, b = (
        cv2.resize(grey.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for grey in (first.grey, other)
    )
    return _agreement(a, b, np.ones(a.shape, bool))


def _agreement_after(
    first: NDArray[Any], second: NDArray[Any], move: NDArray[Any], scale: float
) -> tuple[float, float]:
    """Agreement once the second photo is moved over the first, and the area of the overlap."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    # Bring both to the coarser one's sharpness, or what only one shows would count as difference.
    if scale < 1:
        second = cv2.GaussianBlur(second, (0, 0), _BLUR_PIXELS * np.sqrt(1 / scale**2 - 1) + 1e-3)
    else:
        first = cv2.GaussianBlur(first, (0, 0), _BLUR_PIXELS * np.sqrt(scale**2 - 1) + 1e-3)
    size = (first.shape[1], first.shape[0])
    laid = cv2.warpAffine(second, move, size)
    shared = cv2.warpAffine(np.ones_like(second), move, size) > 0.999
    return _agreement(first, laid, shared), float(shared.sum())


def _agreement(first: NDArray[Any], second: NDArray[Any], shared: NDArray[np.bool_]) -> float:
    """The median, over the tiles of the shared area, of the correlation of their pixels.

    A median over tiles, because a logo, a caption or an arrow on one of the two fills few tiles,
    while two different photos of alike shape and light agree in few.
    """
    rows, columns = np.flatnonzero(shared.any(axis=1)), np.flatnonzero(shared.any(axis=0))
    if not len(rows):
        return 0.0
    found = []
    for band in np.array_split(np.arange(rows[0], rows[-1] + 1), _TILES):
        for part in np.array_split(np.arange(columns[0], columns[-1] + 1), _TILES):
            tile = np.ix_(band, part)
            inside = shared[tile]
            if inside.sum() < max(16, 0.5 * inside.size):
                continue
            a, b = first[tile][inside], second[tile][inside]
            if max(a.std(), b.std()) < _SMOOTH_LEVELS:
                continue
            a, b = a - a.mean(), b - b.mean()
            norm = float(np.sqrt((a @ a) * (b @ b)))
            found.append(float(a @ b) / norm if norm > 0 else 0.0)
    return float(np.median(found)) if len(found) >= _TILES else 0.0
