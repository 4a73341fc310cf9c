"""A manifest's photos as tensors for PyTorch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from data.errors import DataError
from data.manifest import Row, resolve


class PhotoDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Photos by their row.

    Item `i` is `(photo, label, i)`: the tensor that `load` makes, such as 3 × height × width; the
    place of the row's label in `labels`; and the number of the row, by which a prediction finds
    its way back to the manifest.

    Args:
        rows: the photos.
        root: the folder that their files lie below.
        labels: the label set, in the order of the network's outputs.
        load: turns a photo's path into a tensor.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        labels: Sequence[str],
        load: Callable[[Path], torch.Tensor],
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
            DataError: with the file's name, when `load` fails; it keeps the code of its cause.
        """
        row = self.rows[i]
        path = resolve(self.root, row)
        try:
            photo = self.load(path)
        except Exception as error:
            # Which photo it was is lost on the way out of a loader's worker, unless it is in the text.
            code = getattr(error, "code", "unreadable_photo")
            message = getattr(error, "message", str(error) or type(error).__name__)
            raise DataError(code, message, name=row.file) from error
        return photo, self._index[row.label], i
