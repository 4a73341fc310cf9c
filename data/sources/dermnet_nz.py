"""DermNet pictures that you brought yourself, with permission, in a folder for each condition."""

from __future__ import annotations

from pathlib import Path

from calcinosis.data.sources.building import BuildResult, PhotoIndex, curate
from calcinosis.data.sources.folders import by_last_folder

LICENCE = "CC BY-NC-ND 3.0 NZ"

_NOTES = (
    "one picture under two conditions is one group; photos of one patient are not tied, as "
    "DermNet does not say who is who",
    "DermNet marks its pictures in the lower left: a model can learn the mark",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from folders named by condition, at any depth.

    Raises:
        DataError: when the root is no folder.
    """
    photos = PhotoIndex(root)
    return curate(
        by_last_folder(photos, licence=LICENCE), "dermnet_nz", notes=_NOTES, photos=photos
    )
