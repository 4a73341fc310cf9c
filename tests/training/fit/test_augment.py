"""Views of a photo: repeatable, of the right shape, and blind to a logo in the corner."""

import numpy as np
import pytest
from calcinosis.training.fit.augment import (
    Augmentation,
    augmented_view,
    hide_corners,
    view_generator,
)
from PIL import Image, ImageDraw

from tests.drawings import draw


def test_the_same_view_is_drawn_again() -> None:
    photo = draw("milium")
    first, again, other = (
        np.asarray(augmented_view(photo, 48, Augmentation(), view_generator(0, "a.jpg", view)))
        for view in (1, 1, 2)
    )
    assert first.shape == (48, 48, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_augmentation_the_middle_survives() -> None:
    """A view that may not stray is the plain one, moved and mirrored at most."""
    photo = Image.new("RGB", (100, 100), (10, 200, 90))
    still = Augmentation(smallest_area=1.0, rotation=0.0, colour=0.0, corner_mask=0.0)
    view = augmented_view(photo, 32, still, view_generator(0, "a", 1))
    assert np.asarray(view) == pytest.approx(np.asarray(photo)[:32, :32], abs=2)


def test_corners_hide_a_logo_and_nothing_above_it() -> None:
    photo = draw("other", size=(640, 480))
    marked = photo.copy()
    ImageDraw.Draw(marked).rectangle((20, 360, 150, 460), fill="white")
    hidden = np.asarray(hide_corners(marked))
    assert (hidden[325:, :175] == hidden[-1, 0]).all()
    assert (hidden[:300] == np.asarray(photo)[:300]).all()
