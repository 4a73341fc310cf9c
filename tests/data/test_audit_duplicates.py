"""Copies are found whatever was done to them, and different pictures are left apart."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from calcinosis.data.audit.alignment import align, detect_keypoints, mirror
from calcinosis.data.audit.duplicates import (
    HASH_BITS,
    THRESHOLD,
    Pair,
    candidate_pairs,
    compare,
    exact_duplicates,
    near_duplicates,
)
from calcinosis.data.audit.scan import DIHEDRAL, ScannedPhoto, perceptual_hashes
from tests.data.drawing import cropped, embed, saved, skin, stamped


def look(picture: Image.Image, digest: str) -> ScannedPhoto:
    small = picture.copy()
    small.thumbnail((256, 256))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=92)
    vector = embed([picture])[0]
    return ScannedPhoto(
        row=0,
        width=picture.width,
        height=picture.height,
        digest=digest,
        hashes=perceptual_hashes(small),
        thumbnail=stream.getvalue(),
        embedding=(vector / np.linalg.norm(vector)).astype(np.float32),
    )


COPIES = {
    "saved again": lambda p, rng: saved(p, 30),
    "half the size": lambda p, rng: p.resize((p.width // 2, p.height // 2)),
    "cropped a little": lambda p, rng: cropped(p, rng, 0.85),
    "cropped much": lambda p, rng: cropped(p, rng, 0.6),
    "mirrored": lambda p, rng: ImageOps.mirror(p),
    "mirrored and cropped": lambda p, rng: ImageOps.mirror(cropped(p, rng, 0.75)),
    "turned": lambda p, rng: p.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda p, rng: ImageEnhance.Brightness(p).enhance(1.25),
    "stamped": lambda p, rng: stamped(saved(p, 60), "another"),
}


@pytest.fixture(scope="module")
def drawn():
    """24 pictures of one publisher and 9 copies of each: the pairs that `THRESHOLD` was chosen on.

    Where two could be laid over each other at all, copies agreed by 0.93 or more; of 780 different
    pairs none could be. `THRESHOLD` lies below the copies, where two shots of one scene still count.
    """
    rng = np.random.default_rng(0)
    looks, picture_of, copied = [], [], []
    for number in range(24):
        picture = stamped(skin(number))
        for name, change in {"as it is": lambda p, rng: p, **COPIES}.items():
            looks.append(look(saved(change(picture, rng), 80), f"{number} {name}"))
            picture_of.append(number)
            copied.append(name)
    return looks, picture_of, copied


def test_precision_and_recall_on_drawn_pairs(drawn):
    looks, picture_of, copied = drawn
    found = near_duplicates(looks)
    right = [pair for pair in found if picture_of[pair.first] == picture_of[pair.second]]
    assert len(right) / len(found) >= 0.99
    # Each copy must be tied to its picture, directly or through another copy.
    tied = list(range(len(looks)))
    for pair in found:
        old, new = tied[pair.second], tied[pair.first]
        tied = [new if mark == old else mark for mark in tied]
    lost = [
        copied[i]
        for i in range(len(looks))
        if copied[i] != "as it is" and tied[i] != tied[i - i % (len(COPIES) + 1)]
    ]
    # Measured: no wrong pair, 14 of 216 copies lost, all of them crops that the stand-in for the
    # backbone did not bring up as candidates.
    assert len(lost) <= 0.1 * len(looks), lost
    assert all("cropped" in name for name in lost)


@pytest.mark.parametrize("name", COPIES)
def test_every_way_of_copying_is_seen_through(name):
    rng = np.random.default_rng(1)
    picture = skin(100)
    found = compare(
        detect_keypoints(_small(picture)), detect_keypoints(_small(COPIES[name](picture, rng)))
    )
    assert found is not None
    assert found[0] >= THRESHOLD
    assert ("mirrored" in found[1]) == ("mirrored" in name)


def _small(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((256, 256))
    return picture


def test_a_shared_logo_makes_no_pair():
    first, second = (detect_keypoints(_small(stamped(skin(seed)))) for seed in (7, 8))
    assert align(first, second) is None or align(first, second).agreement < THRESHOLD
    looks = [look(stamped(skin(seed)), str(seed)) for seed in range(40, 60)]
    assert near_duplicates(looks) == []


def test_smooth_photos_without_keypoints_are_told_by_the_whole_frame():
    x, y = np.meshgrid(np.linspace(0, 1, 256), np.linspace(0, 1, 192))
    slope = Image.fromarray((60 + 120 * x + 40 * np.sin(5 * y)).astype(np.uint8)).convert("RGB")
    other = Image.fromarray((60 + 120 * y + 40 * np.sin(5 * x)).astype(np.uint8)).convert("RGB")
    flipped = saved(ImageOps.mirror(slope), 60)
    pairs = near_duplicates([look(slope, "a"), look(other, "b"), look(flipped, "c")])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2)]
    assert "mirrored left to right" in pairs[0].how


def test_the_mirror_of_the_keypoints_is_the_keypoints_of_the_mirror():
    """The fast way (reordering numbers) against the slow one (looking at the mirrored picture)."""
    picture = _small(skin(3))
    fast, slow = mirror(detect_keypoints(picture)), detect_keypoints(ImageOps.mirror(picture))
    distance = np.linalg.norm(fast.points[:, None] - slow.points[None], axis=2)
    near = np.argwhere(distance < 0.5)
    a, b = fast.descriptors[near[:, 0]] / 255.0, slow.descriptors[near[:, 1]] / 255.0
    likeness = np.einsum("ij,ij->i", a, b)
    assert len(near) > 20
    assert np.median(likeness) > 0.97
    assert np.array_equal(mirror(fast).descriptors, detect_keypoints(picture).descriptors)


def test_hash_candidates_are_those_of_a_slow_search(drawn):
    looks = drawn[0][:30]
    found = candidate_pairs(looks)
    hashes = [perceptual_hashes(Image.open(io.BytesIO(each.thumbnail))) for each in looks]
    for i in range(len(looks)):
        for j in range(i + 1, len(looks)):
            near = {
                turn
                for turn in range(len(DIHEDRAL))
                if np.count_nonzero(hashes[i][0] != hashes[j][turn]) <= HASH_BITS - 4
            }
            assert near <= found.get((i, j), set()), (i, j)


def test_equal_files_are_pairs_with_the_first_of_them():
    looks = [look(skin(0), digest) for digest in "abcaba"]
    assert exact_duplicates(looks) == [
        Pair(0, 3, 1.0, "the same file"),
        Pair(1, 4, 1.0, "the same file"),
        Pair(0, 5, 1.0, "the same file"),
    ]
    assert all({pair.first, pair.second} <= {0, 1, 2} for pair in near_duplicates(looks))


def test_the_result_is_the_same_each_time(drawn):
    looks = drawn[0][:40]
    assert near_duplicates(looks, workers=1) == near_duplicates(looks, workers=3)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_photos_for_a_pair(count):
    assert near_duplicates([look(skin(0), "a")] * count) == []
