"""The manifest: one row a photo, the contract between a data set and everything that reads photographs."""

import contextlib
import csv
import io
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Final

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data.shards import open_shard, split_name

OTHER: Final = "other"
"""The background label, which every label set of a manifest may hold."""

REQUIRED: Final = ("file", "label", "source", "group")
OPTIONAL: Final = (
    "source_label",
    "kind",
    "body_site",
    "skin_tone",
    "licence",
    "url",
    "sha256",
    "fold",
)
KINDS: Final = ("target", "lookalike", "distant")
BODY_SITES: Final = ("acral_hand", "acral_foot", "ear", "elbow_knee", "face", "trunk", "other")
"""Where on the body; what each word means stands in `curated/body_site_rules.toml`."""

_DELIMITERS: Final = ",;\t"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAMED_ABSENT_FILES: Final = 5


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

    The file is CSV in UTF-8, with or without a byte order mark, with commas, semicolons or tabs.
    Columns may stand in any order; unknown ones are kept in `Row.extra`. Rows that are blank
    throughout are passed over. A condition's empty `kind` becomes `target`.

    Args:
        path: the manifest.
        labels: the labels that it may use.

    Returns:
        The rows, in the order of the file.

    Raises:
        ManifestError: at the first fault, naming the manifest, the row (the header is row 1, as in
            a spreadsheet) and the column, and saying how to mend it.
    """
    records = _records(_text(path), str(path))
    header = next(records, None)
    if header is None:
        raise ManifestError(
            "empty_manifest", "is empty; give a CSV with a header and a row a photo", name=str(path)
        )
    columns = _columns(header[1], str(path))
    known = frozenset(labels)
    rows: list[Row] = []
    first_use: dict[str, str] = {}
    for place, values in records:
        if len(values) != len(columns):
            raise _fault(
                path,
                place,
                "wrong_number_of_columns",
                f"has {len(values)} columns where the header has {len(columns)}; "
                "quote a value that holds a delimiter, or fill in the missing one",
            )
        row = _row(dict(zip(columns, values, strict=True)), known, path, place)
        spelling = _spelling(row.file)
        if spelling in first_use:
            raise _fault(
                path,
                place,
                "duplicate_file",
                f"column file: {row.file!r} is already listed in {first_use[spelling]}; "
                "remove one of the two rows",
            )
        first_use[spelling] = place
        rows.append(row)
    if not rows:
        raise ManifestError(
            "empty_manifest", "has a header and no rows; add a row a photo", name=str(path)
        )
    return rows


def write_manifest(rows: Iterable[Row], path: Path) -> None:
    """Write a manifest whole or not at all: to a partial file, renamed when it is complete.

    Optional columns that no row fills are left out; extra columns follow in the order in which the
    rows bring them.

    Raises:
        ManifestError: when the file cannot be written.
    """
    rows = list(rows)
    columns = [*REQUIRED, *(name for name in OPTIONAL if any(_filled(row, name) for row in rows))]
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    records = [
        [
            *("" if (value := getattr(row, name)) is None else str(value) for name in columns),
            *(row.extra.get(name, "") for name in extra),
        ]
        for row in rows
    ]
    # Before Python 3.13 the writer leaves a lone carriage return unquoted, and readers end the row.
    returns = any("\r" in value for record in records for value in record)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(
                stream, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
            )
            writer.writerows([[*columns, *extra], *records])
        partial.replace(path)
    except OSError as error:
        raise ManifestError(
            "cannot_write",
            f"cannot be written ({error.strerror}); name another place",
            name=str(path),
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()  # still there only when the writing failed


def leave_out(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows that a list of exclusions does not name.

    Args:
        rows: of a manifest.
        path: a CSV in any dialect that `read_manifest` reads, with the columns `file` and `reason`.

    Raises:
        ManifestError: when the list cannot be read, gives no reason, or names a file that no row has,
            which would leave it in unseen.
    """
    excluded: dict[str, str] = {}
    records = _records(_text(path), str(path))
    header = [column.strip() for column in next(records, ("", []))[1]]
    if not {"file", "reason"} <= set(header):
        raise ManifestError(
            "missing_column", "needs the columns file and reason in row 1", name=str(path)
        )
    for place, values in records:
        record = dict(zip(header, values, strict=False))
        if not record.get("file") or not record.get("reason", "").strip():
            raise _fault(path, place, "empty_value", "needs a file and the reason to leave it out")
        excluded[_spelling(record["file"])] = place
    known = {_spelling(row.file) for row in rows}
    for spelling, place in excluded.items():
        if spelling not in known:
            raise _fault(
                path,
                place,
                "unknown_file",
                f"column file: no row of the manifest has {spelling!r}; check its name",
            )
    return [row for row in rows if _spelling(row.file) not in excluded]


