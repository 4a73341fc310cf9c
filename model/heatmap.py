"""Laying a heat map over its photo."""

from typing import Final

import numpy as np
from PIL import Image

from calcinosis.model.finding import HeatMap

_OPACITY: Final = 0.6
# Black, red, yellow: dark to light in print and to a colour-blind eye too.
_COLOURS: Final = np.array([(0, 0, 0), (170, 20, 40), (240, 120, 30), (255, 240, 150)], dtype=float)


def colour(cam: np.ndarray) -> np.ndarray:
    """RGB colours (h, w, 3) as bytes for a class activation map (h, w) between 0 and 1."""
    positions = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(cam, positions, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def seen(photo: Image.Image, heat_map: HeatMap) -> Image.Image:
    """The part of the photo that the network saw."""
    left, upper, right, lower = heat_map.box
    return photo.crop((round(left), round(upper), round(right), round(lower)))


def overlay(photo: Image.Image, heat_map: HeatMap) -> Image.Image:
    """The part of the photo that the network saw, the stronger coloured the more it spoke for the label."""
    part = seen(photo, heat_map)
    cam = Image.fromarray(heat_map.cam).resize(part.size, Image.Resampling.BICUBIC)
    strength = np.asarray(cam).clip(0, 1)
    blend = (_OPACITY * strength)[..., None]
    mixed = (1 - blend) * np.asarray(part, dtype=np.float32) + blend * colour(strength)
    return Image.fromarray(mixed.round().astype(np.uint8))
