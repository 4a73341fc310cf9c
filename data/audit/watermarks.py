"""Marks that recur at one place over the photos of a source, such as a publisher's logo.

What belongs to a photograph changes from one to the next; a logo does not. So where many photos of a
source have a strong edge of one direction at one place, there is a mark: the idea of Dekel et al., "On
the effectiveness of visible watermarks", CVPR 2017, section 3.1, with counts of edges in place of the
median gradient, so that a mark on a part of the photos is found too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

FRAME: Final = (256, 192)
"""Width and height of the canvas that whole photos are stretched to."""
CORNER: Final = (128, 80)
"""Width and height of the corners, in pixels of a photo whose long side is 256."""

VIEWS: Final = ("frame", "upper left", "upper right", "lower left", "lower right")

FEWEST_PHOTOS: Final = 12
MOST_PHOTOS_LEARNT_FROM: Final = 600
_MARKS_A_SOURCE: Final = 3

_EDGE_LEVELS: Final = 8.0  # grey levels a pixel; skin and its shading stay below
_SMALLEST_SHARE: Final = 0.1
# n edges of random directions add up to more than k √n with a chance of exp(-k²): 4 in 100,000 here.
_BY_CHANCE: Final = 3.2
_JOIN_PIXELS: Final = 7
_FEWEST_EDGE_PIXELS: Final = 24
_LARGEST_AREA: Final = 0.15
_PRESENT: Final = 0.35


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of one source.

    Attributes:
        source: whose photos bear it.
        view: `frame`, or the corner that its place is counted from, such as `lower left`.
        box: left, upper, right, lower, as shares of the photo's width and height.
        photos: how many photos of the source bear it.
        of: how many photos the source has.
    """

    source: str
    view: str
    box: tuple[float, float, float, float]
    photos: int
    of: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A mark on one photo: the photo's number, how alike (at most 1), and where.

    `box` is left, upper, right, lower, as shares of the photo's width and height.
    """

    photo: int
    mark: int
    score: float
    box: tuple[float, float, float, float]


def find_marks(
    photos: Sequence[NDArray[np.uint8]], sources: Sequence[str]
) -> tuple[list[Mark], list[Sighting]]:
    """Find the marks of every source and the photos that bear them.

    Args:
        photos: grey, height × width, each with a long side of 256 pixels.
        sources: of each photo.

    Returns:
        The marks, and a sighting for each photo of the source that bears one.
    """
    marks: list[Mark] = []
    sightings: list[Sighting] = []
    rng = np.random.default_rng(0)  # picks those a mark is learnt from, where there are very many
    for source in sorted(set(sources)):
        members = np.array([i for i, name in enumerate(sources) if name == source])
        left = members
        for _ in range(_MARKS_A_SOURCE):
            found = _find_one(photos, left, rng)
            if found is None:
                break
            view, box, scores = found
            bearers = left[scores >= _PRESENT]
            places = [_as_shares(box, view, photos[i].shape) for i in bearers]
            middle = np.median(places, axis=0)
            marks.append(
                Mark(source, view, tuple(middle.round(4).tolist()), len(bearers), len(members))
            )
            sightings += [
                Sighting(int(i), len(marks) - 1, float(score), place)
                for i, score, place in zip(bearers, scores[scores >= _PRESENT], places, strict=True)
            ]
            left = left[scores < _PRESENT]
    return marks, sightings


_Box = tuple[int, int, int, int]


def _find_one(
    photos: Sequence[NDArray[np.uint8]], members: NDArray[np.intp], rng: np.random.Generator
) -> tuple[str, _Box, NDArray[np.float64]] | None:
    """The view and box of the mark that most photos bear, and each member's likeness to it."""
    if len(members) < FEWEST_PHOTOS:
        return None
    sample = [photos[i] for i in rng.permutation(members)[:MOST_PHOTOS_LEARNT_FROM]]
    best: tuple[float, str, _Box, NDArray[np.float32]] | None = None
    for view in VIEWS:
        gradients = _gradients(sample, view)
        for strength, box in _recurring(gradients):
            if best is None or strength > best[0]:
                template = _crop(gradients, box).astype(np.float32).mean(axis=0)
                best = (strength, view, box, template)
    if best is None:
        return None
    _, view, box, template = best
    # Learn the mark again from those that bear it: a mean over all is a faint one.
    patches = [_crop(_gradient(_view(photo, view))[None], box)[0] for photo in sample]
    for _ in range(2):
        bearing = [p for p in patches if _likeness(p, template) >= _PRESENT]
        if len(bearing) < max(FEWEST_PHOTOS // 2, _SMALLEST_SHARE * len(sample) / 2):
            return None
        template = np.mean(bearing, axis=0, dtype=np.float32)
    scores = [
        _likeness(_crop(_gradient(_view(photos[i], view))[None], box)[0], template) for i in members
    ]
    return view, box, np.array(scores)


def _view(photo: NDArray[np.uint8], view: str) -> NDArray[Any]:
    """A photo as it is compared with others: stretched to one frame, or one corner unstretched."""
    if view == "frame":
        return cv2.resize(photo, FRAME, interpolation=cv2.INTER_AREA)
    width, height = CORNER
    canvas = np.zeros((height, width), np.uint8)
    rows = slice(0, height) if "upper" in view else slice(-height, None)
    columns = slice(0, width) if "left" in view else slice(-width, None)
    part = photo[rows, columns]
    canvas[
        slice(0, part.shape[0]) if "upper" in view else slice(height - part.shape[0], None),
        slice(0, part.shape[1]) if "left" in view else slice(width - part.shape[1], None),
    ] = part
    return canvas


def _as_shares(box: _Box, view: str, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """A box of a view as shares of the photo's width and height."""
    height, width = shape
    if view == "frame":
        x, y, w, h = 0, 0, *FRAME
    else:
        w, h = width, height
        x = 0 if "left" in view else width - CORNER[0]
        y = 0 if "upper" in view else height - CORNER[1]
    left, upper, right, lower = box
    shares = ((left + x) / w, (upper + y) / h, (right + x) / w, (lower + y) / h)
    a, b, c, d = (round(float(np.clip(share, 0, 1)), 4) for share in shares)
    return a, b, c, d


def _gradients(photos: Sequence[NDArray[np.uint8]], view: str) -> NDArray[np.float16]:
    """n × 2 × height × width, for n photos in one view."""
    width, height = FRAME if view == "frame" else CORNER
    gradients = np.empty((len(photos), 2, height, width), np.float16)
    for i, photo in enumerate(photos):
        gradients[i] = _gradient(_view(photo, view))
    return gradients


def _gradient(grey: NDArray[Any]) -> NDArray[np.float16]:
    """2 × height × width: the change in grey levels a pixel, along x and y."""
    deep = grey.astype(np.float32)
    x = cv2.Sobel(deep, cv2.CV_32F, 1, 0) / 8
    y = cv2.Sobel(deep, cv2.CV_32F, 0, 1) / 8
    return np.stack([x, y]).astype(np.float16)


def _recurring(gradients: NDArray[np.float16]) -> Iterator[tuple[float, _Box]]:
    """Boxes in which many of n × 2 × height × width gradients have one direction, with a strength."""
    count = len(gradients)
    total = np.zeros(gradients.shape[1:], np.float32)
    edges = np.zeros(gradients.shape[2:], np.float32)
    for gradient in gradients:
        deep = gradient.astype(np.float32)
        size = np.hypot(deep[0], deep[1])
        strong = size > _EDGE_LEVELS
        total += np.where(strong, deep / np.maximum(size, 1e-6), 0)
        edges += strong
    share = np.hypot(total[0], total[1]) / count
    chance = _BY_CHANCE * np.sqrt(edges) / count
    recurs = (share > np.maximum(chance, _SMALLEST_SHARE)).astype(np.uint8)
    joined = cv2.dilate(recurs, np.ones((_JOIN_PIXELS, _JOIN_PIXELS), np.uint8))
    parts, part = cv2.connectedComponents(joined)
    for number in range(1, parts):
        inside = (part == number) & (recurs > 0)
        if inside.sum() < _FEWEST_EDGE_PIXELS:
            continue
        y, x = np.nonzero(inside)
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        area = (box[2] - box[0]) * (box[3] - box[1])
        if area <= _LARGEST_AREA * FRAME[0] * FRAME[1]:
            # The power lets one sharp overlay win over the smear of marks that lie here and there.
            yield float((share[inside] ** 4).sum()), box


def _crop(gradients: NDArray[np.float16], box: _Box) -> NDArray[np.float16]:
    left, upper, right, lower = box
    return gradients[:, :, upper:lower, left:right]


def _likeness(patch: NDArray[np.float16], template: NDArray[np.float32]) -> float:
    """Cosine between two gradient fields; a strong edge of the photo itself counts like a faint one."""
    deep = np.clip(patch.astype(np.float32), -_EDGE_LEVELS * 3, _EDGE_LEVELS * 3)
    norm = float(np.linalg.norm(deep) * np.linalg.norm(template))
    return float((deep * template).sum()) / norm if norm > 0 else 0.0
