"""A recipe with the photographs it is applied to, read once for all folds."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as cache_result
from functools import partial
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
    Integers,
    augmented_maps,
    centre_crop_maps,
    maps_without_marks,
)
from calcinosis.training.fit.finetune import split_trainable
from calcinosis.training.fit.marks import Box, find_all_marks
from calcinosis.training.fit.training_views import TrainingViews
from calcinosis.training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """A recipe with the photographs it is applied to, read once for all folds.

    Attributes:
        rows: the photos, each with its fold.
        network: the pretrained one.
        maps: what its frozen stages make of the centre crop of each photo.
        unmarked: what they make of the largest square without a mark, of the photos that bear one; None
            unless the recipe avoids marks.
        training_views: gives what fine-tuning learns from, once one begins that was not done before; None
            where the recipe has none.
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
    unmarked: FeatureMaps | None
    training_views: Callable[[], TrainingViews] | None
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
    backbone, network, preprocessing = _build_network(recipe)
    maps = centre_crop_maps(rows, root, network, preprocessing, cache, device)
    log.info("%d photographs read", len(rows))
    marks: list[tuple[Box, ...]] = [()] * len(rows)
    unmarked = None
    if recipe.avoid_marks:
        log.info("reading the photographs without the marks of their sources")
        with device.main_process_first():
            found = find_all_marks(rows, root, cache)
        marks = found.boxes([row.source for row in rows])
        if any(marks):
            unmarked = maps_without_marks(rows, root, marks, network, preprocessing, cache, device)
    views: Callable[[], TrainingViews] | None = None
    if recipe.method == "finetune":
        views = cache_result(
            partial(
                _training_views,
                rows,
                root,
                recipe,
                network,
                preprocessing,
                maps,
                unmarked,
                marks,
                cache,
                device,
            )
        )
    return PreparedData(
        recipe=recipe,
        rows=list(rows),
        root=root,
        cache=cache,
        backbone=backbone,
        preprocessing=preprocessing,
        network=network,
        maps=maps,
        unmarked=unmarked,
        training_views=views,
        device=device,
    )


def _build_network(recipe: Recipe) -> tuple[Backbone, Network, Preprocessing]:
    """The pretrained network that the recipe begins with, and what prepares a photo for it.

    Raises:
        BackboneError: if it has no stages or blocks left to train.
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
    if recipe.method == "finetune":
        split_trainable(network, recipe.frozen_blocks)  # refuses more than there are
    return backbone, network, preprocessing


def _training_views(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    network: Network,
    preprocessing: Preprocessing,
    maps: FeatureMaps,
    unmarked: FeatureMaps | None,
    marks: Sequence[tuple[Box, ...]],
    cache: Path,
    device: Device,
) -> TrainingViews:
    """What fine-tuning is shown of each photo."""
    channels = maps.values.shape[1] // (1 + recipe.flip_tta)
    augmented = FeatureMaps(np.zeros(0, np.int64), maps.values[:0, :channels], "")
    if recipe.augmented_views:
        views = [(row.file, n) for row in rows for n in range(1, recipe.augmented_views + 1)]
        boxes = [box for box in marks for _ in range(recipe.augmented_views)]
        transform = AugmentedView(
            preprocessing, recipe.augmentation, recipe.seed, tuple(views), tuple(boxes)
        )
        # Half of these views are mirrored already.
        single = copy.copy(network)
        single.flip_tta = False
        augmented = augmented_maps(
            rows, root, recipe.augmented_views, single, transform, cache, device
        )
    shown = [maps] if unmarked is None else [maps, unmarked]
    return TrainingViews(len(rows), shown, augmented, channels)
