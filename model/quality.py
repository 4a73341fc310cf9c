"""Whether a photo can be used at all, asked before the network is.

The bounds are wide: they stop what no one could read. Each is a plain property of the picture.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

MIN_SIDE: Final = 96  # pixels; a 3 mm bump that fills a third of such a photo is 32 pixels wide
DARK: Final = 25  # of 255: nineteen in twenty pixels darker than this
BRIGHT: Final = 250  # of 255: nineteen in twenty pixels brighter than this
BLANK: Final = 2.0  # of 255: standard deviation of the grey values


@dataclass(frozen=True)
class Problem:
    """Why a photo cannot be used.

    Attributes:
        code: the key of its reason and advice in the table of strings.
        values: what fills the places of those strings.
    """

    code: str
    values: dict[str, int]


def find_problem(photo: Image.Image) -> Problem | None:
    """The first thing that makes an RGB photo unusable, or None."""
    side = min(photo.size)
    if side < MIN_SIDE:
        return Problem("too_small", {"side": side, "minimum": MIN_SIDE})
    grey = np.asarray(photo.convert("L").resize((128, 128), Image.Resampling.BOX), dtype=float)
    if np.percentile(grey, 95) < DARK:
        return Problem("too_dark", {})
    if np.percentile(grey, 5) > BRIGHT:
        return Problem("too_bright", {})
    if grey.std() < BLANK:
        return Problem("blank", {})
    return None
