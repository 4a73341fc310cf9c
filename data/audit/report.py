"""The audit from top to bottom: open every photo once, gather suspicions, write them down."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from calcinosis.common.files import atomic_write, write_json
from calcinosis.data.audit import duplicates, off_topic
from calcinosis.data.audit.confounding import Box, confounding
from calcinosis.data.audit.duplicates import Pair, exact_duplicates, near_duplicates
from calcinosis.data.audit.folders import folder_mismatches
from calcinosis.data.audit.page import page
from calcinosis.data.audit.scan import Embed, GreyPictures, OpenPhoto, ScannedPhoto, scan
from calcinosis.data.audit.watermarks import Mark, Sighting, find_marks
from calcinosis.data.locating import check_files, resolve
from calcinosis.data.manifest import Row
from calcinosis.data.splits import join_groups
from calcinosis.data.table import Table, write_errors, write_table

KINDS: Final = {
    "unreadable": "No photo could be made of the file. Fetch it again, or remove its row.",
    "tiny": "Too small for a network to see a lesion of millimetres. Look for a larger copy.",
    "exact_duplicate": "Equal files. Keep one, or give both one group; settle which label is right.",
    "near_duplicate": "One picture saved twice: resized, cropped, mirrored, turned or encoded anew, or two "
    "shots of one scene. Give both one group. The score is the agreement of the pixels where they overlap.",
    "label_folder_mismatch": "The label and the folder that the photo was published or kept in cannot mean "
    "the same. Ask a clinician, or drop the row. The score is 1 where one of the conditions is named.",
    "off_topic": "Unlike the other photos: perhaps an X-ray, histology, a drawing or an object. Look, and "
    "drop what is no clinical photograph. The score counts robust standard deviations.",
    "watermark": "Bears a mark that recurs over its source. Mask or crop it, in every photo alike. The score "
    "is how like the mark the place photos.",
}
"""The kinds of suspicion, in the order of the table, and what each means."""

TINY_SIDE: Final = 100
"""Short side in pixels below which a photo is tiny."""

COLUMNS: Final = ("kind", "file", "other_file", "score", "detail")
_CROSSABLE: Final = ("label", "source_label", "group", "fold", "source")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One line of `audit.csv`."""

    kind: str
    file: str
    other_file: str
    score: float
    detail: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        suspicions: by kind in the order of `KINDS`, within a kind the strongest first.
        pairs: names of files that show one picture, for `join_groups`.
        summary: what `audit.json` holds.
    """

    suspicions: tuple[Suspicion, ...]
    pairs: tuple[tuple[str, str], ...]
    summary: dict[str, Any]


def audit(
    rows: Sequence[Row],
    root: Path,
    out: Path,
    *,
    open_photo: OpenPhoto,
    embed: Embed,
    workers: int = 2,
) -> Audit:
    """Audit a data set and write `audit.json`, `audit.csv` and `audit.html`.

    Args:
        rows: of the manifest.
        root: the folder that the photos lie below.
        out: the folder to write to; made if need be.
        open_photo: opens a file as an upright RGB picture, and raises if it is none.
        embed: maps n pictures to n × d numbers that are near each other for like pictures.
        workers: threads that open files.

    Raises:
        ManifestError: when listed files are not there: one error that counts and names them; or when one
            lies in a shard.
        DataError: when `out` cannot be written to.
    """
    check_files(rows, root)
    for row in rows:
        resolve(root, row)  # refuses a photo in a shard
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    photos, unreadable = scan(rows, root, open_photo=open_photo, embed=embed, workers=workers)
    seen = [rows[photo.row] for photo in photos]
    marks, sightings = find_marks(GreyPictures(photos), [row.source for row in seen])
    boxes: defaultdict[int, list[Box]] = defaultdict(list)
    for sighting in sightings:
        boxes[sighting.photo].append(sighting.box)
    exact = exact_duplicates(photos)
    near = near_duplicates(photos, masked=lambda number: boxes.get(number, ()), workers=workers)
    found = [
        *(Suspicion("unreadable", rows[u.row].file, "", 1.0, u.reason) for u in unreadable),
        *_tiny(photos, seen),
        *_pairs("exact_duplicate", exact, seen),
        *_pairs("near_duplicate", near, seen),
        *_mismatched(rows),
        *_off_topic(photos, seen),
        *_marked(marks, sightings, seen),
    ]
    found.sort(key=lambda s: (list(KINDS).index(s.kind), -s.score, s.file, s.other_file))
    pairs = [(seen[pair.first].file, seen[pair.second].file) for pair in (*exact, *near)]
    groups = [row.group for row in join_groups(seen, pairs)]
    summary = {
        **_counts(rows, photos, found),
        "duplicates": _crossings(exact, near, seen),
        "watermarks": [{**asdict(mark), "box": list(mark.box)} for mark in marks],
        "confounding": confounding(photos, seen, groups, [mark.box for mark in marks], boxes),
        "changed_since_manifest": [
            row.file
            for row, photo in zip(seen, photos, strict=True)
            if row.sha256 and row.sha256 != photo.digest
        ],
    }
    by_file = {row.file: photo for row, photo in zip(seen, photos, strict=True)}
    _write(out, found, summary, by_file)
    return Audit(tuple(found), tuple(pairs), summary)


def _write(
    out: Path,
    found: Sequence[Suspicion],
    summary: Mapping[str, Any],
    by_file: Mapping[str, ScannedPhoto],
) -> None:
    by_kind = {kind: [s for s in found if s.kind == kind] for kind in KINDS}
    lines = [[getattr(line, column) for column in COLUMNS] for line in found]
    with write_errors(out):
        write_table(out / "audit.csv", COLUMNS, lines)
        write_json(out / "audit.json", summary)
        atomic_write(out / "audit.html", page(summary, by_kind, by_file, KINDS))


def _counts(
    rows: Sequence[Row], photos: Sequence[ScannedPhoto], found: Sequence[Suspicion]
) -> dict[str, Any]:
    """What there is and what is suspected, in numbers."""
    suspected = Counter(suspicion.kind for suspicion in found)
    return {
        "photos": len(rows),
        "readable": len(photos),
        "suspicions": {kind: suspected[kind] for kind in KINDS},
        "thresholds": {
            "near_duplicate": duplicates.THRESHOLD,
            "off_topic": off_topic.THRESHOLD,
            "tiny_side_pixels": TINY_SIDE,
        },
        "counts": {
            column: dict(sorted(Counter(getattr(row, column) for row in rows).items()))
            for column in ("label", "source", "kind", "body_site", "skin_tone")
        },
        "label_by_source": _crossed(rows, "source"),
        "label_by_skin_tone": _crossed(rows, "skin_tone"),
    }


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The copies that an `audit.csv` names, for `join_groups`.

    Raises:
        DataError: when the file is no such table.
    """
    with Table(path, needs=("kind", "file", "other_file")) as table:
        return [
            (line["file"], line["other_file"])
            for line in table.dicts()
            if line["kind"] in ("exact_duplicate", "near_duplicate")
        ]


