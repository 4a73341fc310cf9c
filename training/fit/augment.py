"""Views of a photo to learn from: none shows the mark of its source, and little else tells the source.

Sources differ in their logos, their colours, their sharpness and their compression. A view is cut where no
mark is, and its colours, its sharpness and its compression are changed at random.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import BaseModel, ConfigDict, Field

from calcinosis.training.fit.marks import (
    Box,
    largest_rectangle_without,
    largest_square_without,
    meets,
    with_margin,
)

_TRIES: Final = (
    40  # at a random crop without a mark, before the largest square without one is taken
)
_COARSE: Final = (
    0.42,
    0.85,
)  # of the view's side: how small it is made before it is enlarged again
_QUALITY: Final = (25, 85)  # of the JPEG
_TURNS: Final = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
)


class Augmentation(BaseModel):
    """How far an augmented view may stray from the centre crop.

    Attributes:
        smallest_area: smallest share of the centre square's area that a view may show (Szegedy et al.
            2015, arXiv:1409.4842).
        aspect: greatest logarithm of its width by its height, to either side.
        whole: share of the views that show all of the photo beside its marks, squeezed into a square.
        turned: share that is turned by a right angle or two.
        coarse: share that is made small and enlarged again.
        compressed: share that is kept as a JPEG of low quality.
        colour: greatest relative change of brightness, contrast and saturation.
        tint: greatest relative change of each colour channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest_area: float = Field(default=0.3, gt=0, le=1)
    aspect: float = Field(default=0.2, ge=0, le=1)
    whole: float = Field(default=0.2, ge=0, le=1)
    turned: float = Field(default=0.15, ge=0, le=1)
    coarse: float = Field(default=0.4, ge=0, le=1)
    compressed: float = Field(default=0.5, ge=0, le=1)
    colour: float = Field(default=0.3, ge=0, lt=1)
    tint: float = Field(default=0.12, ge=0, lt=1)


def view_generator(seed: int, file: str, view: int) -> np.random.Generator:
    """A generator that depends on nothing but the seed, the photo's name and the view's number."""
    digest = hashlib.sha256(f"{seed}/{file}/{view}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def augmented_view(
    photo: Image.Image,
    size: int,
    marks: Sequence[Box],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Image.Image:
    """A random view of an RGB photo, a square `size` pixels wide.

    Args:
        photo: the photo.
        size: of the view.
        marks: boxes that it may not show, as shares of the photo's width and height.
        augmentation: how far it may stray.
        generator: of all that is random.
    """
    if generator.random() < augmentation.whole:
        box = largest_rectangle_without(marks, photo.size)
    else:
        box = _random_crop(photo.size, marks, augmentation, generator)
    view = photo.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if generator.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if generator.random() < augmentation.turned:
        view = view.transpose(_TURNS[generator.integers(len(_TURNS))])
    if generator.random() < augmentation.coarse:
        side = round(size * generator.uniform(*_COARSE))
        view = view.resize((side, side), Image.Resampling.BILINEAR)
        view = view.resize((size, size), Image.Resampling.BICUBIC)
    return _compressed(_recoloured(view, augmentation, generator), augmentation, generator)


def _random_crop(
    size: tuple[int, int],
    marks: Sequence[Box],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Box:
    """A box in pixels, of random area, form and place, that shows no mark."""
    width, height = size
    boxes = [with_margin(mark, size) for mark in marks]
    for _ in range(_TRIES):
        side = min(size) * math.sqrt(generator.uniform(augmentation.smallest_area, 1))
        form = math.exp(generator.uniform(-1, 1) * augmentation.aspect / 2)
        w, h = min(width, side * form), min(height, side / form)
        x, y = generator.uniform(0, width - w), generator.uniform(0, height - h)
        crop = (x, y, x + w, y + h)
        if not any(meets(crop, box) for box in boxes):
            return crop
    return largest_square_without(marks, size)


def _recoloured(
    view: Image.Image, augmentation: Augmentation, generator: np.random.Generator
) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(1 + augmentation.colour * generator.uniform(-1, 1))
    pixels = np.asarray(view, np.float32) * (1 + augmentation.tint * generator.uniform(-1, 1, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _compressed(
    view: Image.Image, augmentation: Augmentation, generator: np.random.Generator
) -> Image.Image:
    if generator.random() >= augmentation.compressed:
        return view
    file = io.BytesIO()
    view.save(file, "JPEG", quality=int(generator.integers(*_QUALITY)))
    with Image.open(file) as picture:
        return picture.convert("RGB")
