"""Views of a photo: repeatable, of the right shape, and blind to its marks."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from calcinosis.training.fit.augment import Augmentation, augmented_view, view_generator
from tests.drawings import draw

MARKS = ((0.05, 0.7, 0.3, 0.95),)
STILL = Augmentation(
    smallest_area=1.0, aspect=0, whole=0, turned=0, coarse=0, compressed=0, colour=0, tint=0
)


def test_the_same_view_is_drawn_again() -> None:
    photo = draw("milium")
    first, again, other = (
        np.asarray(augmented_view(photo, 48, (), Augmentation(), view_generator(0, "a.jpg", view)))
        for view in (1, 1, 2)
    )
    assert first.shape == (48, 48, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_augmentation_the_centre_square_survives() -> None:
    """A view that may not stray is the centre crop, moved and mirrored at most."""
    photo = Image.new("RGB", (100, 100), (10, 200, 90))
    view = augmented_view(photo, 32, (), STILL, view_generator(0, "a", 1))
    assert np.asarray(view) == pytest.approx(np.asarray(photo)[:32, :32], abs=2)


@pytest.mark.parametrize("size", [(640, 480), (300, 500), (400, 400)])
def test_no_view_shows_a_mark(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size, (150, 110, 90))
    left, upper, right, lower = MARKS[0]
    box = (left * size[0], upper * size[1], right * size[0], lower * size[1])
    ImageDraw.Draw(photo).rectangle(box, fill=(0, 0, 255))
    plain = Augmentation(colour=0, tint=0, compressed=0)
    for view in range(60):
        seen = augmented_view(photo, 48, MARKS, plain, view_generator(0, "a", view))
        pixels = np.asarray(seen, int)
        assert (pixels[..., 2] < pixels[..., 0]).all()  # no blue