def _tiny(photos: Sequence[ScannedPhoto], seen: Sequence[Row]) -> list[Suspicion]:
    return [
        Suspicion(
            "tiny",
            row.file,
            "",
            round(1 - min(photo.width, photo.height) / TINY_SIDE, 4),
            f"{photo.width} × {photo.height} pixels",
        )
        for photo, row in zip(photos, seen, strict=True)
        if min(photo.width, photo.height) < TINY_SIDE
    ]


def _pairs(kind: str, pairs: Sequence[Pair], seen: Sequence[Row]) -> list[Suspicion]:
    lines = []
    for pair in pairs:
        first, second = seen[pair.first], seen[pair.second]
        crossed = [
            f"{column.replace('_', ' ')} ({getattr(first, column)} / {getattr(second, column)})"
            for column in _CROSSABLE
            if _crosses(first, second, column)
        ]
        detail = f"{pair.how}; crosses {', '.join(crossed)}" if crossed else pair.how
        lines.append(Suspicion(kind, first.file, second.file, pair.score, detail))
    return lines


def _mismatched(rows: Sequence[Row]) -> list[Suspicion]:
    return [
        Suspicion("label_folder_mismatch", rows[found.row].file, "", found.score, found.detail)
        for found in folder_mismatches(rows)
    ]


def _off_topic(photos: Sequence[ScannedPhoto], seen: Sequence[Row]) -> list[Suspicion]:
    return [
        Suspicion("off_topic", row.file, "", round(float(score), 4), row.source_label or row.label)
        for row, score in zip(seen, off_topic.off_topic_scores(photos), strict=True)
        if score >= off_topic.THRESHOLD
    ]


def _marked(
    marks: Sequence[Mark], sightings: Sequence[Sighting], seen: Sequence[Row]
) -> list[Suspicion]:
    return [
        Suspicion(
            "watermark",
            seen[sighting.photo].file,
            "",
            round(sighting.score, 4),
            f"mark {sighting.mark + 1} of {marks[sighting.mark].source}; left, upper, right, lower: "
            + ", ".join(f"{share:.3f}" for share in sighting.box),
        )
        for sighting in sightings
    ]


def _crosses(first: Row, second: Row, column: str) -> bool:
    """Whether two rows differ in a column that both fill."""
    values = getattr(first, column), getattr(second, column)
    return values[0] != values[1] and not {"", None}.intersection(values)


def _crossings(
    exact: Sequence[Pair], near: Sequence[Pair], seen: Sequence[Row]
) -> dict[str, int | dict[str, int]]:
    every = [(seen[pair.first], seen[pair.second]) for pair in (*exact, *near)]
    return {
        "exact": len(exact),
        "near": len(near),
        "crossing": {
            column: sum(_crosses(first, second, column) for first, second in every)
            for column in _CROSSABLE
        },
    }


def _crossed(rows: Sequence[Row], column: str) -> dict[str, dict[str, int]]:
    """How many photos of each label have each value of a column."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row.label][getattr(row, column)] += 1
    return {label: dict(sorted(counts[label].items())) for label in sorted(counts)}
