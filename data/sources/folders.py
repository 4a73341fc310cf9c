"""Your own photos: a folder for each condition, and in it, where you like, a folder for each patient."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate

# What DermNet adds to a picture's name when it serves it with its mark or in another size.
_SERVED_AS = re.compile(r"__\w+$")
_TELLING = re.compile(r"(?:[^\W\d_].*){3}|\d{5}")
_NOTES = (
    "the first folder names the condition, a folder below it the patient; a photo without one is "
    "its own group",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from `CONDITION/photo.jpg` or `CONDITION/PATIENT/photo.jpg`.

    A patient with photos under two conditions is one group. The manifest's `source` is `own`.

    Raises:
        DataError: when the root is no folder.
    """
    return curate(_candidates(PhotoIndex(root)), "own", notes=_NOTES)


def _candidates(photos: PhotoIndex) -> Iterator[Candidate]:
    for file in photos.files:
        parts = PurePosixPath(file).parts
        patient = "/".join(parts[1:-1])
        yield Candidate(
            file=file,
            expected=file,
            source_label=parts[0] if len(parts) > 1 else "",
            group=f"patient {patient}" if patient else file,
        )


def by_last_folder(photos: PhotoIndex, *, licence: str) -> Iterator[Candidate]:
    """Candidates of a set whose last folder names the condition, whatever lies above it."""
    for file in photos.files:
        path = PurePosixPath(file)
        yield Candidate(
            file=file,
            expected=file,
            source_label=path.parent.name,
            group=picture(path),
            licence=licence,
        )


def picture(path: PurePosixPath) -> str:
    """The picture behind a file, whichever size or mark it was served with.

    A name that says something is one picture wherever it stands; a bare number such as `143` is
    one only within its folder.

    >>> picture(PurePosixPath("milium/milium-02__WatermarkedWyJXYXRl.jpg"))
    'milium-02'
    >>> picture(PurePosixPath("milium/143.jpg"))
    'milium/143'
    """
    name = _SERVED_AS.sub("", path.stem.casefold(), count=1)
    return name if _TELLING.search(name) else f"{path.parent.name.casefold()}/{name}"
