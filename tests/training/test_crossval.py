"""Cross-validation: no photo has a say in its own probabilities, and both branches make one network."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calcinosis.common.errors import BackboneError
from calcinosis.data.manifest import Row
from calcinosis.data.splits import assign_folds
from calcinosis.model.photo import open_photo
from calcinosis.training.evaluate.out_of_fold import oof_predictions
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps
from calcinosis.training.fit.finetune import TrainingViews, _Learner, make_targets
from calcinosis.training.fit.fitted import build_network, fit
from calcinosis.training.fit.prepare import PreparedData, prepare_data

from tests.training.drawn_sets import draw_set, tiny_recipe

RECIPES: dict[str, dict[str, Any]] = {
    "probe": {"method": "probe"},
    "probe of every stage": {"method": "probe", "multi_scale": True, "head": "lda"},
    "fine-tuned": {},
    "fine-tuned, every stage and the mirror image": {"multi_scale": True, "flip_tta": True},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path]:
    root = tmp_path_factory.mktemp("photos")
    return assign_folds(draw_set(root)), root


def ready(photos: tuple[list[Row], Path], **changes: Any) -> PreparedData:
    """Drawn photos made ready for a tiny recipe."""
    rows, root = photos
    recipe = tiny_recipe(**({"epochs": 1} | changes))
    return prepare_data(rows, root, recipe, root / "cache", Device(precision="float32"))


@pytest.fixture(scope="module")
def data(photos: tuple[list[Row], Path]) -> PreparedData:
    return ready(photos)


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_gives_what_the_head_makes_of_both_branches(
    photos: tuple[list[Row], Path], tmp_path: Path, name: str
) -> None:
    prepared, root = ready(photos, **RECIPES[name]), photos[1]
    rows = np.arange(len(prepared.rows))
    fitted = fit(prepared, rows, tmp_path)
    expected = fitted.logits(rows)[:5]
    network = build_network(fitted, prepared)
    inputs = [prepared.preprocessing(open_photo(root / row.file)) for row in prepared.rows[:5]]
    with torch.no_grad():
        found = network(torch.stack(inputs)).numpy()
        mapped = network.forward_with_cam(torch.stack(inputs)).logits.numpy()
    # Cached feature maps are kept in half precision.
    tolerance = 0.02 * float(np.abs(expected).max())
    assert found == pytest.approx(expected, abs=tolerance)
    assert mapped == pytest.approx(found, abs=tolerance / 10)
    assert np.array_equal(fit(prepared, rows, tmp_path).logits(rows), fitted.logits(rows))


FAMILIES = (
    "package:efficientnet_lite0", "timm:test_efficientnet", "torchvision:mobilenet_v3_small",
    "torchvision:resnet18",
)  # fmt: skip


@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_family_trains_the_stages_that_are_not_frozen_and_no_other(
    photos: tuple[list[Row], Path], tmp_path: Path, backbone: str
) -> None:
    rows, root = photos
    few = [row for row in rows if row.fold == 0]
    recipe = tiny_recipe(
        backbone=backbone, frozen_stages=2, epochs=1, samples_per_epoch=8, batch_size=4,
        ema_decay=0.0, freeze_batch_norm=False, input_size=64, views={},
    )  # fmt: skip
    prepared = prepare_data(few, root, recipe, tmp_path / "cache", Device())
    before = prepared.new_network()
    finetuned = fit(prepared, np.arange(len(few)), tmp_path).finetuned
    assert finetuned is not None
    for (name, first), second in zip(
        before.trainable.named_parameters(), finetuned.trainable.parameters(), strict=True
    ):
        assert not torch.equal(first, second), name
    for first, second in zip(
        before.frozen.state_dict().values(), finetuned.frozen.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second)


def test_a_backbone_without_a_stage_to_train_is_refused_with_both_numbers(
    photos: tuple[list[Row], Path],
) -> None:
    """A ResNet of timm is one stage, so that with one frozen there is none to fine-tune."""
    with pytest.raises(BackboneError, match="has 1 stage, so frozen_stages = 1"):
        ready(photos, backbone="timm:resnet18", frozen_stages=1)


def test_augmented_views_are_drawn_but_for_a_share_of_unaugmented_ones() -> None:
    """Three photos with 2, 1 and 2 unaugmented views, and 1, 0 and 4 augmented ones."""

    def maps(rows: list[int], channels: int, first: float) -> FeatureMaps:
        values = first + np.arange(len(rows) * channels).reshape(-1, channels, 1, 1)
        return FeatureMaps(np.array(rows), values.astype(np.float16), "")

    crops, changed = maps([0, 1, 2], 1, 0), maps([0, 2], 1, 10)
    views = TrainingViews(3, [crops, changed], maps([0, 2, 2, 2, 2], 1, 20), channels=1)
    rows, generator = np.repeat([0, 1, 2], 2000), np.random.default_rng(0)
    never = views.load(views.sample(rows, generator, 0.0)).flatten().numpy()
    assert set(never) == {20, 1, 21, 22, 23, 24}  # the second photo has its centre crop alone
    drawn = views.load(views.sample(rows, generator, 0.25)).flatten().numpy()
    share = np.isin(drawn[rows == 2], [2, 11]).mean()
    assert share == pytest.approx(0.25, abs=0.03)
    assert set(drawn) == {0, 1, 2, 10, 11, 20, 21, 22, 23, 24}


def test_the_mirror_image_is_a_view_of_its_own() -> None:
    crops = FeatureMaps(np.arange(2), np.arange(4.0).reshape(2, 2, 1, 1).astype(np.float16), "")
    none = FeatureMaps(np.zeros(0, int), np.zeros((0, 1, 1, 1), np.float16), "")
    views = TrainingViews(2, [crops], none, channels=1)
    drawn = views.load(views.sample(np.repeat([0, 1], 50), np.random.default_rng(0), 0.0))
    assert set(drawn[:50].flatten().tolist()) == {0, 1}
    assert set(drawn[50:].flatten().tolist()) == {2, 3}


def a_row(n: int, source: str, source_label: str) -> Row:
    return Row(f"{n}.jpg", "other", source, str(n), source_label=source_label)


def test_a_photo_is_told_apart_among_the_labels_of_its_source() -> None:
    rows = [
        *[a_row(n, "atlas", "acne" if n < 6 else "wart") for n in range(8)],
        *[a_row(n, "clinic", ("acne", "naevus")[n % 2]) for n in range(8, 10)],
        a_row(10, "milia", "milia"),
    ]
    targets = make_targets(rows, 0.5)
    acne, milia, naevus, wart = range(4)
    assert targets.source_labels[[0, 7, 9, 10]].tolist() == [acne, wart, naevus, milia]
    assert np.flatnonzero(targets.candidates[0]).tolist() == [acne, wart]
    assert np.flatnonzero(targets.candidates[8]).tolist() == [acne, naevus]
    assert targets.candidates[10].all()  # a source of one label would have nothing to tell apart


@pytest.mark.parametrize(("balance", "atlas", "wart"), [(0.0, 0.8, 0.25), (1.0, 0.5, 0.5)])
def test_sampling_is_balanced_between_sources_and_their_labels(
    balance: float, atlas: float, wart: float
) -> None:
    rows = [a_row(n, "atlas", "acne" if n < 6 else "wart") for n in range(8)]
    rows += [a_row(n, "clinic", "acne") for n in range(8, 10)]
    weights = make_targets(rows, balance).sampling_weights
    assert weights.sum() == pytest.approx(1)
    assert weights[:8].sum() == pytest.approx(atlas)
    assert weights[6:8].sum() / weights[:8].sum() == pytest.approx(wart)


def test_the_loss_is_the_cross_entropy_among_the_candidates(data: PreparedData) -> None:
    network = data.new_network()
    learner = _Learner(network, 5)  # its layer begins at 0
    candidates = torch.tensor([[True, True, False, False, False], [True] * 5])
    maps = data.maps[np.arange(2)]
    for smoothing in (0.0, 0.1):
        loss = learner(maps, torch.tensor([0, 3]), candidates, smoothing, data.device)
        assert loss.item() == pytest.approx((math.log(2) + math.log(5)) / 2, rel=1e-5)
        loss.backward()
    assert learner.head.bias.grad is not None
    assert learner.head.bias.grad[1] > 0  # a candidate that it is not
    only_first = learner(maps[:1], torch.tensor([0]), candidates[:1], 0.0, data.device)
    learner.zero_grad()
    only_first.backward()
    assert not learner.head.bias.grad[2:].any()


def test_a_photo_has_no_say_in_its_own_probabilities(data: PreparedData) -> None:
    """Whatever is predicted for one fold's photos, the calibrator of that fold stays as it is."""
    logits = np.random.default_rng(0).normal(size=(len(data.folds), 4))
    logits[np.arange(len(logits)), data.labels] += 2
    changed = logits.copy()
    one = np.flatnonzero(data.folds == 0)[0]
    changed[one] = [9, 0, 0, 0]
    before, after = oof_predictions(data, logits), oof_predictions(data, changed)
    others = (data.folds == 0) & (np.arange(len(logits)) != one)
    assert np.array_equal(before.probabilities[others], after.probabilities[others])
    assert np.array_equal(before.prediction_set[others], after.prediction_set[others])
    assert not np.array_equal(before.probabilities[one], after.probabilities[one])


