"""From a photo to a finding: the same however the photo is handed over, and by whichever thread."""

import io
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calcinosis.common.errors import CheckpointError, PhotoError
from calcinosis.model.conformal import Conformal
from calcinosis.model.finding import Finding, HeatMap
from calcinosis.model.heatmap import overlay
from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from tests.drawings import draw, encode, write_tiny_checkpoint

ROOT = Path(__file__).parents[2]
RARE = (0.001, 0.004, 0.015, 0.98)


@pytest.fixture(scope="module")
def reader(tiny_checkpoint: Path) -> Predictor:
    return Predictor(tiny_checkpoint)


def assert_same(found: Finding, expected: Finding) -> None:
    assert found == expected
    assert (found.heat_map is None) == (expected.heat_map is None)
    if found.heat_map and expected.heat_map:
        assert found.heat_map.label == expected.heat_map.label
        assert found.heat_map.box == expected.heat_map.box
        assert np.array_equal(found.heat_map.cam, expected.heat_map.cam)


@pytest.mark.parametrize(
    ("label", "seed", "outcome"),
    [
        ("calcinosis_cutis", 104, "suggestive"),
        ("gouty_tophus", 101, "suggestive"),
        ("milium", 106, "suggestive"),
        ("other", 101, "out_of_scope"),
    ],
)
def test_a_known_picture_gives_a_known_finding(
    reader: Predictor, label: str, seed: int, outcome: str
) -> None:
    finding = reader.read(draw(label, seed))
    assert finding.outcome == outcome
    assert finding.prediction_set == (label,)
    assert finding.probabilities[label] > 0.9
    assert finding.checkpoint == "tiny"


def test_labels_that_cannot_be_excluded_make_a_finding_uncertain(tmp_path: Path) -> None:
    conformal = Conformal(coverage=0.9, thresholds=(0.0, 0.2, 0.2, 0.2))
    reader = Predictor(write_tiny_checkpoint(tmp_path, conformal=conformal))
    finding = reader.read(draw("milium", seed=106))
    assert finding.outcome == "uncertain"
    assert finding.prediction_set == ("calcinosis_cutis", "milium")


def test_the_tiny_network_tells_drawn_labels_apart(reader: Predictor) -> None:
    pictures = [(label, draw(label, seed)) for label in LABELS for seed in range(100, 110)]
    right = 0
    for label, picture in pictures:
        probabilities = reader.read(picture).probabilities
        right += max(LABELS, key=lambda name: probabilities[name]) == label
    assert right >= 30  # of 40


def test_a_path_its_bytes_and_its_picture_give_the_same_finding(
    reader: Predictor, tmp_path: Path
) -> None:
    content = encode(draw("milium", seed=5), "JPEG")
    path = tmp_path / "Milie – 1.jpg"
    path.write_bytes(content)
    expected = reader.read(path)
    assert expected.heat_map
    assert_same(reader.read(str(path)), expected)
    assert_same(reader.read(content), expected)
    assert_same(reader.read(open_photo(path)), expected)
    with Image.open(path) as picture:
        assert_same(reader.read(picture), expected)


def test_a_picture_that_someone_else_opened_is_turned_and_made_rgb(reader: Predictor) -> None:
    upright = draw("gouty_tophus", seed=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(encode(upright.rotate(90, expand=True), exif=exif)))
    assert_same(reader.read(turned), reader.read(upright))
    assert_same(reader.read(upright.convert("RGBA")), reader.read(upright))
    assert_same(reader.read(upright.convert("L")), reader.read(upright.convert("L").convert("RGB")))


def test_reading_again_gives_the_same_finding(reader: Predictor, tiny_checkpoint: Path) -> None:
    photo = draw("calcinosis_cutis", seed=4)
    expected = reader.read(photo)
    assert_same(reader.read(photo), expected)
    assert_same(Predictor(tiny_checkpoint).read(photo), expected)


