"""Pictures that tests draw, and a tiny network that has learnt them: no photograph is ever shipped."""

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw

from model.backbones import build_backbone
from model.calibration import Calibration, Conformal
from model.checkpoint import CheckpointConfig, save_checkpoint
from model.labels import LABELS
from model.network import Network
from model.preprocessing import Preprocessing

TINY_BACKBONE: Final = "timm:test_efficientnet"  # 0.1 million parameters
_SKIN: Final = (208, 160, 136)
_RIDGE: Final = 0.1
_DRAWN_OF_EACH: Final = 8


def draw(label: str, seed: int = 0, size: tuple[int, int] = (144, 128)) -> Image.Image:
    """An RGB picture with the coarsest look of a label: the same for the same seed."""
    random = np.random.default_rng([seed, LABELS.index(label)])
    width, height = size
    tone = np.array(_SKIN) + random.integers(-15, 15)
    grain = random.normal(0, 4, (height, width, 1))
    picture = Image.fromarray((tone + grain).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)

    def blob(centre: tuple[float, float], radius: float, colour: tuple[int, int, int]) -> None:
        (x, y), r = centre, radius * min(size)
        pen.ellipse((x * width - r, y * height - r, x * width + r, y * height + r), fill=colour)

    if label == "calcinosis_cutis":  # a few chalky plaques
        for _ in range(5):
            blob(tuple(random.uniform(0.3, 0.7, 2)), random.uniform(0.06, 0.1), (250, 248, 240))
    elif label == "gouty_tophus":  # one large yellow lump
        blob(tuple(random.uniform(0.4, 0.6, 2)), random.uniform(0.28, 0.36), (226, 196, 96))
    elif label == "milium":  # many white dots
        for _ in range(30):
            blob(tuple(random.uniform(0.1, 0.9, 2)), 0.015, (252, 250, 246))
    else:  # a dark patch
        blob(tuple(random.uniform(0.4, 0.6, 2)), random.uniform(0.2, 0.3), (96, 48, 40))
    return picture


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
        features = network.features(network.top(network.trunk(inputs)))
        mean = features.mean(dim=0)
        centred = features - mean
        ridge = centred.T @ centred + _RIDGE * len(pictures) * torch.eye(features.shape[1])
        weight = torch.linalg.solve(ridge, centred.T @ (targets - targets.mean(dim=0))).T
        network.head.weight.copy_(weight)
        network.head.bias.copy_(-weight @ mean)
    save_checkpoint(folder, network, config)
    return folder
