"""Photos inside tar shards (as WebDataset writes them) and Parquet files, by name.

A manifest names such a photo as if the shard were a folder: `train-0001.tar/lesion.jpg`, or
`part-0.parquet/lesion.jpg`. Nothing of a shard is ever unpacked to the disk.
"""

import posixpath
import re
import tarfile
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from calcinosis.common.errors import DataError

MOST_MEMBERS: Final = 1_000_000
"""Of one shard; their names are held in memory."""
MOST_BYTES: Final = 32 * 1024**2
"""Of one photo; a little more than `open_photo` takes, so that it says what is too large."""
MOST_GROUP_BYTES: Final = 1024**3
"""Of the photos in one row group of a Parquet file, which is read whole."""

_OPEN_SHARDS: Final = 16
_INSIDE: Final = re.compile(r"(.+?\.(?:tar|parquet))/(.+)", re.DOTALL | re.IGNORECASE)
_TWICE: Final = "is in the shard twice; keep one of the two"
_NAME_COLUMNS: Final = ("file", "path", "image.path")
_CONTENT_COLUMNS: Final = ("content", "bytes", "image.bytes")


def split_name(file: str) -> tuple[str, str] | None:
    """The shard and the name inside it, of a manifest's `file`; None where none can be meant."""
    parts = _INSIDE.fullmatch(file)
    return (parts[1], parts[2]) if parts else None


def open_shard(path: Path) -> "_Tar | _Parquet":
    """A shard, indexed once for as long as it does not change.

    Raises:
        DataError: if it is damaged, compressed, too large to index, or not of a known kind.
    """
    facts = path.stat()
    return _open_shard(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=_OPEN_SHARDS)
def _open_shard(path: Path, changed: int, size: int) -> "_Tar | _Parquet":
    return _Tar(path) if path.suffix.lower() == ".tar" else _Parquet(path)


