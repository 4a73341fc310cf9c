"""Cross-validation: no photo has a say in its own probabilities, and the parts make the whole."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calcinosis.data.manifest import Row
from calcinosis.model.photo import open_photo
from calcinosis.training.evaluate.calibrate import fit_stacking_weights
from calcinosis.training.evaluate.out_of_fold import oof_predictions
from calcinosis.training.fit import prepare as study_module
from calcinosis.training.fit.base_learners import fit, fold_into_network, part_logits
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps
from calcinosis.training.fit.finetune import (
    IGNORE_INDEX,
    Targets,
    TrainingSet,
    _Learner,
    compute_features,
    make_targets,
)
from calcinosis.training.fit.heads import Head, fit_ridge
from calcinosis.training.fit.prepare import Changed, PreparedData, prepare
from PIL import Image
from sklearn.preprocessing import StandardScaler

from tests.training.drawn_sets import draw_set, quiet, tiny_recipe

RECIPES = {
    "tuned alone": {"heads": ()},
    "tuned and head": {"heads": ("logistic",)},
    "tuned and heads of all stages": {"heads": ("discriminant", "logistic"), "multi_scale": True},
    "heads of all stages": {
        "method": "probe",
        "heads": ("logistic", "discriminant", "distilled"),
        "multi_scale": True,
    },
    "one head": {"method": "probe"},
    "distilled top alone": {"method": "distil", "heads": (), "flip_tta": True},
    "distilled top and heads of all stages": {
        "method": "distil",
        "heads": ("discriminant", "distilled"),
        "top_heads": ("predicted", "logistic"),
        "multi_scale": True,
        "flip_tta": True,
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path]:
    root = tmp_path_factory.mktemp("photos")
    return draw_set(root), root


def ready(photos: tuple[list[Row], Path], **changes: Any) -> PreparedData:
    """Drawn photos made ready for a tiny recipe, with a teacher who knows the mean colour."""
    rows, root = photos
    recipe = tiny_recipe(**({"epochs": 1} | changes))
    exact = Device(precision="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "embed_photos", mean_colours)
        patch.setattr(study_module, "embed_pictures", mean_colours_of_pictures)
        return prepare(rows, root, recipe, root / "cache", quiet, exact)


def mean_colours(rows: list[Row], root: Path, cache: Path) -> np.ndarray:
    photos = [open_photo(root / row.file) for row in rows]
    return mean_colours_of_pictures(photos.__getitem__, len(photos), [], cache)


def mean_colours_of_pictures(
    show: Callable[[int], Image.Image], count: int, names: list[str], cache: Path
) -> np.ndarray:
    pictures = [np.asarray(show(n)) for n in range(count)]
    return np.stack([picture.mean(axis=(0, 1)) for picture in pictures]).astype(np.float32)


@pytest.fixture(scope="module")
def study(photos: tuple[list[Row], Path]) -> PreparedData:
    return ready(photos)


@pytest.mark.parametrize("name", RECIPES)
def test_the_assembled_network_gives_the_blend_of_its_parts(
    photos: tuple[list[Row], Path], tmp_path: Path, name: str
) -> None:
    prepared, root = ready(photos, **RECIPES[name]), photos[1]
    rows = np.arange(len(prepared.rows))
    fitted = fit(prepared, rows, tmp_path, resume=False, report=quiet)
    logits = part_logits(fitted, prepared, prepared.activations, rows)
    blend = fit_stacking_weights(logits, prepared.targets.labels)
    network = fold_into_network(fitted, blend, prepared)
    wanted = blend(logits)[:5]
    inputs = [prepared.preprocessing(open_photo(root / row.file)) for row in prepared.rows[:5]]
    with torch.no_grad():
        found = network(torch.stack(inputs)).numpy()
        explained = network.forward_with_cam(torch.stack(inputs)).logits.numpy()
    # Cached activations are kept in half precision.
    tolerance = 0.02 * float(np.abs(wanted).max())
    assert found == pytest.approx(wanted, abs=tolerance)
    assert explained == pytest.approx(found, abs=tolerance / 10)
    again = fit(prepared, rows, tmp_path, resume=True, report=quiet)
    assert np.array_equal(part_logits(again, prepared, prepared.activations, rows), logits)


def test_each_view_is_learnt_with_what_the_teacher_says_of_just_this_view(
    photos: tuple[list[Row], Path],
) -> None:
    lessons = ready(photos, method="distil", heads=()).lessons
    assert lessons.taught is not None
    counts = np.diff(lessons.activations.starts)
    assert set(counts) == {2, 3}  # the plain view, and one or two augmented ones
    assert len(lessons.taught) == len(lessons.activations.values) == counts.sum()
    for start, count in zip(lessons.activations.starts[:5], counts, strict=False):
        views = lessons.taught[start : start + count]
        assert len(np.unique(views.round(3), axis=0)) == count


def test_what_a_photo_is_judged_by_is_learnt_with_what_the_teacher_says_of_its_plain_view(
    photos: tuple[list[Row], Path],
) -> None:
    """The plain view, its mirror image and a changed mark come before the augmented views of a row."""
    prepared = ready(photos, method="distil", heads=(), flip_tta=True)
    alone = prepared.lessons
    values = prepared.activations.values
    marked = Changed(
        np.array([4]), FeatureMaps(np.arange(2), values[4:5] + 1), prepared.features[:1]
    )
    lessons = study_module._with_plain_ones(
        study_module.TrainingSet(*without_plain_ones(alone)),
        prepared.activations,
        [marked],
        prepared.start,
    )
    starts, plain_ones = lessons.activations.starts, lessons.activations.plain_ones
    assert plain_ones.tolist() == [2, 2, 2, 2, 4, *[2] * (len(plain_ones) - 5)]
    assert lessons.taught is not None
    assert prepared.taught is not None
    for row in (0, 4):
        judged = slice(starts[row], starts[row] + plain_ones[row])
        wanted = np.tile(prepared.taught[row], (plain_ones[row], 1))
        assert lessons.taught[judged] == pytest.approx(wanted)
        plain, mirrored = np.split(values[row], 2)
        found = lessons.activations.values[judged]
        assert found[0] == pytest.approx(plain, abs=0.01)
        assert np.array_equal(found[1], mirrored)
    assert np.array_equal(found[2:], np.stack([plain, mirrored]) + np.float16(1))


def without_plain_ones(lessons: TrainingSet) -> tuple[FeatureMaps, Targets, np.ndarray]:
    """The plain view and the augmented ones of each row alone, as they were before others joined them."""
    known, taught = lessons.activations, lessons.taught
    assert taught is not None
    counts = np.diff(known.starts)
    first = np.repeat(known.starts[:-1], counts)
    after = np.repeat(known.starts[:-1] + known.plain_ones, counts)
    places = np.arange(len(taught))
    kept = (places == first) | (places >= after)
    starts = np.concatenate([[0], np.cumsum(counts - known.plain_ones + 1)])
    return FeatureMaps(starts, known.values[kept]), lessons.targets, taught[kept]


def test_augmented_views_are_drawn_but_for_a_share_of_plain_ones() -> None:
    starts = np.array([0, 3, 4, 10])
    activations = FeatureMaps(starts, np.zeros((10, 1)), np.array([2, 1, 2]))
    rows, generator = np.repeat([0, 1, 2], 2000), np.random.default_rng(0)
    never = activations.choose(rows, generator)
    assert set(never) == {2, 3, 6, 7, 8, 9}  # the second row has its plain view alone
    drawn = activations.choose(rows, generator, plain_share=0.25)
    share = np.isin(drawn[rows == 2], [4, 5]).mean()
    assert share == pytest.approx(0.25, abs=0.03)
    assert set(drawn) == set(range(10))


def test_a_distilled_top_foretells_more_than_its_start_does(
    photos: tuple[list[Row], Path], tmp_path: Path
) -> None:
    """Of drawings that it did not learn from, against the best linear layer on the start's features."""
    prepared = ready(photos, method="distil", heads=(), epochs=6, learning_rate=3e-3)
    assert prepared.taught is not None
    rows = np.arange(len(prepared.rows))
    learnt, held_out = rows[prepared.folds != 0], rows[prepared.folds == 0]
    tuned = fit(prepared, learnt, tmp_path, resume=False, report=quiet).tuned
    assert tuned is not None
    seen = compute_features(tuned, prepared.activations, rows, prepared.hardware)

    def lost(features: np.ndarray) -> float:
        scaler = StandardScaler().fit(prepared.taught[learnt])  # type: ignore[index]
        taught = scaler.transform(prepared.taught)
        predicting = fit_ridge(features[learnt], taught[learnt], 0.1)
        return float(((predicting.logits(features[held_out]) - taught[held_out]) ** 2).mean())

    assert lost(seen) < 0.8 * lost(prepared.features)


