"""Cross-validation: no photo has a say in its own probabilities; fine-tuning, and the network that comes of it."""

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calcinosis.common.errors import BackboneError, TrainingError
from calcinosis.data.manifest import Row
from calcinosis.data.splits import assign_folds
from calcinosis.model.photo import open_photo
from calcinosis.training.evaluate.out_of_fold import oof_predictions
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps
from calcinosis.training.fit.finetune import (
    _Learner,
    disease_of,
    erase,
    make_targets,
)
from calcinosis.training.fit.fitted import fit
from calcinosis.training.fit.prepare import PreparedData, prepare_data
from calcinosis.training.fit.training_views import TrainingViews
from tests.training.drawn_sets import draw_set, tiny_recipe

RECIPES: dict[str, dict[str, Any]] = {
    "probe": {"method": "probe"},
    "probe of every stage": {"method": "probe", "multi_scale": True},
    "fine-tuned": {"frozen_blocks": 0},
    "fine-tuned, every stage and the mirror image": {
        "multi_scale": True,
        "flip_tta": True,
        "avoid_marks": True,
        "mixup": 0.2,
        "erased": 0.3,
        "dropout": 0.2,
    },
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
def test_the_network_gives_what_the_head_makes_of_its_features(
    photos: tuple[list[Row], Path], tmp_path: Path, name: str
) -> None:
    prepared, root = ready(photos, **RECIPES[name]), photos[1]
    rows = np.arange(len(prepared.rows))
    fitted = fit(prepared, rows, tmp_path)
    expected = fitted.logits(rows)[:5]
    network = fitted.build_network()
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
        ema_decay=0.0, freeze_batch_norm=False, input_size=64, augmented_views=0,
    )  # fmt: skip
    prepared = prepare_data(few, root, recipe, tmp_path / "cache", Device())
    before = prepared.network
    finetuned = fit(prepared, np.arange(len(few)), tmp_path).network
    for (name, first), second in zip(
        before.trainable.named_parameters(), finetuned.trainable.parameters(), strict=True
    ):
        assert not torch.equal(first, second), name
    for first, second in zip(
        before.frozen.state_dict().values(), finetuned.frozen.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second)


def test_frozen_blocks_stay_as_they_were(photos: tuple[list[Row], Path], tmp_path: Path) -> None:
    prepared = ready(
        photos, backbone="package:efficientnet_lite0", frozen_stages=5, frozen_blocks=1
    )
    before = prepared.network.trainable.state_dict()
    after = fit(prepared, np.arange(len(prepared.rows)), tmp_path).network.trainable.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    weights = {name for name in before if name.endswith(("conv_dw.weight", "conv_pw.weight"))}
    assert {name for name in weights if name.startswith("0.0.")} <= same
    assert not same & {name for name in weights if not name.startswith("0.0.")}
    with pytest.raises(TrainingError, match="is 9, and the first stage"):
        ready(photos, backbone="package:efficientnet_lite0", frozen_stages=5, frozen_blocks=9)


