"""What a transform makes of photos: in the manifest's order, and never lost in silence."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import pil_to_tensor

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data.dataset import PhotoDataset
from calcinosis.data.manifest import Row


def load(path: Path, _: int) -> torch.Tensor:
    with Image.open(path) as picture:
        return pil_to_tensor(picture)


def load_with_number(path: Path, i: int) -> tuple[torch.Tensor, int]:
    return load(path, i), i


@pytest.fixture
def rows(tmp_path):
    rows = []
    for i, label in enumerate(["other", "milium", "other"]):
        Image.new("RGB", (4, 3), (i, 0, 0)).save(tmp_path / f"ü {i}.png")
        rows.append(Row(f"ü {i}.png", label, "drawn", f"g{i}"))
    return rows


def files_of(rows: list[Row]) -> list[str]:
    return [row.file for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_hands_out_every_photo_with_its_number(rows, tmp_path, workers):
    photos = PhotoDataset(files_of(rows), tmp_path, load_with_number)
    batches = DataLoader(photos, batch_size=2, num_workers=workers)
    tensor, number = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert tensor.shape == (3, 3, 3, 4)
    assert tensor[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert number.tolist() == [0, 1, 2]


def test_a_photo_that_cannot_be_read_is_named(rows, tmp_path):
    (tmp_path / rows[1].file).write_bytes(b"no picture")
    photos = PhotoDataset(files_of(rows), tmp_path, load)
    photos[0]
    with pytest.raises(DataError, match=r"ü 1\.png") as caught:
        photos[1]
    assert caught.value.code == "unreadable_photo"
    (tmp_path / rows[1].file).unlink()
    with pytest.raises(ManifestError, match=r"ü 1\.png"):
        photos[1]


def test_the_cause_of_a_failure_keeps_its_code(rows, tmp_path):
    def refuse(path: Path, _: int) -> torch.Tensor:
        raise DataError("too_large", "is too large; crop it", name=str(path))

    with pytest.raises(DataError) as caught:
        PhotoDataset(files_of(rows), tmp_path, refuse)[2]
    assert (caught.value.code, caught.value.name) == ("too_large", "ü 2.png")
    assert str(caught.value) == "ü 2.png: is too large; crop it"


def test_the_name_survives_a_loader_s_worker(rows, tmp_path):
    (tmp_path / rows[1].file).write_bytes(b"no picture")
    batches = DataLoader(PhotoDataset(files_of(rows), tmp_path, load), num_workers=1)
    with pytest.raises(Exception, match=r"ü 1\.png"):
        list(batches)