def test_a_taught_top_learns_nothing_of_what_the_conditions_show(
    photos: tuple[list[Row], Path],
) -> None:
    rows, _ = photos
    recipe = tiny_recipe(method="distil", frozen_stages=1)
    targets, usual = make_targets(rows, recipe), make_targets(rows, tiny_recipe())
    conditions = targets.labels < len(recipe.labels) - 1
    assert np.array_equal(targets.source_labels == IGNORE_INDEX, conditions)
    assert not (usual.source_labels == IGNORE_INDEX).any()


def test_a_photo_without_a_source_label_leaves_the_head_for_them_as_it_is(
    photos: tuple[list[Row], Path],
) -> None:
    prepared = ready(photos, method="distil", heads=(), source_label_weight=1.0)
    exact = Device(precision="float32")
    predicting = Head(np.zeros((3, prepared.start.head.in_features)), np.zeros(3))
    learner = _Learner(prepared.start, 5, predicting)
    batch = prepared.activations.plain(np.arange(4))
    taught = torch.zeros(2, 4, 3)

    def learn(told: list[int]) -> tuple[float, torch.Tensor]:
        learner.zero_grad()
        labels = torch.tensor([told, told])
        loss = learner(batch, taught, labels, 1.0, None, prepared.recipe, exact)
        loss.backward()
        gradient = learner.second_head.bias.grad
        assert gradient is not None
        return loss.item(), gradient.clone()

    nothing, still = learn([IGNORE_INDEX] * 4)
    half, moved = learn([IGNORE_INDEX, IGNORE_INDEX, 2, 2])
    assert nothing == 0  # the teacher is predicted without a fault
    assert not still.any()
    assert half == pytest.approx(math.log(5) / 2, rel=1e-5)  # of four photos, two are asked about
    assert moved.argmin() == 2


