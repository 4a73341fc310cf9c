"""The manifest: one row a photo, the contract between a data set and everything that reads photographs."""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Final

from calcinosis.common.errors import ManifestError
from calcinosis.data.table import Table, write_table

OTHER: Final = "other"
"""The background label, which every label set of a manifest may hold."""

REQUIRED: Final = ("file", "label", "source", "group")
OPTIONAL: Final = ("source_label", "kind", "body_site", "skin_tone", "licence", "url", "sha256", "fold")  # fmt: skip
KINDS: Final = ("target", "lookalike", "distant")
BODY_SITES: Final = ("acral_hand", "acral_foot", "ear", "elbow_knee", "face", "trunk", "other")
"""Where on the body; what each word means stands in `curated/body_site_rules.toml`."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FRACTION: Final = re.compile(r"\A((?:.*[: ])?[0-9]+)[.,]0+\Z")
_NUMBER: Final = re.compile(r"(.*[: ])?([0-9]{1,30})")
_NO_NAME: Final = re.compile(
    r"(?i)#(n/a|ref!|value!|name\?|div/0!|null!|num!)|nan|<na>|nat|n/?a|null|none|[+-]?\d+([.,]\d+)?e[+-]\d+"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One photo of a data set.

    Attributes:
        file: path below the root folder, with `/` between folders.
        label: the project's label.
        source: the set or collection that the photo comes from.
        group: photos of one patient or one picture share it and are never split.
        source_label: what the source calls the photo's condition.
        kind: `target`, `lookalike`, `distant`, or empty where nobody has said.
        body_site: one of `BODY_SITES`, or empty where nobody has said.
        skin_tone: with its scale, such as `fitzpatrick:4`.
        licence: the licence's name.
        url: where the photo was published.
        sha256: of the file's bytes, in lower-case hexadecimal.
        fold: the number of the cross-validation fold, from 0.
        extra: further columns of the manifest, in their order.
    """

    file: str
    label: str
    source: str
    group: str
    source_label: str = ""
    kind: str = ""
    body_site: str = ""
    skin_tone: str = ""
    licence: str = ""
    url: str = ""
    sha256: str = ""
    fold: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)


def read_manifest(path: Path, *, labels: Sequence[str]) -> list[Row]:
    """Read and check a manifest.

    The file is a CSV as `Table` reads it. Columns may stand in any order; unknown ones are kept in
    `Row.extra`. A condition's empty `kind` becomes `target`, and a group or fold that pandas wrote as
    `3.0` becomes `3`.

    Args:
        path: the manifest.
        labels: the labels that it may use.

    Returns:
        The rows, in the order of the file.

    Raises:
        ManifestError: at the first fault, naming the manifest, the row (the header is row 1, as in
            a spreadsheet) and the column, and saying how to mend it.
    """
    rows: list[Row] = []
    first_use: dict[str, str] = {}
    numbers: dict[tuple[str, int], str] = {}
    with Table(path, needs=REQUIRED, error=ManifestError) as table:
        for values in table.dicts():
            try:
                row = _row(values, labels)
                check_number(row.group, numbers)
            except ManifestError as error:
                raise table.fault(error.code, error.message) from None
            spelling = _spelling(row.file)
            if spelling in first_use:
                raise table.fault(
                    "duplicate_file",
                    f"column file: {row.file!r} is already listed in {first_use[spelling]}; "
                    "remove one of the two rows",
                )
            first_use[spelling] = table.place
            rows.append(row)
    if not rows:
        raise ManifestError(
            "empty_manifest", "has a header and no rows; add a row a photo", name=str(path)
        )
    return rows


def write_manifest(rows: Iterable[Row], path: Path) -> None:
    """Write a manifest whole or not at all.

    Optional columns that no row fills are left out; extra columns follow in the order in which the
    rows bring them.

    Raises:
        ManifestError: when the file cannot be written, or a name cannot be spelt in UTF-8.
    """
    rows = list(rows)
    columns = [
        *REQUIRED,
        *(name for name in OPTIONAL if any(getattr(row, name) not in ("", None) for row in rows)),
    ]
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    records = [
        [
            *("" if (value := getattr(row, name)) is None else str(value) for name in columns),
            *(row.extra.get(name, "") for name in extra),
        ]
        for row in rows
    ]
    write_table(path, [*columns, *extra], records, error=ManifestError)


