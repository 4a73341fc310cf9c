"""What every adapter shares: finding photos below a folder, and turning what a set says into manifest rows."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calcinosis.common.errors import DataError
from calcinosis.common.files import is_litter
from calcinosis.data.curation import Decision, Taxonomy, default_taxonomy
from calcinosis.data.manifest import Row, unsafe_name, write_manifest
from calcinosis.data.table import write_table

PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".heic", ".heif")
)
"""Of the formats that photos are read from; HEIC takes the extra `heic`."""
OTHER_FORMATS = {
    **dict.fromkeys((".avif", ".bmp", ".gif", ".jp2", ".jxl", ".psd"), ""),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "raw"),
}
"""Endings of pictures that are not read, and what the format is called where not by its ending."""
_NO_PHOTO = "no photo by its ending"
_NAMED_IN_A_NOTE = 8


@dataclass(frozen=True)
class Candidate:
    """A photo as its set describes it, before curation.

    Attributes:
        file: path below the root, or empty when the photo is not there.
        expected: what was looked for, to name the photo when it is missing.
        source_label: what the set calls it.
        group: what ties photos of one patient, case or lesion together, without the set's name.
        weights: condition to weight, where annotators named several; then `source_label` is not
            asked.
        folder: the folder in the photo's link, where there is one.
        columns: the set's own columns that decide about quality.
        extra: further manifest columns.
        decision: what becomes of it, where the adapter knows; the taxonomy decides otherwise.
    """

    file: str
    expected: str
    source_label: str
    group: str
    weights: Mapping[str, float] | None = None
    folder: str = ""
    skin_tone: str = ""
    licence: str = ""
    url: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    decision: Decision | None = None


@dataclass(frozen=True)
class LeftOut:
    """A photo that the manifest does not hold, and why."""

    file: str
    source_label: str
    reason: str


@dataclass(frozen=True)
class BuildResult:
    """Manifest rows of a set, what is missing on disk, what curation dropped, and remarks."""

    rows: list[Row]
    missing: list[LeftOut]
    dropped: list[LeftOut]
    notes: list[str]


class PhotoIndex:
    """The photos below a folder, to be found by path, name or stem, whatever the case.

    Links to folders are not followed, so a circle of links does no harm; a link to a file counts
    only when the file lies below the root.

    Attributes:
        files: paths of the photos below the root.
        unread: pictures that cannot be used, each with the reason.
        passed_over: how many other files there are, by the reason to pass over them.

    Raises:
        DataError: code `missing_root` when there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(
                "missing_root",
                "is no folder; name the folder that holds the photos",
                name=str(root),
            )
        self.files: list[str] = []
        self.unread: list[tuple[str, str]] = []
        self.passed_over: Counter[str] = Counter()
        top = root.resolve()
        for folder, folders, names in os.walk(root, followlinks=False):
            for name in sorted(folders):
                path = Path(folder, name)
                if is_litter(name):
                    files = sum(len(names) for _, _, names in os.walk(path))
                    self.passed_over[f"in a system's folder {name}"] += files
                elif path.is_symlink():
                    reason = "is a link to a folder; put the folder itself here"
                    self.unread.append((_readable(path.relative_to(root).as_posix()), reason))
                else:
                    continue
                folders.remove(name)
            folders.sort()
            for name in sorted(names):
                self._note(Path(folder, name), root, top)
        self._by_path = {_key(file): file for file in self.files}
        self._by_name: dict[str, str] = {}
        self._by_stem: dict[str, str] = {}
        for file in self.files:
            self._by_name.setdefault(_key(Path(file).name), file)
            self._by_stem.setdefault(_key(Path(file).stem), file)

    def _note(self, path: Path, root: Path, top: Path) -> None:
        file = path.relative_to(root).as_posix()
        suffix = path.suffix.casefold()
        if is_litter(path.name):
            self.passed_over["hidden, or a system's own"] += 1
        elif _is_special(path):
            self.unread.append((_readable(file), "is no regular file; put the photo itself here"))
        elif suffix not in PHOTO_SUFFIXES and suffix not in OTHER_FORMATS and not _is_photo(path):
            self.passed_over[f"{_NO_PHOTO} ({suffix or 'none'})"] += 1
        elif reason := _fault_of(path, file, top):
            self.unread.append((_readable(file), reason))
        else:
            self.files.append(file)

    def find(self, name: str) -> str:
        """The path below the root of the photo that goes by this path, name or stem, or ""."""
        key = _key(name)
        last = key.rsplit("/", 1)[-1]
        return (
            self._by_path.get(key)
            or self._by_name.get(last)
            or self._by_stem.get(last)
            or self._by_stem.get(
                _key(Path(last).stem) if Path(last).suffix in PHOTO_SUFFIXES else ""
            )
            or ""
        )


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _readable(name: str) -> str:
    """A name that is not UTF-8 in letters that are."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _is_special(path: Path) -> bool:
    """Whether this is a pipe, a socket or a device, which nobody opens: it could be waited for without end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_photo(path: Path) -> bool:
    """Whether a file begins like a photo that can be read, whatever its ending."""
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        start[:4] == b"RIFF" and start[8:] == b"WEBP"
    )


