"""What the frozen stages make of each view, computed once and kept on disk.

The frozen stages of a backbone see every photo alike in every epoch and every fold. Keeping their output
makes an epoch several times shorter. A cache is a folder of its own below the cache folder, named after
everything that its content depends on, and is filled in steps, so that a run that was stopped goes on
where it was.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Subset

from calcinosis.common.cache import cached_arrays
from calcinosis.common.files import write_json
from calcinosis.common.progress import track
from calcinosis.data.dataset import PhotoDataset, batches
from calcinosis.data.locating import stamp_of
from calcinosis.data.manifest import Row
from calcinosis.model.network import Network
from calcinosis.model.photo import open_photo
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.augment import Augmentation, augmented_view, view_generator
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.marks import Box, largest_square_without

log = logging.getLogger(__name__)

_BATCH: Final = 16  # larger ones make the allocator hand pages back and fetch them anew each time
_FEATURE_BATCH: Final = 64
_VERSION: Final = 4

Compute = Callable[[torch.Tensor], torch.Tensor]
Features = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureMaps:
    """The frozen stages' output for views of photos.

    Attributes:
        rows: (views,) the row that each is a view of, ascending.
        values: (views, channels, h, w) in half precision, read from disk as needed. With `flip_tta` the
            centre crops' have the mirror image's channels behind their own.
        digest: changes with all that the values depend on.
    """

    rows: Integers
    values: NDArray[np.float16]
    digest: str

    def __getitem__(self, places: Integers) -> torch.Tensor:
        """Feature maps (n, channels, h, w) of the views at places (n,)."""
        order = np.argsort(places)  # the disk is read forwards
        out = np.empty((len(places), *self.values.shape[1:]), dtype=self.values.dtype)
        out[order] = self.values[places[order]]
        return torch.from_numpy(out).float()


@dataclass(frozen=True)
class CentreCrop:
    """A transform: the network's input that serving sees too."""

    preprocessing: Preprocessing

    def __call__(self, source: Path | bytes, _: int) -> torch.Tensor:
        return self.preprocessing(open_photo(source))


@dataclass(frozen=True)
class SquareWithoutMark:
    """A transform: the largest square of photo `i` without a mark, at `marks[i]`, as the network's input."""

    preprocessing: Preprocessing
    marks: tuple[tuple[Box, ...], ...]

    def __call__(self, source: Path | bytes, i: int) -> torch.Tensor:
        photo = open_photo(source)
        box = largest_square_without(self.marks[i], photo.size)
        size = (self.preprocessing.size,) * 2
        return self.preprocessing.normalise(photo.resize(size, Image.Resampling.BICUBIC, box=box))


@dataclass(frozen=True)
class AugmentedView:
    """A transform: view `views[i]` of a photo with marks at `marks[i]`.

    It depends on nothing but the photo, its name, the view's number and the seed.
    """

    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int
    views: tuple[tuple[str, int], ...]
    marks: tuple[tuple[Box, ...], ...]

    def __call__(self, source: Path | bytes, i: int) -> torch.Tensor:
        generator = view_generator(self.seed, *self.views[i])
        photo = open_photo(source)
        size = self.preprocessing.size
        return self.preprocessing.normalise(
            augmented_view(photo, size, self.marks[i], self.augmentation, generator)
        )


def centre_crop_maps(
    rows: Sequence[Row],
    root: Path,
    network: Network,
    preprocessing: Preprocessing,
    cache: Path,
    device: Device,
) -> FeatureMaps:
    """What the network's frozen stages make of the centre crop of each of these rows."""
    files = [row.file for row in rows]
    photos = PhotoDataset(files, root, CentreCrop(preprocessing))
    key = {"preprocessing": preprocessing.model_dump(mode="json")}
    what = "Reading the photographs"
    return cached_feature_maps(photos, np.arange(len(rows)), key, network, cache, device, what)


def maps_without_marks(
    rows: Sequence[Row],
    root: Path,
    marks: Sequence[tuple[Box, ...]],
    network: Network,
    preprocessing: Preprocessing,
    cache: Path,
    device: Device,
) -> FeatureMaps:
    """What the frozen stages make of the largest square without a mark, of the photos that bear one."""
    numbers = np.flatnonzero([bool(boxes) for boxes in marks])
    files = [row.file for row, boxes in zip(rows, marks, strict=True) if boxes]
    boxes = tuple(boxes for boxes in marks if boxes)
    photos = PhotoDataset(files, root, SquareWithoutMark(preprocessing, boxes))
    key = {"preprocessing": preprocessing.model_dump(mode="json"), "without": boxes}
    what = "Reading squares without marks"
    return cached_feature_maps(photos, numbers, key, network, cache, device, what)


