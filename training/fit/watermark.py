"""A source's watermark: what it looks like, estimated from the photos that bear it; pasted and inpainted.

Nothing of a logo is kept with the code. Where the mark is, `calcinosis.data.audit.watermarks` finds. What it looks
like follows from how photos differ beneath it: under a mark of opacity a, photos differ 1 - a times as
much as beside it, and the rest of their median colour there is the mark's (after Dekel et al., "On the
effectiveness of visible watermarks", CVPR 2017, with medians in place of gradients).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from calcinosis.common.cache import cached_arrays
from calcinosis.common.progress import track
from calcinosis.data.audit.watermarks import Mark, Sighting, find_marks
from calcinosis.data.dataset import PhotoDataset, batches
from calcinosis.data.manifest import Row, open_source
from calcinosis.model.network import Network
from calcinosis.model.photo import open_photo
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps, cached_feature_maps
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Box = tuple[float, float, float, float]

CHANGES: Final = ("pasted", "masked")
"""How a photo's watermark is changed; `masked` is inpainted."""

_LONG_SIDE: Final = 256  # what `find_marks` reads
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


def estimate_watermark(rows: Sequence[Row], root: Path, cache: Path) -> Watermark | str:
    """What `find_watermark` says of these rows, found once and kept in a cache folder."""
    key = {"photos": [[row.file, row.source] for row in rows]}
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    kept = cached_arrays(
        cache / f"watermark-{name}.safetensors", key, lambda: _to_arrays(find_watermark(rows, root))
    )
    facts = json.loads(kept["facts"].tobytes())
    if isinstance(facts, str):
        return facts
    return Watermark(
        source=facts["source"],
        colour=kept["colour"],
        opacity=kept["opacity"],
        box=tuple(facts["box"]),
        size=tuple(facts["size"]),
        sightings={int(number): tuple(box) for number, box in facts["sightings"].items()},
        others=frozenset(facts["others"]),
    )


def _to_arrays(found: Watermark | str) -> dict[str, NDArray[Any]]:
    facts: Any = found
    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(found, Watermark):
        arrays = {"colour": found.colour, "opacity": found.opacity}
        facts = {
            "source": found.source,
            "box": found.box,
            "size": found.size,
            "sightings": found.sightings,
            "others": sorted(found.others),
        }
    return arrays | {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def find_watermark(rows: Sequence[Row], root: Path) -> Watermark | str:
    """The mark that most photos bear, or in words why there is none.

    Raises:
        PhotoError, ManifestError: if a photo is absent or cannot be read.
    """
    small, sizes = _read_small(rows, root)
    marks, sightings = find_marks(small, [row.source for row in rows])
    if not marks:
        return "no recurring mark was found in the photos of any source"
    number = max(range(len(marks)), key=lambda n: marks[n].photos)
    own = [sighting for sighting in sightings if sighting.mark == number]
    size, count = Counter(sizes[sighting.photo] for sighting in own).most_common(1)[0]
    if count < _FEWEST_PHOTOS:
        return f"fewer than {_FEWEST_PHOTOS} photos of one size bear the mark of {marks[number].source}"
    alike = [sighting.photo for sighting in own if sizes[sighting.photo] == size]
    spread = np.linspace(0, len(alike) - 1, min(len(alike), _MOST_PHOTOS)).astype(int)
    photos = [_open(rows[alike[place]], root) for place in spread]
    return _estimate(photos, marks[number], own, {s.photo for s in sightings if s.mark != number})


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


def _read_small(
    rows: Sequence[Row], root: Path
) -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]]]:
    """Every photo in grey with a long side of 256 pixels, and its own width and height."""
    photos = PhotoDataset([row.file for row in rows], root, _in_grey)
    loader = batches(photos, batch_size=1, workers=1)
    small, sizes = [], []
    for grey, width, height in track(loader, "Looking for a watermark", total=len(rows)):
        small.append(grey[0].numpy().copy())
        sizes.append((int(width), int(height)))
    return small, sizes


def _in_grey(source: Path | bytes, _: int) -> tuple[torch.Tensor, int, int]:
    photo = open_photo(source)
    scale = _LONG_SIDE / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    grey = photo.convert("L").resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(grey)), photo.width, photo.height


def rows_to_change(count: int, watermark: Watermark, change: str) -> Integers:
    """Numbers, among `count` photos, of those that can be changed in a way.

    The mark is inpainted (`masked`) where it is, and pasted where neither it nor another one is.
    """
    everyone = range(count)
    bears = np.array([n in watermark.sightings for n in everyone])
    other = np.array([n in watermark.others for n in everyone])
    return np.flatnonzero(bears if change == "masked" else ~bears & ~other)


@dataclass(frozen=True)
class ChangedPhoto:
    """A transform: the network's input for a photo with the mark pasted onto it, or inpainted."""

    watermark: Watermark
    boxes: tuple[Box | None, ...]
    preprocessing: Preprocessing

    def __call__(self, source: Path | bytes, i: int) -> torch.Tensor:
        photo, box = open_photo(source), self.boxes[i]
        changed = self.watermark.inpaint(photo, box) if box else self.watermark.paste(photo)
        return self.preprocessing(changed)


def changed_maps(
    rows: Sequence[Row],
    root: Path,
    watermark: Watermark,
    change: str,
    network: Network,
    preprocessing: Preprocessing,
    cache: Path,
    device: Device,
) -> FeatureMaps:
    """What the network's frozen stages make of the photos that can be changed in a way."""
    numbers = rows_to_change(len(rows), watermark, change)
    files = [rows[n].file for n in numbers]
    boxes = tuple(watermark.sightings.get(int(n)) if change == "masked" else None for n in numbers)
    looks = hashlib.sha256(watermark.colour.tobytes() + watermark.opacity.tobytes()).hexdigest()
    key = {
        "change": change,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "watermark": [looks, watermark.box, watermark.size],
        "photos": list(zip(files, boxes, strict=True)),
    }
    photos = PhotoDataset(files, root, ChangedPhoto(watermark, boxes, preprocessing))
    what = f"Reading the photographs, watermark {change}"
    return cached_feature_maps(photos, numbers, key, network, cache, device, what)
