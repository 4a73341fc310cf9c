"""How often the prediction set was right where it could be checked: from a checkpoint's `metrics.json`."""

import json
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
