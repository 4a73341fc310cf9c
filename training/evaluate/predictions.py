"""The predictions table: what a model said of each photo, beside what the photo is labelled."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.common.errors import PredictionsError
from calcinosis.common.files import atomic_path
from calcinosis.data.manifest import Row
from calcinosis.model.finding import outcome_of

SEPARATOR: Final = "|"
NO_FOLD: Final = -1
SUM_TOLERANCE: Final = 1e-4
"""How far from 1 the probabilities of a photo may add up. float32 softmax stays well inside."""

TEXT_FIELDS: Final = (
    "file",
    "group",
    "source",
    "source_label",
    "kind",
    "skin_tone",
    "outcome",
    "body_site",
)
_COLUMNS_BEFORE: Final = ("file", "label", "group", "source", "kind", "fold")
_COLUMNS_AFTER: Final = ("prediction_set", "outcome")
_OPTIONAL_COLUMNS: Final = ("source_label", "skin_tone", "body_site")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row per photo. Every field but `labels` has length n; k is the number of labels.

    Attributes:
        labels: the k label names. The last is the background (`other`); the rest are conditions.
        file: the photo, as the manifest names it.
        label: (n,) the photo's own label, as an index into `labels`.
        group: photos of one patient or picture share a group; intervals resample groups.
        source: where the photo is from.
        source_label: the label at the source, or "".
        kind: `target`, `lookalike`, `distant`, or "".
        skin_tone: the group of skin tone, or "" where unknown.
        fold: (n,) the fold that held the photo out, or `NO_FOLD`.
        probabilities: (n, k) calibrated, each row adding up to 1.
        prediction_set: (n, k) true where the label is in the photo's conformal set.
        outcome: what the decision made of the photo, such as `suggestive`, or "".
        body_site: where on the body, or "" where unknown; unknown throughout unless given.

    Raises:
        PredictionsError: lengths differ, a file is listed twice, a label or a probability is
            out of range, or a row of probabilities does not add up to 1.
    """

    labels: tuple[str, ...]
    file: tuple[str, ...]
    label: NDArray[np.int64]
    group: tuple[str, ...]
    source: tuple[str, ...]
    source_label: tuple[str, ...]
    kind: tuple[str, ...]
    skin_tone: tuple[str, ...]
    fold: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    prediction_set: NDArray[np.bool_]
    outcome: tuple[str, ...]
    body_site: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "labels", tuple(self.labels))
        set_field(self, "body_site", tuple(self.body_site) or ("",) * len(self.file))
        for name in TEXT_FIELDS:
            set_field(self, name, tuple(str(value) for value in getattr(self, name)))
        set_field(self, "label", np.asarray(self.label, dtype=np.int64))
        set_field(self, "fold", np.asarray(self.fold, dtype=np.int64))
        set_field(self, "probabilities", np.asarray(self.probabilities, dtype=np.float64))
        set_field(self, "prediction_set", np.asarray(self.prediction_set, dtype=np.bool_))
        _check(self)

    def __len__(self) -> int:
        return len(self.file)

    @property
    def background(self) -> int:
        """The index of the background label: the last one."""
        return len(self.labels) - 1

    @property
    def argmax(self) -> NDArray[np.int64]:
        """(n,) the index of the most probable label."""
        return np.argmax(self.probabilities, axis=1)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Predictions":
        """The rows that a mask (n,) keeps, or the rows at these positions, in their order."""
        positions = np.arange(len(self))[rows]
        texts = {
            name: tuple(getattr(self, name)[position] for position in positions)
            for name in TEXT_FIELDS
        }
        return replace(
            self,
            **texts,
            label=self.label[positions],
            fold=self.fold[positions],
            probabilities=self.probabilities[positions],
            prediction_set=self.prediction_set[positions],
        )


def _check(table: Predictions) -> None:
    if len(table.labels) < 2 or len(set(table.labels)) != len(table.labels):
        raise PredictionsError("bad_labels", "give at least two labels, each once")
    rows, width = len(table.file), len(table.labels)
    for name in (*TEXT_FIELDS, "label", "fold"):
        if len(getattr(table, name)) != rows:
            length = len(getattr(table, name))
            raise PredictionsError(
                "bad_length", f"`{name}` has {length} entries for {rows} photos; it takes one each"
            )
    for name in ("probabilities", "prediction_set"):
        if getattr(table, name).shape != (rows, width):
            shape = getattr(table, name).shape
            raise PredictionsError(
                "bad_length", f"`{name}` has shape {shape}; {(rows, width)} is needed"
            )
    if len(set(table.file)) != rows:
        twice = Counter(table.file).most_common(1)[0][0]
        raise PredictionsError(
            "listed_twice", "is listed twice; keep one row per photo", name=twice
        )

    def refuse_first(bad: NDArray[np.bool_], code: str, message: str) -> None:
        if bad.any():
            raise PredictionsError(code, message, name=table.file[int(np.argmax(bad))])

    refuse_first(
        (table.label < 0) | (table.label >= width),
        "unknown_label",
        f"its label is not an index into the {width} labels",
    )
    p = table.probabilities
    refuse_first(
        np.asarray(~(np.isfinite(p) & (p >= 0) & (p <= 1 + SUM_TOLERANCE)).all(axis=1)),
        "bad_probabilities",
        "a probability is missing or outside 0 to 1",
    )
    refuse_first(
        np.asarray(np.abs(p.sum(axis=1) - 1) > SUM_TOLERANCE),
        "bad_probabilities",
        "its probabilities do not add up to 1",
    )


