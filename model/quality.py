"""Whether a photo can be used at all, checked before the network runs.

Each bound is on a plain property of what the network will see, the centred square. They were chosen on one
half of the photographs, where each refuses at most three of 320, and measured on the other half and on copies
of it made dark, blurred and so on: `python benchmarks/quality_gate.py` says how, and prints what they do. They
stop what cannot be read; a photo that passes may still be a poor one.

How far away a lesion is cannot be told without finding it, and nothing here finds it. The frame is the user's
word for where it is: the gate counts the frame's own pixels, so that a lesion taken from too far is refused once it
is framed tightly. A small lesion in a large frame passes, and the finding warns of it. The least number of pixels
is where photographs made smaller begin to get another finding too often: the most probable label stayed in 99 % of
141 photographs at 260 pixels, in 94 % at 192, 87 % at 128, 55 % at 96 and 44 % at 64, and the prediction set in
96, 85, 76, 50 and 40 % (`benchmarks/quality_gate.py --shrunk`). None of the 887 photographs has fewer than 128.

The bound on sharpness is for what people frame, not for whole photographs: of 121 photographs of hands and feet framed
at twice their size, the former 2.5 refused 5 % (8 % of 150 others at three times) that can be read by eye, 1.5 refuses
under 1 % (1 %). What is blurred by 4 of 256 pixels is still refused in 98 to 100 of 100, by 2.5 in 85 to 99.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE: Final = (
    256  # pixels of the square that all but the size is measured on, if the photo has as many
)
_TILE: Final = 16

MIN_SIDE: Final = 128
"""Pixels that the shorter side of a photo, or of the framed part of it, must have."""


@dataclass(frozen=True)
class QualityMeasures:
    """What the gate measures of a photo.

    Attributes:
        side: pixels on the shorter side.
        highlights: grey value, of 255, that one pixel in two hundred exceeds. Skin of every tone shines
            somewhere in good light, so that this asks about the light and not about the skin.
        washed_out: share of pixels with a channel that is (nearly) full, and so holds no detail; a white background
            is left out, since a hand on a sheet of paper is not overexposed.
        contrast: standard deviation of the grey values.
        sharpness: mean absolute second difference of grey values in the sharpest one in twenty tiles,
            along the direction that has less of it: a shaken photo is sharp along one only.
        colour: mean saturation, 0 for a picture in greys.
        warmth: share of pixels of a hue that skin of any tone can have: red above green above blue.
        evenness: share of small tiles without any grain, as drawn by a machine.
        corners: grey value of the lightest corner.
    """

    side: float
    highlights: float
    washed_out: float
    contrast: float
    sharpness: float
    colour: float
    warmth: float
    evenness: float
    corners: float


@dataclass(frozen=True)
class Bound:
    """A photo is refused whose measure is below `minimum` or above `maximum`."""

    measure: str
    minimum: float = -np.inf
    maximum: float = np.inf


BOUNDS: Final = MappingProxyType(
    {
        # in the order in which they are checked: what explains most comes first
        "too_small": Bound("side", minimum=MIN_SIDE),
        "too_dark": Bound("highlights", minimum=100),
        "too_bright": Bound("washed_out", maximum=0.125),
        "blank": Bound("contrast", minimum=2),
        "blurred": Bound("sharpness", minimum=1.5),
        "screenshot": Bound("evenness", maximum=0.40),
        "no_colour": Bound("colour", minimum=0.07),
        "no_skin": Bound("warmth", minimum=0.25),
        "dermoscopy": Bound("corners", minimum=12),
    }
)


@dataclass(frozen=True)
class QualityIssue:
    """Why a photo cannot be used.

    Attributes:
        code: the key of its reason and advice in the table of strings.
        values: what fills the places of those strings.
    """

    code: str
    values: dict[str, int]


def find_quality_issue(photo: Image.Image) -> QualityIssue | None:
    """The first thing that makes an RGB photo unusable, or None."""
    return check_bounds(measure(photo))


def check_bounds(measures: QualityMeasures) -> QualityIssue | None:
    """The first bound that a photo of these measures is outside of, or None."""
    for code, bound in BOUNDS.items():
        value = getattr(measures, bound.measure)
        if value < bound.minimum or value > bound.maximum:
            values = {"side": round(measures.side), "minimum": MIN_SIDE, "third": MIN_SIDE // 3}
            return QualityIssue(code, values if code == "too_small" else {})
    return None


def measure(photo: Image.Image) -> QualityMeasures:
    """The measures of an RGB photo."""
    # A plane a colour, in bytes where they are enough and in single precision elsewhere: four times as quick as
    # pixel by pixel in double.
    pixels = np.ascontiguousarray(np.asarray(_square(photo)).transpose(2, 0, 1))
    red, green, blue = pixels.astype(np.float32)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601-7, section 2.5.1
    brightest, darkest = pixels.max(axis=0), pixels.min(axis=0)
    spread = (brightest - darkest).astype(np.float32)
    return QualityMeasures(
        side=min(photo.size),
        highlights=_percentile(grey, 99.5),
        washed_out=_washed_out(brightest, darkest),
        contrast=float(grey.std()),
        sharpness=_sharpness(grey),
        colour=float((spread / np.maximum(brightest, 1)).mean()),
        warmth=_share((red > 1.08 * blue) & (red >= 0.98 * green)),
        evenness=_share(_tiles(grey, 8).std(axis=1) < 0.6),
        corners=_lightest_corner(grey),
    )


def _square(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    side = min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    box = (left, upper, left + side, upper + side)
    # A small photo is measured as it is: enlarging would make it look blurred.
    size = max(_TILE, min(_SIDE, side) // _TILE * _TILE)
    return photo.resize((size, size), Image.Resampling.BOX, box=box)


def _sharpness(grey: NDArray[np.float32]) -> float:
    padded = np.pad(grey, 1, mode="edge")
    twice = 2 * grey
    across = np.abs(padded[1:-1, 2:] - twice + padded[1:-1, :-2])
    along = np.abs(padded[2:, 1:-1] - twice + padded[:-2, 1:-1])
    directions = (_tiles(difference, _TILE).mean(axis=1) for difference in (across, along))
    return min(_percentile(tiles, 95) for tiles in directions)


def _washed_out(brightest: NDArray[np.uint8], darkest: NDArray[np.uint8]) -> float:
    """Of the pixels that are no white background the share with a full channel; 1 where nothing else is there."""
    white = darkest >= 243
    if any(edge.any() for edge in (white[0], white[-1], white[:, 0], white[:, -1])):
        brightest = brightest[~_background(white)]
    return _share(brightest >= 253) if brightest.size else 1.0


def _background(white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The white pixels with nothing but white between them and an edge, straight up, down or sideways."""
    reach = np.logical_and.accumulate
    down, right = reach(white, axis=0), reach(white, axis=1)
    up, left = reach(white[::-1], axis=0)[::-1], reach(white[:, ::-1], axis=1)[:, ::-1]
    background: NDArray[np.bool_] = down | up | right | left
    return background


def _percentile(values: NDArray[np.float32], percent: float) -> float:
    """What `np.percentile` gives, without what it loads and sorts besides: a third of the gate's time."""
    rank = (values.size - 1) * percent / 100
    below, above = math.floor(rank), math.ceil(rank)
    ordered = np.partition(values, (below, above), axis=None)
    low, high = ordered[below], ordered[above]
    return float(low + (high - low) * (rank - below))


def _share(members: NDArray[np.bool_]) -> float:
    return np.count_nonzero(members) / members.size


def _tiles(grey: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The pixels (tiles, size²) of each square tile."""
    count = grey.shape[0] // size
    tiles = grey.reshape(count, size, count, size).transpose(0, 2, 1, 3)
    return tiles.reshape(count * count, size * size)


def _lightest_corner(grey: NDArray[np.float32]) -> float:
    size = max(1, grey.shape[0] // 10)
    corners = (grey[:size, :size], grey[:size, -size:], grey[-size:, :size], grey[-size:, -size:])
    return float(max(corner.mean() for corner in corners))