def test_what_is_left_out_has_no_say_and_what_nobody_taught_no_probability(
    data: PreparedData,
) -> None:
    logits = np.random.default_rng(2).normal(size=(len(data.folds), 4))
    logits[np.arange(len(logits)), data.labels] += 2
    trained_on = data.labels != 1
    changed = np.where(trained_on[:, None], logits, 7.0)
    before = oof_predictions(data, logits, trained_on)
    after = oof_predictions(data, changed, trained_on)
    assert np.array_equal(before.probabilities[trained_on], after.probabilities[trained_on])
    assert not before.probabilities[:, 1].any()
    assert before.probabilities.sum(axis=1) == pytest.approx(np.ones(len(logits)))
    alone = oof_predictions(data, logits, data.labels == 3)
    assert (alone.probabilities[:, 3] == 1).all()


def test_the_prior_moves_probabilities_and_not_the_sets(data: PreparedData) -> None:
    logits = np.random.default_rng(1).normal(size=(len(data.rows), 4))
    rare = dataclasses.replace(
        data, recipe=data.recipe.model_copy(update={"prior": (0.01, 0.01, 0.01, 0.97)})
    )
    equal, unequal = oof_predictions(data, logits), oof_predictions(rare, logits)
    assert (unequal.probabilities[:, 3] > equal.probabilities[:, 3]).all()
    assert np.array_equal(equal.prediction_set, unequal.prediction_set)
