"""A tiny network that has learnt the drawings which stand in for photographs: none is ever shipped."""

import io
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from calcinosis.data.synthetic import draw as draw
from calcinosis.model.backbones import build_backbone
from calcinosis.model.calibration import Calibration
from calcinosis.model.checkpoint import save_checkpoint
from calcinosis.model.config import CheckpointConfig
from calcinosis.model.conformal import Conformal
from calcinosis.model.labels import LABELS
from calcinosis.model.network import Network
from calcinosis.model.preprocessing import Preprocessing

TINY_BACKBONE: Final = "timm:test_efficientnet"  # 0.1 million parameters
_RIDGE: Final = 0.1
_DRAWN_OF_EACH: Final = 8


def encode(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def tiny_network(frozen_stages: int = 0) -> Network:
    """A tiny network of random weights, the same each time, ready to be asked."""
    torch.manual_seed(0)
    backbone = build_backbone(TINY_BACKBONE, pretrained=False)
    return Network(backbone, len(LABELS), frozen_stages=frozen_stages).eval()


def tiny_config(**changes: Any) -> CheckpointConfig:
    """Settings for `tiny_network`, with some of them changed."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "labels": LABELS,
        "backbone": TINY_BACKBONE,
        "preprocessing": Preprocessing(size=64),
        "calibration": Calibration(temperature=0.1, bias=(0.0,) * 4),
        "conformal": Conformal(coverage=0.9, thresholds=(0.2,) * 4),
        "prior": (0.25,) * 4,
        "licence": "Apache-2.0",
        "training": {"command": "drawn in a test"},
    }
    return CheckpointConfig(**(settings | changes))


def write_tiny_checkpoint(folder: Path, **changes: Any) -> Path:
    """A checkpoint that tells the drawn labels apart: a ridge regression on random features."""
    network, config = tiny_network(), tiny_config(**changes)
    pictures = [draw(label, seed) for seed in range(_DRAWN_OF_EACH) for label in LABELS]
    targets = torch.eye(len(LABELS)).repeat(_DRAWN_OF_EACH, 1)
    with torch.no_grad():
        inputs = torch.stack([config.preprocessing(picture) for picture in pictures])
        features = network.pooled_features(network.trainable(network.frozen(inputs)))
        mean = features.mean(dim=0)
        centred = features - mean
        ridge = centred.T @ centred + _RIDGE * len(pictures) * torch.eye(features.shape[1])
        weight = torch.linalg.solve(ridge, centred.T @ (targets - targets.mean(dim=0))).T
        network.head.weight.copy_(weight)
        network.head.bias.copy_(-weight @ mean)
    save_checkpoint(folder, network, config)
    return folder
