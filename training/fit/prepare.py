"""A recipe with the photographs it is applied to, read once for all folds."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calcinosis.data.manifest import Row
from calcinosis.model.backbones import Backbone, build_backbone
from calcinosis.model.network import Network, check_trainable_stages
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import (
    AugmentedView,
    FeatureMaps,
    Features,
    Integers,
    augmented_maps,
    cached_features,
    centre_crop_maps,
)
from calcinosis.training.fit.finetune import TrainingViews
from calcinosis.training.fit.watermark import (
    CHANGES,
    changed_maps,
    estimate_watermark,
    rows_to_change,
)
from calcinosis.training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changed:
    """Photos with the watermark of their source inpainted, or with one pasted.

    Attributes:
        maps: what the frozen stages make of them; its `rows` are the photos.
        features: (m, width) that the head reads of the pretrained branch.
    """

    maps: FeatureMaps
    features: Features


@dataclass(frozen=True)
class PreparedData:
    """A recipe with the photographs it is applied to, read once for all folds.

    Attributes:
        rows: the photos, each with its fold.
        network: the pretrained one.
        maps: what its frozen stages make of the centre crop of each photo.
        features: (rows, width) that the head reads of the centre crops, of the pretrained branch.
        changed: photos that the head learns a second time, with another watermark; none unless the
            recipe asks for it.
        training_views: what fine-tuning learns from; None where the recipe has none.
        device: what it is computed on.
    """

    recipe: Recipe
    rows: list[Row]
    root: Path
    cache: Path
    backbone: Backbone
    preprocessing: Preprocessing
    network: Network
    maps: FeatureMaps
    features: Features
    changed: tuple[Changed, ...]
    training_views: TrainingViews | None
    device: Device

    @property
    def folds(self) -> Integers:
        """(rows,) the fold that holds each photo out."""
        return np.array([row.fold for row in self.rows], dtype=np.int64)

    @property
    def labels(self) -> Integers:
        """(rows,) the index of each photo's label."""
        return np.array([self.recipe.labels.index(row.label) for row in self.rows])

    @property
    def groups(self) -> np.ndarray:
        """(rows,) the group of each photo."""
        return np.array([row.group for row in self.rows], dtype=object)

    def new_network(self) -> Network:
        """The pretrained network with weights of its own, to be trained."""
        recipe = self.recipe
        network = Network(
            self.backbone,
            len(recipe.labels),
            frozen_stages=recipe.frozen_stages,
            flip_tta=recipe.flip_tta,
        )
        return copy.deepcopy(network)  # the backbone's own layers stay as they are


def prepare_data(
    rows: Sequence[Row], root: Path, recipe: Recipe, cache: Path, device: Device
) -> PreparedData:
    """Read every photograph, as far as the recipe's folds can share what comes of it.

    Args:
        rows: the photos, each with its fold.
        root: the folder that their files lie below.
        recipe: says what is read of them.
        cache: the folder for what is computed once.
        device: to compute on.

    Raises:
        ManifestError, DataError, BackboneError: naming the file and the cure.
    """
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, pretrained=recipe.pretrained)
    if recipe.method == "finetune":
        check_trainable_stages(backbone, recipe.frozen_stages)
    preprocessing = backbone.preprocessing
    if recipe.input_size:
        preprocessing = preprocessing.model_copy(update={"size": recipe.input_size})
    network = Network(
        backbone,
        len(recipe.labels),
        frozen_stages=recipe.frozen_stages,
        multi_scale=recipe.multi_scale,
        flip_tta=recipe.flip_tta,
    )
    maps = centre_crop_maps(rows, root, network, preprocessing, cache, device)
    log.info("%d photographs read", len(rows))
    changed: tuple[Changed, ...] = ()
    if recipe.watermark_augmentation:
        log.info("reading the photographs with another watermark")
        changed = _change_watermarks(rows, root, network, preprocessing, cache, device)
    views = None
    if recipe.method == "finetune":
        channels = maps.values.shape[1] // (1 + recipe.flip_tta)
        unaugmented = [maps, *(one.maps for one in changed)]
        augmented = FeatureMaps(np.zeros(0, np.int64), maps.values[:0, :channels], "")
        if any(recipe.views.get(row.kind, 0) for row in rows):
            augmented = _augmented(rows, root, recipe, backbone, preprocessing, cache, device)
        views = TrainingViews(len(rows), unaugmented, augmented, channels)
    return PreparedData(
        recipe=recipe,
        rows=list(rows),
        root=root,
        cache=cache,
        backbone=backbone,
        preprocessing=preprocessing,
        network=network,
        maps=maps,
        features=cached_features(network, maps, cache, device),
        changed=changed,
        training_views=views,
        device=device,
    )


def _augmented(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    backbone: Backbone,
    preprocessing: Preprocessing,
    cache: Path,
    device: Device,
) -> FeatureMaps:
    """What the frozen stages make of the augmented views: half of them are mirrored already."""
    network = Network(backbone, len(recipe.labels), frozen_stages=recipe.frozen_stages)
    counts = [recipe.views.get(row.kind, 0) for row in rows]
    views = [
        (row.file, view)
        for row, count in zip(rows, counts, strict=True)
        for view in range(1, count + 1)
    ]
    transform = AugmentedView(preprocessing, recipe.augmentation, recipe.seed, tuple(views))
    return augmented_maps(rows, root, counts, network, transform, cache, device)


def _change_watermarks(
    rows: Sequence[Row],
    root: Path,
    network: Network,
    preprocessing: Preprocessing,
    cache: Path,
    device: Device,
) -> tuple[Changed, ...]:
    """The photos that can be changed, for each way to change them."""
    with device.main_process_first():
        watermark = estimate_watermark(rows, root, cache)
    if isinstance(watermark, str):  # in words, why there is none
        return ()
    changed = []
    for change in CHANGES:
        if len(rows_to_change(len(rows), watermark, change)):
            maps = changed_maps(
                rows, root, watermark, change, network, preprocessing, cache, device
            )
            changed.append(Changed(maps, cached_features(network, maps, cache, device)))
    return tuple(changed)
