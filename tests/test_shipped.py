"""The checkpoint that the project ships: it is what its card says, and it reads what it should."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from calcinosis.data.croissant import POOL
from calcinosis.data.manifest import read_manifest, resolve
from calcinosis.model.checkpoint import SHIPPED, load_checkpoint
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Reader
from calcinosis.training.evaluate.metrics.registry import compute_metrics
from calcinosis.training.evaluate.predictions import read_predictions

from tests.drawings import draw

PHOTOS = os.environ.get("CALCINOSIS_PHOTOS")
MEGABYTES = sum(path.stat().st_size for path in SHIPPED.iterdir()) / 1e6


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def test_it_is_small_and_says_how_it_was_made() -> None:
    _, config = load_checkpoint()
    assert MEGABYTES <= 30
    assert config.labels == LABELS
    command = config.training["command"]
    assert command.startswith("calcinosis train ")
    assert command in (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert sum(config.training["photos"].values()) > 4000


def test_its_figures_follow_from_its_predictions() -> None:
    """What the card states was computed from the table beside it, by the code that is here."""
    metrics = json.loads((SHIPPED / "metrics.json").read_text(encoding="utf-8"))
    predictions = read_predictions(SHIPPED / "predictions.csv")
    again = compute_metrics(predictions, prior=metrics["prior"], resamples=10)
    for name in ("balanced_accuracy", "three_way_balanced_accuracy", "ece", "brier"):
        assert again[name]["value"] == pytest.approx(metrics[name]["value"], abs=1e-9)
    for label in LABELS[:3]:
        found, stated = again["auroc"][label]["value"], metrics["auroc"][label]["value"]
        assert found == pytest.approx(stated, abs=1e-9)


def test_no_patient_was_split() -> None:
    predictions = read_predictions(SHIPPED / "predictions.csv")
    folds = {}
    for group, fold in zip(predictions.group, predictions.fold.tolist(), strict=True):
        assert folds.setdefault(group, fold) == fold


def test_a_drawn_picture_gets_a_known_finding(reader: Reader) -> None:
    """A picture that no photograph resembles: any change of weights, transform or rules shows here."""
    finding = Reader(any_picture=True).read(draw("gouty_tophus", seed=1, size=(640, 480)))
    assert finding.outcome == "out_of_scope"
    assert finding.prediction_set == ("other",)
    known = [0.0077, 0.0025, 0.0287, 0.9611]
    assert list(finding.probabilities.values()) == pytest.approx(known, abs=0.02)


def test_a_drawn_picture_is_refused_as_no_photograph(reader: Reader) -> None:
    for label in LABELS:
        finding = reader.read(draw(label, seed=1, size=(640, 480)))
        assert (finding.outcome, finding.problem) == ("retake", "unfamiliar")


@pytest.mark.skipif(PHOTOS is None, reason="CALCINOSIS_PHOTOS names no folder of photographs")
def test_real_photographs_of_every_label_get_findings(reader: Reader) -> None:
    """They were learnt from, so this measures nothing; it shows that the whole way works."""
    root = Path(PHOTOS or "")
    rows = read_manifest(POOL, labels=LABELS)
    right: Counter[str] = Counter()
    for label in LABELS:
        for row in [row for row in rows if row.label == label][:8]:
            finding = reader.read(resolve(root, row))
            assert sum(finding.probabilities.values()) == pytest.approx(1)
            right[label] += label in finding.prediction_set
    assert all(right[label] >= 6 for label in LABELS), right
