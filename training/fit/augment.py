"""Views of a photo: the plain one that serving sees, and augmented ones to learn from."""

import hashlib
import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance
from pydantic import BaseModel, ConfigDict, Field


class Augmentation(BaseModel):
    """How far an augmented view may stray from the plain one.

    Attributes:
        smallest_area: smallest share of the photo's area that a view may show (Szegedy et al. 2015,
            arXiv:1409.4842).
        rotation: greatest rotation to either side, in degrees.
        colour: greatest relative change of brightness, contrast and saturation.
        corner_mask: share of the views in which the lower corners, where sources put their logo, are
            hidden under an even patch, so that the logo cannot stand for the label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest_area: float = Field(default=0.35, gt=0, le=1)
    rotation: float = Field(default=20.0, ge=0, le=180)
    colour: float = Field(default=0.25, ge=0, lt=1)
    corner_mask: float = Field(default=0.5, ge=0, le=1)


_CORNER_WIDTH: Final = 0.28  # of the photo; the logos seen end within these
_CORNER_HEIGHT: Final = 0.34


def view_generator(seed: int, file: str, view: int) -> np.random.Generator:
    """A generator that depends on nothing but the seed, the photo's name and the view's number."""
    digest = hashlib.sha256(f"{seed}/{file}/{view}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def augmented_view(
    photo: Image.Image, size: int, augmentation: Augmentation, generator: np.random.Generator
) -> Image.Image:
    """A random view of an RGB photo, a square `size` pixels wide; another network can be shown it, too."""
    view = photo
    if generator.random() < augmentation.corner_mask:
        view = hide_corners(view)
    view = _random_crop(view, size, augmentation, generator)
    if generator.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        factor = 1 + augmentation.colour * generator.uniform(-1, 1)
        view = enhance(view).enhance(factor)
    return view


def hide_corners(photo: Image.Image) -> Image.Image:
    """The photo with a patch of its mean colour over both lower corners.

    Both, always: a patch on the side of one source's logo would be a mark of that source.
    """
    hidden = photo.copy()
    colour = tuple(int(c) for c in np.asarray(photo.resize((1, 1), Image.Resampling.BOX))[0, 0])
    width, height = photo.size
    top = height * (1 - _CORNER_HEIGHT)
    draw = ImageDraw.Draw(hidden)
    draw.rectangle((0, top, width * _CORNER_WIDTH, height), fill=colour)
    draw.rectangle((width * (1 - _CORNER_WIDTH), top, width, height), fill=colour)
    return hidden


def _random_crop(
    photo: Image.Image, size: int, augmentation: Augmentation, generator: np.random.Generator
) -> Image.Image:
    """A rotated square of random area and place, `size` pixels wide; what lies outside is mirrored in."""
    width, height = photo.size
    area = generator.uniform(augmentation.smallest_area, 1.0)
    side = math.sqrt(area) * min(width, height)
    left = generator.uniform(0, width - side)
    upper = generator.uniform(0, height - side)
    angle = generator.uniform(-1, 1) * augmentation.rotation
    # Rotate a wider square about the crop's middle, then cut the crop out of it.
    reach = side * math.sqrt(2) / 2
    middle_x, middle_y = left + side / 2, upper + side / 2
    box = (middle_x - reach, middle_y - reach, middle_x + reach, middle_y + reach)
    wide_size = math.ceil(size * math.sqrt(2))
    wide = _crop_mirrored(photo, box, wide_size)
    turned = wide.rotate(angle, resample=Image.Resampling.BILINEAR)
    margin = (wide_size - size) // 2
    return turned.crop((margin, margin, margin + size, margin + size))


def _crop_mirrored(
    photo: Image.Image, box: tuple[float, float, float, float], size: int
) -> Image.Image:
    """The box, `size` pixels wide, with the photo mirrored at its edges where the box leaves it."""
    left, upper, right, lower = (round(edge) for edge in box)
    width, height = photo.size
    pads = (max(0, -left), max(0, -upper), max(0, right - width), max(0, lower - height))
    if any(pads):
        pixels = np.asarray(
            photo.crop((max(0, left), max(0, upper), min(width, right), min(height, lower)))
        )
        pixels = np.pad(pixels, ((pads[1], pads[3]), (pads[0], pads[2]), (0, 0)), mode="symmetric")
        return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, upper, right, lower))
