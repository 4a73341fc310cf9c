"""Pictures that are no clinical photographs: X-rays, histology, drawings, slides, thermograms.

Nobody has labelled them, so they are looked for as what is unlike the rest: far from its neighbours in
the backbone's embedding, and without the warm hues that skin of every tone has.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from calcinosis.data.audit.scan import ScannedPhoto, small_pictures

THRESHOLD: Final = 4.5
"""Score from which a photo is suspected. 0 is the data set's middle and 1 a robust standard deviation of
the distance to the neighbours; having no warm hue at all adds 3."""

NEIGHBOURS: Final = (10, 500)
"""Fewest and most neighbours; a twentieth of the photos in between, so that off-topic pictures that
come in a bunch do not vouch for each other."""

_WITHOUT_WARMTH: Final = 3.0
_WARM_DEGREES: Final = (0.0, 85.0)  # hue in CIELAB: from red over brown to yellow
_FAINT: Final = 5.0  # chroma in CIELAB below which there is no hue to speak of
_SIDE: Final = 64


def off_topic_scores(photos: Sequence[ScannedPhoto]) -> NDArray[np.float64]:
    """How unlike a clinical photograph each photo is; compare with `THRESHOLD`.

    All zero for fewer than twenty photos, among which there is no telling what is usual.
    """
    if len(photos) < 2 * NEIGHBOURS[0]:
        return np.zeros(len(photos))
    vectors = np.stack([photo.embedding for photo in photos])
    count = int(np.clip(len(photos) // 20, *NEIGHBOURS))
    nearest = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(vectors)
    far = nearest.kneighbors(vectors)[0][:, -1].astype(np.float64)
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))  # of a normal distribution: its deviation
    unlike = (far - middle) / max(float(spread), 1e-6)
    return unlike + _WITHOUT_WARMTH * (1 - warmth(photos)) ** 2


def warmth(photos: Sequence[ScannedPhoto]) -> NDArray[np.float64]:
    """The share of each photo that has a hue between red and yellow, however light or dark."""
    shares = []
    for rgb in small_pictures(photos, (_SIDE, _SIDE)):
        lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
        coloured = np.hypot(lab[..., 1], lab[..., 2]) > _FAINT
        shares.append((coloured & (hue > _WARM_DEGREES[0]) & (hue < _WARM_DEGREES[1])).mean())
    return np.array(shares)
