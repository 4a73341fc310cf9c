"""What the frozen part of the network makes of each view, computed once and kept on disk.

The lower stages of a backbone see every photo alike in every epoch and every fold. Keeping their output
makes an epoch several times shorter. A cache is a folder of its own below the cache folder, named after
everything that its content depends on, and is filled in steps, so that a run that was stopped goes on
where it was.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from calcinosis.common.files import write_json
from calcinosis.common.progress import track
from calcinosis.data.dataset import batches
from calcinosis.data.manifest import Row, open_source
from calcinosis.model.network import Network
from calcinosis.model.photo import open_photo
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.augment import augmented_picture, view_generator
from calcinosis.training.fit.device import Device
from calcinosis.training.recipe import Recipe
from PIL import Image
from torch.utils.data import Dataset, Subset

_BATCH: Final = 16  # larger ones make the allocator hand pages back and fetch them anew each time
_VERSION: Final = 1

Compute = Callable[[torch.Tensor], torch.Tensor]


class FeatureMaps:
    """The trunk's output for every view of every row.

    Attributes:
        starts: (rows + 1,) where the views of each row begin; its first view is the plain one.
        values: (views, channels, h, w) in half precision, read from disk as needed.
        plain_ones: (rows,) how many views of each row come before the augmented ones: the plain one, and
            what else a photo is judged by.
    """

    def __init__(
        self, starts: np.ndarray, values: np.ndarray, plain_ones: np.ndarray | int = 1
    ) -> None:
        self.starts = starts
        self.values = values
        self.plain_ones = np.broadcast_to(plain_ones, (len(starts) - 1,))

    def plain(self, rows: np.ndarray) -> torch.Tensor:
        """FeatureMaps (n, channels, h, w) of the plain views of rows (n,)."""
        return self.views(self.starts[rows])

    def choose(
        self, rows: np.ndarray, generator: np.random.Generator, plain_share: float = 0.0
    ) -> np.ndarray:
        """The places (n,) of a random view of each of rows (n,), an augmented one where there is one.

        `plain_share` of them are of the plain ones all the same.
        """
        plain = self.plain_ones[rows]
        augmented = self.starts[rows + 1] - self.starts[rows] - plain
        take_plain = augmented == 0
        if plain_share:
            take_plain |= generator.random(len(rows)) < plain_share
        chosen = generator.integers(0, np.where(take_plain, plain, np.maximum(augmented, 1)))
        places: np.ndarray = self.starts[rows] + chosen + np.where(take_plain, 0, plain)
        return places

    def views(self, places: np.ndarray) -> torch.Tensor:
        """FeatureMaps (n, channels, h, w) of the views at places (n,)."""
        order = np.argsort(places)  # the disk is read forwards
        out = np.empty((len(places), *self.values.shape[1:]), dtype=self.values.dtype)
        out[order] = self.values[places[order]]
        return torch.from_numpy(out).float()


def compute_feature_maps(
    rows: Sequence[Row],
    root: Path,
    network: Network,
    preprocessing: Preprocessing,
    recipe: Recipe,
    cache: Path,
    hardware: Device,
    *,
    augmented: bool,
) -> FeatureMaps:
    """What the trunk makes of the plain view of each of these rows, and of the augmented ones after it.

    Raises:
        PhotoError, ManifestError: if a photo is absent or cannot be read; what was computed stays.
    """
    counts = [1 + recipe.views.get(row.kind, 0) if augmented else 1 for row in rows]
    views = Views(rows, root, counts, preprocessing, recipe)
    folder = cache / views.name(trunk_bytes(network))
    values = cached_feature_maps(views, network, folder, hardware, "Reading the photographs")
    return FeatureMaps(np.concatenate([[0], np.cumsum(counts)]), values)


def cached_feature_maps(
    views: Dataset[torch.Tensor], network: Network, folder: Path, hardware: Device, what: str
) -> np.ndarray:
    """What the trunk makes of views (n, channels, h, w), from a folder that is filled where it is not.

    The folder's name stands for everything that its content depends on. Filling goes on from what is
    there. With several processes, one fills and the others wait for it.

    Args:
        views: n inputs of the network.
        network: its trunk is asked.
        folder: of this cache alone.
        hardware: to compute on.
        what: a name for the bar.
    """
    with hardware.main_process_first():
        _fill(views, network, folder, hardware, what)
    values: np.ndarray = np.load(folder / "activations.npy", mmap_mode="r")
    return values


def _fill(views: Any, network: Network, folder: Path, hardware: Device, what: str) -> None:
    path, progress = folder / "activations.npy", folder / "done.json"
    done = json.loads(progress.read_text()) if progress.exists() and path.exists() else 0
    if done == len(views):
        return
    compute = _trunk_function(network, hardware)
    folder.mkdir(parents=True, exist_ok=True)
    if done == 0:
        shape = (len(views), *compute(views[0][None]).shape[1:])
        _make_room(path, shape)
    values = np.load(path, mmap_mode="r+")
    loader = batches(Subset(views, range(done, len(views))), batch_size=_BATCH, workers=1)
    bar = track(loader, what, total=math.ceil(len(views) / _BATCH), done=done // _BATCH)
    for step, batch in enumerate(bar):
        at = done + step * _BATCH
        values[at : at + len(batch)] = compute(batch).numpy().astype(np.float16)
        if step % 40 == 39:
            _note_progress(values, progress, at + len(batch))
    _note_progress(values, progress, len(views))
    network.cpu()


def _make_room(path: Path, shape: tuple[int, ...]) -> None:
    """An empty array on disk. All of its room is taken now: a disk that fills up later would end the
    process without a word, because the file is written through memory.
    """
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _note_progress(values: np.memmap, progress: Path, done: int) -> None:
    values.flush()
    write_json(progress, done)


def _trunk_function(network: Network, hardware: Device) -> Compute:
    network.frozen.eval().to(hardware.device).to(memory_format=torch.channels_last)

    def compute(batch: torch.Tensor) -> torch.Tensor:
        inputs = batch.to(hardware.device, memory_format=torch.channels_last)
        with torch.inference_mode(), hardware.autocast():
            output = network.forward_frozen(inputs)
        return output.float().cpu()

    return compute


def trunk_bytes(network: Network) -> bytes:
    """All that what a network's trunk makes of a view depends on beside the view."""
    parts = [
        name.encode() + tensor.float().numpy().tobytes()
        for name, tensor in network.frozen.state_dict().items()
    ]
    return b"".join([*parts, b"flip_tta" if network.flip_tta else b""])


