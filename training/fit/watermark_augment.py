"""Photos with their source's mark hidden, or with one pasted onto them: to judge by, and to learn from."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from calcinosis.data.manifest import Row
from calcinosis.model.network import Network
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps, cached_feature_maps, trunk_bytes
from calcinosis.training.robustness.watermark import ChangedPhotos, Watermark
from numpy.typing import NDArray

Integers = NDArray[np.int64]

WAYS: Final = ("pasted", "masked")


def photos_to_change(count: int, watermark: Watermark, way: str) -> Integers:
    """Numbers, among `count` photos, of those that can be changed in a way.

    The mark is hidden where it is, and pasted where neither it nor another one is.
    """
    everyone = range(count)
    bears = np.array([n in watermark.sightings for n in everyone])
    other = np.array([n in watermark.others for n in everyone])
    return np.flatnonzero(bears if way == "masked" else ~bears & ~other)


def changed_feature_maps(
    rows: Sequence[Row],
    root: Path,
    cache: Path,
    watermark: Watermark,
    way: str,
    numbers: Integers,
    start: Network,
    preprocessing: Preprocessing,
    hardware: Device,
) -> FeatureMaps:
    """What the trunk of `start` makes of the plain views of the changed photos with these numbers (n,)."""
    views = ChangedPhotos(rows, numbers, root, watermark, way, preprocessing)
    settings = {
        "way": way,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "box": watermark.box,
        "size": watermark.size,
        "photos": [[rows[n].file, watermark.sightings.get(int(n))] for n in numbers],
    }
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(watermark.colour.tobytes() + watermark.opacity.tobytes())
    digest.update(trunk_bytes(start))
    folder = cache / f"watermark-{digest.hexdigest()[:16]}"
    what = f"Reading the photographs, watermark {way}"
    values = cached_feature_maps(views, start, folder, hardware, what)
    return FeatureMaps(np.arange(len(numbers) + 1), values)
