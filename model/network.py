"""The network: a convolutional backbone, pooling, and one linear layer."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from calcinosis.common.errors import BackboneError
from calcinosis.model.backbones import Backbone

_GEM_EXPONENT = 3


class Output(NamedTuple):
    """What the network predicts for a batch of n photos.

    Attributes:
        logits: (n, labels).
        cam: (n, labels, h, w), the class activation map of each label (Zhou et al. 2016, arXiv:1512.04150):
            what each place of the photo adds to the logit. Its mean over the places, plus the layer's bias,
            is the logit.
        embedding: (n, channels), the scaled mean of the last feature map: like photos lie near each other,
            whatever the head was trained for.
    """

    logits: torch.Tensor
    cam: torch.Tensor
    embedding: torch.Tensor


class PooledMap(NamedTuple):
    """A feature map, and how it is pooled over its places.

    Attributes:
        feature_map: (n, channels, h, w).
        gem: by GeM pooling, the generalised mean of what is above 0, with exponent 3 (Radenović et al. 2019,
            arXiv:1711.02512), in which a small bright lesion outweighs the even skin around it; by average
            pooling otherwise.
    """

    feature_map: torch.Tensor
    gem: bool

    def pooled(self) -> torch.Tensor:
        """(n, channels)."""
        if not self.gem:
            return self.feature_map.mean(dim=(2, 3))
        powers = self.feature_map.clamp_min(1e-6) ** _GEM_EXPONENT
        return powers.mean(dim=(2, 3)) ** (1 / _GEM_EXPONENT)

    def contributions(self) -> torch.Tensor:
        """What each place adds to `pooled`: a map (n, channels, h, w) whose mean over the places it is."""
        if not self.gem:
            return self.feature_map
        powers = self.feature_map.clamp_min(1e-6) ** _GEM_EXPONENT
        return powers / powers.mean(dim=(2, 3), keepdim=True) ** (1 - 1 / _GEM_EXPONENT)


class Network(nn.Module):
    """A backbone cut into stages that stay `frozen` and `trainable` ones, with a linear `head`.

    With `multi_scale`, the head reads the stages one by one, from the last frozen one to the last: early ones
    still see a lesion of a few pixels and how it shines, which the last has given up for what ImageNet asks.
    Each is pooled twice, by its mean and by GeM.

    With `flip_tta`, the head reads the mean over a photo and its mirror image (test-time augmentation by
    flipping), in twice the time: skin has no left and right, so both get the same logits.

    The head reads pooled features scaled to a root mean square of 1, so that neither contrast nor
    brightness alone moves a logit.

    Args:
        backbone: its stages are used as they are, not copied.
        label_count: of outputs.
        frozen_stages: how many of the backbone's stages are frozen, from the input on.

    Raises:
        BackboneError: `too_few_stages`, if the backbone has fewer stages than are to be frozen.
    """

    def __init__(
        self,
        backbone: Backbone,
        label_count: int,
        *,
        frozen_stages: int = 0,
        multi_scale: bool = False,
        flip_tta: bool = False,
    ) -> None:
        super().__init__()
        stages = list(backbone.stages)
        if frozen_stages > len(stages):
            raise _too_few_stages(backbone, frozen_stages)
        self.frozen = nn.Sequential(*stages[:frozen_stages])
        self.trainable = nn.Sequential(*stages[frozen_stages:])
        self.multi_scale = multi_scale
        self.flip_tta = flip_tta
        self.channels = width = backbone.channels
        if multi_scale:
            width = 2 * sum(_stage_channels(stages)[frozen_stages - 1 :])
        self.head = nn.Linear(width, label_count)
        self.frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> "Network":
        """Batch statistics of the frozen stages stay as they were."""
        super().train(mode)
        self.frozen.eval()
        return self

    @staticmethod
    def pooled_features(feature_map: torch.Tensor) -> torch.Tensor:
        """Average-pooled features (n, channels), scaled, of a feature map (n, channels, h, w)."""
        return _scaled(feature_map.mean(dim=(2, 3)))

    def forward_frozen(self, inputs: torch.Tensor) -> torch.Tensor:
        """The frozen stages' output for inputs (n, 3, height, width).

        With `flip_tta`, that for the mirror images follows as further channels.
        """
        frozen: torch.Tensor = self.frozen(inputs)
        return torch.cat([frozen, self.frozen(inputs.flip(3))], dim=1) if self.flip_tta else frozen

    def head_features(self, frozen: torch.Tensor) -> torch.Tensor:
        """What the head reads, (n, width), from `forward_frozen`.

        The first `channels` of them are the scaled mean of the last feature map.
        """
        views = frozen.chunk(2, dim=1) if self.flip_tta else [frozen]
        return _mean([_features(self._maps(view)) for view in views])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (n, labels) of inputs (n, 3, height, width)."""
        logits: torch.Tensor = self.head(self.head_features(self.forward_frozen(inputs)))
        return logits

    def forward_with_cam(self, inputs: torch.Tensor) -> Output:
        """Logits of inputs (n, 3, height, width), with the class activation maps that they are means of."""
        if not self.flip_tta:
            return self.forward_view(inputs)
        # As one batch: a graph then names each layer once, is opened sooner and runs faster.
        both = self.forward_view(torch.cat([inputs, inputs.flip(3)]))
        n = inputs.shape[0]
        upright = both._replace(cam=torch.cat([both.cam[:n], both.cam[n:].flip(3)]))
        return Output(*(_mean([part[:n], part[n:]]) for part in upright))

    def forward_view(self, inputs: torch.Tensor) -> Output:
        """What `forward_with_cam` gives without `flip_tta`: for the photos as they are."""
        maps = self._maps(self.frozen(inputs))
        widths = [one.feature_map.shape[1] for one in maps]
        grid = max((one.feature_map.shape[2:] for one in maps), key=lambda size: size[0])
        cam = torch.zeros(())
        for one, weight in zip(maps, self.head.weight.split(widths, dim=1), strict=True):
            pooled = one.pooled()
            scale = math.sqrt(pooled.shape[1]) / pooled.norm(dim=1).clamp_min(1e-12)
            places = torch.einsum("nchw,lc->nlhw", one.contributions(), weight)
            cam = cam + _upsample(places, grid) * scale[:, None, None, None]
        embedding = _scaled(maps[0].pooled())
        return Output(cam.mean(dim=(2, 3)) + self.head.bias, cam, embedding)

    def _maps(self, frozen: torch.Tensor) -> list[PooledMap]:
        """What the head reads, in the order of its weights, from the frozen stages' output."""
        maps = [frozen]
        for stage in self.trainable:
            maps.append(stage(maps[-1]).float())
        if not self.multi_scale:
            return [PooledMap(maps[-1], gem=False)]
        return [PooledMap(one, gem) for one in reversed(maps) for gem in (False, True)]


