"""A manifest of drawn photos, and a recipe small enough for a test."""

from pathlib import Path
from typing import Any

from data.manifest import Row, write_manifest
from model.labels import LABELS
from tests.drawings import TINY_BACKBONE, draw
from training.recipe import Recipe


def draw_set(root: Path, of_each: int = 12) -> list[Row]:
    """Drawn photos below a root folder, with their rows; also written to `root/manifest.csv`."""
    rows = []
    for label in LABELS:
        for number in range(of_each):
            file = f"{label}-{number}.jpg"
            draw(label, number).save(root / file, quality=90)
            kind = "target" if label != "other" else ("lookalike", "distant")[number % 2]
            rows.append(
                Row(file, label, "drawn", f"{label}-{number}", source_label=label, kind=kind)
            )
    write_manifest(rows, root / "manifest.csv")
    return rows


def tiny_recipe(**changes: Any) -> Recipe:
    """A recipe that trains in seconds, with some settings changed."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "backbone": TINY_BACKBONE,
        "pretrained": False,
        "input_size": 64,
        "frozen_stages": 1,
        "views": {"target": 2, "lookalike": 1, "distant": 1},
        "probe_strength": 1.0,
        "epochs": 2,
        "draws": 96,
        "batch_size": 16,
        "averaging": 0.5,
        "learning_rate": 1e-3,
    }
    return Recipe.model_validate(settings | changes)


def quiet(line: str) -> None:
    """A report that nobody reads."""