def _fault_of(path: Path, file: str, top: Path) -> str:
    """Why a picture cannot stand in a manifest, in words; empty when it can."""
    suffix = path.suffix.casefold()
    try:
        file.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if file != file.strip():
        return "its name begins or ends with a space; rename it"
    fault = unsafe_name(file)
    if fault:
        return f"its name {fault}"
    if path.is_symlink() and not _lies_below(path, top):
        return "is a link to a place outside the folder; copy the photo into it"
    if suffix in OTHER_FORMATS and not _is_photo(path):
        name = OTHER_FORMATS[suffix] or suffix[1:].upper()
        return f"its format ({name}) is not read; save it as JPEG or PNG"
    return ""


def _lies_below(path: Path, top: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(top)
    except (OSError, RuntimeError):
        return False


def curate(
    candidates: Iterable[Candidate],
    source: str,
    *,
    rules_of: str = "",
    notes: Sequence[str] = (),
    photos: PhotoIndex | None = None,
) -> BuildResult:
    """Turn candidates into rows: the taxonomy decides, the absent and the dropped are listed.

    Args:
        candidates: the photos as their set describes them.
        source: the name that goes into the manifest's `source` and before each `group`.
        rules_of: whose own rules of the taxonomy hold, when not the source's.
        notes: what the adapter has to say itself.
        photos: the index, where every file below the root has to be accounted for.
    """
    table = default_taxonomy()
    rules = rules_of or source
    rows: list[Row] = []
    missing: list[LeftOut] = []
    dropped: list[LeftOut] = []
    unlisted: Counter[str] = Counter()
    disagreeing: Counter[str] = Counter()
    taken: set[str] = set()
    twice = 0
    for file, reason in photos.unread if photos else ():
        dropped.append(LeftOut(file, file.partition("/")[0] if "/" in file else "", reason))
    for photo in candidates:
        decision = _decide(photo, rules, table)
        name = photo.file or photo.expected
        if decision.rule == "default":
            unlisted[photo.source_label] += 1
        if photo.folder and table.agrees(photo.source_label, photo.folder) is False:
            disagreeing[photo.source_label] += 1
        if decision.dropped:
            dropped.append(LeftOut(name, photo.source_label, decision.reason))
        elif not photo.file:
            missing.append(LeftOut(name, photo.source_label, "not below the root folder"))
        elif photo.file in taken:
            twice += 1
        else:
            taken.add(photo.file)
            rows.append(_row(photo, decision, source))
    remarks = [*notes, *_remarks(rows, photos)]
    if twice:
        remarks.append(f"{twice} rows name a photo that an earlier row already has; left out")
    if unlisted:
        remarks.append(
            f"{unlisted.total()} photos under {len(unlisted)} names that the taxonomy does not "
            f"list were taken as other, distant: {named(unlisted)}"
        )
    if disagreeing:
        remarks.append(
            f"{disagreeing.total()} photos whose label disagrees with the folder in their link: "
            f"{named(disagreeing)}"
        )
    return BuildResult(rows, missing, dropped, remarks)


def _remarks(rows: Sequence[Row], photos: PhotoIndex | None) -> Iterator[str]:
    """What a folder holds besides photos, and what some of the photos need."""
    if photos and photos.passed_over:
        count = photos.passed_over.total()
        yield f"{count} files were passed over: {named(photos.passed_over)}"
    heic = sum(row.file.casefold().endswith((".heic", ".heif")) for row in rows)
    if heic:
        yield f"{heic} photos end in .heic: reading HEIC takes pip install 'calcinosis[heic]'"


def _decide(photo: Candidate, rules: str, table: Taxonomy) -> Decision:
    if photo.decision is not None:
        return photo.decision
    poor = table.quality(rules, photo.columns)
    if poor is not None:
        return poor
    if photo.weights is not None:
        return table.decide_weighted(photo.weights, set_name=rules)
    return table.decide(photo.source_label, set_name=rules, folder=photo.folder)


def _row(photo: Candidate, decision: Decision, source: str) -> Row:
    extra = {"curation": f"{decision.rule}: {decision.reason}"}
    if photo.folder:
        extra["folder"] = photo.folder
    return Row(
        file=photo.file,
        label=decision.label,
        source=source,
        group=f"{source}:{photo.group}",
        source_label=photo.source_label,
        kind=decision.kind,
        skin_tone=photo.skin_tone,
        licence=photo.licence,
        url=photo.url,
        extra={**photo.extra, **extra},
    )


def named(counts: Counter[str]) -> str:
    """The names and their counts, for a note: the most frequent ones."""
    listed = ", ".join(f"{name} {count}" for name, count in counts.most_common(_NAMED_IN_A_NOTE))
    return f"{listed}, …" if len(counts) > _NAMED_IN_A_NOTE else listed


def write_build(result: BuildResult, out: Path) -> list[Path]:
    """Write the manifest, and beside it what is missing and what was dropped; a list of nothing is removed.

    Raises:
        DataError: code `nothing_built` when no photo is left, saying why.
        ManifestError: when a file cannot be written.
    """
    if not result.rows:
        raise DataError(
            "nothing_built",
            f"no photo is left: {len(result.missing)} are not there, {len(result.dropped)} were "
            "dropped; check the root folder",
            name=str(out),
        )
    write_manifest(result.rows, out)
    written = [out]
    for what, photos in (("missing", result.missing), ("dropped", result.dropped)):
        path = out.with_name(f"{out.stem}.{what}.csv")
        if not photos:
            path.unlink(missing_ok=True)  # an earlier build's
        else:
            write_table(
                path,
                ["file", "source_label", "reason"],
                [[photo.file, photo.source_label, photo.reason] for photo in photos],
            )
            written.append(path)
    return written


def fitzpatrick(value: str) -> str:
    """A Fitzpatrick type with its scale, or "" where there is none.

    >>> fitzpatrick("3.0"), fitzpatrick("FST5"), fitzpatrick("-1"), fitzpatrick("NONE_SELECTED")
    ('fitzpatrick:3', 'fitzpatrick:5', '', '')
    """
    return _tone(value, "fitzpatrick", 6)


def monk(value: str) -> str:
    """A Monk skin tone with its scale, or "" where there is none.

    >>> monk("7.0"), monk("11")
    ('monk:7', '')
    """
    return _tone(value, "monk", 10)


def _tone(value: str, scale: str, highest: int) -> str:
    digits = value.strip().casefold().removeprefix("fst").removesuffix(".0")
    if digits.isascii() and digits.isdigit() and 1 <= int(digits) <= highest:
        return f"{scale}:{int(digits)}"
    return ""
