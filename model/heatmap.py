"""Laying a heat map over its photo."""

from typing import Final

import numpy as np
from PIL import Image

from calcinosis.model.finding import HeatMap

_OPACITY: Final = 0.6
# Black, red, yellow: dark to light in print and to a colour-blind eye too.
_COLOURS: Final = np.array([(0, 0, 0), (170, 20, 40), (240, 120, 30), (255, 240, 150)], dtype=float)
_SHADES: Final = 1024


def colour(cam: np.ndarray) -> np.ndarray:
    """RGB colours (h, w, 3) as bytes for a class activation map (h, w) between 0 and 1."""
    positions = np.linspace(0, 1, len(_COLOURS))
    levels = np.linspace(0, 1, _SHADES)
    channels = [np.interp(levels, positions, _COLOURS[:, channel]) for channel in range(3)]
    table = np.stack(channels, axis=-1).round().astype(np.uint8)
    # Looked up, for to interpolate each pixel took the page longer than all else that it does with a photo.
    return table.take((cam * (_SHADES - 1) + 0.5).astype(np.intp), axis=0, mode="clip")


def seen(photo: Image.Image, heat_map: HeatMap) -> Image.Image:
    """The part of the photo that the network saw."""
    left, upper, right, lower = heat_map.box
    return photo.crop((round(left), round(upper), round(right), round(lower)))


def overlay(photo: Image.Image, heat_map: HeatMap) -> Image.Image:
    """The part of the photo that the network saw, the stronger coloured the more it spoke for the label."""
    part = seen(photo, heat_map)
    cam = Image.fromarray(heat_map.cam).resize(part.size, Image.Resampling.BICUBIC)
    strength = np.asarray(cam).clip(0, 1)
    mask = Image.fromarray((255 * _OPACITY * strength).round().astype(np.uint8))
    return Image.composite(Image.fromarray(colour(strength)), part, mask)
