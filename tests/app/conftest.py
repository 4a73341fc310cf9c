"""What the tests of the page share: drawn photos, a tiny checkpoint and a running server."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import app as demo
from model.backbones import build_backbone
from model.calibration import Calibration, Conformal
from model.checkpoint import CheckpointConfig, save_checkpoint
from model.labels import LABELS
from model.network import Network
from model.reader import Reader


def draw_skin(seed: int = 0, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A drawn patch of skin with a whitish bump in the middle."""
    rng = np.random.default_rng(seed)
    width, height = size
    grain = rng.normal(0, 7, (height, width, 1)) + rng.normal(0, 3, (height, width, 3))
    shade = np.linspace(-12, 12, width)[None, :, None]
    skin = np.clip(np.array([205, 160, 135]) + grain + shade, 0, 255).astype(np.uint8)
    photo = Image.fromarray(skin).filter(ImageFilter.GaussianBlur(0.6))
    draw = ImageDraw.Draw(photo)
    radius = height // 6
    middle = (width // 2, height // 2)
    for step in range(radius, 0, -1):
        light = round(40 * (1 - step / radius))
        colour = (205 + light, 175 + light, 150 + light)
        box = [middle[0] - step, middle[1] - step, middle[0] + step, middle[1] + step]
        draw.ellipse(box, fill=colour)
    return photo


def as_bytes(photo: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, kind, **options)
    return buffer.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network that has learnt nothing."""
    torch.manual_seed(0)
    backbone = build_backbone("timm:test_efficientnet", pretrained=False)
    config = CheckpointConfig(
        name="tiny",
        labels=LABELS,
        backbone="timm:test_efficientnet",
        preprocessing=backbone.preprocessing,
        calibration=Calibration(temperature=1.0, bias=(0.0,) * 4),
        conformal=Conformal(coverage=0.9, thresholds=(0.1,) * 4),
        prior=(0.25,) * 4,
        licence="none",
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder, Network(backbone, len(LABELS)), config)
    return folder


@pytest.fixture(scope="session")
def reader(checkpoint: Path) -> Reader:
    return Reader(checkpoint)


@pytest.fixture(scope="session")
def address(reader: Reader) -> Iterator[str]:
    """Where a page with the tiny checkpoint is served."""
    page = demo.build_app(reader)
    port = free_port()
    demo.launch(page, server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    page.close()
