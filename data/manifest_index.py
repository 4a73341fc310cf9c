"""The photos that a manifest of any length names, chunk by chunk: it is never held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
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
        with _open(self.path) as table:
            file = table.columns.index("file")
            table.seek(chunk.start)
            for _, values in zip(range(chunk.rows), table, strict=False):
                yield values[file]


def index_manifest(path: Path, *, rows_per_chunk: int) -> ManifestIndex:
    """Pass through a manifest once: check it, count it, and note where its chunks begin.

    Of its columns only `file` is needed. Whether the photos are there is not looked at, and a photo
    may be listed twice.

    Raises:
        ManifestError: at the first fault, naming the row.
    """
    starts: list[int] = []
    rows = 0
    with _open(path) as table:
        file = table.columns.index("file")
        end = table.end
        for values in table:
            if not values[file]:
                raise table.fault("empty_value", "column file: is empty; name the photo")
            if rows % rows_per_chunk == 0:
                starts.append(end)
            rows += 1
            end = table.end
        digest = table.digest
    if not rows:
        raise ManifestError(
            "empty_manifest", "has a header and no rows; add a row a photo", name=str(path)
        )
    chunks = (
        Chunk(number, first, min(rows_per_chunk, rows - first), start)
        for number, (first, start) in enumerate(
            zip(range(0, rows, rows_per_chunk), starts, strict=True)
        )
    )
    return ManifestIndex(path, rows, digest, tuple(chunks))


def _open(path: Path) -> Table:
    return Table(path, needs=("file",), error=ManifestError)
