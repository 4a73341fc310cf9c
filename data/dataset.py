"""Photos, and what a transform makes of them, for PyTorch's loaders."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from calcinosis.common.errors import DataError
from calcinosis.data.locating import open_source

Transform = Callable[[Path | bytes, int], Any]


class PhotoDataset(Dataset[Any]):
    """Item `i` is `transform(source, i)`, with the place of photo `i`, or its bytes where it is in a shard.

    Args:
        files: the photos, as a manifest names them; one may be there several times, for several views.
        root: the folder that they lie below.
        transform: makes an item, such as a tensor of 3 × height × width. Worker processes get a copy of
            it; where they are not forked, it has to be a function of a module or an object of a class.
    """

    def __init__(self, files: Sequence[str], root: Path, transform: Transform) -> None:
        self.files = tuple(files)
        self.root = root
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        """What the transform makes of photo `i`.

        Raises:
            ManifestError: when the file is not there.
            DataError: with the file's name, when a shard cannot be read or the transform fails; it keeps
                the code of its cause.
        """
        source = open_source(self.root, self.files[i])
        try:
            return self.transform(source, i)
        except Exception as error:
            # Which photo it was is lost on the way out of a loader's worker, unless it is in the text.
            code = getattr(error, "code", "unreadable_photo")
            message = getattr(error, "message", str(error) or type(error).__name__)
            raise DataError(code, message, name=self.files[i]) from error


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