class Views(Dataset[torch.Tensor]):
    """Every view of every row, in order: of each the plain one, then the augmented ones."""

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        counts: Sequence[int],
        preprocessing: Preprocessing,
        recipe: Recipe,
    ) -> None:
        self.rows, self.root = rows, root
        self.preprocessing, self.recipe = preprocessing, recipe
        self.pairs = [(row, view) for row, count in enumerate(counts) for view in range(count)]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.preprocessing.normalise(self.picture(index))

    def picture(self, index: int) -> Image.Image:
        """The view as a square picture."""
        number, view = self.pairs[index]
        row = self.rows[number]
        photo = open_photo(open_source(self.root, row.file), name=row.file)
        if view == 0:
            return self.preprocessing.crop_and_resize(photo)
        generator = view_generator(self.recipe.seed, row.file, view)
        return augmented_picture(
            photo, self.preprocessing.size, self.recipe.augmentation, generator
        )

    def name(self, beside: bytes = b"") -> str:
        """A name that changes with everything the views depend on, and with what stands beside it."""
        settings = {
            "version": _VERSION,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "augmentation": self.recipe.augmentation.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "files": [[self.rows[number].file, view] for number, view in self.pairs],
        }
        digest = hashlib.sha256(json.dumps(settings).encode())
        digest.update(beside)
        return digest.hexdigest()[:16]
