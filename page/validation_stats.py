"""How a checkpoint fared where it could be checked: from its `metrics.json` and `predictions.csv`."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Figure(BaseModel):
    """A share of n photographs with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    n: int


def read_validation_stats(checkpoint: Path) -> dict[str, Figure]:
    """For each label, the share of its photographs whose prediction set held it, in cross-validation.

    Empty where the checkpoint comes without such figures: then the page states none.
    """
    try:
        metrics = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
        coverage = metrics["conformal"]["coverage"]
        return {label: Figure.model_validate(figure) for label, figure in coverage.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return {}


@dataclass(frozen=True)
class Mixups:
    """What a checkpoint kept for what, on photographs that it had not learnt from.

    Attributes:
        asked: how many photographs there were of each label.
        kept: of those of a label, how many prediction sets held each label.
    """

    asked: dict[str, int]
    kept: dict[str, dict[str, int]]


def read_mixups(checkpoint: Path) -> Mixups | None:
    """The mix-ups of a checkpoint's cross-validation; None where it comes without predictions."""
    asked: Counter[str] = Counter()
    kept: dict[str, Counter[str]] = {}
    try:
        with (checkpoint / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                asked[row["label"]] += 1
                labels = row["prediction_set"].split("|")
                kept.setdefault(row["label"], Counter()).update(labels)
    except (OSError, ValueError, KeyError, AttributeError, csv.Error):
        return None
    return Mixups(dict(asked), {label: dict(counts) for label, counts in kept.items()})