def make_predictions(
    rows: Sequence[Row],
    labels: tuple[str, ...],
    probabilities: NDArray[np.float64],
    members: NDArray[np.bool_],
) -> Predictions:
    """A predictions table of rows with their probabilities and prediction sets, both (n, labels)."""
    sets = [[label for label, member in zip(labels, row, strict=True) if member] for row in members]
    return Predictions(
        labels=labels,
        file=tuple(row.file for row in rows),
        label=np.array([labels.index(row.label) for row in rows]),
        group=tuple(row.group for row in rows),
        source=tuple(row.source for row in rows),
        source_label=tuple(row.source_label for row in rows),
        kind=tuple(row.kind for row in rows),
        skin_tone=tuple(row.skin_tone for row in rows),
        body_site=tuple(row.body_site for row in rows),
        fold=np.array([NO_FOLD if row.fold is None else row.fold for row in rows]),
        probabilities=probabilities,
        prediction_set=members,
        outcome=tuple(outcome_of(prediction_set) for prediction_set in sets),
    )


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the table as CSV, one row per photo; an interrupted write leaves no half a file.

    Columns: `file, label, group, source, kind, fold, p_<label>..., prediction_set, outcome`, then
    `source_label`, `skin_tone` and `body_site` where any photo has one. Numbers are written in full, so that
    figures computed from the file equal those computed from memory.
    """
    optional = [name for name in _OPTIONAL_COLUMNS if any(getattr(predictions, name))]
    header = [
        *_COLUMNS_BEFORE,
        *(f"p_{label}" for label in predictions.labels),
        *_COLUMNS_AFTER,
        *optional,
    ]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for i in range(len(predictions)):
            fold = int(predictions.fold[i])
            members = np.flatnonzero(predictions.prediction_set[i])
            writer.writerow(
                [
                    predictions.file[i],
                    predictions.labels[predictions.label[i]],
                    predictions.group[i],
                    predictions.source[i],
                    predictions.kind[i],
                    "" if fold == NO_FOLD else fold,
                    *(repr(float(p)) for p in predictions.probabilities[i]),
                    SEPARATOR.join(predictions.labels[j] for j in members),
                    predictions.outcome[i],
                    *(getattr(predictions, name)[i] for name in optional),
                ]
            )


def read_predictions(path: Path) -> Predictions:
    """Read a table that `write_predictions` wrote, or one of the same columns.

    The labels and their order are those of the `p_<label>` columns.

    Raises:
        PredictionsError: the file is missing, lacks a column, or a row cannot be read; the
            message names the row.
    """
    name = str(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionsError(
            "unreadable", f"cannot be read as a CSV file ({error})", name=name
        ) from error
    labels = tuple(column[2:] for column in header if column.startswith("p_"))
    missing = [c for c in (*_COLUMNS_BEFORE, *_COLUMNS_AFTER) if c not in header]
    if missing or len(labels) < 2:
        wanted = ", ".join(missing) or "p_<label>, one for each label"
        raise PredictionsError("missing_column", f"lacks the column {wanted}", name=name)

    parsed = [_parse_row(row, labels, f"{name}, line {i}") for i, row in enumerate(rows, start=2)]

    def text(column: str) -> tuple[str, ...]:
        return tuple(row.get(column) or "" for row in rows)

    return Predictions(
        labels=labels,
        file=text("file"),
        label=np.array([row[0] for row in parsed], dtype=np.int64),
        group=text("group"),
        source=text("source"),
        source_label=text("source_label"),
        kind=text("kind"),
        skin_tone=text("skin_tone"),
        fold=np.array([row[1] for row in parsed], dtype=np.int64),
        probabilities=np.array([row[2] for row in parsed]).reshape(len(rows), len(labels)),
        prediction_set=np.array([row[3] for row in parsed], dtype=np.bool_).reshape(
            len(rows), len(labels)
        ),
        outcome=text("outcome"),
        body_site=text("body_site"),
    )


def _parse_row(
    row: dict[str, str], labels: Sequence[str], place: str
) -> tuple[int, int, list[float], list[bool]]:
    """The label's index, the fold, the probabilities and the set's mask of one CSV row."""
    label = row["label"]
    members = [member for member in (row["prediction_set"] or "").split(SEPARATOR) if member]
    for unknown in (name for name in (label, *members) if name not in labels):
        raise PredictionsError(
            "unknown_label", f"`{unknown}` is none of {', '.join(labels)}", name=place
        )
    try:
        fold = int(row["fold"]) if row["fold"] else NO_FOLD
        probabilities = [float(row[f"p_{name}"]) for name in labels]
    except (TypeError, ValueError) as error:
        raise PredictionsError(
            "not_a_number", "its fold or a probability is not a number", name=place
        ) from error
    if not all(math.isfinite(p) for p in probabilities):
        raise PredictionsError("not_a_number", "a probability is not a finite number", name=place)
    return labels.index(label), fold, probabilities, [name in members for name in labels]
