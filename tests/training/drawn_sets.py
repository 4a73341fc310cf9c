"""A recipe small enough for a test, for drawn photos."""

from pathlib import Path
from typing import Any

from calcinosis.common.options import RunOptions
from calcinosis.data.manifest import Row
from calcinosis.data.synthetic import draw_set as draw_set
from calcinosis.training.recipe import Recipe
from calcinosis.training.train import train
from tests.drawings import TINY_BACKBONE


def tiny_recipe(**changes: Any) -> Recipe:
    """A recipe that trains in seconds, with some settings changed."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "backbone": TINY_BACKBONE,
        "pretrained": False,
        "input_size": 64,
        "frozen_stages": 1,
        "augmented_views": 1,
        "C": 1.0,
        "epochs": 2,
        "samples_per_epoch": 240,
        "batch_size": 16,
        "ema_decay": 0.5,
        "learning_rate": 1e-3,
    }
    return Recipe.model_validate(settings | changes)


def train_quietly(
    rows: list[Row], root: Path, recipe: Recipe, out: Path, *, resume: bool = False
) -> None:
    """Train in a folder, with what is computed once beside the photos."""
    options = RunOptions(out=out, cache=root / "cache", resume=resume, command="calcinosis train")
    train(rows, root, recipe, options)