def augmented_maps(
    rows: Sequence[Row],
    root: Path,
    count: int,
    network: Network,
    transform: AugmentedView,
    cache: Path,
    device: Device,
) -> FeatureMaps:
    """What the frozen stages make of `count` augmented views of each row, which `transform` gives."""
    files = [file for file, _ in transform.views]
    key = {
        "preprocessing": transform.preprocessing.model_dump(mode="json"),
        "augmentation": transform.augmentation.model_dump(mode="json"),
        "seed": transform.seed,
        "views": transform.views,
        "marks": transform.marks,
    }
    photos = PhotoDataset(files, root, transform)
    owners = np.repeat(np.arange(len(rows)), count)
    what = "Reading augmented views"
    return cached_feature_maps(photos, owners, key, network, cache, device, what)


def cached_feature_maps(
    views: PhotoDataset,
    rows: Integers,
    key: dict[str, Any],
    network: Network,
    cache: Path,
    device: Device,
    what: str,
) -> FeatureMaps:
    """What the frozen stages make of n views, from a folder that is filled where it is not.

    Filling goes on from what is there. One process fills, of this run or of another, and others wait for it.

    Args:
        views: n inputs of the network.
        rows: (n,) the row that each is a view of.
        key: all that they depend on beside the photos' files, as it goes into JSON.
        network: its frozen stages are asked.
        cache: the folder that holds all caches.
        device: to compute on.
        what: is being done, for the bar.

    Raises:
        ManifestError, DataError: if a photo is absent or cannot be read; what was computed stays.
    """
    stamps = {file: stamp_of(views.root, file) for file in dict.fromkeys(views.files)}
    frozen = {
        "version": _VERSION,
        "photos": [stamps[file] for file in views.files],
        "weights": weights_digest(network.frozen),
        "flip_tta": network.flip_tta,
        "precision": device.precision,
    }
    digest = _hashed(frozen | key)
    folder = cache / digest
    with device.main_process_first():
        _fill(views, network, folder, device, what)
    return FeatureMaps(rows, np.load(folder / "feature_maps.npy", mmap_mode="r"), digest)


def _fill(views: PhotoDataset, network: Network, folder: Path, device: Device, what: str) -> None:
    if _read_progress(folder) == len(views):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        _fill_rest(views, network, folder, device, what)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another run, which reads the same photographs")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read_progress(folder: Path) -> int:
    """How many views are there."""
    progress = folder / "done.json"
    known = progress.exists() and (folder / "feature_maps.npy").exists()
    return int(json.loads(progress.read_text())) if known else 0


def _fill_rest(
    views: PhotoDataset, network: Network, folder: Path, device: Device, what: str
) -> None:
    path, progress = folder / "feature_maps.npy", folder / "done.json"
    done = _read_progress(folder)
    if done == len(views):  # another run did it while this one waited
        return
    compute = _frozen_function(network, device)
    if done == 0:
        shape = (len(views), *compute(views[0][None]).shape[1:])
        _make_room(path, shape)
    values = np.load(path, mmap_mode="r+")
    loader = batches(Subset(views, range(done, len(views))), batch_size=_BATCH, workers=1)
    bar = track(loader, what, total=len(views), done=done, size=_BATCH)
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


def _frozen_function(network: Network, device: Device) -> Compute:
    network.frozen.eval().to(device.torch_device).to(memory_format=torch.channels_last)

    def compute(batch: torch.Tensor) -> torch.Tensor:
        inputs = batch.to(device.torch_device, memory_format=torch.channels_last)
        with torch.inference_mode(), device.autocast():
            output = network.forward_frozen(inputs)
        return output.float().cpu()

    return compute


def cached_features(network: Network, maps: FeatureMaps, cache: Path, device: Device) -> Features:
    """What `compute_features` gives, from the cache folder where it is known."""
    key = {
        "maps": maps.digest,
        "weights": weights_digest(network.trainable),
        "multi_scale": network.multi_scale,
    }
    path = cache / f"features-{_hashed(key)}.safetensors"
    with device.main_process_first():
        return cached_arrays(
            path, key, lambda: {"features": compute_features(network, maps, device)}
        )["features"]


@torch.no_grad()
def compute_features(network: Network, maps: FeatureMaps, device: Device) -> Features:
    """What the head reads of a network as it is, (views, width), for every one of the maps."""
    network.eval().to(device.torch_device)
    parts = []
    count = len(maps.rows)
    starts = range(0, count, _FEATURE_BATCH)
    for start in track(starts, "Computing features", total=count, size=_FEATURE_BATCH):
        places = np.arange(start, min(start + _FEATURE_BATCH, count))
        batch = maps[places].to(device.torch_device, memory_format=torch.channels_last)
        with device.autocast():
            features = network.head_features(batch)
        parts.append(features.float().cpu().numpy())
    network.cpu()
    return np.concatenate(parts)


def weights_digest(module: torch.nn.Module) -> str:
    """Changes with every weight and every name of a module."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()


def _hashed(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
