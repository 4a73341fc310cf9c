"""The checkpoint that the project ships: it is what its card says, and it reads what it should."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from calcinosis.data.croissant import POOL
from calcinosis.data.locating import resolve
from calcinosis.data.manifest import read_manifest
from calcinosis.model.checkpoint import load_checkpoint
from calcinosis.model.config import SHIPPED, load_config
from calcinosis.model.finding import Finding, outcome_of
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.predictions import read_predictions
from calcinosis.training.run_dir import manifest_digest
from tests.drawings import draw

PHOTOS = os.environ.get("CALCINOSIS_PHOTOS")
MEGABYTES = sum(path.stat().st_size for path in SHIPPED.iterdir()) / 1e6


@pytest.fixture(scope="module")
def reader() -> Predictor:
    return Predictor()


def test_it_is_small_and_says_how_it_was_made() -> None:
    _, config = load_checkpoint()
    assert MEGABYTES <= 15
    assert config.labels == LABELS
    command = config.training["command"]
    assert command.startswith("calcinosis train ")
    assert command in (SHIPPED / "README.md").read_text(encoding="utf-8")
    pool = read_manifest(POOL, labels=LABELS)
    assert sum(config.training["photos"].values()) == len(pool)
    assert config.training["made"] in (SHIPPED / "README.md").read_text(encoding="utf-8")


def test_it_names_the_manifest_that_is_here() -> None:
    digest = load_checkpoint()[1].training["manifest_digest"]
    assert digest == manifest_digest(read_manifest(POOL, labels=LABELS))
    assert digest in (SHIPPED / "README.md").read_text(encoding="utf-8")


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


def test_a_drawn_picture_gets_a_known_finding(reader: Predictor) -> None:
    """A picture that no photograph resembles: any change of weights, transform or rules shows here."""
    finding = Predictor(skip_ood_check=True).read(draw("gouty_tophus", seed=1, size=(640, 480)))
    assert finding.outcome == "uncertain"
    assert finding.prediction_set == ("calcinosis_cutis", "other")
    known = [0.0335, 0.0182, 0.0056, 0.9427]
    assert list(finding.probabilities.values()) == pytest.approx(known, abs=0.02)


def test_drawn_pictures_are_refused_or_left_open(reader: Predictor) -> None:
    """Its detector refuses some of them as no photographs; none is called suggestive."""
    findings = [reader.read(draw(label, seed=1, size=(640, 480))) for label in LABELS]
    assert {finding.outcome for finding in findings} <= {"retake", "out_of_scope", "uncertain"}
    assert [finding.problem for finding in findings].count("out_of_distribution") == 2


@pytest.mark.skipif(PHOTOS is None, reason="CALCINOSIS_PHOTOS names no folder of photographs")
def test_real_photographs_of_every_label_get_findings(reader: Predictor) -> None:
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


REFERENCE = json.loads(
    Path(__file__).with_name("reference_findings.json").read_text(encoding="utf-8")
)
"""Outcome, set and probabilities to six digits, of 50 drawings and 200 photographs (by name alone), as the shipped
checkpoint gave them when it was put in place. For another checkpoint: `python -m tests.reference PHOTOS`."""


@pytest.mark.parametrize("known", REFERENCE["drawn"], ids=lambda known: str(known["seed"]))
def test_drawings_get_the_findings_that_they_always_got(known: dict[str, Any]) -> None:
    predictor = Predictor(skip_ood_check=True, threads=1)
    picture = draw(known["label"], seed=known["seed"], size=tuple(known["size"]))
    assert_as_known(predictor.read(picture), known)


@pytest.mark.skipif(PHOTOS is None, reason="CALCINOSIS_PHOTOS names no folder of photographs")
def test_photographs_get_the_findings_that_they_always_got() -> None:
    predictor = Predictor(threads=1)
    for known in REFERENCE["photos"]:
        finding = predictor.read(Path(PHOTOS or "") / known["file"])
        assert finding.problem == known["problem"]
        assert_as_known(finding, known)


@pytest.mark.skipif(PHOTOS is None, reason="CALCINOSIS_PHOTOS names no folder of photographs")
def test_a_photograph_gets_the_finding_alone_that_it_gets_in_a_folder(reader: Predictor) -> None:
    """Outcome and set the same, probabilities to six digits."""
    photos = [Path(PHOTOS or "") / known["file"] for known in REFERENCE["photos"][::10]]
    found = Predictor(threads=1).read_each(photos, workers=2)
    for photo, one in zip(photos, found, strict=True):
        assert isinstance(one, Finding)
        alone = reader.read(photo)
        assert (one.outcome, one.prediction_set) == (alone.outcome, alone.prediction_set)
        assert one.probabilities == pytest.approx(alone.probabilities, abs=5e-7)


def assert_as_known(finding: Finding, known: dict[str, Any]) -> None:
    """Probabilities to the sixth digit, where the last may be rounded another way by another processor.

    Sets follow from them by the rules, written out slowly here: the rules have changed since then.
    """
    assert finding.probabilities == pytest.approx(known["probabilities"], abs=2e-6)
    if known["outcome"] == "retake":
        assert (finding.outcome, finding.prediction_set) == ("retake", LABELS)
        return
    conformal, p = load_config(SHIPPED).conformal, known["probabilities"]
    leader = max(LABELS, key=lambda label: p[label])
    reaching = [
        label
        for label, threshold in zip(LABELS, conformal.thresholds, strict=True)
        if p[label] >= threshold or label == leader
    ]
    members = {label for label in LABELS if p[label] >= min(p[one] for one in reaching)}
    members |= {LABELS[mimic] for named, mimic in conformal.joined if LABELS[named] == leader}
    assert set(finding.prediction_set) == members
    assert finding.outcome == outcome_of(finding.prediction_set)
