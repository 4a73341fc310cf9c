"""SD-198, clinical pictures in 198 folders (Sun et al., ECCV 2016), brought after asking its authors."""

from __future__ import annotations

from pathlib import Path

from calcinosis.data.sources.building import BuildResult, PhotoIndex, curate
from calcinosis.data.sources.folders import by_last_folder

LICENCE = "SD-198: research and academic use, on request"

_NOTES = (
    "the set names no patients: each picture is its own group until the audit joins them",
    "a folder named like one of its conditions decides; Milia is the one target among the 198",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from `images/CONDITION/*.jpg`, or from the condition folders themselves.

    Raises:
        DataError: when the root is no folder.
    """
    photos = PhotoIndex(root)
    return curate(by_last_folder(photos, licence=LICENCE), "sd198", notes=_NOTES, photos=photos)
