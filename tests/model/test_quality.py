"""The photo-quality gate: what it refuses, with the right reason, and what it must let through."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.model.quality import BOUNDS, MIN_SIDE, check_bounds, find_quality_issue, measure
from calcinosis.model.words import languages, words
from tests.drawings import draw, encode
from tests.unusable import UNUSABLE

ROOT = Path(__file__).parents[2]


def good(label: str = "calcinosis_cutis", seed: int = 0) -> Image.Image:
    return draw(label, seed, (480, 400))


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("size", [(144, 128), (480, 400), (400, 900), (1200, 900)])
def test_a_good_photo_passes_at_any_size_and_shape(label: str, size: tuple[int, int]) -> None:
    assert find_quality_issue(draw(label, 1, size)) is None


@pytest.mark.parametrize("code", BOUNDS)
def test_each_reason_is_found_and_named(code: str) -> None:
    problem = find_quality_issue(open_photo(encode(UNUSABLE[code](good()), "JPEG", quality=85)))
    assert problem is not None
    assert problem.code == code
    for language in languages():
        say = words(language)
        assert say(f"quality.{code}.reason", **problem.values)
        assert say(f"quality.{code}.advice")


@pytest.mark.parametrize("tone", [(238, 208, 190), (198, 150, 122), (141, 95, 70), (84, 56, 44)])
def test_skin_of_any_tone_passes(tone: tuple[int, int, int]) -> None:
    grain = np.random.default_rng(0).normal(0, 6, (400, 480, 1))
    skin = (np.array(tone) + grain).clip(0, 255).astype(np.uint8)
    photo = Image.fromarray(skin)
    ImageDraw.Draw(photo).ellipse((200, 160, 280, 240), fill=tuple(min(255, c + 50) for c in tone))
    assert find_quality_issue(photo) is None


def test_a_white_background_is_no_glare_and_a_white_spot_within_the_skin_is() -> None:
    """A hand on a sheet of paper: a third of it white, up to the edges; the other has as much of it in the middle."""
    beside, within = good(), good()
    for photo, left in ((beside, 0), (within, 150)):
        ImageDraw.Draw(photo).rectangle((left, 0, left + 130, 400), fill="white")
    within.paste(good().crop((0, 0, 480, 30)), (0, 0))
    within.paste(good().crop((0, 370, 480, 400)), (0, 370))
    assert find_quality_issue(beside) is None
    problem = find_quality_issue(within)
    assert problem is not None
    assert problem.code == "too_bright"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (16, 16), (17, 300), (127, 127), (128, 128)])
def test_any_size_can_be_measured(size: tuple[int, int]) -> None:
    problem = find_quality_issue(Image.new("RGB", size, (200, 150, 130)))
    assert problem is not None
    assert problem.code == ("too_small" if min(size) < 128 else "blank")


@pytest.mark.parametrize("language", languages())
def test_a_tight_frame_around_a_far_lesion_is_told_to_move_closer(language: str) -> None:
    far = draw("milium", size=(1600, 1200))
    problem = find_quality_issue(far.crop((760, 560, 840, 640)))
    assert problem is not None
    assert problem.code == "too_small"
    reason = words(language)(f"quality.{problem.code}.reason", **problem.values)
    assert re.findall(r"\d+", reason) == ["80", "128", "42"]
    assert find_quality_issue(far) is None, (
        "how far away a lesion is, nothing tells before it is framed"
    )


def test_a_bound_is_inclusive_and_the_first_reason_wins() -> None:
    measures = measure(good())
    assert check_bounds(measures) is None
    worst = measure(Image.new("RGB", (10, 10)))
    problem = check_bounds(worst)
    assert problem is not None
    assert problem.code == next(iter(BOUNDS))


@pytest.mark.parametrize("side", [16, 128, 256])
def test_its_percentiles_are_those_of_numpy(side: int) -> None:
    photo = draw(
        "milium", 1, (side, side)
    )  # no larger than what is measured, so none of it is resized
    grey = np.asarray(photo, dtype=np.float32) @ np.float32([0.299, 0.587, 0.114])
    assert measure(photo).highlights == pytest.approx(np.percentile(grey, 99.5), rel=1e-6)


def test_hardly_a_photograph_of_the_three_conditions_is_refused() -> None:
    """At most 5 % of real photographs; see benchmarks/quality_gate.py for the figures by reason."""
    root = os.environ.get("CALCINOSIS_PHOTOS")
    if not root:
        pytest.skip("CALCINOSIS_PHOTOS names no folder of real photographs")
    from calcinosis.data.manifest import read_manifest

    rows = read_manifest(Path(root) / "photos.csv", labels=LABELS)
    targets = [row for row in rows if row.label != "other"]
    refused = [row.file for row in targets if find_quality_issue(open_photo(Path(root) / row.file))]
    assert len(refused) <= 0.05 * len(targets), refused


def test_a_framed_close_up_of_a_hand_or_foot_is_hardly_ever_called_blurred() -> None:
    """What the page sends is a part of a photo: skin at twice its size has fewer edges a pixel."""
    root = os.environ.get("CALCINOSIS_PHOTOS")
    if not root:
        pytest.skip("CALCINOSIS_PHOTOS names no folder of real photographs")
    with (ROOT / "data" / "curated" / "body_site.csv").open(encoding="utf-8", newline="") as table:
        files = [r["file"] for r in csv.DictReader(table) if r["body_site"].startswith("acral")]
    photos = [open_photo(Path(root) / file) for file in files if (Path(root) / file).exists()]
    framed = [photo for photo in map(at_twice_its_size, photos) if min(photo.size) >= MIN_SIDE]
    sharp = [measure(photo).sharpness >= BOUNDS["blurred"].minimum for photo in framed]
    assert len(sharp) > 80
    assert sharp.count(False) <= 0.02 * len(sharp)


def at_twice_its_size(photo: Image.Image) -> Image.Image:
    side = min(photo.size) // 2
    left, upper = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, upper, left + side, upper + side))
