"""The marks that sources print onto their photos, where each photo bears them, and crops that show none.

Nothing of a logo is kept with the code: `calcinosis.data.audit.watermarks` finds what recurs at one place over the
photos of a source.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from calcinosis.common.cache import cached_arrays
from calcinosis.common.progress import track
from calcinosis.data.audit.watermarks import Mark, Sighting, find_marks
from calcinosis.data.curation import printed_marks
from calcinosis.data.dataset import PhotoDataset, batches
from calcinosis.data.locating import stamp_of
from calcinosis.data.manifest import Row
from calcinosis.model.photo import open_photo

Box = tuple[float, float, float, float]

_VERSION: Final = 1  # of what finds marks: what is kept was found by it
_LONG_SIDE: Final = 256  # what `find_marks` reads
_MARGIN: Final = 0.012  # of the long side, around a mark
_COMMON: Final = 0.25
"""Where so large a share of a source's photos is seen to bear a mark, the others are taken to bear it too."""
_STEPS: Final = 25  # places tried along each side
_SHRINK: Final = 0.04  # of the short side, from one size tried to the next
_SMALLEST: Final = 0.5


@dataclass(frozen=True)
class Marks:
    """What was found on photos.

    Attributes:
        marks: of all sources.
        sightings: one a photo that bears one.
        sizes: (n, 2) width and height of each photo.
    """

    marks: tuple[Mark, ...]
    sightings: tuple[Sighting, ...]
    sizes: NDArray[np.int64]

    def boxes(self, sources: Sequence[str]) -> list[tuple[Box, ...]]:
        """The boxes to keep out of each photo's view, as shares of its width and height.

        A photo on which no mark was seen gets the common place of its source's, where a quarter bears one:
        a mark that is faint on a photo may be seen by a network all the same. What is known of a source by
        eye stands before what was found.

        Args:
            sources: (n,) of the photos.
        """
        boxes: list[tuple[Box, ...]] = [() for _ in sources]
        for source in set(sources):
            own = [s for s in self.sightings if sources[s.photo] == source]
            if len(own) >= _COMMON * sources.count(source):
                places = np.array([s.box for s in own])
                low, high = np.quantile(places, (0.05, 0.95), axis=0)
                common = (*low[:2].tolist(), *high[2:].tolist())
                boxes = [
                    (common,) if name == source else box
                    for name, box in zip(sources, boxes, strict=True)
                ]
        for sighting in self.sightings:
            boxes[sighting.photo] = (sighting.box,)
        known = printed_marks()
        return [
            (known[source],) if source in known else box
            for source, box in zip(sources, boxes, strict=True)
        ]


def find_all_marks(rows: Sequence[Row], root: Path, cache: Path) -> Marks:
    """The marks on these photos, found once and kept in a cache folder.

    Raises:
        ManifestError, DataError: if a photo is absent or cannot be read.
    """
    key = {"version": _VERSION, "photos": [[stamp_of(root, row.file), row.source] for row in rows]}
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]

    def compute() -> dict[str, NDArray[np.generic]]:
        small, sizes = _read_small(rows, root)
        marks, sightings = find_marks(small, [row.source for row in rows])
        facts = {"marks": [asdict(m) for m in marks], "sightings": [asdict(s) for s in sightings]}
        told = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        return {"sizes": np.array(sizes, np.int64), "facts": told}

    kept = cached_arrays(cache / f"marks-{name}.safetensors", key, compute)
    facts = json.loads(kept["facts"].tobytes())
    marks = [Mark(**{**m, "box": tuple(m["box"])}) for m in facts["marks"]]
    sightings = [Sighting(**{**s, "box": tuple(s["box"])}) for s in facts["sightings"]]
    return Marks(tuple(marks), tuple(sightings), kept["sizes"])


def _read_small(
    rows: Sequence[Row], root: Path
) -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]]]:
    """Every photo in grey with a long side of 256 pixels, and its own width and height."""
    photos = PhotoDataset([row.file for row in rows], root, _in_grey)
    loader = batches(photos, batch_size=1, workers=1)
    small, sizes = [], []
    for grey, width, height in track(loader, "Looking for marks", total=len(rows)):
        small.append(grey[0].numpy().copy())
        sizes.append((int(width), int(height)))
    return small, sizes


def _in_grey(source: Path | bytes, _: int) -> tuple[torch.Tensor, int, int]:
    photo = open_photo(source)
    scale = _LONG_SIDE / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    grey = photo.convert("L").resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(grey)), photo.width, photo.height


def with_margin(mark: Box, size: tuple[int, int]) -> Box:
    """The box in pixels of a mark, which is given in shares, with a margin around it."""
    width, height = size
    margin = _MARGIN * max(size)
    left, upper, right, lower = mark
    return (
        left * width - margin,
        upper * height - margin,
        right * width + margin,
        lower * height + margin,
    )


def meets(crop: Box, box: Box) -> bool:
    """Whether two boxes have a place in common."""
    return crop[0] < box[2] and box[0] < crop[2] and crop[1] < box[3] and box[1] < crop[3]


def largest_square_without(marks: Sequence[Box], size: tuple[int, int]) -> Box:
    """The largest square of a photo that shows no mark, in pixels, and of those the one nearest the centre.

    Without marks that is the centre crop. Where no square of half the photo's side is free, the photo's
    largest rectangle without a mark is taken.

    Args:
        marks: boxes, as shares of the photo's width and height.
        size: of the photo.
    """
    width, height = size
    boxes = [with_margin(mark, size) for mark in marks]
    for share in np.arange(1, _SMALLEST - 1e-9, -_SHRINK):
        side = share * min(size)
        free = [
            (x, y)
            for x in _places(width - side)
            for y in _places(height - side)
            if not any(meets((x, y, x + side, y + side), box) for box in boxes)
        ]
        if free:
            middle_x, middle_y = (width - side) / 2, (height - side) / 2
            x, y = min(free, key=lambda at: (at[0] - middle_x) ** 2 + (at[1] - middle_y) ** 2)
            return (x, y, x + side, y + side)
    return largest_rectangle_without(marks, size)


def _places(room: float) -> list[float]:
    """Where a square may begin along a side that leaves it some room."""
    return sorted({*np.linspace(0, room, _STEPS).tolist(), room / 2})


def largest_rectangle_without(marks: Sequence[Box], size: tuple[int, int]) -> Box:
    """The largest part of a photo, in pixels, that is cut off straight so that no mark is in it."""
    left, upper, right, lower = 0.0, 0.0, float(size[0]), float(size[1])
    for mark in marks:
        box = with_margin(mark, size)
        parts = [
            (max(left, box[2]), upper, right, lower),
            (left, upper, min(right, box[0]), lower),
            (left, max(upper, box[3]), right, lower),
            (left, upper, right, min(lower, box[1])),
        ]
        left, upper, right, lower = max(
            parts, key=lambda p: max(0.0, p[2] - p[0]) * max(0.0, p[3] - p[1])
        )
    if right - left < 1 or lower - upper < 1:
        return (0.0, 0.0, float(size[0]), float(size[1]))
    return (left, upper, right, lower)