def leave_out(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows that a list of exclusions does not name.

    Args:
        rows: of a manifest.
        path: a CSV as `Table` reads it, with the columns `file` and `reason`.

    Raises:
        ManifestError: when the list cannot be read, gives no reason, or names a file that no row has,
            which would leave it in unseen.
    """
    known = {_spelling(row.file) for row in rows}
    excluded = set()
    with Table(path, needs=("file", "reason"), error=ManifestError) as table:
        for record in table.dicts():
            if not record["file"] or not record["reason"]:
                raise table.fault("empty_value", "needs a file and the reason to leave it out")
            spelling = _spelling(record["file"])
            if spelling not in known:
                raise table.fault(
                    "unknown_file",
                    f"column file: no row of the manifest has {spelling!r}; check its name",
                )
            excluded.add(spelling)
    return [row for row in rows if _spelling(row.file) not in excluded]


def _row(values: dict[str, str], labels: Sequence[str]) -> Row:
    """The row of these values, which lose what is known by name.

    Raises:
        ManifestError: with the column at fault and without the place.
    """
    for column in REQUIRED:
        if not values[column]:
            cure = {
                "file": "name the photo, below the root folder",
                "label": f"give one of {', '.join(labels)}",
                "source": "say which collection the photo comes from",
                "group": "give photos of one patient one name, and every other photo its own",
            }[column]
            raise _fault("empty_value", column, f"is empty; {cure}")
    file = values.pop("file")
    unsafe = unsafe_name(file)
    if unsafe:
        raise _fault("outside_root", "file", f"{file!r} {unsafe}")
    known = {name: values.pop(name, "") for name in (*REQUIRED[1:], *OPTIONAL)}
    fold = whole_number(known.pop("fold"))
    if fold and not (fold.isascii() and fold.isdigit()):
        raise _fault(
            "not_a_fold", "fold", f"{fold!r} is no fold; give 0, 1, 2, … or leave it empty"
        )
    known["kind"] = known["kind"] or ("target" if known["label"] != OTHER else "")
    known["sha256"] = known["sha256"].lower()
    known["group"] = whole_number(known["group"])
    row = Row(file=file, fold=int(fold) if fold else None, extra=values, **known)
    _check(row, labels)
    return row


def _check(row: Row, labels: Sequence[str]) -> None:
    """Refuse a value that its column cannot have."""
    for column, what, allowed in (
        ("label", "label", labels),
        ("kind", "kind", KINDS),
        ("body_site", "body site", BODY_SITES),
    ):
        value = getattr(row, column)
        if value not in allowed and (value or column == "label"):
            raise _fault(
                f"unknown_{column}",
                column,
                f"{value!r} is no {what}; use one of {', '.join(allowed)}",
            )
    if row.kind and (row.kind == "target") != (row.label != OTHER):
        raise _fault(
            "kind_against_label",
            "kind",
            f"{row.kind!r} does not go with the label {row.label!r}; "
            f"'target' is for the conditions, 'lookalike' and 'distant' are for {OTHER!r}",
        )
    if row.sha256 and not _SHA256.fullmatch(row.sha256):
        raise _fault("not_a_digest", "sha256", "is not 64 hexadecimal digits; leave it empty")
    check_name(row.group)


def check_name(group: str) -> None:
    """Refuse a group that is named after nobody, whose photos may be of many patients."""
    if _NO_NAME.fullmatch(group.rpartition(":")[2].removeprefix("patient ")):
        raise _fault(
            "not_a_group",
            "group",
            f"{group!r} is what a spreadsheet writes where a value is missing or too long; "
            "give the patient's own identifier, in a column of the type text",
        )


def whole_number(number: str) -> str:
    """A whole number without the fraction that pandas gives a column with gaps: 3 for 3.0."""
    return _FRACTION.sub(r"\1", number)


def check_number(group: str, numbers: dict[tuple[str, int], str]) -> None:
    """Refuse a group that differs from another only by how its number is spelt."""
    parts = _NUMBER.fullmatch(group)
    if parts:
        other = numbers.setdefault((parts[1] or "", int(parts[2])), group)
        if other != group:
            raise _fault(
                "ambiguous_group",
                "group",
                f"{group!r} and {other!r} differ only in how a number is spelt; "
                "write one patient's identifier in one way",
            )


def unsafe_name(file: str) -> str:
    """Why a file name cannot be used, in words; empty when it can."""
    if "\0" in file:
        return "holds a NUL character; type the name again"
    if "\\" in file:
        return "has a backslash; write / between folders"
    if file.startswith("/") or PureWindowsPath(file).drive:
        return "is an absolute path; write it relative to the root folder"
    normal = posixpath.normpath(file)
    if normal == ".." or normal.startswith("../"):
        return "leaves the root folder; remove the '..'"
    return ""


def _spelling(file: str) -> str:
    """One spelling for all names of one file."""
    return unicodedata.normalize("NFC", posixpath.normpath(file))


def _fault(code: str, column: str, message: str) -> ManifestError:
    return ManifestError(code, f"column {column}: {message}")
