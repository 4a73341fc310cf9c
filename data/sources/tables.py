"""Reading the tables that a set brings along, as they come: with a byte order mark, semicolons, quoted line breaks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from calcinosis.common.errors import DataError

_DELIMITERS = ",;\t"


def find_table(root: Path, *names: str) -> Path:
    """The first of these files that lies below the root, in its `dataset/` folder or beside it.

    Raises:
        DataError: code `missing_table`, saying what was looked for.
    """
    if not root.is_dir():
        raise DataError(
            "missing_root", "is no folder; name the folder that holds the set", name=str(root)
        )
    for place in (root, root / "dataset"):
        for name in names:
            for path in sorted(place.glob(name)):
                if path.is_file():
                    return path
    raise DataError(
        "missing_table",
        f"holds no {' or '.join(names)}; put the set's own table there",
        name=str(root),
    )


def read_table(path: Path, needs: Sequence[str]) -> list[dict[str, str]]:
    """All rows of a table as dictionaries; blank rows are passed over, values are stripped.

    Raises:
        DataError: naming the file, the row (the header is row 1) and the column at fault.
    """
    return list(_rows(path, needs))


def _rows(path: Path, needs: Sequence[str]) -> Iterator[dict[str, str]]:
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            "not_utf8", "is not UTF-8 text; save it as 'CSV UTF-8'", name=name
        ) from None
    except OSError as error:
        raise DataError(
            "unreadable_table", f"cannot be read ({error.strerror})", name=name
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    header: list[str] = []
    number = 0
    while True:
        number += 1
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(
                "not_csv",
                f"row {number} (line {reader.line_num}) is not valid CSV ({error})",
                name=name,
            ) from None
        if not any(value.strip() for value in values):
            continue
        if not header:
            header = _header(values, needs, name)
            continue
        if len(values) != len(header):
            raise DataError(
                "wrong_number_of_columns",
                f"row {number} has {len(values)} columns where the header has {len(header)}",
                name=name,
            )
        row = {column: value.strip() for column, value in zip(header, values, strict=True)}
        row.pop("", None)  # a row index that pandas wrote without a name
        yield row
    if not header:
        raise DataError("empty_table", "is empty; fetch the set's table again", name=name)


def _header(values: Sequence[str], needs: Sequence[str], name: str) -> list[str]:
    header = [value.strip() for value in values]
    for column in needs:
        if column not in header:
            raise DataError(
                "missing_column",
                f"row 1 lacks the column {column!r}; it has {', '.join(map(repr, header))}",
                name=name,
            )
    return header


def _delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=header.count)
