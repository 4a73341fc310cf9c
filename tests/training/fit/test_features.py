"""Feature maps on disk: of these photos as they are now, and filled by one run at a time."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calcinosis.data.manifest import Row
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps, cached_features, centre_crop_maps
from tests.drawings import tiny_network

Values = np.ndarray


class Plain(torch.nn.Module):
    """A network whose frozen stages are a convolution; `asked` counts its batches."""

    flip_tta = False

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
        self.before, self.asked = before, 0

    def forward_frozen(self, inputs: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        self.before(self.asked)
        maps: torch.Tensor = self.frozen(inputs)
        return maps


def paint(root: Path, count: int, colour: str) -> list[Row]:
    root.mkdir(exist_ok=True)
    for i in range(count):
        Image.new("RGB", (24, 24), colour).save(root / f"{i}.png")
    return [Row(f"{i}.png", "other", "drawn", str(i)) for i in range(count)]


def maps(rows: list[Row], root: Path, network: Plain, precision: str = "float32") -> Values:
    cache, device = root.parent / "cache", Device(precision=precision)
    preprocessing = Preprocessing(size=16)
    made = centre_crop_maps(rows, root, network, preprocessing, cache, device)  # type: ignore[arg-type]
    return np.array(made.values)


def test_feature_maps_are_of_the_photos_as_they_are_and_of_the_precision(tmp_path: Path) -> None:
    rows = paint(tmp_path / "photos", 2, "red")
    first = maps(rows, tmp_path / "photos", Plain())
    again = Plain()
    assert np.array_equal(maps(rows, tmp_path / "photos", again), first)
    assert again.asked == 0
    bf16 = Plain()
    maps(rows, tmp_path / "photos", bf16, "bf16")
    assert bf16.asked > 0

    paint(tmp_path / "elsewhere", 2, "blue")
    assert not np.array_equal(maps(rows, tmp_path / "elsewhere", Plain()), first)
    paint(tmp_path / "photos", 2, "green")
    assert not np.array_equal(maps(rows, tmp_path / "photos", Plain()), first)


def test_features_are_kept_for_whatever_head_is_to_come(tmp_path: Path) -> None:
    """The head's first weights come of the seed, and its width of the label set; neither is read."""
    network, other = tiny_network(frozen_stages=2), tiny_network(frozen_stages=2)
    other.head = torch.nn.Linear(other.channels, 7)
    values = np.random.default_rng(0).normal(size=(3, 16, 8, 8)).astype(np.float16)
    maps, device = FeatureMaps(np.arange(3), values, "drawn"), Device(precision="float32")
    first = cached_features(network, maps, tmp_path, device)
    assert np.array_equal(cached_features(other, maps, tmp_path, device), first)
    assert len(list(tmp_path.iterdir())) == 1
    with torch.no_grad():
        next(other.trainable.parameters()).mul_(2)
    assert not np.array_equal(cached_features(other, maps, tmp_path, device), first)


def test_a_second_run_waits_for_the_one_that_fills_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, root = paint(tmp_path / "photos", 32, "red"), tmp_path / "photos"
    reached, go = threading.Event(), threading.Event()

    def stop_at_the_last_batch(number: int) -> None:
        if number == 3:
            reached.set()
            go.wait(60)

    slow, second = Plain(stop_at_the_last_batch), Plain()
    found: dict[str, Values] = {}

    def ask(name: str, network: Plain) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.update({name: maps(rows, root, network)}))
        thread.start()
        return thread

    with caplog.at_level("INFO", logger="calcinosis"):
        runs = [ask("slow", slow)]
        assert reached.wait(60)
        runs.append(ask("second", second))
        runs[1].join(0.5)
        go.set()
        for run in runs:
            run.join(60)
    assert second.asked == 0
    assert "waiting for another run" in caplog.text
    assert found["slow"].any(axis=(1, 2, 3)).all()
    assert np.array_equal(found["slow"], found["second"])
