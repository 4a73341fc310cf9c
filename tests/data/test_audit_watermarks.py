"""Marks that recur over a source are found with their place, and nothing else is taken for one."""

import numpy as np
import pytest
from PIL import Image

from calcinosis.data.audit.watermarks import find_marks
from tests.data.drawing import skin, stamped

COUNT = 40


def grey(picture: Image.Image) -> np.ndarray:
    picture = picture.convert("L")
    picture.thumbnail((256, 256))
    return np.asarray(picture)


def inside(box, outer, slack=0.03):
    return all(
        b >= o - slack if i < 2 else b <= o + slack
        for i, (b, o) in enumerate(zip(box, outer, strict=True))
    )


STAMP = (0.05, 0.75, 0.45, 0.9)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_mark_is_found_on_those_who_bear_it(share):
    bears = [i % 10 < share * 10 for i in range(COUNT)]
    photos = [grey(stamped(skin(i)) if bears[i] else skin(i)) for i in range(COUNT)]
    marks, sightings = find_marks(photos, ["atlas"] * COUNT)
    assert len(marks) == 1
    assert marks[0].of == COUNT
    assert inside(marks[0].box, STAMP)
    assert {s.photo for s in sightings} == {i for i in range(COUNT) if bears[i]}
    assert all(inside(s.box, STAMP) for s in sightings)


def test_only_the_marked_source_has_the_mark():
    photos = [grey(stamped(skin(i)) if i % 2 else skin(i)) for i in range(2 * COUNT)]
    marks, sightings = find_marks(photos, ["own camera", "atlas"] * COUNT)
    assert {mark.source for mark in marks} == {"atlas"}
    assert {s.photo % 2 for s in sightings} == {1}


def test_unmarked_photos_have_no_mark():
    photos = [grey(skin(i)) for i in range(COUNT)]
    assert find_marks(photos, ["clinic"] * COUNT) == ([], [])


def test_two_logos_of_one_source_are_two_marks():
    photos = [
        grey(stamped(skin(i)) if i % 3 else stamped(skin(i), "Other mark", "black"))
        for i in range(60)
    ]
    marks, sightings = find_marks(photos, ["atlas"] * 60)
    assert len(marks) == 2
    assert {s.photo for s in sightings if s.mark == 0} == {i for i in range(60) if i % 3}


def test_photos_of_many_shapes_bear_a_mark_in_one_corner():
    rng = np.random.default_rng(0)
    photos = []
    for i in range(COUNT):
        width, height = 320, int(rng.integers(180, 320))
        picture = skin(i, (width, height))
        logo = stamped(Image.new("RGB", (320, 240)), "atlas").crop((10, 170, 130, 220))
        picture.paste(logo, (10, height - 60))
        photos.append(grey(picture))
    marks, sightings = find_marks(photos, ["atlas"] * COUNT)
    assert len(marks) == 1
    assert "lower left" in marks[0].view
    assert len(sightings) == COUNT


def test_a_handful_of_photos_is_too_few_to_tell():
    photos = [grey(stamped(skin(i))) for i in range(5)]
    assert find_marks(photos, ["atlas"] * 5) == ([], [])
