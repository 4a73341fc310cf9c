"""What a recipe makes of some photographs: a network, and the linear head that is its last layer."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calcinosis.common.cache import cached_arrays
from calcinosis.model.network import Network
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import (
    FeatureMaps,
    Features,
    Integers,
    cached_features,
    compute_features,
)
from calcinosis.training.fit.finetune import finetune, make_targets
from calcinosis.training.fit.heads import Floats, Head, fit_logistic
from calcinosis.training.fit.prepare import PreparedData


@dataclass(frozen=True)
class Fitted:
    """What a recipe made of some photographs.

    Attributes:
        network: the fine-tuned one, or the pretrained one where the recipe has no fine-tuning.
        head: the linear head on its features.
        features: (rows, width) of the centre crops of all photos.
    """

    network: Network
    head: Head
    features: Features

    def logits(self, rows: Integers) -> Floats:
        """Logits (n, labels) of the centre crops of rows (n,)."""
        return self.head.logits(self.features[rows])

    def logits_of(self, maps: FeatureMaps, places: Integers, device: Device) -> Floats:
        """Logits (n, labels) of the views at places (n,) of other feature maps, such as changed photos."""
        some = FeatureMaps(maps.rows[places], maps.values[places], maps.digest)
        return self.head.logits(compute_features(self.network, some, device))

    def build_network(self) -> Network:
        """The network with the head as its last layer."""
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(self.head.weights))
            network.head.bias.copy_(torch.from_numpy(self.head.biases))
        return network.eval()


def fit(data: PreparedData, rows: Integers, folder: Path) -> Fitted:
    """What the recipe makes of these rows (n,).

    What was fitted is kept in a folder of the run; asked again, the same comes from there.
    """
    network = data.network
    if data.training_views is not None:
        network = copy.deepcopy(data.network)
        targets = make_targets([data.rows[n] for n in rows], data.recipe.label_balance)
        finetune(network, data.training_views, rows, targets, data.recipe, folder, data.device)
    cache = data.cache if network is data.network else folder
    features = cached_features(network, data.maps, cache, data.device)
    unmarked = None
    if data.unmarked is not None:
        unmarked = features.copy()  # of photos without a mark, the centre crop's
        unmarked[data.unmarked.rows] = cached_features(network, data.unmarked, cache, data.device)

    def compute() -> dict[str, Floats]:
        head = _fit_head(data, rows, [features] if unmarked is None else [features, unmarked])
        return {"weights": head.weights, "biases": head.biases}

    with data.device.main_process_first():
        kept = cached_arrays(folder / "head.safetensors", {"photos": len(rows)}, compute)
    return Fitted(network, Head(kept["weights"], kept["biases"]), features)


def _fit_head(data: PreparedData, rows: Integers, views: list[Features]) -> Head:
    """The recipe's head of rows (n,), from each of several views (rows, width) of a photo."""
    recipe = data.recipe
    features = np.concatenate([view[rows] for view in views])
    labels = np.tile(data.labels[rows], len(views))
    # As if a photo were one, however often it is seen.
    return fit_logistic(features, labels, len(recipe.labels), recipe.C / len(views))
