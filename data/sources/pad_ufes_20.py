"""PAD-UFES-20, smartphone pictures of six kinds of lesion (Pacheco et al., Data in Brief 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate, fitzpatrick
from calcinosis.data.sources.tables import find_table, read_table

TABLE = "metadata.csv"
LICENCE = "CC BY 4.0"
URL = "https://doi.org/10.17632/zr7vgbcyr2.1"

_NOTES = (
    "none of its six kinds is one of the three conditions or a named look-alike: only negatives",
    "photos of one patient share a group; skin type is missing for lesions without a biopsy",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from `metadata.csv` and the pictures of `imgs_part_1` to `_3`, unpacked.

    Raises:
        DataError: when the table is absent or faulty.
    """
    needs = ("patient_id", "lesion_id", "img_id", "diagnostic")
    rows = read_table(find_table(root, TABLE), needs=needs)
    return curate(_candidates(rows, PhotoIndex(root)), "pad_ufes_20", notes=_NOTES)


def _candidates(rows: list[dict[str, str]], photos: PhotoIndex) -> Iterator[Candidate]:
    for row in rows:
        yield Candidate(
            file=photos.find(row["img_id"]),
            expected=row["img_id"],
            source_label=row["diagnostic"],
            group=row["patient_id"],
            # The set's own spelling of Fitzpatrick.
            skin_tone=fitzpatrick(row.get("fitspatrick", "")),
            licence=LICENCE,
            url=URL,
            extra={"lesion": row["lesion_id"], "biopsy": row.get("biopsed", "")},
        )
