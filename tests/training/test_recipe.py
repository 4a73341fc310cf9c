"""Recipes: every shipped one loads, and a wrong one is named."""

from pathlib import Path

import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = [
    *sorted((ROOT / "training" / "configs").glob("*.toml")),
    ROOT / "notebooks" / "drawn.toml",
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    assert load_recipe(path).labels[-1] == "other"


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ('name = "x"\nlerning_rate = 1e-3', "bad_config", "lerning_rate"),
        ('name = "x"\nepochs = 0', "bad_config", "epochs"),
        ("epochs = 3", "bad_config", "name"),
        ('name = "x"\nlabels = ["a", "b"]', "bad_config", "other"),
        ('name = "x"\nmulti_scale = true', "bad_config", "frozen_stages"),
        ('name = "x"\nflip_tta = true', "bad_config", "flip_tta"),
        ('name = "x"\nprior = [1, 1, 1, 0]', "bad_config", "above 0"),
        ('name = "x"\nprior = [1, 1, -1, 5]', "bad_config", "above 0"),
        ('name = "x"\nprior = [1, 1]', "bad_config", "4 numbers"),
        ("name = ", "bad_config", "TOML"),
        (None, "missing_config", "configs"),
    ],
)
def test_a_wrong_recipe_is_named(text: str | None, code: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=named) as caught:
        load_recipe(path)
    assert caught.value.code == code
    assert caught.value.name == str(path)
