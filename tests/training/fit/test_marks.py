"""Marks: found once, where most of a source's photos bear them on all, and kept out of the crops."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcinosis.data.audit.watermarks import Mark, Sighting
from calcinosis.data.curation import printed_marks
from calcinosis.data.manifest import Row
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit import marks as module
from calcinosis.training.fit.marks import (
    Box,
    Marks,
    find_all_marks,
    largest_rectangle_without,
    largest_square_without,
)
from tests.data.drawing import skin, stamped

SIZES = st.tuples(st.integers(40, 900), st.integers(40, 900))
SHARES = st.floats(0, 1)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, upper = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    width, height = draw(st.floats(0.02, 0.4)), draw(st.floats(0.02, 0.4))
    return (left, upper, min(1.0, left + width), min(1.0, upper + height))


def test_marks_are_found_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for i in range(20):
        stamped(skin(i, (320, 240))).save(tmp_path / f"{i}.png")
        rows.append(Row(f"{i}.png", "other", "atlas", str(i)))
    found = find_all_marks(rows, tmp_path, tmp_path / "cache")
    assert len(found.sightings) == 20
    assert (found.sizes == [320, 240]).all()
    monkeypatch.setattr(module, "_read_small", None)
    again = find_all_marks(rows, tmp_path, tmp_path / "cache")
    assert (again.marks, again.sightings) == (found.marks, found.sightings)
    monkeypatch.undo()
    for i in range(20):
        skin(i, (320, 240)).save(tmp_path / f"{i}.png")
    assert not find_all_marks(rows, tmp_path, tmp_path / "cache").sightings


def test_a_mark_that_most_bear_is_taken_to_be_on_all_photos_of_its_source() -> None:
    box, other = (0.1, 0.8, 0.3, 0.9), (0.5, 0.1, 0.6, 0.2)
    sightings = [Sighting(photo, 0, 0.9, box) for photo in range(4)]
    sightings.append(Sighting(10, 1, 0.9, other))
    kinds = (Mark("book", "frame", box, 4, 8), Mark("clinic", "frame", other, 1, 12))
    found = Marks(kinds, tuple(sightings), np.zeros((20, 2), np.int64))
    told = found.boxes(["book"] * 8 + ["clinic"] * 12)
    assert all(one[0] == pytest.approx(box) for one in told[:8])
    assert told[10] == (other,)
    assert told[8] == told[9] == told[11] == ()  # one of twelve is a chance


def test_what_is_known_of_a_source_by_eye_stands_before_what_was_found() -> None:
    found = Marks((), (Sighting(0, 0, 0.9, (0.5, 0.5, 0.6, 0.6)),), np.zeros((2, 2), np.int64))
    assert found.boxes(["atlas", "atlas"]) == [(printed_marks()["atlas"],)] * 2


@given(size=SIZES)
def test_without_a_mark_the_square_is_the_centre_crop(size: tuple[int, int]) -> None:
    crop = Preprocessing(size=64).box(*size)
    assert largest_square_without((), size) == pytest.approx(crop, abs=1)


@given(size=SIZES, mark=boxes())
def test_a_crop_lies_on_the_photo_and_shows_no_mark(size: tuple[int, int], mark: Box) -> None:
    width, height = size
    place = (mark[0] * width, mark[1] * height, mark[2] * width, mark[3] * height)
    for crop in (largest_square_without([mark], size), largest_rectangle_without([mark], size)):
        left, upper, right, lower = crop
        assert 0 <= left < right <= width + 1e-6
        assert 0 <= upper < lower <= height + 1e-6
        assert (
            right <= place[0] + 1e-6
            or left >= place[2] - 1e-6
            or lower <= place[1] + 1e-6
            or upper >= place[3] - 1e-6
        )
