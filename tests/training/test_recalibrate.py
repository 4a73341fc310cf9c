"""Rules renewed on a checkpoint's own predictions: what is rewritten, what stays, and what the numbers say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

from calcinosis.common.errors import TrainingError
from calcinosis.model.config import SHIPPED, load_config
from calcinosis.model.finding import outcome_of
from calcinosis.training.coverage_curve import Curve, curve_table
from calcinosis.training.evaluate.calibrate import BY_FOLD, UNKNOWN
from calcinosis.training.evaluate.frequencies import count_frequencies, reference_probabilities
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.evaluate.predictions import read_predictions
from calcinosis.training.recalibrate import _thresholds, main, recalibrate, with_sets
from calcinosis.training.report.card import write_card
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


def test_the_shipped_thresholds_are_about_those_at_their_rank_of_the_shipped_predictions() -> None:
    """Within a third of the conditions', which few patients set, since each fold's probabilities were calibrated apart."""
    config, table = load_config(SHIPPED), read_predictions(SHIPPED / "predictions.csv")
    everyone = np.ones(len(table), dtype=bool)
    made = _thresholds(table, config, config.conformal.coverage, everyone, kept=None)
    assert made[:-1] == pytest.approx(list(config.conformal.thresholds[:-1]), rel=1 / 3)
    assert made[-1] == pytest.approx(config.conformal.thresholds[-1], rel=0.05)


def test_the_shipped_sets_are_what_the_thresholds_of_the_folds_make_of_the_shipped_predictions(
    copy: Path,
) -> None:
    config, table = load_config(copy), read_predictions(copy / "predictions.csv")
    by_fold = json.loads((copy / "metrics.json").read_text())["conformal"][BY_FOLD]
    again = with_sets(table, config, config.conformal.coverage, by_fold)
    assert (again.prediction_set == table.prediction_set).all()
    assert again.outcome == table.outcome


def test_more_coverage_names_less_and_leaves_probabilities_alone(copy: Path) -> None:
    before = read_predictions(copy / "predictions.csv")
    metrics = recalibrate(copy, {"other": 0.998})
    after, config = read_predictions(copy / "predictions.csv"), load_config(copy)
    assert {file.name for file in copy.iterdir()} == set(FILES)  # no weights, no graph
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
    differ = again != before.prediction_set  # at its rank, not calibrated anew
    assert (differ.any(axis=1) == differ[:, -1]).all()
    assert differ[:, -1].mean() < 0.003


def test_what_sets_decided_and_cannot_be_made_anew_is_gone_from_figures_and_card(
    copy: Path,
) -> None:
    before = json.loads((copy / "metrics.json").read_text())
    recalibrate(copy, {"other": 0.998})
    after = json.loads((copy / "metrics.json").read_text())
    assert before.keys() - after.keys() == {"repeated", "out_of_distribution"}
    for name in ("watermark", "dermoscopy"):
        assert after[name] == before[name]
    for name in ("leave_source_out", "leave_other_out"):
        for source, block in before[name].items():
            assert block.keys() - after[name][source].keys() == {
                "conformal",
                "outcomes",
                "suggestive",
            }
            assert after[name][source]["auroc"] == block["auroc"]
    write_card(copy)
    card = (copy / "README.md").read_text()
    assert "share refused: not measured." in card
    assert "of the first of these cross-validations alone" not in card


def test_a_coverage_that_the_patients_do_not_support_changes_nothing(copy: Path) -> None:
    kept = {name: (copy / name).read_bytes() for name in FILES}
    with pytest.raises(TrainingError, match="99 calibration patients"):
        recalibrate(copy, {"milium": 0.99})
    assert kept == {name: (copy / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("coverage", [{}, {"other": 0.995}, {"milium": 0.9, "other": 0.995}])
def test_the_checkpoints_own_coverage_is_refused(copy: Path, coverage: dict[str, float]) -> None:
    kept = {name: (copy / name).read_bytes() for name in FILES}
    with pytest.raises(TrainingError, match="already") as caught:
        recalibrate(copy, coverage)
    assert caught.value.code == "nothing_to_change"
    assert kept == {name: (copy / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(
    "wrong", ["other", "other=", "other=99.5", "other=1", "other=0", "other=nan"]
)
def test_a_coverage_that_is_no_share_is_refused_with_the_form_to_give(wrong: str) -> None:
    with pytest.raises(typer.BadParameter, match="LABEL=SHARE"):
        main(SHIPPED, [wrong])


def test_a_mistake_ends_in_one_line_that_names_the_file(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.BadParameter, match="twice"):
        main(copy, ["other=0.99", "other=0.998"])
    (copy / "metrics.json").unlink()
    for folder, named in ((copy, "metrics.json"), (copy / "none", "none")):
        with pytest.raises(typer.Exit):
            main(folder, ["other=0.998"])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert named in line


def test_a_label_that_the_checkpoint_does_not_know_is_named(copy: Path) -> None:
    with pytest.raises(TrainingError, match="no label milum; there are: calcinosis_cutis"):
        recalibrate(copy, {"milum": 0.9})


def test_a_label_unknown_to_a_fold_is_in_no_set_even_beside_its_mimic() -> None:
    table, config = drawn_table(), load_config(SHIPPED)
    p = table.probabilities.copy()
    p[table.fold == 0, 0] = 0
    table = replace(table, probabilities=p / p.sum(axis=1, keepdims=True))
    known = [0.1, 0.1, 0.1, 0.1]
    by_fold = {str(fold): [UNKNOWN, *known[1:]] if fold == 0 else known for fold in range(5)}
    sets = with_sets(table, config, config.conformal.coverage, by_fold).prediction_set
    led_by_tophi = table.argmax == 1
    assert not sets[table.fold == 0, 0].any()
    assert sets[(table.fold != 0) & led_by_tophi, 0].all()
    assert (led_by_tophi & (table.fold == 0)).any()


def test_every_photo_of_the_tests_is_counted_once_in_the_frequencies() -> None:
    table = drawn_table(seed=3)
    prior = (0.1, 0.2, 0.3, 0.4)
    frequencies = count_frequencies([table], prior)
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


def test_rounds_of_tests_are_counted_together_and_patients_once() -> None:
    first, second = drawn_table(seed=3), drawn_table(seed=4)
    again = count_frequencies([first, first], (0.25,) * 4)
    for once, twice in zip(count_frequencies([first], (0.25,) * 4).rows, again.rows, strict=True):
        assert (twice.rounds, twice.photos, twice.right) == (2, 2 * once.photos, 2 * once.right)
        assert (twice.patients, twice.interval, twice.few) == (
            once.patients,
            once.interval,
            once.few,
        )
    both = count_frequencies([first, second], (0.25,) * 4)
    assert sum(row.photos for row in both.rows) == 2 * len(first)
    assert sum(both.photos.values()) == len(first)
    cancers = tuple("Melanoma" if own == 3 else "" for own in first.label)
    tables = [replace(table, source_label=cancers) for table in (first, second)]
    called = [count_frequencies([table], (0.25,) * 4).malignant for table in tables]
    together = count_frequencies(tables, (0.25,) * 4).malignant
    assert together is not None
    assert together.called == sum(found.called for found in called if found) > 0
    assert (together.photos, together.rounds) == ((first.label == 3).sum(), 2)


def test_a_set_that_no_photo_had_has_no_frequency() -> None:
    frequencies = load_config(SHIPPED).frequencies
    assert frequencies is not None
    led = {"calcinosis_cutis": 0.1, "gouty_tophus": 0.7, "milium": 0.1, "other": 0.1}
    assert frequencies.find(["gouty_tophus"], led) is None
    assert frequencies.malignant is not None
    assert frequencies.malignant.photos == 470
    metrics = json.loads((SHIPPED / "metrics.json").read_text())["repeated"]
    assert frequencies.malignant.rounds == metrics["repeats"] == frequencies.rows[0].rounds
    share = find_figure(metrics, "suggestive.other_left_out_malignant")["value"]
    assert frequencies.malignant.called == pytest.approx(470 * metrics["repeats"] * share)


def test_the_curve_in_the_documentation_is_what_the_command_prints() -> None:
    curve = Curve(SHIPPED)
    assert curve_table(curve) in NUMBERS.read_text(encoding="utf-8")
    chosen = curve.choose((0.99, 0.995, 0.998), weight=1.0)
    assert np.median(list(chosen.values())) == 0.995
