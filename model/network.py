"""The network: a convolutional backbone, average pooling, and one linear layer."""

import copy
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from model.backbones import Backbone


class Output(NamedTuple):
    """What the network says of a batch of n photos.

    Attributes:
        logits: (n, labels).
        evidence: (n, labels, h, w), what each place of the photo adds to each logit; its mean over the
            places, plus the layer's bias, is the logit: class activation mapping, Zhou et al. 2016
            (arXiv:1512.04150).
    """

    logits: torch.Tensor
    evidence: torch.Tensor


class Network(nn.Module):
    """A backbone cut into a frozen `trunk` and a trained `top`, with a linear `head`.

    With `keeps_start`, the stages of the top as they were before training stay beside it as `kept`, and
    the head reads both. What a few dozen photographs taught and what millions of others had taught before
    are then weighed against each other, rather than the one overwriting the other.

    The head reads pooled features scaled to a root mean square of 1, so that neither contrast nor
    brightness alone moves a logit.
    """

    def __init__(
        self,
        backbone: Backbone,
        label_count: int,
        *,
        frozen_stages: int = 0,
        keeps_start: bool = False,
    ) -> None:
        super().__init__()
        stages = list(backbone.stages)
        self.trunk = nn.Sequential(*stages[:frozen_stages])
        self.top = nn.Sequential(*stages[frozen_stages:])
        self.kept = copy.deepcopy(self.top) if keeps_start else None
        tops = 2 if keeps_start else 1
        self.head = nn.Linear(tops * backbone.channels, label_count)
        self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> "Network":
        """Batch statistics of the frozen trunk stay as they were."""
        super().train(mode)
        self.trunk.eval()
        return self

    def feature_maps(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The last feature map (n, channels, h, w) of each top, for inputs (n, 3, height, width)."""
        shared = self.trunk(inputs)
        return [self.top(shared)] + ([self.kept(shared)] if self.kept is not None else [])

    def features(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Pooled, scaled features (n, channels) of a feature map (n, channels, h, w)."""
        pooled = feature_map.mean(dim=(2, 3))
        return functional.normalize(pooled) * math.sqrt(pooled.shape[1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (n, labels) of inputs (n, 3, height, width)."""
        features = [self.features(feature_map) for feature_map in self.feature_maps(inputs)]
        logits: torch.Tensor = self.head(torch.cat(features, dim=1))
        return logits

    def explain(self, inputs: torch.Tensor) -> Output:
        """Logits together with the evidence that they are the mean of."""
        feature_maps = self.feature_maps(inputs)
        weights = self.head.weight.chunk(len(feature_maps), dim=1)
        evidence = torch.zeros(())
        for feature_map, weight in zip(feature_maps, weights, strict=True):
            pooled = feature_map.mean(dim=(2, 3))
            scale = math.sqrt(pooled.shape[1]) / pooled.norm(dim=1).clamp_min(1e-12)
            places = torch.einsum("nchw,lc->nlhw", feature_map, weight)
            evidence = evidence + places * scale[:, None, None, None]
        return Output(evidence.mean(dim=(2, 3)) + self.head.bias, evidence)