def test_several_threads_get_the_findings_of_one(reader: Predictor) -> None:
    photos = [encode(draw(label, seed)) for label in LABELS for seed in range(4)]
    photos.append(encode(Image.new("RGB", (20, 20))))
    expected = [reader.read(photo) for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(2):
            for found, one in zip(pool.map(reader.read, photos), expected, strict=True):
                assert_same(found, one)


@pytest.mark.parametrize("prior", [RARE, [9, 1, 1, 1], np.array([1.0, 2.0, 3.0, 40.0])])
def test_a_prior_moves_the_probabilities_and_leaves_the_set(
    reader: Predictor, tiny_checkpoint: Path, prior: tuple[float, ...]
) -> None:
    other_reader = Predictor(tiny_checkpoint, prior=prior)
    chances = np.array(prior) / np.sum(prior)
    for label in LABELS:
        photo = draw(label, seed=110)  # of which the network is not certain
        plain, moved = reader.read(photo), other_reader.read(photo)
        assert moved.prediction_set == plain.prediction_set
        assert moved.outcome == plain.outcome
        joint = np.array(list(plain.probabilities.values())) * chances
        assert list(moved.probabilities.values()) == pytest.approx(joint / joint.sum(), rel=1e-6)
        assert math.fsum(moved.probabilities.values()) == pytest.approx(1)


def test_the_checkpoints_prior_holds_unless_another_is_given(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "rare", prior=RARE)
    photo = draw("milium", seed=8)
    assert Predictor(folder).read(photo) == Predictor(folder, prior=RARE).read(photo)
    assert Predictor(folder).read(photo) != Predictor(folder, prior=(1, 1, 1, 1)).read(photo)


@pytest.mark.parametrize("prior", [(), (1, 1, 1), (0, 0, 0, 0), (1, 1, 1, -1)])
def test_what_is_no_prior_is_refused(tiny_checkpoint: Path, prior: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="prior"):
        Predictor(tiny_checkpoint, prior=prior)


def test_an_unusable_photo_gets_the_prior_and_every_label(reader: Predictor) -> None:
    for photo in (
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (300, 300)),
        Image.new("RGB", (300, 300), "white"),
        draw("milium", size=(400, 95)),
    ):
        finding = reader.read(photo)
        assert finding.outcome == "retake"
        assert finding.prediction_set == LABELS
        assert list(finding.probabilities.values()) == [0.25] * 4
        assert finding.heat_map is None


def test_photos_read_together_share_the_mean_of_their_logits(reader: Predictor) -> None:
    photos = [draw("milium", seed=106), draw("other", seed=101), draw("gouty_tophus", seed=101)]
    unusable = Image.new("RGB", (300, 300))
    finding = reader.predict_group([*photos, unusable])
    with torch.no_grad():
        logits = [
            reader.network(reader.config.preprocessing(photo)[None])[0].tolist() for photo in photos
        ]
    mean = [sum(values) / len(photos) for values in zip(*logits, strict=True)]
    weights = [math.exp(value / reader.config.calibration.temperature) for value in mean]
    expected = [weight / math.fsum(weights) for weight in weights]
    assert list(finding.probabilities.values()) == pytest.approx(expected, abs=1e-4)
    again = reader.predict_group([unusable, *reversed(photos)])
    assert again.prediction_set == finding.prediction_set
    assert list(again.probabilities.values()) == pytest.approx(expected, abs=1e-4)


def test_one_photo_read_together_is_one_photo(reader: Predictor) -> None:
    photo = draw("milium", seed=106)
    assert_same(reader.predict_group([photo]), reader.read(photo))
    with pytest.raises(ValueError, match="photo"):
        reader.predict_group([])


def test_photos_that_are_all_unusable_ask_for_another(reader: Predictor) -> None:
    finding = reader.predict_group([Image.new("RGB", (300, 300)), Image.new("RGB", (10, 10))])
    assert finding.outcome == "retake"
    assert finding.prediction_set == LABELS


