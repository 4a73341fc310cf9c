"""Where the photos of a manifest lie below their root folder: in files of their own, or in shards."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data.manifest import Row, unsafe_name
from calcinosis.data.shards import open_shard, split_name

_NAMED_ABSENT_FILES: Final = 5


def resolve(root: Path, row: Row) -> Path:
    """The photo's real place on disk.

    Args:
        root: the folder that the manifest's files lie below.
        row: the photo.

    Returns:
        An absolute path without symbolic links, which lies below the root and is a file.

    Raises:
        ManifestError: when the photo is absent, is no file, is reached through a loop of links, lies
            outside the root or in a shard.
    """
    if _shard_of(root, row.file):
        cure = "lies in a shard, and this wants files of their own; unpack the shard into a folder"
        raise ManifestError("in_shard", cure, name=row.file)
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


def stamp_of(root: Path, file: str) -> str:
    """What tells a photo from another of the same name without reading it: its size and its last change.

    Of a photo in a shard, they are the shard's.

    Raises:
        ManifestError: as `resolve`.
    """
    try:
        facts = (root / file).stat()
    except OSError:  # in a shard, with its accents spelt otherwise, or absent
        facts = path_of(root, file).stat()
    return f"{file} {facts.st_size} {facts.st_mtime_ns}"


def _shard_of(root: Path, file: str) -> tuple[Path, str] | None:
    """The shard that a photo lies in, and its name there; None for a photo in a file of its own."""
    parts = split_name(file)
    if parts is None:
        return None
    fault = unsafe_name(file) or unsafe_name(parts[1])
    if fault:
        raise ManifestError("outside_root", fault, name=file)
    return None if (root / parts[0]).is_dir() else (_locate(root, parts[0]), parts[1])


def _locate(root: Path, file: str) -> Path:
    fault = unsafe_name(file)
    if fault:
        raise ManifestError("outside_root", fault, name=file)
    top = os.path.realpath(root)
    # macOS decomposes accents, most other systems compose them.
    forms = (unicodedata.normalize(form, file) for form in ("NFC", "NFD"))
    for spelling in dict.fromkeys((file, *forms)):
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
