"""Your own photos: a folder for each condition, and in it, where you like, a folder for each patient."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data.curation import LABELS, Decision, default_taxonomy
from calcinosis.data.manifest import OTHER, Row, check_name, check_number, whole_number
from calcinosis.data.sources.building import BuildResult, Candidate, PhotoIndex, curate, named

# What DermNet adds to a picture's name when it serves it with its mark or in another size.
_SERVED_AS = re.compile(r"__\w+$")
_TELLING = re.compile(r"(?:[^\W\d_].*){3}|\d{5}")
_NO_LABEL = "no label's name"  # the rule that decided
_TOLD = 5  # patients by name in a note
_NOTES = (
    "the first folder names the condition, a folder below it the patient; a photo without one is "
    "its own group",
)


def build(root: Path, labels: Sequence[str] = LABELS) -> BuildResult:
    """Manifest rows from `CONDITION/photo.jpg` or `CONDITION/PATIENT/photo.jpg`.

    A patient with photos under two conditions is one group. The manifest's `source` is `own`. Every
    file is a row, or stands among the dropped ones with its reason, or is counted in a note.

    Args:
        root: the folder.
        labels: of the manifest. A folder that is named after one of them is that label.

    Raises:
        DataError: when the root is no folder; `ambiguous_group` where two patients' names differ only in how
            a number is spelt; `not_a_group` where a patient's folder is called `nan` or the like.
    """
    photos = PhotoIndex(root)
    result = curate(_candidates(photos, labels), "own", notes=_NOTES, photos=photos)
    rows = _with_one_spelling(result.rows)
    return replace(result, rows=rows, notes=[*result.notes, *_unlisted(rows), *_joined(rows)])


def _with_one_spelling(rows: Sequence[Row]) -> list[Row]:
    """The rows with their groups as a manifest's reader takes them: `3.0` is `3`, and `03` beside it is refused."""
    numbers: dict[tuple[str, int], str] = {}
    spelt = [replace(row, group=whole_number(row.group)) for row in rows]
    faults: dict[str, DataError] = {}  # by group
    for row in spelt:
        try:
            check_name(row.group)
            check_number(row.group, numbers)
        except ManifestError as error:
            message = error.message.removeprefix("column group: ")
            faults.setdefault(row.group, DataError(error.code, message, name=row.file))
    if faults:
        first, *others = faults.values()
        message = "\n".join([first.message, *map(str, others)])
        raise DataError(first.code, message, name=first.name)
    return spelt


def _unlisted(rows: Sequence[Row]) -> Iterator[str]:
    """A note on the folders that no label of the user's own is named after."""
    others = Counter(
        row.source_label for row in rows if row.extra["curation"].startswith(f"{_NO_LABEL}: ")
    )
    if others:
        yield (
            f"{others.total()} photos under {len(others)} names that are none of the labels were "
            f"taken as other, distant: {named(others)}"
        )


def _joined(rows: Sequence[Row]) -> Iterator[str]:
    """A note on each patient who was found under several labels."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.group, set()).add(row.label)
    names = {group: group.partition("patient ")[2] for group in found}
    joined = [f"{names[g]} ({len(own)} labels)" for g, own in found.items() if len(own) > 1]
    if joined:
        told = ", ".join(joined[:_TOLD]) + (", …" if len(joined) > _TOLD else "")
        yield (
            f"{len(joined)} patients' folders occur under several labels and were each taken as one "
            f"patient: {told}; if they are not, give each a name of its own"
        )


def _candidates(photos: PhotoIndex, labels: Sequence[str]) -> Iterator[Candidate]:
    for file in photos.files:
        parts = PurePosixPath(file).parts
        condition = parts[0] if len(parts) > 1 else ""
        patient = "/".join(parts[1:-1])
        yield Candidate(
            file=file,
            expected=file,
            source_label=condition,
            group=f"patient {patient}" if patient else file,
            decision=None if set(labels) == set(LABELS) else decide_by_name(condition, labels),
        )


def decide_by_name(folder: str, labels: Sequence[str]) -> Decision:
    """What becomes of a photo in a folder, where a user's own labels say what there is.

    >>> decide_by_name("Basal-cell carcinoma", ("basal_cell_carcinoma", "other")).label
    'basal_cell_carcinoma'
    """
    label = {_plain(label): label for label in labels}.get(_plain(folder))
    shipped = default_taxonomy().decide(folder)
    if label is not None:
        kind = "distant" if label == OTHER else "target"
        return Decision(label, kind, "the folder is named after the label", "label")
    if not folder or (shipped.kind == "target" and shipped.label in labels):
        return shipped
    reason = f"“{folder}” is none of the labels {', '.join(labels)}"
    if OTHER in labels:
        return Decision(OTHER, "distant", reason, _NO_LABEL)
    return Decision("", "", reason, _NO_LABEL)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


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
