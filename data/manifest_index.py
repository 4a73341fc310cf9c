"""The photos that a manifest of any length names, chunk by chunk: it is never held in memory."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from calcinosis.common.errors import ManifestError
from calcinosis.data.table import Table


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a manifest.

    Attributes:
        number: of the chunk, from 0.
        first: the first of its rows, counted from 0 without the header.
        rows: how many they are.
        start: the byte of the manifest at which they begin.
        digest: SHA-256 of the names of their photos.
    """

    number: int
    first: int
    rows: int
    start: int
    digest: str


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

    def files(self, chunk: Chunk) -> list[str]:
        """The column `file` of a chunk's rows.

        Raises:
            ManifestError: `changed_manifest`, if they are not what they were.
        """
        with _open(self.path) as table:
            table.seek(chunk.start)
            files = list(islice(_files(table), chunk.rows))
        if _digest(files) != chunk.digest:
            raise ManifestError(
                "changed_manifest",
                "has changed since the run began; put the first one back and give the same command "
                "again, or choose another --out",
                name=str(self.path),
            )
        return files


def index_manifest(path: Path, *, rows_per_chunk: int) -> ManifestIndex:
    """Pass through a manifest once: check it, count it, and note where its chunks begin.

    Of its columns only `file` is needed. Whether the photos are there is not looked at, and a photo
    may be listed twice.

    Raises:
        ManifestError: at the first fault, naming the row.
    """
    chunks: list[Chunk] = []
    rows = 0
    with _open(path) as table:
        start, names = table.end, _files(table)
        while files := list(islice(names, rows_per_chunk)):
            chunks.append(Chunk(len(chunks), rows, len(files), start, _digest(files)))
            rows += len(files)
            start = table.end
        digest = table.digest
    if not rows:
        raise ManifestError(
            "empty_manifest", "has a header and no rows; add a row a photo", name=str(path)
        )
    return ManifestIndex(path, rows, digest, tuple(chunks))


def _files(table: Table) -> Iterator[str]:
    file = table.columns.index("file")
    for values in table:
        if not values[file]:
            raise table.fault("empty_value", "column file: is empty; name the photo")
        yield values[file]


def _digest(files: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _open(path: Path) -> Table:
    return Table(path, needs=("file",), error=ManifestError)