def test_a_heat_map_is_the_conditions_activation_map_beyond_the_mean(reader: Predictor) -> None:
    photo = draw("other", seed=101)
    finding = reader.read(photo)
    assert finding.heat_map
    conditions = {label: p for label, p in finding.probabilities.items() if label != "other"}
    assert finding.heat_map.label == max(conditions, key=lambda label: conditions[label])
    with torch.no_grad():
        cam = reader.network.forward_with_cam(reader.config.preprocessing(photo)[None]).cam[0]
    own = LABELS.index(finding.heat_map.label)
    height, width = cam.shape[1:]
    excess = {
        (y, x): float(cam[own, y, x]) - sum(float(e[y, x]) for e in cam) / len(LABELS)
        for y in range(height)
        for x in range(width)
    }
    most = max(excess.values())
    assert most > 0
    assert finding.heat_map.cam.shape == (height, width)
    for (y, x), value in excess.items():
        assert finding.heat_map.cam[y, x] == pytest.approx(max(value, 0) / most, abs=1e-5)


def test_a_heat_map_covers_the_square_that_the_network_saw(reader: Predictor) -> None:
    finding = reader.read(draw("gouty_tophus", size=(300, 200)))
    assert finding.heat_map
    assert finding.heat_map.box == (50, 0, 250, 200)
    assert finding.heat_map.label in LABELS[:3]
    assert overlay(draw("gouty_tophus", size=(300, 200)), finding.heat_map).size == (200, 200)


def test_a_heat_map_is_laid_over_its_photo_as_a_slow_reading_of_its_colours_says() -> None:
    stops = [(0, 0, 0), (170, 20, 40), (240, 120, 30), (255, 240, 150)]
    cam = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    photo = draw("milium", size=(16, 16))
    laid = overlay(photo, HeatMap("milium", cam, (0, 0, 16, 16)))
    for y, x in np.ndindex(16, 16):
        strength = float(cam[y, x])
        first = min(int(3 * strength), 2)
        part = 3 * strength - first
        for channel, shown in enumerate(laid.getpixel((x, y))):
            heat = (1 - part) * stops[first][channel] + part * stops[first + 1][channel]
            before = photo.getpixel((x, y))[channel]
            assert shown == pytest.approx(
                (1 - 0.6 * strength) * before + 0.6 * strength * heat, abs=2
            )


def test_what_is_no_photo_is_a_typed_error_with_the_files_name(
    reader: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("no picture")
    with pytest.raises(PhotoError, match=r"notes\.jpg") as caught:
        reader.read(path)
    assert caught.value.code == "not_an_image"
    with pytest.raises(PhotoError) as caught:
        reader.read(b"")
    assert caught.value.code == "empty"


def test_a_checkpoint_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        Predictor(tmp_path / "nowhere")
    assert caught.value.code == "missing_checkpoint"


def test_a_language_that_is_not_there_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="tlh"):
        Predictor(tiny_checkpoint, language="tlh")


def test_a_jpeg_without_its_end_mark_is_read_and_the_finding_says_so(tiny_checkpoint: Path) -> None:
    whole = encode(draw("milium", size=(320, 288)), "JPEG", quality=90)
    for language, words in (("en", "end mark"), ("es", "marca final")):
        predictor = Predictor(tiny_checkpoint, language=language)
        expected, found = predictor.read(whole), predictor.read(whole[:-2])
        assert found.probabilities == expected.probabilities
        assert not any(words in reason for reason in expected.reasons)
        assert words in found.reasons[-1]
        assert predictor.read(open_photo(whole[:-2])) == found
        small = encode(draw("milium", size=(60, 60)), "JPEG", quality=90)
        expected, found = predictor.read(small), predictor.read(small[:-2])
        assert found.outcome == "retake"
        assert found.reasons[:-1] == expected.reasons
        assert words in found.reasons[-1]


_AFTERWARDS = """if True:
    import atexit, io, os, sys, threading
    from calcinosis.model.predictor import Predictor
    from tests.drawings import draw

    predictor, photo = Predictor(threads=2, skip_ood_check=True), draw("milium", 3, (320, 240))
    said = predictor.read(photo).outcome
    child = os.fork()
    if not child:
        os._exit(0 if predictor.read(photo).outcome == said else 1)
    assert os.waitpid(child, 0)[1] == 0
    atexit.register(lambda: print(predictor.read(photo).outcome == said))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_process_and_an_ending_one_read_as_well() -> None:
    """Where a thread that waits for work would be missing, or take none any more."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _AFTERWARDS],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
