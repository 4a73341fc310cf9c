"""Cross-validation: no photo has a say in its own probabilities, and the parts make the whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from model.photo import open_photo
from tests.training.drawn_sets import draw_set, quiet, tiny_recipe
from training.crossval import cross_predictions
from training.study import Study, assemble, fit, network_logits, prepare


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """Drawn photos made ready for a tiny recipe, and their folder."""
    root = tmp_path_factory.mktemp("photos")
    rows = draw_set(root)
    return prepare(rows, root, tiny_recipe(epochs=1), root / "cache", quiet), root


def test_the_assembled_network_gives_the_blend_of_its_parts(
    study: tuple[Study, Path], tmp_path: Path
) -> None:
    prepared, root = study
    rows = np.arange(len(prepared.rows))
    networks = fit(prepared, rows, tmp_path, resume=False, report=quiet)
    blend = np.array([0.3, 0.9])
    whole = assemble(networks, blend, prepared)
    wanted = np.einsum(
        "nbk,b->nk", network_logits(networks, prepared, prepared.activations, rows[:5]), blend
    )
    photos = [open_photo(root / row.file) for row in prepared.rows[:5]]
    with torch.no_grad():
        found = whole(torch.stack([prepared.preprocessing(photo) for photo in photos]))
        # The cached activations were computed in bfloat16, so the two agree to its precision.
        assert found.numpy() == pytest.approx(wanted, abs=0.05 * float(np.abs(wanted).max()))
        parts = [
            network(torch.stack([prepared.preprocessing(p) for p in photos]))
            for network in networks
        ]
        exact = sum(part * float(weight) for part, weight in zip(parts, blend, strict=True))
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


def test_a_photo_has_no_say_in_its_own_probabilities(study: tuple[Study, Path]) -> None:
    """Whatever is said of one fold's photos, the readout of that fold stays as it is."""
    prepared, _ = study
    generator = np.random.default_rng(0)
    folds = np.array([row.fold for row in prepared.rows])
    logits = generator.normal(size=(len(folds), 2, 4))
    logits[np.arange(len(folds)), :, prepared.targets.labels] += 2
    changed = logits.copy()
    one = np.flatnonzero(folds == 0)[0]
    changed[one] = [[9, 0, 0, 0], [9, 0, 0, 0]]
    before, after = cross_predictions(prepared, logits), cross_predictions(prepared, changed)
    others = (folds == 0) & (np.arange(len(folds)) != one)
    assert np.array_equal(before.probabilities[others], after.probabilities[others])
    assert np.array_equal(before.prediction_set[others], after.prediction_set[others])
    assert not np.array_equal(before.probabilities[one], after.probabilities[one])


def test_the_prior_moves_probabilities_and_not_the_sets(study: tuple[Study, Path]) -> None:
    prepared, _ = study
    logits = np.random.default_rng(1).normal(size=(len(prepared.rows), 1, 4))
    rare = dataclasses.replace(
        prepared, recipe=prepared.recipe.model_copy(update={"prior": (0.01, 0.01, 0.01, 0.97)})
    )
    equal, unequal = cross_predictions(prepared, logits), cross_predictions(rare, logits)
    assert (unequal.probabilities[:, 3] > equal.probabilities[:, 3]).all()
    assert np.array_equal(equal.prediction_set, unequal.prediction_set)
