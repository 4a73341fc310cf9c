"""What a source's mark looks like, estimated from the photos that bear it; pasted and inpainted.

It follows from how photos differ beneath it: under a mark of opacity a, photos differ 1 - a times as much
as beside it, and the rest of their median colour there is the mark's (after Dekel et al., "On the
effectiveness of visible watermarks", CVPR 2017, with medians in place of gradients).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calcinosis.data.audit.watermarks import Mark, Sighting
from calcinosis.data.locating import open_source
from calcinosis.data.manifest import Row
from calcinosis.model.photo import open_photo
from calcinosis.training.fit.marks import Box, Marks

Floats = NDArray[np.float32]

_MARGIN: Final = 0.15  # of the mark's box, on each side: what is beside the mark
_MOST_PHOTOS: Final = 200
_FEWEST_PHOTOS: Final = 12
_FAINTEST: Final = 0.2  # opacity; less is told apart from nothing only by chance


@dataclass(frozen=True)
class Watermark:
    """A mark as its source prints it.

    Attributes:
        source: whose photos bear it.
        colour: (h, w, 3) from 0 to 255.
        opacity: (h, w) from 0, where the photo shows, to 1.
        box: left, upper, right, lower of these pixels, as shares of the photo's width and height.
        size: width and height of the photos that it was estimated from.
        sightings: the box on each photo that bears the mark, by the photo's number.
        others: the numbers of the photos that bear another mark.
    """

    source: str
    colour: Floats
    opacity: Floats
    box: Box
    size: tuple[int, int]
    sightings: dict[int, Box]
    others: frozenset[int]

    def paste(self, photo: Image.Image) -> Image.Image:
        """The photo with the mark, as large and as far from its corner as the source would print it."""
        scale = min(photo.size) / min(self.size)
        edges = []
        for axis in (0, 1):
            near, far = (self.box[axis] * self.size[axis], self.box[axis + 2] * self.size[axis])
            moved = (
                0.0 if near + far < self.size[axis] else photo.size[axis] - self.size[axis] * scale
            )
            edges.append((near * scale + moved, far * scale + moved))
        (left, right), (upper, lower) = edges
        return self._blend(photo, (round(left), round(upper), round(right), round(lower)))

    def inpaint(self, photo: Image.Image, box: Box) -> Image.Image:
        """The photo with the mark at a box (in shares) painted over with what surrounds it (Telea 2004)."""
        place = _in_pixels(_with_margin(box), photo.size)
        opacity, _, inside = self._fitted(photo, place)
        pixels = np.array(photo)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[inside] = (opacity > 0).astype(np.uint8)
        wider = cv2.dilate(mask, np.ones((5, 5), np.uint8))
        painted = cv2.inpaint(pixels, wider.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        return Image.fromarray(painted.astype(np.uint8))

    def _blend(self, photo: Image.Image, place: tuple[int, int, int, int]) -> Image.Image:
        opacity, colour, inside = self._fitted(photo, place)
        pixels = np.array(photo, dtype=np.float32)
        share = opacity[..., None]
        pixels[inside] = (1 - share) * pixels[inside] + share * colour
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

    def _fitted(
        self, photo: Image.Image, place: tuple[int, int, int, int]
    ) -> tuple[Floats, Floats, tuple[slice, slice]]:
        """Opacity and colour at a place in pixels, as far as it lies on the photo, and where that is."""
        left, upper, right, lower = place
        size = (max(1, right - left), max(1, lower - upper))
        opacity, colour = (
            cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.float32)
            for part in (self.opacity, self.colour)
        )
        width, height = photo.size
        rows = slice(max(0, upper), min(height, upper + size[1]))
        columns = slice(max(0, left), min(width, left + size[0]))
        seen = (
            slice(rows.start - upper, rows.stop - upper),
            slice(columns.start - left, columns.stop - left),
        )
        return opacity[seen], colour[seen], (rows, columns)


def find_watermark(rows: Sequence[Row], root: Path, marks: Marks) -> Watermark | str:
    """The mark that most photos bear, or in words why there is none.

    Raises:
        PhotoError, ManifestError: if a photo is absent or cannot be read.
    """
    if not marks.marks:
        return "no recurring mark was found in the photos of any source"
    number = max(range(len(marks.marks)), key=lambda n: marks.marks[n].photos)
    own = [sighting for sighting in marks.sightings if sighting.mark == number]
    sizes = [(int(width), int(height)) for width, height in marks.sizes]
    size, count = Counter(sizes[sighting.photo] for sighting in own).most_common(1)[0]
    if count < _FEWEST_PHOTOS:
        source = marks.marks[number].source
        return f"fewer than {_FEWEST_PHOTOS} photos of one size bear the mark of {source}"
    alike = [sighting.photo for sighting in own if sizes[sighting.photo] == size]
    spread = np.linspace(0, len(alike) - 1, min(len(alike), _MOST_PHOTOS)).astype(int)
    photos = [_open(rows[alike[place]], root) for place in spread]
    others = {sighting.photo for sighting in marks.sightings if sighting.mark != number}
    return _estimate(photos, marks.marks[number], own, others)


def _estimate(
    photos: Sequence[Image.Image], mark: Mark, own: Sequence[Sighting], others: set[int]
) -> Watermark | str:
    """The mark, from photos of one size that bear it."""
    size = photos[0].size
    left, upper, right, lower = _in_pixels(_with_margin(mark.box), size)
    crops = np.stack(
        [np.asarray(photo.crop((left, upper, right, lower)), np.float32) for photo in photos]
    )
    median = np.median(crops, axis=0)
    differs = np.median(np.abs(crops - median), axis=0).mean(axis=-1)
    inner = _in_pixels(mark.box, size)
    beside = np.ones(differs.shape, dtype=bool)
    beside[inner[1] - upper : inner[3] - upper, inner[0] - left : inner[2] - left] = False
    if not beside.any() or np.median(differs[beside]) == 0:
        return f"the mark of {mark.source} cannot be told from what is beside it"
    opacity = np.clip(1 - differs / np.median(differs[beside]), 0, 1)
    opacity[(opacity < _FAINTEST) | beside] = 0
    if not opacity.any():
        return f"the mark of {mark.source} is too faint to be told from the photos"
    plain = np.median(median[beside], axis=0)
    share = np.maximum(opacity, _FAINTEST)[..., None]
    colour = ((median - (1 - share) * plain) / share).clip(0, 255)
    width, height = size
    return Watermark(
        source=mark.source,
        colour=colour.astype(np.float32),
        opacity=opacity.astype(np.float32),
        box=(left / width, upper / height, right / width, lower / height),
        size=size,
        sightings={sighting.photo: sighting.box for sighting in own},
        others=frozenset(others - {sighting.photo for sighting in own}),
    )


def _with_margin(box: Box) -> Box:
    left, upper, right, lower = box
    aside, above = _MARGIN * (right - left), _MARGIN * (lower - upper)
    return (
        max(0.0, left - aside),
        max(0.0, upper - above),
        min(1.0, right + aside),
        min(1.0, lower + above),
    )


def _in_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, upper, right, lower = (round(box[i] * size[i % 2]) for i in range(4))
    return left, upper, right, lower


def _open(row: Row, root: Path) -> Image.Image:
    return open_photo(open_source(root, row.file), name=row.file)
