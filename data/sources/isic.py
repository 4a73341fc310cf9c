"""The ISIC Archive, as `isic image download` or this project's own download leaves it on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate, fitzpatrick
from calcinosis.data.sources.tables import find_table, read_table

TABLE = "metadata.csv"
PAGE = "https://api.isic-archive.com/api/v2/images/{}/"
# The archive's own names for the three licences that an image can have.
LICENCES = {"CC-0": "CC0 1.0", "CC-BY": "CC BY 4.0", "CC-BY-NC": "CC BY-NC 4.0"}

_NOTES = (
    "photos of one patient share a group, else of one lesion; most of the archive is dermoscopy, "
    "which is left out",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from the archive's `metadata.csv` and photos named by their ISIC id.

    Raises:
        DataError: when the table is absent or faulty.
    """
    rows = read_table(find_table(root, TABLE), needs=("isic_id", "copyright_license"))
    return curate(_candidates(rows, PhotoIndex(root)), "isic", notes=_NOTES)


def diagnosis(row: dict[str, str]) -> str:
    """The finest diagnosis that a row gives: the archive's tree goes from diagnosis_1 to _5."""
    levels = [row.get(f"diagnosis_{level}", "") for level in range(5, 0, -1)]
    return next((level for level in levels if level), row.get("diagnosis", ""))


def _candidates(rows: list[dict[str, str]], photos: PhotoIndex) -> Iterator[Candidate]:
    for row in rows:
        name = row["isic_id"]
        licence = row["copyright_license"]
        yield Candidate(
            file=photos.find(name),
            expected=f"{name}.jpg",
            source_label=diagnosis(row),
            group=row.get("patient_id") or row.get("lesion_id") or name,
            skin_tone=_skin_tone(row.get("fitzpatrick_skin_type", "")),
            licence=LICENCES.get(licence, licence),
            url=PAGE.format(name),
            columns=row,
            extra={
                "attribution": row.get("attribution", ""),
                "lesion": row.get("lesion_id", ""),
                "image_type": row.get("image_type", ""),
            },
        )


def _skin_tone(value: str) -> str:
    """The archive writes Roman numerals."""
    romans = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5", "VI": "6"}
    return fitzpatrick(romans.get(value.upper(), value))
