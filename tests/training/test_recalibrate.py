"""Rules renewed on a checkpoint's own predictions: what is rewritten, what stays, and what the numbers say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.model.config import GRAPH, SHIPPED, WEIGHTS, load_config
from calcinosis.model.finding import outcome_of
from calcinosis.training.coverage_curve import Curve, curve_table
from calcinosis.training.evaluate.frequencies import count_frequencies, reference_probabilities
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.evaluate.predictions import read_predictions
from calcinosis.training.recalibrate import recalibrate
from tests.training.tables import drawn_table

NUMBERS = Path(__file__).parents[2] / "docs" / "numbers.md"
FILES = ("config.json", "metrics.json", "predictions.csv")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped checkpoint without its weights, with few resamples."""
    for name in FILES:
        shutil.copy(SHIPPED / name, tmp_path / name)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"resamples": 5}))
    return tmp_path


def test_the_shipped_rules_are_what_the_command_makes_of_the_shipped_predictions(
    copy: Path,
) -> None:
    recalibrate(copy, {"other": 0.995})
    for name in ("config.json", "predictions.csv"):
        assert (copy / name).read_bytes() == (SHIPPED / name).read_bytes(), name
    assert not (copy / WEIGHTS).exists()
    assert not (copy / GRAPH).exists()


def test_more_coverage_names_less_and_leaves_probabilities_alone(copy: Path) -> None:
    before = read_predictions(copy / "predictions.csv")
    metrics = recalibrate(copy, {"other": 0.998})
    after, config = read_predictions(copy / "predictions.csv"), load_config(copy)
    assert (after.probabilities == before.probabilities).all()
    assert (after.prediction_set[:, -1] >= before.prediction_set[:, -1]).all()
    assert config.conformal.coverage == (0.9, 0.9, 0.9, 0.998)
    assert find_figure(metrics, "conformal.coverage.other")["value"] == pytest.approx(
        0.998, abs=0.001
    )
    assert find_figure(metrics, "suggestive.count.milium")["value"] < 43
    for row, outcome in zip(after.prediction_set, after.outcome, strict=True):
        held = [label for label, member in zip(after.labels, row, strict=True) if member]
        assert outcome == outcome_of(held)
    recalibrate(copy, {"other": 0.995})
    again = read_predictions(copy / "predictions.csv").prediction_set
    assert (again == before.prediction_set).mean() > 0.999  # at its rank, not calibrated anew


def test_a_coverage_that_the_patients_do_not_support_changes_nothing(copy: Path) -> None:
    with pytest.raises(TrainingError, match="99 calibration patients"):
        recalibrate(copy, {"milium": 0.99})
    for name in ("config.json", "predictions.csv"):
        assert (copy / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_every_photo_of_the_tests_is_counted_once_in_the_frequencies() -> None:
    table = drawn_table(seed=3)
    prior = (0.1, 0.2, 0.3, 0.4)
    frequencies = count_frequencies(table, prior)
    assert sum(row.photos for row in frequencies.rows) == len(table)
    assert sum(frequencies.photos.values()) == len(table)
    assert frequencies.malignant is None
    reference = reference_probabilities(table, prior)
    assert reference * prior / (reference * prior).sum(axis=1, keepdims=True) == pytest.approx(
        table.probabilities
    )
    found = dict.fromkeys(range(len(frequencies.rows)), 0)
    for p, members in zip(reference, table.prediction_set, strict=True):
        held = [label for label, member in zip(table.labels, members, strict=True) if member]
        row = frequencies.find(held, dict(zip(table.labels, p.tolist(), strict=True)))
        assert row is not None
        found[frequencies.rows.index(row)] += 1
    assert list(found.values()) == [row.photos for row in frequencies.rows]
    for row in frequencies.rows:
        assert sum(row.shown.values()) == row.photos
        assert row.interval[0] <= row.right / row.photos <= row.interval[1]
        assert row.patients <= row.photos


def test_a_set_that_no_photo_had_has_no_frequency() -> None:
    frequencies = load_config(SHIPPED).frequencies
    assert frequencies is not None
    led = {"calcinosis_cutis": 0.1, "gouty_tophus": 0.7, "milium": 0.1, "other": 0.1}
    assert frequencies.find(["gouty_tophus"], led) is None
    assert frequencies.malignant is not None
    assert frequencies.malignant.called == 1
    assert frequencies.malignant.photos == 470


def test_the_curve_in_the_documentation_is_what_the_command_prints() -> None:
    curve = Curve(SHIPPED)
    assert curve_table(curve) in NUMBERS.read_text(encoding="utf-8")
    chosen = curve.choose((0.99, 0.995, 0.998), weight=1.0)
    assert np.median(list(chosen.values())) == 0.995
