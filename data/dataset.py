"""A manifest's photos as tensors for PyTorch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from calcinosis.common.errors import DataError
from calcinosis.data.manifest import Row, open_source
from torch.utils.data import DataLoader, Dataset, default_collate


class PhotoDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Photos by their row.

    Item `i` is `(photo, label, i)`: the tensor that `load` makes, such as 3 × height × width; the
    place of the row's label in `labels`; and the number of the row, by which a prediction finds
    its way back to the manifest.

    Args:
        rows: the photos.
        root: the folder that their files lie below.
        labels: the label set, in the order of the network's outputs.
        load: turns a photo's path, or its bytes where it lies in a shard, into a tensor.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        labels: Sequence[str],
        load: Callable[[Path | bytes], torch.Tensor],
    ) -> None:
        index = {label: i for i, label in enumerate(labels)}
        for row in rows:
            if row.label not in index:
                raise DataError(
                    "unknown_label",
                    f"label {row.label!r} is none of {', '.join(labels)}; mend the manifest",
                    name=row.file,
                )
        self.rows = tuple(rows)
        self.root = root
        self.labels = tuple(labels)
        self.load = load
        self._index = index

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        """The photo of row `i`.

        Raises:
            ManifestError: when the file is not there.
            DataError: with the file's name, when a shard cannot be read or `load` fails; it keeps the
                code of its cause.
        """
        row = self.rows[i]
        source = open_source(self.root, row.file)
        try:
            photo = self.load(source)
        except Exception as error:
            # Which photo it was is lost on the way out of a loader's worker, unless it is in the text.
            code = getattr(error, "code", "unreadable_photo")
            message = getattr(error, "message", str(error) or type(error).__name__)
            raise DataError(code, message, name=row.file) from error
        return photo, self._index[row.label], i


def batches(dataset: Dataset[Any], *, batch_size: int, workers: int) -> "_Batches":
    """A dataset's items in batches, in their order, read ahead by worker processes.

    An error in a worker reaches the caller as it was raised; PyTorch's own loader would wrap it in a
    traceback.
    """
    return _Batches(dataset, batch_size, workers)


class _Batches:
    def __init__(self, dataset: Dataset[Any], batch_size: int, workers: int) -> None:
        self._loader = DataLoader(
            _Carrying(dataset), batch_size=batch_size, num_workers=workers, collate_fn=_collate
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch


class _Carrying(Dataset[Any]):
    """A dataset that hands over an error instead of raising it."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # every map-style dataset has a length

    def __getitem__(self, i: int) -> Any:
        try:
            return self._dataset[i]
        except Exception as error:
            return error


def _collate(items: list[Any]) -> Any:
    failed = next((item for item in items if isinstance(item, Exception)), None)
    return default_collate(items) if failed is None else failed