def test_weights_that_are_there_are_not_trained_again(
    photos: tuple[list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(photos)
    rows = np.arange(len(prepared.rows))
    fit(prepared, rows, tmp_path / "whole")
    (tmp_path / "given").mkdir()
    kept = tmp_path / "whole" / "finetuned.safetensors"
    (tmp_path / "given" / kept.name).write_bytes(kept.read_bytes())
    monkeypatch.setattr(torch.optim.AdamW, "step", None)  # any training would end here
    first, again = (fit(prepared, rows, tmp_path / name) for name in ("whole", "given"))
    assert np.array_equal(first.logits(rows), again.logits(rows))


def test_a_backbone_without_a_stage_to_train_is_refused_with_both_numbers(
    photos: tuple[list[Row], Path],
) -> None:
    """A ResNet of timm is one stage, so that with one frozen there is none to fine-tune."""
    with pytest.raises(BackboneError, match="has 1 stage, so frozen_stages = 1"):
        ready(photos, backbone="timm:resnet18", frozen_stages=1)


def test_augmented_views_are_drawn_but_for_a_share_of_unaugmented_ones() -> None:
    """The first and the third photo bear a mark, and are shown without it; the second has one view."""

    def maps(rows: list[int], first: float) -> FeatureMaps:
        values = first + np.arange(len(rows)).reshape(-1, 1, 1, 1)
        return FeatureMaps(np.array(rows), values.astype(np.float16), "")

    crops, unmarked = maps([0, 1, 2], 0), maps([0, 2], 10)
    views = TrainingViews(3, [crops, unmarked], maps([0, 2, 2, 2, 2], 20), channels=1)
    rows, generator = np.repeat([0, 1, 2], 2000), np.random.default_rng(0)
    never = views.load(views.sample(rows, generator, 0.0)).flatten().numpy()
    assert set(never) == {20, 1, 21, 22, 23, 24}
    drawn = views.load(views.sample(rows, generator, 0.25)).flatten().numpy()
    share = (drawn[rows == 2] == 11).mean()
    assert share == pytest.approx(0.25, abs=0.03)
    assert set(drawn) == {1, 10, 11, 20, 21, 22, 23, 24}


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
        *[a_row(n, "atlas", "Acne" if n < 6 else "warts") for n in range(8)],
        *[a_row(n, "clinic", ("Acne vulgaris", "Naevi")[n % 2]) for n in range(8, 10)],
        a_row(10, "scabies.org", "scabies"),
    ]
    targets = make_targets(rows, 0.5)
    acne, wart, naevus, scabies = targets.source_labels[[0, 7, 9, 10]]
    assert targets.source_labels[8] == acne  # one disease, by two names
    assert set(np.flatnonzero(targets.candidates[0])) == {acne, wart}
    assert set(np.flatnonzero(targets.candidates[8])) == {acne, naevus}
    assert targets.candidates[10].all()  # a source of one label would have nothing to tell apart
    assert targets.candidates[10, scabies]


def test_a_condition_is_named_by_its_label() -> None:
    assert disease_of(Row("a.jpg", "milium", "x", "a", source_label="white spot")) == "milium"
    assert disease_of(Row("a.jpg", "other", "x", "a")) == "other"
    names = ("Congenital nevus", "melanocytic naevi")
    assert len({disease_of(a_row(0, "x", name)) for name in names}) == 1


@pytest.mark.parametrize(("balance", "wart"), [(0.0, 0.25), (0.5, 0.366), (1.0, 0.5)])
def test_sources_are_drawn_alike_and_their_labels_as_balanced_as_asked(
    balance: float, wart: float
) -> None:
    rows = [a_row(n, "atlas", "acne" if n < 6 else "wart") for n in range(8)]
    rows += [a_row(n, "clinic", ("eczema", "naevus")[n % 2]) for n in range(8, 12)]
    rows += [a_row(n, "one", "scabies") for n in range(12, 15)]
    weights = make_targets(rows, balance).sampling_weights
    assert weights.sum() == pytest.approx(1)
    assert weights[:8].sum() == pytest.approx(weights[8:12].sum())
    assert weights[12:].sum() == pytest.approx(0.06 * weights[:8].sum())
    assert weights[6:8].sum() / weights[:8].sum() == pytest.approx(wart, abs=1e-3)


def learner_of(data: PreparedData, **changes: float) -> _Learner:
    recipe = data.recipe.model_copy(update=changes)
    return _Learner(copy.deepcopy(data.network), 5, recipe)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_among_the_candidates(
    data: PreparedData, smoothing: float
) -> None:
    learner = learner_of(data, label_smoothing=smoothing)  # its layer begins at 0
    candidates = torch.tensor([[True, True, False, False, False], [True] * 5])
    maps = data.maps[np.arange(2)]
    loss = learner(maps, torch.tensor([0, 3]), candidates, data.device)
    assert loss.item() == pytest.approx((math.log(2) + math.log(5)) / 2, rel=1e-5)
    only_first = learner(maps[:1], torch.tensor([0]), candidates[:1], data.device)
    only_first.backward()
    gradient = learner.head.bias.grad
    assert gradient is not None
    assert gradient[0] < 0 < gradient[1]  # a candidate that it is not
    assert not gradient[2:].any()


def test_a_mixed_pair_is_told_apart_among_the_candidates_of_both(data: PreparedData) -> None:
    torch.manual_seed(1)
    learner = learner_of(data, mixup=1.0, label_smoothing=0.0)
    candidates = torch.eye(5, dtype=torch.bool)[[0, 3]]
    for _ in range(20):  # until the two are mixed with each other
        loss = learner(data.maps[np.arange(2)], torch.tensor([0, 3]), candidates, data.device)
        assert loss.item() == pytest.approx(math.log(2), rel=1e-5) or loss.item() == 0
    assert loss.isfinite()


def test_a_rectangle_of_a_share_of_the_maps_is_erased() -> None:
    torch.manual_seed(0)
    maps = torch.randn(400, 3, 9, 9)
    erased = erase(maps, 0.3)
    changed = (erased != maps).any(dim=1)
    assert changed.any(dim=(1, 2)).float().mean() == pytest.approx(0.3, abs=0.06)
    assert torch.equal(erase(maps, 0.0), maps)
    mean = maps.mean(dim=(0, 2, 3))
    for n in torch.nonzero(changed.any(dim=(1, 2))).flatten()[:20]:
        rows, columns = torch.where(changed[n])
        box = changed[n, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.all()  # a whole rectangle
        assert max(box.shape) <= 4
        assert torch.allclose(erased[n, :, rows[0], columns[0]], mean)


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
