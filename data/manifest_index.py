"""The photos that a manifest of any length names, chunk by chunk: it is never held in memory."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from calcinosis.common.errors import ManifestError
from calcinosis.data.manifest import find_delimiter

_LONGEST_LINE: Final = 1024**2
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a manifest.

    Attributes:
        number: of the chunk, from 0.
        first: the first of its rows, counted from 0 without the header.
        rows: how many they are.
        start: the byte of the manifest at which they begin.
    """

    number: int
    first: int
    rows: int
    start: int


@dataclass(frozen=True)
class ManifestIndex:
    """What one passage through a manifest told.

    Attributes:
        path: the manifest.
        rows: how many photos it names.
        digest: SHA-256 of its bytes.
        chunks: all its rows, in their order.
    """

    path: Path
    rows: int
    digest: str
    chunks: tuple[Chunk, ...]

    def files(self, chunk: Chunk) -> Iterator[str]:
        """The column `file` of a chunk's rows."""
        with self.path.open("rb") as stream:
            header = _Lines(stream, self.path)
            columns, delimiter = _header(header, self.path)
            stream.seek(chunk.start)
            records = _records(_Lines(stream, self.path), delimiter, self.path)
            for _, (_, values) in zip(range(chunk.rows), records, strict=False):
                yield values[columns.index("file")]


def index_manifest(path: Path, *, rows_per_chunk: int) -> ManifestIndex:
    """Pass through a manifest once: check it, count it, and note where its chunks begin.

    Of its columns only `file` is needed. Whether the photos are there is not looked at, and a photo
    may be listed twice.

    Raises:
        ManifestError: at the first fault, naming the line.
    """
    chunks: list[Chunk] = []
    rows = 0
    try:
        with path.open("rb") as stream:
            lines = _Lines(stream, path)
            columns, delimiter = _header(lines, path)
            at = begin = lines.consumed
            for line, values in _records(lines, delimiter, path):
                _check(values, columns, path, line)
                if rows and rows % rows_per_chunk == 0:
                    chunks.append(Chunk(len(chunks), rows - rows_per_chunk, rows_per_chunk, begin))
                    begin = at
                rows += 1
                at = lines.consumed
            digest = lines.digest.hexdigest()
    except FileNotFoundError:
        raise _fault("missing_manifest", "there is no such file; check the name", path) from None
    except IsADirectoryError:
        raise _fault("folder", "is a folder; name the CSV file in it", path) from None
    if not rows:
        raise _fault("empty_manifest", "has a header and no rows; add a row a photo", path)
    first = len(chunks) * rows_per_chunk
    chunks.append(Chunk(len(chunks), first, rows - first, begin))
    return ManifestIndex(path, rows, digest, tuple(chunks))


class _Lines:
    """The lines of a stream as text, with the bytes taken so far and their digest."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self.consumed, self.digest = 0, hashlib.sha256()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line: bytes = self._stream.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        if len(line) == _LONGEST_LINE:
            raise _fault(
                "not_csv",
                f"has a line of more than {_LONGEST_LINE:,} bytes; end each row with a line break",
                self._path,
            )
        text = line.removeprefix(_BOM) if self.consumed == 0 else line
        self.consumed += len(line)
        self.digest.update(line)
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise _fault(
                "not_utf8", "is not UTF-8 text; save it as 'CSV UTF-8'", self._path
            ) from None


def _header(lines: _Lines, path: Path) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter."""
    first = next((line for line in lines if line.strip()), "")
    delimiter = find_delimiter(first)
    columns = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if columns.count("file") != 1:
        raise _fault(
            "missing_column", "needs the column 'file' in row 1, once: the photo's name", path
        )
    return columns, delimiter


def _records(lines: _Lines, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its last line after the first."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _fault(
                "not_csv",
                f"line {reader.line_num + 1} is not valid CSV ({error}); "
                "look for a quotation mark that is never closed",
                path,
            ) from None
        if any(value.strip() for value in values):
            yield reader.line_num + 1, values


def _check(values: list[str], columns: list[str], path: Path, line: int) -> None:
    if len(values) != len(columns):
        raise _fault(
            "wrong_number_of_columns",
            f"line {line} has {len(values)} columns where the header has {len(columns)}; "
            "quote a value that holds a delimiter, or fill in the missing one",
            path,
        )
    if not values[columns.index("file")].strip():
        raise _fault("empty_value", f"line {line}, column file: is empty; name the photo", path)


def _fault(code: str, message: str, path: Path) -> ManifestError:
    return ManifestError(code, message, name=str(path))
