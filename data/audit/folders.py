"""Labels that the folder of the photo, or of its link, contradicts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from calcinosis.data.curation import default_taxonomy, url_folder, words
from calcinosis.data.manifest import OTHER, Row

_LABELS_OF_A_HEAP: Final = 20
"""A link's folder with photos of more labels than this is a heap and names no condition."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row's number, how much it matters (1 where one of the conditions is named, else 0.5), and why."""

    row: int
    score: float
    detail: str


def folder_mismatches(rows: Sequence[Row]) -> list[Mismatch]:
    """Rows whose label and folder cannot mean the same.

    The label is what the source calls the photo, or where it says nothing, our own. The folder is the
    last one in the photo's link and the last one in its file's path; the latter counts only where it
    is the name of some condition, since people also sort photos by year or camera.
    """
    taxonomy = default_taxonomy()
    called = [row.source_label or (row.label if row.label != OTHER else "") for row in rows]
    known = {words(name) for name in called}
    labels_in: defaultdict[str, set[str]] = defaultdict(set)
    for row, name in zip(rows, called, strict=True):
        labels_in[url_folder(row.url)].add(name)

    found = []
    for i, (row, name) in enumerate(zip(rows, called, strict=True)):
        if not name:
            continue
        linked, kept = url_folder(row.url), PurePosixPath(row.file).parent.name
        folders = {"link": linked} if len(labels_in[linked]) <= _LABELS_OF_A_HEAP else {}
        if kept and (taxonomy.names(kept) or words(kept) in known):
            folders["file"] = kept
        for where, folder in folders.items():
            if taxonomy.agrees(name, folder) is False:
                kinds = {taxonomy.decide(named).kind for named in (name, folder)}
                score = 1.0 if "target" in kinds or row.label != OTHER else 0.5
                detail = f"labelled {name!r}, and the folder of the {where} is {folder!r}"
                found.append(Mismatch(i, score, detail))
                break
    return found