class _Tar:
    """An uncompressed tar file. Links, devices and sparse members are never followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int] | str] = {}  # offset and size, or what is wrong
        try:
            with (
                path.open("rb") as file,
                tarfile.open(fileobj=cast(Any, _Sparing(file)), mode="r:") as archive,
            ):
                for member in _members(archive):
                    self._note(member)
                # tarfile takes a broken header for the end, which is a block of zeros or nothing.
                file.seek(archive.offset)
                if any(file.read(tarfile.BLOCKSIZE)):
                    raise ValueError(f"a broken header at byte {archive.offset:,}")
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            raise DataError(
                "damaged_shard",
                f"is not a readable, uncompressed tar file ({error}); write it again without compression",
                name=str(path),
            ) from None

    def _note(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            return
        name = _key(member.name)
        if name in self._places:
            place: tuple[int, int] | str = _TWICE
        elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
            place = "is a link or another special member of the shard; store the photo itself"
        else:
            place = (member.offset_data, member.size)
        if len(self._places) >= MOST_MEMBERS:
            raise DataError(
                "too_many_members",
                f"holds more than {MOST_MEMBERS:,} members; write smaller shards",
                name=str(self._path),
            )
        self._places[name] = place

    def check(self, name: str) -> None:
        """Make sure that a photo is there and can be read.

        Raises:
            DataError: `missing_photo`, or `unsafe_member` for what is no plain member of one name.
        """
        self._place(name)

    def _place(self, name: str) -> tuple[int, int]:
        place = self._places.get(_key(name))
        if place is None:
            raise _missing(self._path, name)
        if isinstance(place, str):
            raise _unsafe(self._path, name, place)
        return place

    def read(self, name: str) -> bytes:
        """The bytes of a photo, at most `MOST_BYTES` of them; raises as `check`."""
        offset, size = self._place(name)
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(min(size, MOST_BYTES))


def _members(archive: Any) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        archive.members.clear()  # tarfile would keep them all


class _Sparing:
    """A file that refuses to be read in large pieces: a tar header may claim any length."""

    _MOST: Final = 1024**2

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._MOST:
            raise ValueError(f"a header of {size} bytes")
        return self._file.read(size)


class _Parquet:
    """A Parquet file of photos: a column of names and one of bytes.

    The columns are `file` and `content`, or `path` and `bytes`; or the two fields `path` and `bytes` of a
    column `image`, as Hugging Face Datasets writes them. A row group is read whole and kept for the next
    photo, so rows are best asked for in their order, and row groups best small.
    """

    def __init__(self, path: Path) -> None:
        parquet = _pyarrow_parquet()
        self._path = path
        try:
            self._file = parquet.ParquetFile(path)
            self._name_column = self._column(_NAME_COLUMNS)
            self._content_column = self._column(_CONTENT_COLUMNS)
            if self._file.metadata.num_rows > MOST_MEMBERS:
                raise DataError(
                    "too_many_members",
                    f"holds more than {MOST_MEMBERS:,} rows; write smaller files",
                    name=str(path),
                )
            self._places: dict[str, tuple[int, int] | None] = {}
            for group in range(self._file.num_row_groups):
                for row, name in enumerate(self._values(group, self._name_column)):
                    key = _key(str(name))
                    self._places[key] = None if key in self._places else (group, row)
        except (OSError, ValueError, RuntimeError) as error:  # what pyarrow's errors are, too
            raise _damaged_parquet(path, error) from None
        self._group: tuple[int, list[bytes]] = (-1, [])

    def _column(self, wanted: tuple[str, ...]) -> str:
        schema = self._file.metadata.schema
        present = {schema.column(i).path for i in range(len(schema))}
        for name in wanted:
            if name in present:
                return name
        raise DataError(
            "missing_column", f"has no column {' or '.join(wanted)}; add one", name=str(self._path)
        )

    def _values(self, group: int, column: str) -> list[Any]:
        facts = self._file.metadata.row_group(group)
        claimed = sum(
            facts.column(i).total_uncompressed_size
            for i in range(facts.num_columns)
            if facts.column(i).path_in_schema == column
        )
        if claimed > MOST_GROUP_BYTES:
            raise DataError(
                "too_large",
                f"has a row group of {claimed:,} bytes; write row groups of a hundred photos",
                name=str(self._path),
            )
        values = self._file.read_row_group(group, columns=[column], use_threads=False).column(0)
        _, _, inner = column.partition(".")
        listed = values.to_pylist()
        return [value and value[inner] for value in listed] if inner else listed

    def check(self, name: str) -> None:
        """As of a tar file."""
        self._place(name)

    def _place(self, name: str) -> tuple[int, int]:
        key = _key(name)
        if key not in self._places:
            raise _missing(self._path, name)
        place = self._places[key]
        if place is None:
            raise _unsafe(self._path, name, _TWICE)
        return place

    def read(self, name: str) -> bytes:
        """As of a tar file; raises `damaged_shard`, too."""
        group, row = self._place(name)
        kept = self._group
        if kept[0] != group:
            try:
                kept = self._group = (group, self._values(group, self._content_column))
            except (OSError, ValueError, RuntimeError) as error:
                raise _damaged_parquet(self._path, error) from None
        content = kept[1][row]
        return content[:MOST_BYTES] if isinstance(content, bytes) else b""


def _key(name: str) -> str:
    """One spelling for all that name the same member."""
    return unicodedata.normalize("NFC", posixpath.normpath(name))


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "not_installed", "Parquet needs one more package; run: pip install 'calcinosis[scale]'"
        ) from None
    return pyarrow.parquet


def _missing(path: Path, name: str) -> DataError:
    return DataError(
        "missing_photo", "is not in the shard; check the name", name=f"{path.name}/{name}"
    )


def _unsafe(path: Path, name: str, why: str) -> DataError:
    return DataError("unsafe_member", why, name=f"{path.name}/{name}")


def _damaged_parquet(path: Path, error: Exception) -> DataError:
    return DataError(
        "damaged_shard", f"is not a readable Parquet file ({error}); write it again", name=str(path)
    )