def resolve(root: Path, row: Row) -> Path:
    """The photo's real place on disk.

    Args:
        root: the folder that the manifest's files lie below.
        row: the photo.

    Returns:
        An absolute path without symbolic links, which lies below the root and is a file.

    Raises:
        ManifestError: when the photo is absent, is no file, is reached through a loop of links, or
            lies outside the root.
    """
    return _locate(root, row.file)


def open_source(root: Path, file: str) -> Path | bytes:
    """A photo, by the name that a manifest has for it: its real place, or its bytes where it is in a shard.

    A tar or Parquet file is named as a folder would be: `train-0001.tar/lesion.jpg`.

    Raises:
        ManifestError: as `resolve`.
        DataError: when the shard cannot be read, or does not hold the photo as a plain member.
    """
    shard = _shard_of(root, file)
    if shard is None:
        return _locate(root, file)
    place, name = shard
    return open_shard(place).read(name)


def path_of(root: Path, file: str) -> Path:
    """The file on disk that holds a photo: its own, or the shard's.

    Raises:
        ManifestError: as `resolve`.
    """
    shard = _shard_of(root, file)
    return _locate(root, file) if shard is None else shard[0]


def _shard_of(root: Path, file: str) -> tuple[Path, str] | None:
    """The shard that a photo lies in, and its name there; None for a photo in a file of its own."""
    parts = split_name(file)
    if parts is None:
        return None
    fault = _unsafe(file) or _unsafe(parts[1])
    if fault:
        raise ManifestError("outside_root", fault, name=file)
    return None if (root / parts[0]).is_dir() else (_locate(root, parts[0]), parts[1])


def _locate(root: Path, file: str) -> Path:
    fault = _unsafe(file)
    if fault:
        raise ManifestError("outside_root", fault, name=file)
    top = os.path.realpath(root)
    for spelling in dict.fromkeys((file, *_unicode_forms(file))):
        try:
            place = os.path.realpath(f"{top}/{spelling}", strict=True)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ManifestError(
                "unreachable_photo",
                f"cannot be reached ({error.strerror}); look for links that run in a circle "
                "and for missing permissions",
                name=file,
            ) from None
        if os.path.commonpath((top, place)) != top:
            raise ManifestError(
                "outside_root",
                f"is a link to a place outside {root}; copy the photo below the root folder",
                name=file,
            )
        if not Path(place).is_file():
            raise ManifestError("not_a_file", "is not a file; name the photo itself", name=file)
        return Path(place)
    raise ManifestError(
        "missing_photo",
        f"is listed in the manifest and is not below {root}; "
        "check the root folder, or remove the row",
        name=file,
    )


def check_files(rows: Sequence[Row], root: Path) -> None:
    """Make sure that every listed photo is there, before any long work begins.

    Raises:
        ManifestError: one for all faults: it counts them and names the first few.
        DataError: for a single fault of a shard.
    """
    if not root.is_dir():
        raise ManifestError(
            "missing_root", "is no folder; name the folder that holds the photos", name=str(root)
        )
    faults: list[DataError] = []
    for row in rows:
        try:
            shard = _shard_of(root, row.file)
            if shard is None:
                _locate(root, row.file)
            else:
                open_shard(shard[0]).check(shard[1])
        except DataError as fault:
            faults.append(fault)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        named = ", ".join(repr(fault.name) for fault in faults[:_NAMED_ABSENT_FILES])
        more = ", …" if len(faults) > _NAMED_ABSENT_FILES else ""
        only_absent = all(fault.code == "missing_photo" for fault in faults)
        raise ManifestError(
            "missing_photo" if only_absent else "unreachable_photo",
            f"{len(faults)} of the {len(rows)} listed photos are "
            f"{'absent' if only_absent else 'absent or not to be used'}: {named}{more}; "
            "check the root folder, or remove their rows",
            name=str(root),
        )


def _text(path: Path) -> str:
    name = str(path)
    try:
        if path.is_dir():
            raise ManifestError("folder", "is a folder; name the CSV file in it", name=name)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(
            "missing_manifest", "there is no such file; check the name", name=name
        ) from None
    except UnicodeDecodeError:
        raise ManifestError(
            "not_utf8", "is not UTF-8 text; save it as 'CSV UTF-8'", name=name
        ) from None
    except (OSError, ValueError):
        raise ManifestError(
            "unreadable_manifest", "cannot be read; check its name and permissions", name=name
        ) from None


