"""OODDetector: the cosine to the mean, what it refuses, and that nothing is said of what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from calcinosis.data.synthetic import draw
from calcinosis.model.config import CONFIG
from calcinosis.model.labels import LABELS
from calcinosis.model.ood import OODDetector
from calcinosis.model.predictor import Predictor
from calcinosis.training.evaluate.calibrate import centre_of, fit_ood_detector
from tests.drawings import write_tiny_checkpoint


def test_the_cosine_is_that_of_the_textbook() -> None:
    random = np.random.default_rng(0)
    centre, vectors = random.normal(size=5), random.normal(size=(7, 5))
    found = OODDetector(centre=tuple(centre), threshold=0.1).cosines(vectors)
    for cosine, vector in zip(found, vectors, strict=True):
        lengths = np.sqrt(sum(v * v for v in vector)) * np.sqrt(sum(c * c for c in centre))
        assert cosine == pytest.approx(sum(vector * centre) / lengths)


def test_the_bound_leaves_out_the_share_asked_for_of_held_out_photos() -> None:
    random = np.random.default_rng(1)
    embeddings = 3 + random.normal(size=(1000, 8))
    other_half = OODDetector(centre=centre_of(embeddings[::2]), threshold=0.0)
    fitted = fit_ood_detector(embeddings, other_half.cosines(embeddings), 0.99)
    assert (~fitted.in_distribution(embeddings)).mean() == pytest.approx(0.01, abs=0.003)
    assert not fitted.in_distribution(-embeddings).any()
    assert np.array(fitted.centre) == pytest.approx(embeddings.mean(axis=0), rel=1e-3)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValidationError):
        OODDetector(centre=(1.0, float("nan")), threshold=0.5)


def with_familiarity(folder: Path, sign: float) -> Path:
    """A tiny checkpoint to which drawings are familiar (1) or the very opposite (-1)."""
    write_tiny_checkpoint(folder)
    embedding = (
        Predictor(folder)
        .backend.forward_with_cam(
            np.stack([Predictor(folder).config.preprocessing.array(draw("milium", 3, (320, 240)))])
        )
        .embedding[0]
    )
    config = json.loads((folder / CONFIG).read_text())
    config["ood"] = {"centre": (sign * embedding).tolist(), "threshold": 0.5}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_a_familiar_photo_is_read(tmp_path: Path) -> None:
    photo = draw("milium", 3, (320, 240))
    expected = Predictor(write_tiny_checkpoint(tmp_path / "without")).read(photo)
    found = Predictor(with_familiarity(tmp_path / "with", 1)).read(photo)
    assert found == expected


def test_of_an_unfamiliar_photo_nothing_is_said(tmp_path: Path) -> None:
    reader = Predictor(with_familiarity(tmp_path, -1))
    finding = reader.read(draw("milium", 3, (320, 240)))
    assert (finding.outcome, finding.problem) == ("retake", "out_of_distribution")
    assert finding.prediction_set == LABELS
    assert set(finding.probabilities.values()) == {0.25}
    assert finding.heat_map is None
    assert "clinician" in finding.advice
    assert "learnt from" in finding.headline


def test_what_looks_like_dermoscopy_is_refused_by_name(tmp_path: Path) -> None:
    photo = draw("milium", 3, (320, 240))
    write_tiny_checkpoint(tmp_path)
    embedding = Predictor(tmp_path).backend.forward_with_cam(
        Predictor(tmp_path).config.preprocessing.array(photo)[None]
    ).embedding[0]  # fmt: skip
    for bias, problem in ((-0.5, "dermoscopy"), (-1.5, None)):
        config = json.loads((tmp_path / CONFIG).read_text())
        own = (embedding / np.linalg.norm(embedding)).tolist()
        config["dermoscopy"] = {"weights": own, "bias": bias}
        (tmp_path / CONFIG).write_text(json.dumps(config))
        finding = Predictor(tmp_path).read(photo)
        assert finding.problem == problem
        assert (finding.outcome == "retake") == (problem is not None)
        assert Predictor(tmp_path, skip_ood_check=True).read(photo).problem is None