def test_a_top_that_is_taken_as_it_is_gets_a_head_and_no_more_training(
    photos: tuple[list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(photos, method="distil", heads=())
    rows = np.arange(len(prepared.rows))
    whole = fit(prepared, rows, tmp_path / "whole", resume=False, report=quiet)
    monkeypatch.setattr(torch.optim.AdamW, "step", None)  # any training would end here
    fewer = rows[prepared.targets.labels != 1]
    top = tmp_path / "whole"
    again = fit(prepared, fewer, tmp_path / "few", top=top, resume=False, report=quiet)
    assert whole.tuned is not None
    assert again.tuned is not None
    first, second = whole.tuned.trainable.state_dict(), again.tuned.trainable.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.top_heads[0].weights[1].any()
    assert not again.top_heads[0].weights[1].any()  # it learnt no photo of this label


def test_a_photo_has_no_say_in_its_own_probabilities(study: PreparedData) -> None:
    """Whatever is said of one fold's photos, the readout of that fold stays as it is."""
    prepared = study
    generator = np.random.default_rng(0)
    folds = np.array([row.fold for row in prepared.rows])
    logits = generator.normal(size=(len(folds), 2, 4))
    logits[np.arange(len(folds)), :, prepared.targets.labels] += 2
    changed = logits.copy()
    one = np.flatnonzero(folds == 0)[0]
    changed[one] = [[9, 0, 0, 0], [9, 0, 0, 0]]
    before, after = oof_predictions(prepared, logits), oof_predictions(prepared, changed)
    others = (folds == 0) & (np.arange(len(folds)) != one)
    assert np.array_equal(before.probabilities[others], after.probabilities[others])
    assert np.array_equal(before.prediction_set[others], after.prediction_set[others])
    assert not np.array_equal(before.probabilities[one], after.probabilities[one])


def test_the_prior_moves_probabilities_and_not_the_sets(study: PreparedData) -> None:
    prepared = study
    logits = np.random.default_rng(1).normal(size=(len(prepared.rows), 1, 4))
    rare = dataclasses.replace(
        prepared, recipe=prepared.recipe.model_copy(update={"prior": (0.01, 0.01, 0.01, 0.97)})
    )
    equal, unequal = oof_predictions(prepared, logits), oof_predictions(rare, logits)
    assert (unequal.probabilities[:, 3] > equal.probabilities[:, 3]).all()
    assert np.array_equal(equal.prediction_set, unequal.prediction_set)
