"""The network: logits that are the mean of their class activation maps, and frozen stages that stay frozen."""

import numpy as np
import pytest
import torch
from torch import nn

from calcinosis.common.errors import BackboneError
from calcinosis.model.backbones import Backbone, build_backbone
from calcinosis.model.network import Network, PooledMap, check_trainable_stages
from calcinosis.model.preprocessing import Preprocessing
from tests.drawings import TINY_BACKBONE, tiny_network

LABELS = 4


def small_network(frozen_stages: int = 0, inplace: bool = True, **settings: bool) -> Network:
    """Two stages of convolution and batch norm, with weights and statistics that are not trivial."""
    torch.manual_seed(1)
    stages = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace)),
        nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace)),
    )
    backbone = Backbone(stages, 8, Preprocessing(size=32), "drawn")
    return Network(backbone, LABELS, frozen_stages=frozen_stages, **settings).eval()


@pytest.fixture(params=["small", "tiny"])
def network(request: pytest.FixtureRequest) -> Network:
    return small_network() if request.param == "small" else tiny_network()


@pytest.fixture
def staged() -> Network:
    """A network whose head reads every stage from the first on."""
    torch.manual_seed(3)
    backbone = build_backbone(TINY_BACKBONE, pretrained=False)
    return Network(backbone, LABELS, frozen_stages=2, multi_scale=True).eval()


@pytest.fixture
def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 3, 64, 48, generator=generator)


