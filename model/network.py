"""The network: a convolutional backbone, average pooling, and one linear layer."""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from calcinosis.model.backbones import Backbone
from torch import nn
from torch.nn import functional


class Output(NamedTuple):
    """What the network says of a batch of n photos.

    Attributes:
        logits: (n, labels).
        evidence: (n, labels, h, w), what each place of the photo adds to each logit; its mean over the
            places, plus the layer's bias, is the logit: class activation mapping, Zhou et al. 2016
            (arXiv:1512.04150).
        embedding: (n, channels), the scaled mean of the last feature map that kept its start weights:
            like photos lie near each other, whatever the head was trained for.
    """

    logits: torch.Tensor
    evidence: torch.Tensor
    embedding: torch.Tensor


class _Pooled(NamedTuple):
    """A feature map, and how it is averaged over its places.

    Attributes:
        feature_map: (n, channels, h, w).
        generalised: by the generalised mean of what is above 0, with exponent 3 (Radenović et al. 2019,
            arXiv:1711.02512), in which a small bright lesion outweighs the even skin around it; by the
            plain mean otherwise.
    """

    feature_map: torch.Tensor
    generalised: bool

    def shares(self) -> torch.Tensor:
        """What each place adds: a map whose mean over the places is the average."""
        if not self.generalised:
            return self.feature_map
        cubes = self.feature_map.clamp_min(1e-6) ** 3
        return cubes / cubes.mean(dim=(2, 3), keepdim=True) ** (2 / 3)

    def average(self) -> torch.Tensor:
        """(n, channels)."""
        if not self.generalised:
            return self.feature_map.mean(dim=(2, 3))
        return (self.feature_map.clamp_min(1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)


class Network(nn.Module):
    """A backbone cut into a frozen `trunk` and a trained `top`, with a linear `head`.

    With `two_branch`, the stages of the top as they were before training stay beside it as `kept`, and
    the head reads both. What a few dozen photographs taught and what millions of others had taught before
    are then weighed against each other, rather than the one overwriting the other.

    With `multi_scale`, the head reads the stages that keep their start weights one by one, from the end
    of the trunk to the last: early ones still see a lesion of a few pixels and how it shines, which the
    last has given up for what ImageNet asks. Each is read twice, by its mean and by its generalised mean.

    With `mirrors`, the head reads the mean over a photo and its mirror image, in twice the time: skin has no
    left and right, and so a photo and its mirror image are told the same.

    The head reads pooled features scaled to a root mean square of 1, so that neither contrast nor
    brightness alone moves a logit.
    """

    def __init__(
        self,
        backbone: Backbone,
        label_count: int,
        *,
        frozen_stages: int = 0,
        two_branch: bool = False,
        multi_scale: bool = False,
        flip_tta: bool = False,
    ) -> None:
        super().__init__()
        stages = list(backbone.stages)
        self.trunk = nn.Sequential(*stages[:frozen_stages])
        self.top = nn.Sequential(*stages[frozen_stages:])
        self.kept = copy.deepcopy(self.top) if two_branch else None
        self.multi_scale = multi_scale
        self.flip_tta = flip_tta
        self.pretrained_width = backbone.channels
        if multi_scale:
            self.pretrained_width = 2 * sum(_stage_channels(stages)[frozen_stages - 1 :])
        self.head = nn.Linear(self.pretrained_width + two_branch * backbone.channels, label_count)
        self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> "Network":
        """Batch statistics of the frozen trunk stay as they were."""
        super().train(mode)
        self.trunk.eval()
        return self

    def features(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Mean features (n, channels), scaled, of a feature map (n, channels, h, w)."""
        return _scaled(feature_map.mean(dim=(2, 3)))

    def forward_frozen(self, inputs: torch.Tensor) -> torch.Tensor:
        """The trunk's output for inputs (n, 3, height, width), the mirror images' as further channels."""
        seen: torch.Tensor = self.trunk(inputs)
        return torch.cat([seen, self.trunk(inputs.flip(3))], dim=1) if self.flip_tta else seen

    def pretrained_features(self, seen: torch.Tensor) -> torch.Tensor:
        """What the head reads of the start weights, (n, pretrained_width), for what `see` gave.

        The first `channels` of them are the scaled mean of the last feature map.
        """
        return _mean([_read(self._start(view)) for view in self._views(seen)])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (n, labels) of inputs (n, 3, height, width)."""
        features = [_read(self._pieces(view)) for view in self._views(self.forward_frozen(inputs))]
        logits: torch.Tensor = self.head(_mean(features))
        return logits

    def forward_with_cam(self, inputs: torch.Tensor) -> Output:
        """Logits together with the evidence that they are the mean of."""
        outputs = [
            self._forward_with_cam(view) for view in self._views(self.forward_frozen(inputs))
        ]
        logits, evidence, embedding = zip(*outputs, strict=True)
        turned = [evidence[0], *(mirrored.flip(3) for mirrored in evidence[1:])]
        return Output(_mean(logits), _mean(turned), _mean(embedding))

    def _views(self, seen: torch.Tensor) -> Sequence[torch.Tensor]:
        """The trunk's output for the photos, and for their mirror images if they are seen too."""
        return seen.chunk(2, dim=1) if self.flip_tta else [seen]

    def _forward_with_cam(self, seen: torch.Tensor) -> Output:
        pieces = self._pieces(seen)
        widths = [piece.feature_map.shape[1] for piece in pieces]
        grid = max((piece.feature_map.shape[2:] for piece in pieces), key=lambda size: size[0])
        evidence = torch.zeros(())
        for piece, weight in zip(pieces, self.head.weight.split(widths, dim=1), strict=True):
            average = piece.average()
            scale = math.sqrt(average.shape[1]) / average.norm(dim=1).clamp_min(1e-12)
            places = torch.einsum("nchw,lc->nlhw", piece.shares(), weight)
            evidence = evidence + _spread(places, grid) * scale[:, None, None, None]
        embedding = _scaled(pieces[self.kept is not None].average())
        return Output(evidence.mean(dim=(2, 3)) + self.head.bias, evidence, embedding)

    def _pieces(self, seen: torch.Tensor) -> list[_Pooled]:
        """What the head reads, in the order of its weights, for the trunk's output."""
        tuned = [] if self.kept is None else [_Pooled(self.top(seen), generalised=False)]
        return tuned + self._start(seen)

    def _start(self, seen: torch.Tensor) -> list[_Pooled]:
        maps = [seen]
        for stage in self.top if self.kept is None else self.kept:
            maps.append(stage(maps[-1]).float())
        if not self.multi_scale:
            return [_Pooled(maps[-1], generalised=False)]
        return [_Pooled(m, generalised) for m in reversed(maps) for generalised in (False, True)]


def _read(pieces: Sequence[_Pooled]) -> torch.Tensor:
    """Features (n, width) of pieces."""
    return torch.cat([_scaled(piece.average()) for piece in pieces], dim=1)


def _mean(views: Sequence[torch.Tensor]) -> torch.Tensor:
    return views[0] if len(views) == 1 else torch.stack(list(views)).mean(dim=0)


def _scaled(pooled: torch.Tensor) -> torch.Tensor:
    return functional.normalize(pooled) * math.sqrt(pooled.shape[1])


def _spread(places: torch.Tensor, grid: torch.Size) -> torch.Tensor:
    """Evidence (n, labels, h, w) on another grid, with the mean over the places that it had."""
    if places.shape[2:] == grid:
        return places
    spread = functional.interpolate(places, size=tuple(grid), mode="bilinear")
    lost = places.mean(dim=(2, 3), keepdim=True) - spread.mean(dim=(2, 3), keepdim=True)
    return spread + lost


@torch.no_grad()
def _stage_channels(stages: list[nn.Module]) -> list[int]:
    """Channels of each stage's output."""
    output, channels = torch.zeros(1, 3, 64, 64), []
    for stage in stages:
        output = stage.eval()(output)
        channels.append(output.shape[1])
    return channels