def check_trainable_stages(backbone: Backbone, frozen_stages: int) -> None:
    """Make sure that a training that is to change stages of a backbone has one to change.

    Raises:
        BackboneError: `too_few_stages`, naming both numbers.
    """
    if frozen_stages >= len(backbone.stages):
        raise _too_few_stages(backbone, frozen_stages)


def _too_few_stages(backbone: Backbone, frozen_stages: int) -> BackboneError:
    count = len(backbone.stages)
    return BackboneError(
        "too_few_stages",
        f"the backbone has {count} {'stage' if count == 1 else 'stages'}, so frozen_stages = {frozen_stages} "
        f"leaves none to train; set frozen_stages to at most {count - 1}, or choose another backbone",
    )


def _features(maps: Sequence[PooledMap]) -> torch.Tensor:
    """Features (n, width) of pooled maps, one beside the other, each scaled by itself."""
    return torch.cat([_scaled(one.pooled()) for one in maps], dim=1)


def _mean(flips: Sequence[torch.Tensor]) -> torch.Tensor:
    return flips[0] if len(flips) == 1 else torch.stack(list(flips)).mean(dim=0)


def _scaled(pooled: torch.Tensor) -> torch.Tensor:
    return functional.normalize(pooled) * math.sqrt(pooled.shape[1])


def _upsample(places: torch.Tensor, grid: torch.Size) -> torch.Tensor:
    """A map (n, labels, h, w) on a finer grid, with the mean over the places that it had."""
    if places.shape[2:] == grid:
        return places
    fine = functional.interpolate(places, size=tuple(grid), mode="bilinear")
    lost = places.mean(dim=(2, 3), keepdim=True) - fine.mean(dim=(2, 3), keepdim=True)
    return fine + lost


@torch.no_grad()
def _stage_channels(stages: list[nn.Module]) -> list[int]:
    """Channels of each stage's output."""
    output, channels = torch.zeros(1, 3, 64, 64), []
    for stage in stages:
        output = stage.eval()(output)
        channels.append(output.shape[1])
    return channels
