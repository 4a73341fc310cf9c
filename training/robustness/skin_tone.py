"""An estimate of skin tone where the manifest has none: the individual typology angle around the lesion.

It is an estimate and is named so wherever it shows: light, camera and redness shift it, and it is
no statement about a person. It serves to see whether a model does worse on darker skin.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calcinosis.common.errors import CalcinosisError, unreadable_photos
from calcinosis.common.files import write_json
from calcinosis.common.progress import track
from calcinosis.data.dataset import PhotoDataset, batches
from calcinosis.data.locating import stamp_of
from calcinosis.data.manifest import Row
from calcinosis.model.photo import open_photo

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

_VERSION: Final = 1
"""Of the estimate: what is kept was made by it."""
_SIDE: Final = 256
_LESION: Final = 0.3
"""The lesion is taken to lie within this share of the half-width and half-height."""
_LOGO: Final = (0.5, 0.12)
"""Width and height of the lower left corner where sources print their logo, as shares."""
_LEAST_SKIN: Final = 0.05
_BATCH: Final = 16
_NOTED_EVERY: Final = 20  # batches: half a minute's work at most is lost when a run is stopped
_UNREADABLE: Final = "\0"


def read_skin_tones(rows: Sequence[Row], root: Path, kept: Path, *, workers: int = 1) -> list[Row]:
    """The rows, with an estimate where the manifest gives no skin tone; every photo is read, once.

    So the photos that cannot be read are found before any long work begins.

    Args:
        rows: the photos; a tone that the manifest gives stays.
        root: the folder that their files lie below.
        kept: a JSON file that remembers the estimates from one run to the next, and what was done when
            a run was stopped.
        workers: processes that read.

    Raises:
        TrainingError: `unreadable_photos`, naming all of them.
    """
    known: dict[str, str] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    keys = {row.file: f"{_VERSION} {stamp_of(root, row.file)}" for row in rows}
    unread = [file for file, key in keys.items() if key not in known]
    faults: list[str] = []
    if unread:
        photos = PhotoDataset(unread, root, _tone_or_fault)
        loader = batches(photos, batch_size=_BATCH, workers=workers)
        asked = iter(unread)
        bar = track(loader, "Checking the photographs", total=len(unread), size=_BATCH)
        for step, tones in enumerate(bar, 1):
            for tone, file in zip(tones, asked, strict=False):
                if tone.startswith(_UNREADABLE):
                    faults.append(f"{file}: {tone.removeprefix(_UNREADABLE)}")
                else:
                    known[keys[file]] = tone
            if step % _NOTED_EVERY == 0:
                write_json(kept, known)
        write_json(kept, known)
    if faults:
        raise unreadable_photos(faults, len(rows))
    return [row if row.skin_tone else replace(row, skin_tone=known[keys[row.file]]) for row in rows]


def _tone_or_fault(source: Path | bytes, _: int) -> str:
    """The estimate for a photo, "" where too little skin is seen; or what is wrong with the photo."""
    try:
        return estimate_tone(open_photo(source))
    except CalcinosisError as error:
        return _UNREADABLE + error.message


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
    colour = lab(np.asarray(small, dtype=np.float32) / np.float32(255))
    skin = _looks_like_skin(colour) & _around_the_lesion(*colour.shape[:2])
    if skin.mean() < _LEAST_SKIN:
        return None
    seen = colour[skin]
    lit = seen[seen[:, 0] >= np.median(seen[:, 0])]
    lightness, _, yellowness = np.median(lit, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellowness)))


def lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """CIE L*a*b* (h, w, 3) under D65 of sRGB values (h, w, 3) between 0 and 1."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab))


def _looks_like_skin(colour: NDArray[np.float32]) -> NDArray[np.bool_]:
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
