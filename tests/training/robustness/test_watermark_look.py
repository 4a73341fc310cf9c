"""A drawn mark is estimated from the photos that bear it, and what it does to a network is measured."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calcinosis.data.manifest import Row
from calcinosis.training.fit.marks import find_all_marks
from calcinosis.training.robustness.watermark_look import Watermark, find_watermark
from tests.data.drawing import skin, stamped

SIZE = (320, 240)
COUNT = 40


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """Photos of which two in three bear the mark of their source, and some of another source."""
    root, rows = tmp_path_factory.mktemp("photos"), []
    for i in range(COUNT):
        photo = skin(i, SIZE) if i % 3 == 0 else stamped(skin(i, SIZE))
        photo.save(root / f"{i}.png")
        rows.append(Row(f"{i}.png", "other", "atlas", str(i)))
    for i in range(COUNT, COUNT + 5):
        skin(i, SIZE).save(root / f"{i}.png")
        rows.append(Row(f"{i}.png", "other", "clinic", str(i)))
    return root, rows


@pytest.fixture(scope="module")
def mark(atlas: tuple[Path, list[Row]]) -> Watermark:
    root, rows = atlas
    found = find_watermark(rows, root, find_all_marks(rows, root, root / "cache"))
    assert isinstance(found, Watermark)
    return found


def difference(first: Image.Image, second: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(first, float) - np.asarray(second, float)).mean(axis=-1)


def test_the_mark_is_found_where_it_is_and_nowhere_else(mark: Watermark) -> None:
    assert mark.source == "atlas"
    assert set(mark.sightings) == {i for i in range(COUNT) if i % 3}
    assert not mark.others
    true = difference(stamped(Image.new("RGB", SIZE)), Image.new("RGB", SIZE)) > 128
    found = difference(mark.paste(Image.new("RGB", SIZE)), Image.new("RGB", SIZE)) > 128
    assert (true & found).sum() / (true | found).sum() > 0.8


@pytest.mark.parametrize("seed", [0, 3, 50])
def test_a_pasted_mark_looks_like_the_source_s_own(mark: Watermark, seed: int) -> None:
    photo = skin(seed, SIZE)
    truly, pasted = stamped(photo), mark.paste(photo)
    inked = difference(truly, photo) > 20
    assert difference(pasted, truly)[inked].mean() < 0.25 * difference(photo, truly)[inked].mean()
    far = np.ones(inked.shape, bool)
    far[140:, :180] = False
    assert difference(pasted, photo)[far].max() == 0


def test_an_inpainted_mark_leaves_the_photo_as_it_was(mark: Watermark) -> None:
    photo = skin(1, SIZE)
    marked = stamped(photo)
    inpainted = mark.inpaint(marked, mark.sightings[1])
    inked = difference(marked, photo) > 20
    assert (
        difference(inpainted, photo)[inked].mean() < 0.3 * difference(marked, photo)[inked].mean()
    )
    assert difference(inpainted, marked)[:140].max() == 0


@pytest.mark.parametrize("size", [(640, 480), (200, 320), (60, 60), (2000, 300)])
def test_a_mark_is_pasted_onto_photos_of_any_shape(mark: Watermark, size: tuple[int, int]) -> None:
    plain = Image.new("RGB", size, (120, 90, 80))
    changed = difference(mark.paste(plain), plain) > 20
    down, across = np.nonzero(changed)
    assert down.mean() > size[1] * 0.6
    assert across.mean() < size[0] * 0.5


def test_photos_without_a_mark_are_said_to_have_none(tmp_path: Path) -> None:
    rows = []
    for i in range(15):
        skin(i, (120, 90)).save(tmp_path / f"{i}.png")
        rows.append(Row(f"{i}.png", "other", "clinic", str(i)))
    assert find_watermark(rows, tmp_path, find_all_marks(rows, tmp_path, tmp_path)) == (
        "no recurring mark was found in the photos of any source"
    )
