"""From a photo to the network's input, against a slow twin."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from calcinosis.model.checkpoint import load_checkpoint
from calcinosis.model.predictor import Predictor
from calcinosis.model.preprocessing import Preprocessing
from tests.drawings import draw


def cubic(x: float) -> float:
    """The bicubic kernel with a = -0.5 (Keys 1981, doi:10.1109/TASSP.1981.1163711)."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x < 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def resize_line(values: list[float], start: float, length: float, size: int) -> list[float]:
    """A line of pixels from `start`, `length` pixels long, as `size` pixels, antialiased."""
    scale = length / size
    spread = max(scale, 1.0)
    resized = []
    for i in range(size):
        centre = start + (i + 0.5) * scale
        first = max(0, int(centre - 2 * spread + 0.5))
        last = min(len(values), int(centre + 2 * spread + 0.5))
        weights = [cubic((j + 0.5 - centre) / spread) for j in range(first, last)]
        total = sum(w * values[j] for w, j in zip(weights, range(first, last), strict=True))
        resized.append(min(255.0, max(0.0, math.floor(total / sum(weights) + 0.5))))
    return resized


def slow_input(photo: Image.Image, how: Preprocessing) -> np.ndarray:
    """The network's input, pixel by pixel: crop to the centred square, resize, normalise."""
    pixels = np.asarray(photo).tolist()
    width, height = photo.size
    side = min(width, height)
    result = np.zeros((3, how.size, how.size))
    for channel in range(3):
        rows = [
            resize_line([p[channel] for p in row], (width - side) / 2, side, how.size)
            for row in pixels
        ]
        for x in range(how.size):
            column = resize_line([row[x] for row in rows], (height - side) / 2, side, how.size)
            for y, value in enumerate(column):
                result[channel, y, x] = (value / 255 - how.mean[channel]) / how.std[channel]
    return result


@pytest.mark.parametrize("size", [(60, 44), (44, 61), (25, 25), (16, 90)])
@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(size=20),
        Preprocessing(size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ],
)
def test_the_input_agrees_with_its_slow_twin(size: tuple[int, int], how: Preprocessing) -> None:
    photo = draw("calcinosis_cutis", seed=3, size=size)
    found = how(photo)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    expected = slow_input(photo, how)
    assert found.shape == expected.shape
    # Pillow computes with whole numbers: one step of a byte's rounding, seldom and never more than two.
    step = 1 / 255 / min(how.std)
    assert np.abs(found.numpy() - expected).max() <= 2 * step + 1e-6
    assert np.abs(found.numpy() - expected).mean() < 0.1 * step


def test_black_and_white_end_where_the_mean_and_deviation_say() -> None:
    how = Preprocessing(size=16, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    white = how(Image.new("RGB", (40, 30), "white")).mean(dim=(1, 2))
    black = how(Image.new("RGB", (40, 30), "black")).mean(dim=(1, 2))
    assert white.tolist() == pytest.approx([1, 3, 7], abs=1e-5)
    assert black.tolist() == pytest.approx([-1, -2, -3], abs=1e-5)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_box_is_the_centred_square_of_the_photo(width: int, height: int) -> None:
    left, upper, right, lower = Preprocessing().box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    assert right - left == pytest.approx(min(width, height))
    assert lower - upper == pytest.approx(right - left)
    assert left + right == pytest.approx(width)
    assert upper + lower == pytest.approx(height)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_the_smallest_photos_have_an_input(size: tuple[int, int]) -> None:
    found = Preprocessing(size=32)(Image.new("RGB", size, (255, 0, 128)))
    assert found.shape == (3, 32, 32)
    assert found[0].unique().tolist() == [1.0]


def test_the_reader_uses_the_transform_of_the_checkpoint(tiny_checkpoint: Path) -> None:
    _, config = load_checkpoint(tiny_checkpoint)
    stored = Preprocessing.model_validate_json(config.preprocessing.model_dump_json())
    used = Predictor(tiny_checkpoint).config.preprocessing
    assert used == stored
    assert used.size == 64
    assert torch.equal(used(draw("milium")), stored(draw("milium")))


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"crop": 0.875},
        {"std": (0.5, 0.5, 0)},
        {"std": (0.5, 0.5, -1)},
        {"mean": (0.5, 0.5, math.nan)},
        {"mean": (0.5, 0.5)},
        {"interpolation": "nearest"},
    ],
)
def test_settings_that_would_spoil_every_input_are_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        Preprocessing(**settings)
