"""What the frozen part of the network makes of each view, computed once and kept on disk.

The lower stages of a backbone see every photo alike in every epoch and every fold. Keeping their output
makes an epoch several times shorter. A cache is a folder of its own below the cache folder, named after
everything that its content depends on, and is filled in steps, so that a run that was stopped goes on
where it was.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.utils.data import Dataset

from data.dataset import batches
from data.manifest import Row, resolve
from model.network import Network
from model.photo import open_photo
from model.preprocessing import Preprocessing
from training.progress import track
from training.recipe import Recipe
from training.views import augmented_view, view_generator

_BATCH: Final = 16  # larger ones make the allocator hand pages back and fetch them anew each time
_VERSION: Final = 1

Compute = Callable[[torch.Tensor], torch.Tensor]


class Activations:
    """The trunk's output for every view of every row.

    Attributes:
        starts: (rows + 1,) where the views of each row begin; its first view is the plain one.
        values: (views, channels, h, w) in half precision, read from disk as needed.
    """

    def __init__(self, starts: np.ndarray, values: np.ndarray) -> None:
        self.starts = starts
        self.values = values

    def plain(self, rows: np.ndarray) -> torch.Tensor:
        """Activations (n, channels, h, w) of the plain views of rows (n,)."""
        return self._gather(self.starts[rows])

    def augmented(self, rows: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """Activations (n, channels, h, w) of a random view of each of rows (n,)."""
        counts = self.starts[rows + 1] - self.starts[rows]
        augmented = np.maximum(counts - 1, 1)
        chosen = generator.integers(0, augmented)
        return self._gather(self.starts[rows] + np.minimum(1 + chosen, counts - 1))

    def _gather(self, indices: np.ndarray) -> torch.Tensor:
        order = np.argsort(indices)  # the disk is read forwards
        out = np.empty((len(indices), *self.values.shape[1:]), dtype=self.values.dtype)
        out[order] = self.values[indices[order]]
        return torch.from_numpy(out).float()


def compute_activations(
    rows: Sequence[Row],
    root: Path,
    network: Network,
    preprocessing: Preprocessing,
    recipe: Recipe,
    cache: Path,
) -> Activations:
    """Fill the cache for these rows, going on from what is there, and open it.

    Raises:
        PhotoError, ManifestError: if a photo is absent or cannot be read; what was computed stays.
    """
    counts = [1 + recipe.views.get(row.kind, 0) for row in rows]
    if recipe.method == "probe":
        counts = [1] * len(rows)
    starts = np.concatenate([[0], np.cumsum(counts)])
    compute = _trunk_function(network)
    shape = tuple(compute(torch.zeros(1, 3, preprocessing.size, preprocessing.size)).shape[1:])
    folder = cache / _key(rows, counts, network, preprocessing, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    path, progress = folder / "activations.npy", folder / "done.json"
    done = json.loads(progress.read_text()) if progress.exists() and path.exists() else 0
    values = np.lib.format.open_memmap(
        path, mode="r+" if done else "w+", dtype=np.float16, shape=(int(starts[-1]), *shape)
    )
    views = _Views(rows, root, counts, preprocessing, recipe, first=done)
    if len(views):
        loader = batches(views, batch_size=_BATCH, workers=1)
        for step, batch in enumerate(track(loader, "Reading the photographs", total=len(loader))):
            at = done + step * _BATCH
            values[at : at + len(batch)] = compute(batch).numpy().astype(np.float16)
            if step % 40 == 39:
                _note_progress(values, progress, at + len(batch))
        _note_progress(values, progress, int(starts[-1]))
    return Activations(starts, np.load(path, mmap_mode="r"))


def _note_progress(values: np.memmap, progress: Path, done: int) -> None:
    values.flush()
    partial = progress.with_suffix(".partial")
    partial.write_text(json.dumps(done))
    partial.replace(progress)


def _trunk_function(network: Network) -> Compute:
    trunk = network.trunk.eval().to(memory_format=torch.channels_last)

    def compute(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            output: torch.Tensor = trunk(batch.to(memory_format=torch.channels_last))
        return output.float()

    return compute


def _key(
    rows: Sequence[Row],
    counts: Sequence[int],
    network: Network,
    preprocessing: Preprocessing,
    recipe: Recipe,
) -> str:
    """A name for a cache that changes with everything its content depends on."""
    digest = hashlib.sha256()
    settings = {
        "version": _VERSION,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
        "seed": recipe.seed,
        "files": [[row.file, count] for row, count in zip(rows, counts, strict=True)],
    }
    digest.update(json.dumps(settings).encode())
    for name, tensor in network.trunk.state_dict().items():
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:16]


class _Views(Dataset[torch.Tensor]):
    """Every view of every row, in order, from the view `first` on."""

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        counts: Sequence[int],
        preprocessing: Preprocessing,
        recipe: Recipe,
        *,
        first: int,
    ) -> None:
        self.rows, self.root = rows, root
        self.preprocessing, self.recipe = preprocessing, recipe
        pairs = [(row, view) for row, count in enumerate(counts) for view in range(count)]
        self.pairs = pairs[first:]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> torch.Tensor:
        number, view = self.pairs[index]
        row = self.rows[number]
        photo = open_photo(resolve(self.root, row), name=row.file)
        if view == 0:
            return self.preprocessing(photo)
        generator = view_generator(self.recipe.seed, row.file, view)
        return augmented_view(photo, self.preprocessing, self.recipe.augmentation, generator)
