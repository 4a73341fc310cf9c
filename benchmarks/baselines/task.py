"""What every baseline is given and has to give back, so that all are measured alike."""

import argparse
import csv
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
from PIL import Image

ARCHITECTURE: Final = "tf_efficientnet_lite2"
SIZE: Final = 260
BATCH: Final = 32
CORES: Final = os.cpu_count() or 1
SHARE_TO_LEARN: Final = 0.85
"""Of the budget; the rest is for loading the libraries and answering."""
_TIMED: Final = 16
"""Photos that a step and the reading are timed with."""


@dataclass(frozen=True)
class Task:
    """One fold.

    Attributes:
        train: (path, label) of each photo to learn from.
        test: paths of the photos to answer for.
        labels: in the order of the columns of the answer.
        weights: ImageNet start weights of `ARCHITECTURE`, in timm's names.
        minutes: that learning and answering may take together, on all cores of a machine that does
            nothing else: as many processor minutes for each core.
        out: where the answer is written.
        layout: of the pixels in memory.
    """

    train: list[tuple[str, str]]
    test: list[str]
    labels: list[str]
    weights: Path
    minutes: float
    out: Path
    layout: torch.memory_format = torch.contiguous_format

    def start_network(self, **settings: Any) -> torch.nn.Module:
        """The network with the start weights and a fresh last layer."""
        overlay = {"file": str(self.weights), "url": "", "hf_hub_id": None}
        network: torch.nn.Module = timm.create_model(
            ARCHITECTURE,
            pretrained=True,
            pretrained_cfg_overlay=overlay,
            **{"num_classes": len(self.labels)} | settings,
        )
        return network

    def epochs(self, *, size: int = SIZE, epochs_apart: int = 0) -> int:
        """How many epochs fit into the budget, at least one, by timing a few photos.

        `epochs_apart` of them are spent elsewhere, as by a warm-up of the head. What counts is the time of
        the processor, so that others who work on the machine take nothing from a baseline.
        """
        a_photo = (self._to_learn(size) + self._to_read()) / CORES
        an_epoch = a_photo * len(self.train)
        fitting = int(60 * self.minutes * SHARE_TO_LEARN / an_epoch)
        epochs = max(1, fitting - epochs_apart)
        self.note_epochs(epochs + epochs_apart)
        print(f"{an_epoch:.0f} seconds an epoch: {epochs} epochs", flush=True)
        return epochs

    def clock_seconds_to_learn(self) -> float:
        """How long the budget lasts by the clock, as busy as the machine is now; for a baseline that has a clock."""
        began, clock = time.process_time(), time.monotonic()
        self._to_learn(SIZE)
        of_one = (time.process_time() - began) / (time.monotonic() - clock)
        return 60 * self.minutes * SHARE_TO_LEARN * max(1.0, CORES / of_one)

    def _to_learn(self, size: int) -> float:
        """Processor seconds that a forward and a backward pass take for a photo."""
        network = self.start_network().train().to(memory_format=self.layout)
        inputs = torch.randn(_TIMED, 3, size, size).to(memory_format=self.layout)
        times = []
        for _ in range(3):
            began = time.process_time()
            network(inputs).square().mean().backward()
            times.append(time.process_time() - began)
        return min(times) / _TIMED

    def _to_read(self) -> float:
        """Processor seconds that a photo takes to be decoded."""
        some = self.train[:: max(1, len(self.train) // _TIMED)]
        began = time.process_time()
        for path, _ in some:
            Image.open(path).convert("RGB")
        return (time.process_time() - began) / len(some)

    def kept_features(
        self, paths: Sequence[str], compute: Callable[[Sequence[str]], np.ndarray]
    ) -> np.ndarray:
        """Features (paths, channels) of a frozen network; those of a photo are computed once for all folds.

        A photo that was changed since is read again.
        """
        kept = self.out.parents[2] / "frozen_features.npz"
        known = dict(np.load(kept)) if kept.exists() else {}
        key = {path: _stamp(path) for path in sorted(set(paths))}
        if new := [path for path in key if key[path] not in known]:
            known |= zip([key[path] for path in new], compute(new), strict=True)
            partial = kept.with_name("frozen_features.partial.npz")
            np.savez(partial, **known)
            partial.replace(kept)
        return np.stack([known[key[path]] for path in paths])

    def note_epochs(self, epochs: float) -> None:
        """Leave for the table how often the photos were gone through."""
        self.out.with_name("epochs.txt").write_text(f"{epochs:g}\n", encoding="utf-8")

    def answer(self, probabilities: Sequence[Sequence[float]] | np.ndarray) -> None:
        """Write the probabilities (test photos, labels)."""
        values = np.asarray(probabilities, dtype=np.float64)
        if values.shape != (len(self.test), len(self.labels)) or not np.isfinite(values).all():
            raise ValueError(f"an answer of shape {values.shape} with numbers that are not finite")
        partial = self.out.with_name(self.out.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["path", *self.labels])
            table.writerows(
                [path, *map(repr, row.tolist())]
                for path, row in zip(
                    self.test, values / values.sum(axis=1, keepdims=True), strict=True
                )
            )
        partial.replace(self.out)


def _stamp(path: str) -> str:
    facts = Path(path).stat()
    return f"{path} {facts.st_size} {facts.st_mtime_ns}"


def read_task() -> Task:
    """The task that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=Path, required=True, help="CSV: path, label")
    parser.add_argument("--test", type=Path, required=True, help="CSV: path")
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(0)
    np.random.seed(0)
    with given.train.open(newline="", encoding="utf-8") as stream:
        train = [(row["path"], row["label"]) for row in csv.DictReader(stream)]
    with given.test.open(newline="", encoding="utf-8") as stream:
        test = [row["path"] for row in csv.DictReader(stream)]
    layout = torch.channels_last if given.channels_last else torch.contiguous_format
    return Task(train, test, given.labels, given.weights, given.minutes, given.out, layout)
