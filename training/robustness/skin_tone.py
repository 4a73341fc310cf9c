"""An estimate of skin tone from a photo: the individual typology angle of the skin around the lesion.

It is an estimate and is named so wherever it shows: light, camera and redness shift it, and it is
no statement about a person. It serves to see whether a model does worse on darker skin.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREFIX: Final = "ita_estimate:"

# Chardon, Cretois and Hourseau, Skin colour typology and suntanning pathways, 1991; the two darkest
# groups after Del Bino and Bernerd, Variations in skin colour and the biological consequences of
# ultraviolet radiation exposure, 2013. Each bound is the lowest angle of its group, in degrees.
TONES: Final = (
    ("very_light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -90.0),
)

_SIDE: Final = 256
_LESION: Final = 0.3
"""The lesion is taken to lie within this share of the half-width and half-height."""
_LOGO: Final = (0.5, 0.12)
"""Width and height of the lower left corner where sources print their logo, as shares."""
_LEAST_SKIN: Final = 0.05
_WHITE: Final = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degrees
_TO_XYZ: Final = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def estimate_tone(photo: Image.Image) -> str:
    """The group of skin tone, such as `ita_estimate:tan`, or "" where too little skin is seen."""
    angle = estimate_angle(photo)
    return "" if angle is None else PREFIX + tone_of(angle)


def tone_of(angle: float) -> str:
    """The group that an individual typology angle in degrees belongs to."""
    return next(name for name, least in TONES if angle > least or name == TONES[-1][0])


def estimate_angle(photo: Image.Image) -> float | None:
    """The individual typology angle of the skin around the lesion, in degrees, -90 to 90.

    The angle of lightness above 50 against yellowness, atan2(L* - 50, b*), of the median colour of
    the lighter half of the pixels that look like skin (the rest lies more often in shadow), without
    the middle of the photo (the lesion) and the lower left corner (logos).

    Returns:
        None when less than a twentieth of the pixels looks like skin: a drawing, an X-ray, a drape.
    """
    small = photo.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    colour = lab(np.asarray(small, dtype=np.float64) / 255)
    skin = _looks_like_skin(colour) & _around_the_lesion(*colour.shape[:2])
    if skin.mean() < _LEAST_SKIN:
        return None
    seen = colour[skin]
    lit = seen[seen[:, 0] >= np.median(seen[:, 0])]
    lightness, _, yellowness = np.median(lit, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellowness)))


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (..., 3) under D65 of sRGB values (..., 3) between 0 and 1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _looks_like_skin(colour: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose hue lies between red and yellow, neither grey nor vivid, of any depth.

    Lightness is left wide open on purpose, so that the mask is no lighter than the person.
    """
    lightness, redness, yellowness = np.moveaxis(colour, -1, 0)
    hue = np.degrees(np.arctan2(yellowness, redness))
    vividness = np.hypot(redness, yellowness)
    return np.asarray(
        (lightness > 8)
        & (lightness < 95)
        & (hue > 15)
        & (hue < 95)
        & (vividness > 6)
        & (vividness < 50)
    )


def _around_the_lesion(height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) without the middle and the lower left corner."""
    down, across = np.ogrid[:height, :width]
    down, across = (down + 0.5) / height, (across + 0.5) / width
    middle = ((down - 0.5) ** 2 + (across - 0.5) ** 2) < (_LESION / 2) ** 2
    logo = (across < _LOGO[0]) & (down > 1 - _LOGO[1])
    return np.asarray(~middle & ~logo)
