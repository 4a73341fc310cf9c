"""The audit's single findings: off-topic pictures, contradicted labels, what tells the label besides skin."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from calcinosis.data.audit.confounding import confounding, merged, predictability_from, source_alone
from calcinosis.data.audit.folders import folder_mismatches
from calcinosis.data.audit.off_topic import THRESHOLD, off_topic_scores, warmth
from calcinosis.data.audit.scan import ScannedPhoto
from calcinosis.data.manifest import Row
from tests.data.drawing import embed, skin, slide, stamped, x_ray


def looks_of(pictures):
    vectors = embed(pictures)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    looks = []
    for i, (picture, vector) in enumerate(zip(pictures, vectors, strict=True)):
        small = picture.copy()
        small.thumbnail((256, 256))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=92)
        looks.append(
            ScannedPhoto(
                row=i,
                width=picture.width,
                height=picture.height,
                digest=str(i),
                hashes=np.zeros((8, 64), bool),
                thumbnail=stream.getvalue(),
                embedding=vector.astype(np.float32),
            )
        )
    return looks


def a_row(i, label="other", source="a", source_label="", url="", file=""):
    return Row(file or f"{i}.jpg", label, source, f"g{i}", source_label=source_label, url=url)


def test_x_rays_and_slides_stand_out_among_skin_of_every_tone():
    pictures = [skin(i) for i in range(90)] + [x_ray(i) for i in range(3)] + [slide(1), slide(2)]
    scores = off_topic_scores(looks_of(pictures))
    assert set(np.argsort(-scores)[:5]) == set(range(90, 95))
    assert scores[90:].min() > THRESHOLD
    assert (scores[:90] > THRESHOLD).mean() < 0.05


def test_dark_skin_is_as_warm_as_light_skin():
    tones = [(232, 190, 172), (198, 134, 96), (141, 85, 54), (96, 57, 38), (60, 35, 24)]
    shares = warmth(looks_of([Image.new("RGB", (64, 64), tone) for tone in tones]))
    assert shares.tolist() == [1.0] * len(tones)
    assert warmth(looks_of([x_ray(0)]))[0] < 0.02


def test_among_a_few_photos_nothing_is_usual():
    assert off_topic_scores(looks_of([skin(0), x_ray(0)])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("row", "score"),
    [
        (a_row(0, "milium", source_label="milia", url="https://a.example/miliaria/1.jpg"), 1.0),
        (a_row(0, source_label="xanthomas", url="https://a.example/anthrax/1.jpg"), 0.5),
        (a_row(0, "milium", file="gouty tophus/1.jpg"), 1.0),
        (a_row(0, "milium", source_label="milia", url="https://a.example/milia-face/1.jpg"), None),
        (a_row(0, "milium", source_label="Milium", file="milia/1.jpg"), None),
        (a_row(0, "milium", file="camera 2/1.jpg"), None),
        (a_row(0, "milium", url="https://a.example/show?id=3"), None),
        (a_row(0, file="gouty tophus/1.jpg"), None),
    ],
)
def test_a_label_that_its_folder_contradicts(row, score):
    found = folder_mismatches([row])
    assert [mismatch.score for mismatch in found] == ([] if score is None else [score])


def test_a_folder_that_holds_everything_contradicts_nothing():
    names = ["acne", "eczema", "psoriasis", "melanoma", "lupus", "scabies", "vitiligo"]
    rows = [
        a_row(i, source_label=f"{names[i % 7]} {chr(97 + i // 7) * 4}", url="https://a.x/upload/1")
        for i in range(28)
    ]
    assert folder_mismatches(rows) == []


def test_what_the_source_alone_tells_is_counted_right():
    rows = [a_row(i, "milium", "web") for i in range(6)]
    rows += [a_row(i, "milium", "atlas") for i in range(6, 8)]
    rows += [a_row(i, "other", "atlas") for i in range(8, 16)]
    figures = source_alone(rows)
    assert figures["balanced_accuracy"] == pytest.approx((6 / 8 + 1) / 2)
    assert figures["auroc"]["milium"] == pytest.approx(
        roc_auc_score([1] * 8 + [0] * 8, [1] * 6 + [0] * 10)
    )
    alone = [a_row(i, label) for i, label in enumerate(["milium", "other"] * 5)]
    assert source_alone(alone)["explained"] == pytest.approx(0, abs=1e-9)
    assert source_alone(alone)["auroc"]["milium"] == 0.5


def test_a_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    rows = [a_row(i, "milium" if i % 2 else "other") for i in range(200)]
    groups = [row.group for row in rows]
    noise = rng.normal(size=(200, 12))
    told = noise.copy()
    told[:, 3] += [3 * (row.label == "milium") for row in rows]
    assert predictability_from(told, rows, groups)["auroc"]["milium"] > 0.95
    assert predictability_from(noise, rows, groups)["auroc"]["milium"] == pytest.approx(
        0.5, abs=0.12
    )


def test_a_probe_cannot_learn_a_group_by_heart():
    """Each group's own noise tells its label, so only a split through groups would score."""
    rng = np.random.default_rng(1)
    labels = ["milium" if g % 2 else "other" for g in range(30)]
    rows = [a_row(i, labels[i // 8]) for i in range(240)]
    groups = [f"g{i // 8}" for i in range(240)]
    own = np.repeat(rng.normal(size=(30, 400)), 8, axis=0) + 0.01 * rng.normal(size=(240, 400))
    assert predictability_from(own, rows, groups)["auroc"]["milium"] < 0.75
    assert predictability_from(own, rows, [str(i) for i in range(240)])["auroc"]["milium"] > 0.99


def test_places_that_overlap_are_one_place():
    boxes = [(0.1, 0.1, 0.2, 0.2), (0.8, 0.8, 0.9, 0.9), (0.3, 0.1, 0.4, 0.2), (0.15, 0, 0.35, 0.3)]
    assert merged(boxes) == [(0.8, 0.8, 0.9, 0.9), (0.1, 0.0, 0.4, 0.3)]
    assert merged([]) == []


def test_a_label_with_too_few_groups_is_left_out():
    rows = [a_row(i, "milium" if i < 4 else "other") for i in range(40)]
    assert predictability_from(np.zeros((40, 2)), rows, [row.group for row in rows]) is None


def test_masking_a_mark_everywhere_takes_away_what_it_told():
    marked = [i % 2 == 0 for i in range(60)]
    looks = looks_of(
        [stamped(skin(i), colour="cyan") if m else skin(i) for i, m in enumerate(marked)]
    )
    rows = [a_row(i, "other" if m else "milium") for i, m in enumerate(marked)]
    place = (0.02, 0.7, 0.5, 0.95)
    figures = confounding(
        looks,
        rows,
        [row.group for row in rows],
        [place],
        {i: [place] for i, m in enumerate(marked) if m},
    )
    assert figures["mark_place"]["auroc"]["milium"] > 0.9
    assert figures["blur"]["auroc"]["milium"] > 0.75
    assert figures["blur_masked_everywhere"]["auroc"]["milium"] < 0.7
