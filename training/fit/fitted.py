"""What a recipe makes of some photographs, and the one network that it becomes."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calcinosis.common.cache import cached_arrays
from calcinosis.model.network import Network
from calcinosis.training.fit.features import (
    FeatureMaps,
    Features,
    Integers,
    compute_features,
)
from calcinosis.training.fit.finetune import finetune, make_targets
from calcinosis.training.fit.heads import Floats, Head, fit_lda, fit_logistic
from calcinosis.training.fit.prepare import PreparedData


@dataclass(frozen=True)
class Fitted:
    """What a recipe made of some photographs.

    Attributes:
        finetuned: the network with the fine-tuned stages, if the recipe has any.
        head: the linear head on the features of both branches.
        features: (rows, width) that it reads of the centre crops of all photos.
    """

    finetuned: Network | None
    head: Head
    features: Features

    def logits(self, rows: Integers) -> Floats:
        """Logits (n, labels) of the centre crops of rows (n,)."""
        return self.head.logits(self.features[rows])


def fit(data: PreparedData, rows: Integers, folder: Path) -> Fitted:
    """What the recipe makes of these rows (n,).

    What was fitted is kept in a folder of the run; asked again, the same comes from there.
    """
    finetuned = None
    if data.training_views is not None:
        finetuned = data.new_network()
        targets = make_targets([data.rows[n] for n in rows], data.recipe.label_balance)
        finetune(finetuned, data.training_views, rows, targets, data.recipe, folder, data.device)
    features = [data.features, *(changed.features for changed in data.changed)]
    if finetuned is not None:
        maps = [data.maps, *(changed.maps for changed in data.changed)]
        branch = _finetuned_features(finetuned, maps, folder / "features.safetensors", data)
        features = [np.concatenate(pair, 1) for pair in zip(branch, features, strict=True)]
    head = _kept_head(folder / "head.safetensors", data, rows, features)
    return Fitted(finetuned, head, features[0])


def logits_of_changed(
    fitted: Fitted, data: PreparedData, maps: FeatureMaps, features: Features, places: Integers
) -> Floats:
    """Logits (n, labels) of the views at places (n,) of other feature maps, such as changed photos.

    Args:
        maps: the frozen stages' output for the views.
        features: (views, width) that the head reads of the pretrained branch.
        places: which of them.
    """
    seen = features[places]
    if fitted.finetuned is not None:
        some = FeatureMaps(maps.rows[places], maps.values[places], maps.digest)
        branch = compute_features(fitted.finetuned, some, data.device)
        seen = np.concatenate([branch, seen], axis=1)
    return fitted.head.logits(seen)


def build_network(fitted: Fitted, data: PreparedData) -> Network:
    """One network, whose last layer is the head and reads both branches."""
    recipe, two_branch = data.recipe, fitted.finetuned is not None
    network = copy.deepcopy(  # the backbone's own layers stay as they are
        Network(
            data.backbone,
            len(recipe.labels),
            frozen_stages=recipe.frozen_stages,
            two_branch=two_branch,
            multi_scale=recipe.multi_scale,
            flip_tta=recipe.flip_tta,
        )
    )
    if fitted.finetuned is not None:
        network.trainable.load_state_dict(fitted.finetuned.trainable.state_dict())
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(fitted.head.weights))
        network.head.bias.copy_(torch.from_numpy(fitted.head.biases))
    return network.eval()


def _finetuned_features(
    finetuned: Network, maps: list[FeatureMaps], path: Path, data: PreparedData
) -> list[Features]:
    """What the head reads of the fine-tuned branch (views, channels), for each of several maps."""
    key = {"maps": [one.digest for one in maps]}

    def compute() -> dict[str, Features]:
        return {str(n): compute_features(finetuned, one, data.device) for n, one in enumerate(maps)}

    with data.device.main_process_first():
        kept = cached_arrays(path, key, compute)
    return [kept[str(n)] for n in range(len(maps))]


def _kept_head(path: Path, data: PreparedData, rows: Integers, features: list[Features]) -> Head:
    """The head of these rows (n,), each learnt from its centre crop and from its changed copies.

    Args:
        features: of the centre crops of all rows, and of the changed copies in their order.
    """
    shown, seen = [rows], [features[0][rows]]
    for changed, views in zip(data.changed, features[1:], strict=True):
        own = np.isin(changed.maps.rows, rows)
        shown.append(changed.maps.rows[own])
        seen.append(views[own])

    def compute() -> dict[str, Floats]:
        head = _fit_head(data, np.concatenate(shown), np.concatenate(seen))
        return {"weights": head.weights, "biases": head.biases}

    with data.device.main_process_first():
        kept = cached_arrays(path, {"photos": len(rows)}, compute)
    return Head(kept["weights"], kept["biases"])


def _fit_head(data: PreparedData, rows: Integers, features: Features) -> Head:
    """The recipe's head of rows (m,) with their features (m, width)."""
    recipe, labels = data.recipe, data.labels[rows]
    if recipe.head == "lda":
        return fit_lda(features, labels, len(recipe.labels), recipe.shrinkage)
    return fit_logistic(features, labels, len(recipe.labels), recipe.C)
