"""What the notebooks work on: the user's photographs where the environment names some, else drawings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt

import calcinosis as cc
from calcinosis.data.manifest import Row
from calcinosis.data.synthetic import draw_flawed_set
from calcinosis.training.recipe import Recipe, load_recipe

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """Photographs, a recipe to learn them with, and a folder for what comes of it.

    Attributes:
        photos: the rows of a manifest with the folder that their files lie below.
        recipe: how to train on them.
        work: where results go.
    """

    photos: cc.Photos
    recipe: Recipe
    work: Path


def find_task() -> Task:
    """The task that the environment names, or one on drawings.

    `CALCINOSIS_MANIFEST` and `CALCINOSIS_ROOT` name a manifest and its folder, `CALCINOSIS_RECIPE` a recipe
    (that of `lite2` unless given), and `CALCINOSIS_WORK` the folder for results.
    """
    work = Path(os.environ.get("CALCINOSIS_WORK", HERE / "work")).resolve()
    manifest = os.environ.get("CALCINOSIS_MANIFEST")
    if manifest is None:
        recipe = load_recipe(HERE / "drawn.toml")
        rows = draw_flawed_set(work / "drawn", recipe.labels)
        return Task(cc.Photos(tuple(rows), work / "drawn", recipe.labels), recipe, work)
    default = HERE.parent / "training" / "configs" / "lite2.toml"
    recipe = load_recipe(Path(os.environ.get("CALCINOSIS_RECIPE", default)))
    root = os.environ.get("CALCINOSIS_ROOT", Path(manifest).parent)
    return Task(cc.Photos.read(manifest, root=root, labels=recipe.labels), recipe, work)


def gallery(
    photos: cc.Photos, rows: Sequence[Row], captions: Sequence[str], columns: int = 4
) -> None:
    """Show some of the photographs side by side, each with its caption."""
    lines = -(-len(rows) // columns)
    if rows:
        plt.figure(figsize=(2.6 * columns, 2.7 * lines), layout="constrained")
    for number, (row, caption) in enumerate(zip(rows, captions, strict=True), start=1):
        axes = plt.subplot(lines, columns, number)
        axes.imshow(photos.open(row))
        axes.set_title(caption, fontsize=9)
        axes.axis("off")
