"""A CSV as people really write it: the one reader for manifests, lists and the tables of public sets."""

import csv
import errno
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

from calcinosis.common.errors import DataError
from calcinosis.common.files import atomic_write

_DELIMITERS: Final = ",;\t"
_LONGEST_LINE: Final = 1024**2  # characters
_BOM: Final = "\ufeff"


class Table:
    """A CSV, read once and row by row, however long it is.

    It is UTF-8, with or without a byte order mark; delimited by commas, semicolons or tabs; its lines end
    in LF, CRLF or a lone CR. Blank rows are passed over, values lose the white space around them, and
    columns without a name, which spreadsheets and pandas add, are left out.

    Args:
        path: the file.
        needs: columns that it must have.
        error: what to raise.

    Attributes:
        columns: the header's names, in their order.
        end: the byte at which the last row ends.

    Raises:
        DataError: at the first fault, naming the file and the row and saying how to mend it.
    """

    def __init__(
        self, path: Path, needs: Sequence[str], *, error: type[DataError] = DataError
    ) -> None:
        self._path, self._error = path, error
        self._digest = hashlib.sha256()
        self._row = self._blank_lines = self.end = 0
        self._reader: Any = iter(())
        self._stream = self._open()
        try:
            self._read_header(needs)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._reader = iter(())  # which refers back to this object, and would keep it in memory

    def __iter__(self) -> Iterator[list[str]]:
        """The values of each row, in the order of `columns`."""
        while (record := self._next()) is not None:
            values = [value.strip() for value in record]
            if not any(values):
                continue
            while len(values) > self._width and not values[-1]:
                values.pop()
            if len(values) != self._width:
                raise self.fault(
                    "wrong_number_of_columns",
                    f"has {len(values)} columns where the header has {self._width}; "
                    "quote a value that holds a delimiter, or fill in the missing one",
                )
            yield values if len(self._named) == self._width else [values[i] for i in self._named]

    def dicts(self) -> Iterator[dict[str, str]]:
        """The rows by the names of their columns."""
        for values in self:
            yield dict(zip(self.columns, values, strict=True))

    @property
    def place(self) -> str:
        """Where the last row stands, such as `row 3 (line 5)`; the header is row 1, as in a spreadsheet."""
        row, line = self._row + self._blank_lines, self._reader.line_num + self._blank_lines
        return f"row {row}" if row == line else f"row {row} (line {line})"

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the bytes up to `end`."""
        return self._digest.hexdigest()

    def seek(self, start: int) -> None:
        """Go on with the row that begins at this byte."""
        self._stream.close()
        self._stream, self.end = self._open(start), start
        self._reader = self._csv_reader(self._lines())

    def fault(self, code: str, message: str) -> DataError:
        """An error that names the file and the last row."""
        comma = "," if message.startswith("column") else ""
        return self._fault(code, f"{self.place}{comma} {message}")

    def _fault(self, code: str, message: str) -> DataError:
        return self._error(code, message, str(self._path))

    def _open(self, start: int = 0) -> io.TextIOWrapper:
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            raise self._fault("missing_manifest", "there is no such file; check the name") from None
        except IsADirectoryError:
            raise self._fault("folder", "is a folder; name the CSV file in it") from None
        except (OSError, ValueError):
            raise self._fault(
                "unreadable_manifest", "cannot be read; check its name and permissions"
            ) from None
        stream.seek(start)
        # With newline="" a line may end in LF, CRLF or CR, and keeps its ending.
        return io.TextIOWrapper(stream, encoding="utf-8", newline="")

    def _lines(self) -> Iterator[str]:
        try:
            while line := self._stream.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise self._fault(
                        "not_csv",
                        f"has a line of {_LONGEST_LINE:,} characters or more; "
                        "end each row with a line break",
                    )
                content = line.encode()
                text = line if self.end else line.removeprefix(_BOM)
                self.end += len(content)
                self._digest.update(content)
                yield text
        except UnicodeDecodeError:
            raise self._fault("not_utf8", "is not UTF-8 text; save it as 'CSV UTF-8'") from None
        except OSError:
            raise self._fault("unreadable_manifest", "cannot be read; copy it again") from None

    def _csv_reader(self, lines: Iterator[str]) -> Any:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _next(self) -> list[str] | None:
        self._row += 1
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise self.fault(
                "not_csv",
                f"is not valid CSV ({error}); look for a quotation mark that is never closed",
            ) from None

    def _read_header(self, needs: Sequence[str]) -> None:
        lines = self._lines()
        first = next(lines, "")
        while first and not first.strip(f"{_DELIMITERS} \r\n"):
            first = next(lines, "")
            self._blank_lines += 1
        self._delimiter = _find_delimiter(first, needs)
        self._reader = self._csv_reader(chain([first], lines))
        header = [name.strip() for name in self._next() or ()]
        self._check_header(header, needs)
        while not header[-1]:
            header.pop()
        self._width = len(header)
        self._named = [i for i, name in enumerate(header) if name]
        self.columns = [header[i] for i in self._named]

    def _check_header(self, header: Sequence[str], needs: Sequence[str]) -> None:
        names = [name for name in header if name]
        if not names:
            raise self._fault("empty_manifest", "is empty; give a CSV with a header and rows")
        for column in needs:
            if column not in names:
                raise self._fault(
                    "missing_column",
                    f"row 1 lacks the column {column!r}; it has {', '.join(map(repr, names))} "
                    f"and needs {', '.join(needs)}",
                )
        for column in names:
            if names.count(column) > 1:
                raise self._fault(
                    "duplicate_column",
                    f"row 1 has the column {column!r} twice; rename or remove one",
                )


def _find_delimiter(header: str, needs: Sequence[str]) -> str:
    """The delimiter under which the header shows most of the columns that are needed."""

    def shown(delimiter: str) -> tuple[int, int]:
        names = {name.strip().strip('"').strip() for name in header.split(delimiter)}
        return len(names.intersection(needs)), header.count(delimiter)

    return max(_DELIMITERS, key=shown)


def write_table(
    path: Path,
    columns: Sequence[str],
    records: Sequence[Sequence[object]],
    *,
    error: type[DataError] = DataError,
) -> None:
    """Write a CSV in UTF-8, whole or not at all.

    Raises:
        DataError: when the file cannot be written, or holds a name that cannot be spelt in UTF-8.
    """
    # Before Python 3.13 the writer leaves a lone carriage return unquoted, and readers end the row.
    returns = any("\r" in str(value) for record in records for value in record)
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    )
    writer.writerows([columns, *records])
    with write_errors(path, error):
        atomic_write(path, text.getvalue())


@contextmanager
def write_errors(path: Path, error: type[DataError] = DataError) -> Iterator[None]:
    """Say which file cannot be written, and what to do.

    Raises:
        DataError: `disk_full`, `cannot_write` or `not_utf8`.
    """
    try:
        yield
    except UnicodeEncodeError as cause:
        odd = cause.object[max(cause.start - 40, 0) : cause.end + 40].splitlines()
        raise error(
            "not_utf8",
            f"cannot hold a name that is not UTF-8, near {''.join(odd)!r}; rename that file",
            str(path),
        ) from None
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise error(
                "disk_full", "no space is left on the disk; make room and start again", str(path)
            ) from None
        raise error(
            "cannot_write", f"cannot be written ({cause.strerror}); name another place", str(path)
        ) from None