def _records(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """The records that are not blank, each with its place in words, such as `row 3 (line 5)`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=find_delimiter(text), strict=True)
    number = 0
    while True:
        number += 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError(
                "not_csv",
                f"row {number} (line {reader.line_num}) is not valid CSV ({error}); "
                "look for a quotation mark that is never closed",
                name=name,
            ) from None
        if any(value.strip() for value in values):
            line = "" if number == reader.line_num else f" (line {reader.line_num})"
            yield f"row {number}{line}", values


def find_delimiter(text: str) -> str:
    """The delimiter under which the header shows most of the columns that a manifest has."""
    header = text.lstrip().partition("\n")[0]

    def known_columns(delimiter: str) -> int:
        names = {name.strip().strip('"').strip() for name in header.split(delimiter)}
        return len(names.intersection((*REQUIRED, *OPTIONAL)))

    return max(_DELIMITERS, key=known_columns)


def _columns(header: Sequence[str], name: str) -> list[str]:
    columns = [column.strip() for column in header]
    for column in REQUIRED:
        if column not in columns:
            raise ManifestError(
                "missing_column",
                f"row 1 lacks the column {column!r}; it has {', '.join(map(repr, columns))} "
                f"and needs {', '.join(REQUIRED)}",
                name=name,
            )
    for column in columns:
        if columns.count(column) > 1:
            raise ManifestError(
                "duplicate_column",
                f"row 1 has the column {column!r} twice; rename or remove one",
                name=name,
            )
    return columns


def _row(values: dict[str, str], labels: frozenset[str], path: Path, place: str) -> Row:
    def fault(code: str, column: str, message: str) -> ManifestError:
        return _fault(path, place, code, f"column {column}: {message}")

    for column in REQUIRED:
        if not values[column].strip():
            cure = {
                "file": "name the photo, below the root folder",
                "label": f"give one of {', '.join(sorted(labels))}",
                "source": "say which collection the photo comes from",
                "group": "give photos of one patient one name, and every other photo its own",
            }[column]
            raise fault("empty_value", column, f"is empty; {cure}")
    file = values.pop("file")
    unsafe = _unsafe(file)
    if unsafe:
        raise fault("outside_root", "file", f"{file!r} {unsafe}")
    known = {name: values.pop(name, "").strip() for name in (*REQUIRED[1:], *OPTIONAL)}
    if known["label"] not in labels:
        raise fault(
            "unknown_label",
            "label",
            f"{known['label']!r} is no label; use one of {', '.join(sorted(labels))}",
        )
    kind = known.pop("kind") or ("target" if known["label"] != OTHER else "")
    if kind and kind not in KINDS:
        raise fault("unknown_kind", "kind", f"{kind!r} is no kind; use one of {', '.join(KINDS)}")
    if kind and (kind == "target") != (known["label"] != OTHER):
        raise fault(
            "kind_against_label",
            "kind",
            f"{kind!r} does not go with the label {known['label']!r}; "
            f"'target' is for the conditions, 'lookalike' and 'distant' are for {OTHER!r}",
        )
    if known["body_site"] and known["body_site"] not in BODY_SITES:
        raise fault(
            "unknown_body_site",
            "body_site",
            f"{known['body_site']!r} is no body site; use one of {', '.join(BODY_SITES)}, "
            "or leave it empty",
        )
    digest = known.pop("sha256").lower()
    if digest and not _SHA256.fullmatch(digest):
        raise fault("not_a_digest", "sha256", "is not 64 hexadecimal digits; leave it empty")
    # A column with gaps comes back from pandas as 0.0, 1.0, …
    fold = known.pop("fold").removesuffix(".0")
    if fold and not (fold.isascii() and fold.isdigit()):
        raise fault("not_a_fold", "fold", f"{fold!r} is no fold; give 0, 1, 2, … or leave it empty")
    return Row(
        file=file,
        kind=kind,
        sha256=digest,
        fold=int(fold) if fold else None,
        extra=values,
        **known,
    )


def _unsafe(file: str) -> str:
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


def _unicode_forms(file: str) -> tuple[str, ...]:
    """A name as other systems write it: macOS decomposes accents, most others compose them."""
    if file.isascii():
        return ()
    return unicodedata.normalize("NFC", file), unicodedata.normalize("NFD", file)


def _filled(row: Row, column: str) -> bool:
    return getattr(row, column) not in ("", None)


def _fault(path: Path, place: str, code: str, message: str) -> ManifestError:
    return ManifestError(code, f"{place}, {message}", name=str(path))
