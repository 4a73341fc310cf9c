"""Files that are written whole or not at all, their digests, and one plain word for a full disk."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from calcinosis.common.errors import CalcinosisError, TrainingError

PARTIAL_SUFFIX: Final = ".partial"
"""How the name of a file ends that is being written; one that is left was left by a kill."""

_LITTER: Final = frozenset(
    ["@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "lost+found", "thumbs.db",
     "desktop.ini"]
)  # fmt: skip
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CHUNK: Final = 1024 * 1024


@contextmanager
def disk_full_error(
    folder: Path, again: str, kind: type[CalcinosisError] = TrainingError
) -> Iterator[None]:
    """Say in one line that the disk is full.

    Args:
        folder: that is written to.
        again: how one goes on once there is space, such as "go on with --resume".
        kind: of the error.

    Raises:
        CalcinosisError: of that kind, `disk_full`, in place of what the writer of some file said.
    """
    try:
        yield
    except Exception as error:
        # Writers in Rust (safetensors, Arrow) raise errors of their own and keep the number in the text alone.
        numbers = [f"os error {number}" in str(error) for number in _FULL]
        if getattr(error, "errno", None) not in _FULL and not any(numbers):
            raise
        raise kind(
            "disk_full",
            f"no space is left on the disk; free some and {again}: what was finished is kept",
            name=str(folder),
        ) from None


def is_litter(name: str) -> bool:
    """Whether a system, a camera or a NAS keeps what has this name for itself, such as thumbnails of the photos.

    >>> is_litter("@eaDir"), is_litter(".trash"), is_litter("hand.jpg")
    (True, True, False)
    """
    return name.startswith(".") or name.casefold() in _LITTER


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it gets the name at the end, and is removed where writing fails.

    For libraries that write files themselves. Several writers of one file do not disturb each other: the
    last one to finish wins. The path ends in `PARTIAL_SUFFIX`, so a library that picks the format by a
    file's ending has to be told the format.

    Examples:
        >>> with atomic_path(Path("table.parquet")) as partial:  # doctest: +SKIP
        ...     pyarrow.parquet.write_table(table, partial)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # half a file would only take up space
        raise


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all; the one that was there stays until the new one is whole.

    Text is written in UTF-8, with its line ends as they are.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def atomic_create(path: Path, content: str) -> None:
    """Write a new file whole or not at all, in UTF-8; of several writers one gets the name.

    On a file system without hard links it is empty for the moment in which the name is taken.

    Raises:
        FileExistsError: if there is one of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        partial.write_bytes(content.encode())
        try:
            os.link(partial, path)  # unlike a renaming, it fails where the name is taken
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.touch(exist_ok=False)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")


def write_json(path: Path, content: Any) -> None:
    """Write what goes into JSON, indented, whole or not at all."""
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's content in hexadecimal; the file is read in pieces, however large it is."""
    total = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            total.update(piece)
    return total.hexdigest()
