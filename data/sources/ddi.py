"""DDI, biopsy-proven pictures over three bands of skin tone (Daneshjou et al., Science Advances 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate
from calcinosis.data.sources.tables import find_table, read_table

TABLE = "ddi_metadata.csv"
LICENCE = "Stanford research use agreement"
URL = "https://ddi-dataset.github.io/"

# The set writes two neighbouring Fitzpatrick types as one number.
BANDS = {"12": "fitzpatrick:1-2", "34": "fitzpatrick:3-4", "56": "fitzpatrick:5-6"}
_NOTES = ("the table names no patients: each picture is its own group",)


def build(root: Path) -> BuildResult:
    """Manifest rows from `ddi_metadata.csv` and the pictures that it names.

    Raises:
        DataError: when the table is absent or faulty.
    """
    rows = read_table(find_table(root, TABLE), needs=("DDI_file", "skin_tone", "disease"))
    return curate(_candidates(rows, PhotoIndex(root)), "ddi", notes=_NOTES)


def _candidates(rows: list[dict[str, str]], photos: PhotoIndex) -> Iterator[Candidate]:
    for row in rows:
        yield Candidate(
            file=photos.find(row["DDI_file"]),
            expected=row["DDI_file"],
            source_label=row["disease"],
            group=row["DDI_file"],
            skin_tone=BANDS.get(row["skin_tone"], ""),
            licence=LICENCE,
            url=URL,
        )
