"""Fitzpatrick17k (Groh et al., CVPR Workshops 2021) and its cleaned list Fitzpatrick17k-C (Abhishek et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calcinosis.data.curation import url_folder
from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate, fitzpatrick
from calcinosis.data.sources.tables import find_table, read_table

TABLE = "fitzpatrick17k.csv"
# The cleaned list under the name that its authors gave it, or a shorter one.
CLEANED_TABLES = ("fitzpatrick17k-c.csv", "SimThresh_T*KeepOne_Out_T*.csv")
LICENCE = "CC BY-NC-SA 3.0"

_NO_PATIENTS = "the set names no patients: each photo is its own group until the audit joins them"


def build(root: Path) -> BuildResult:
    """Manifest rows from `fitzpatrick17k.csv` and photos named by their md5.

    Raises:
        DataError: when the table is absent or faulty.
    """
    return _build(root, find_table(root, TABLE), "fitzpatrick17k")


def build_cleaned(root: Path) -> BuildResult:
    """The same photos, kept to the authors' list without duplicates and errors.

    The cleaning did not look at labels, so the taxonomy's rules for the full set hold here too.

    Raises:
        DataError: when the list is absent or faulty.
    """
    return _build(root, find_table(root, *CLEANED_TABLES), "fitzpatrick17k_c")


def _build(root: Path, table: Path, source: str) -> BuildResult:
    rows = read_table(table, needs=("md5hash", "label", "url"))
    candidates = _candidates(rows, PhotoIndex(root))
    return curate(candidates, source, rules_of="fitzpatrick17k", notes=[_NO_PATIENTS])


def _candidates(rows: list[dict[str, str]], photos: PhotoIndex) -> Iterator[Candidate]:
    for row in rows:
        yield Candidate(
            file=photos.find(row["md5hash"]),
            expected=f"{row['md5hash']}.jpg",
            source_label=row["label"],
            group=row["md5hash"],
            folder=url_folder(row["url"]),
            skin_tone=fitzpatrick(row.get("fitzpatrick_scale") or row.get("fitzpatrick", "")),
            licence=LICENCE,
            url=row["url"],
            columns=row,
        )
