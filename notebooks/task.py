"""What the notebooks work on: the user's photographs where the environment names some, else drawings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt
from calcinosis.data.manifest import Row, read_manifest, resolve
from calcinosis.data.splits import assign_folds
from calcinosis.data.synthetic import draw_flawed_set
from calcinosis.model.photo import open_photo
from calcinosis.training.recipe import Recipe, load_recipe

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """Photographs, a recipe to learn them with, and a folder for what comes of it.

    Attributes:
        rows: of the manifest.
        root: the folder that their files lie below.
        recipe: how to train on them.
        work: where results go.
    """

    rows: list[Row]
    root: Path
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
        root = work / "drawn"
        rows = assign_folds(draw_flawed_set(root, recipe.labels), folds=3)
        return Task(rows, root, recipe, work)
    default = HERE.parent / "training" / "configs" / "lite2.toml"
    recipe = load_recipe(Path(os.environ.get("CALCINOSIS_RECIPE", default)))
    root = Path(os.environ.get("CALCINOSIS_ROOT", Path(manifest).parent))
    return Task(read_manifest(Path(manifest), labels=recipe.labels), root, recipe, work)


def gallery(rows: Sequence[Row], root: Path, captions: Sequence[str], columns: int = 4) -> None:
    """Show the photographs of some rows side by side, each with its caption."""
    lines = -(-len(rows) // columns)
    if rows:
        plt.figure(figsize=(2.6 * columns, 2.7 * lines), layout="constrained")
    for number, (row, caption) in enumerate(zip(rows, captions, strict=True), start=1):
        axes = plt.subplot(lines, columns, number)
        axes.imshow(open_photo(resolve(root, row)))
        axes.set_title(caption, fontsize=9)
        axes.axis("off")