def feature_map_of(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    return network.trainable(network.frozen(inputs))


def test_the_map_comes_with_the_same_logits(network: Network, inputs: torch.Tensor) -> None:
    with torch.no_grad():
        output = network.forward_with_cam(inputs)
        torch.testing.assert_close(output.logits, network(inputs), rtol=1e-5, atol=1e-5)


def test_a_logit_is_the_mean_of_its_class_activation_map(
    network: Network, inputs: torch.Tensor
) -> None:
    with torch.no_grad():
        logits, cam, _ = network.forward_with_cam(inputs)
        expected = cam.flatten(2).mean(dim=2) + network.head.bias
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_map_is_what_the_head_makes_of_each_place(
    network: Network, inputs: torch.Tensor
) -> None:
    """The slow twin: place by place, what the head makes of the features there, scaled alike."""
    cam = network.forward_with_cam(inputs).cam
    feature_map = feature_map_of(network, inputs)
    count, _, height, width = feature_map.shape
    assert cam.shape == (count, LABELS, height, width)
    for n in range(count):
        pooled = feature_map[n].mean(dim=(1, 2))
        scale = 1 / pooled.square().mean().sqrt()
        for y in range(height):
            for x in range(width):
                expected = network.head.weight @ (feature_map[n, :, y, x] * scale)
                torch.testing.assert_close(cam[n, :, y, x], expected, rtol=1e-4, atol=1e-4)


def test_the_map_agrees_with_grad_cam(network: Network, inputs: torch.Tensor) -> None:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) of the linear head, by autograd.

    The gradient is taken with the scale of the features held still: it is the same at every place.
    """
    feature_map = feature_map_of(network, inputs).detach().requires_grad_()
    pooled = feature_map.mean(dim=(2, 3))
    scale = 1 / pooled.detach().square().mean(dim=1, keepdim=True).sqrt()
    logits = network.head(pooled * scale)
    cam = network.forward_with_cam(inputs).cam.detach()
    for label in range(LABELS):
        (gradient,) = torch.autograd.grad(logits[:, label].sum(), feature_map, retain_graph=True)
        importance = gradient.mean(dim=(2, 3), keepdim=True)
        grad_cam = (importance * feature_map).sum(dim=1).detach()
        places = grad_cam.shape[1] * grad_cam.shape[2]
        torch.testing.assert_close(grad_cam * places, cam[:, label], rtol=1e-3, atol=1e-4)


def test_features_have_a_root_mean_square_of_one(network: Network, inputs: torch.Tensor) -> None:
    with torch.no_grad():
        features = network.pooled_features(feature_map_of(network, inputs))
    assert features.square().mean(dim=1).numpy() == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_strength_of_a_feature_map_moves_no_logit(
    network: Network, inputs: torch.Tensor
) -> None:
    with torch.no_grad():
        feature_map = feature_map_of(network, inputs)
        plain, stronger = (
            network.pooled_features(feature_map),
            network.pooled_features(7 * feature_map),
        )
    torch.testing.assert_close(plain, stronger)


def test_a_photo_without_any_feature_gives_the_bias() -> None:
    network = small_network()
    with torch.no_grad():
        network.trainable[1][1].bias.fill_(-100.0)  # nothing passes the last activation
        inputs = torch.randn(1, 3, 32, 32)
        logits, cam, _ = network.forward_with_cam(inputs)
        torch.testing.assert_close(logits[0], network.head.bias)
        torch.testing.assert_close(network(inputs)[0], network.head.bias)
    assert not cam.any()


@pytest.mark.parametrize("frozen_stages", [1, 2])
def test_the_frozen_stages_do_not_move(frozen_stages: int, inputs: torch.Tensor) -> None:
    network = small_network(frozen_stages)
    before = {name: tensor.clone() for name, tensor in network.frozen.state_dict().items()}
    head_before = network.head.weight.clone()
    network.train()
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        loss = nn.functional.cross_entropy(network(inputs), torch.tensor([0, 1, 2]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, tensor in network.frozen.state_dict().items():
        assert (tensor == before[name]).all(), name
    assert not torch.equal(network.head.weight, head_before)


def test_the_batch_statistics_of_the_trainable_stages_move(inputs: torch.Tensor) -> None:
    network = small_network(1)
    before = network.trainable[0][1].running_mean.clone()
    network.train()
    network(inputs)
    assert not torch.equal(network.trainable[0][1].running_mean, before)
    network.eval()
    assert not network.trainable.training


def test_where_a_network_is_cut_changes_nothing_it_says(inputs: torch.Tensor) -> None:
    whole = tiny_network()
    for frozen_stages in (0, 1, 3, len(whole.trainable)):
        cut = tiny_network(frozen_stages)
        with torch.no_grad():
            assert np.allclose(cut(inputs), whole(inputs))


@torch.no_grad()
def test_a_multi_scale_head_has_a_map_too(staged: Network, inputs: torch.Tensor) -> None:
    logits, cam, _ = staged.forward_with_cam(inputs)
    torch.testing.assert_close(logits, staged(inputs), rtol=1e-4, atol=1e-4)
    expected = cam.flatten(2).mean(dim=2) + staged.head.bias
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert cam.shape[2:] == staged.frozen(inputs).shape[2:]


@torch.no_grad()
def test_every_stage_is_read_by_both_means(staged: Network, inputs: torch.Tensor) -> None:
    """The slow twin of the features: stage by stage, last one first, each scaled by itself."""
    shared = staged.frozen(inputs)
    maps = [shared]
    for stage in staged.trainable:
        maps.append(stage(maps[-1]))
    expected = []
    for feature_map in reversed(maps):
        positive = feature_map.clamp_min(1e-6)
        for pooled in (feature_map.mean((2, 3)), positive.pow(3).mean((2, 3)).pow(1 / 3)):
            expected.append(pooled / pooled.square().mean(dim=1, keepdim=True).sqrt())
    features = staged.head_features(shared)
    assert features.shape == (len(inputs), staged.head.in_features)
    torch.testing.assert_close(features, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_small_bright_place_outweighs_even_skin() -> None:
    """What GeM pooling is for: one place in a hundred moves it more than the mean."""
    even, spot = torch.full((1, 1, 10, 10), 0.1), torch.full((1, 1, 10, 10), 0.1)
    spot[0, 0, 5, 5] = 1.0
    mean, gem = (
        float(PooledMap(spot, g).pooled() / PooledMap(even, g).pooled()) for g in (False, True)
    )
    assert mean == pytest.approx(1.09)
    assert gem > 2
    shares = PooledMap(spot, gem=True).contributions()
    torch.testing.assert_close(shares.mean(dim=(2, 3)), PooledMap(spot, True).pooled())
    assert float(shares[0, 0, 5, 5]) / float(shares.sum()) > 0.9


@torch.no_grad()
def test_a_photo_and_its_mirror_image_are_told_the_same(inputs: torch.Tensor) -> None:
    network = small_network(1, multi_scale=True, flip_tta=True)
    output, mirrored = network.forward_with_cam(inputs), network.forward_with_cam(inputs.flip(3))
    torch.testing.assert_close(output.logits, mirrored.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.cam, mirrored.cam.flip(3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.embedding, mirrored.embedding)
    torch.testing.assert_close(output.logits, network(inputs), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_test_time_flips_give_the_mean_of_what_is_said_of_both(inputs: torch.Tensor) -> None:
    alone, both = (
        small_network(1, multi_scale=True),
        small_network(1, multi_scale=True, flip_tta=True),
    )
    both.load_state_dict(alone.state_dict())
    expected = (alone(inputs) + alone(inputs.flip(3))) / 2
    torch.testing.assert_close(both(inputs), expected, rtol=1e-4, atol=1e-5)
    features = both.head_features(both.forward_frozen(inputs))
    torch.testing.assert_close(both.head(features), expected, rtol=1e-4, atol=1e-5)


FAMILIES = [
    ("package:efficientnet_lite0", 6),
    ("timm:test_efficientnet", 2),
    ("timm:test_resnet", 0),
    ("timm:test_convnext", 0),
    ("timm:resnet18", 0),
    ("torchvision:resnet18", 3),
    ("torchvision:efficientnet_b0", 5),
    ("torchvision:mobilenet_v3_small", 8),
    ("torchvision:densenet121", 8),
    ("torchvision:vgg11", 16),
    ("torchvision:convnext_tiny", 6),
]


@pytest.mark.parametrize(("name", "frozen_stages"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_every_family_trains_what_it_says(name: str, frozen_stages: int) -> None:
    """Two steps of training change each weight that is to be trained, and none that is frozen."""
    torch.manual_seed(0)
    backbone = build_backbone(name, pretrained=False)
    check_trainable_stages(backbone, frozen_stages)
    network = Network(backbone, LABELS, frozen_stages=frozen_stages).train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(2):
        inputs = torch.randn(4, 3, 96, 96)
        loss = nn.functional.cross_entropy(network(inputs), torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in trained), "no weight is trained in name alone"
        optimiser.step()
    changed = {n for n, value in network.named_parameters() if not torch.equal(value, before[n])}
    assert changed == {n for n, value in network.named_parameters() if value.requires_grad}
    assert any(n.startswith("trainable.") for n in changed)
    assert not any(n.startswith("frozen.") for n in changed)


def test_more_frozen_stages_than_there_are_is_an_error_of_both_numbers() -> None:
    backbone = build_backbone("timm:test_resnet", pretrained=False)
    for refused in (
        lambda: Network(backbone, LABELS, frozen_stages=6),
        lambda: Network(backbone, LABELS, frozen_stages=6, multi_scale=True),
        lambda: check_trainable_stages(backbone, 6),
    ):
        with pytest.raises(BackboneError, match=r"1 stage,.* frozen_stages = 6") as caught:
            refused()
        assert caught.value.code == "too_few_stages"
    with pytest.raises(BackboneError, match="frozen_stages = 1"):
        check_trainable_stages(backbone, 1)
    Network(backbone, LABELS, frozen_stages=1)  # a probe trains no stage
