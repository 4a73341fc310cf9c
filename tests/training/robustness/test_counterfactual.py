"""The pull of a watermark and of a source."""

from dataclasses import replace

import numpy as np
import pytest
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.predictions import PredictionsError
from calcinosis.training.robustness.counterfactual import leave_one_source_out, watermark_effect

from tests.training.tables import drawn_table


def test_a_mark_that_pushes_is_told_from_one_that_shakes():
    random = np.random.default_rng(0)
    before = random.uniform(0.2, 0.8, 400)
    group = [str(row // 2) for row in range(400)]
    pushed = watermark_effect(before, before + 0.1, group, resamples=200)
    assert pushed["mean_change"]["value"] == pytest.approx(0.1)
    assert pushed["mean_absolute_change"]["value"] == pytest.approx(0.1)
    shaken = watermark_effect(before, before + random.normal(0, 0.05, 400), group, resamples=200)
    assert shaken["mean_change"]["low"] < 0 < shaken["mean_change"]["high"]
    assert shaken["mean_absolute_change"]["low"] > 0.03
    assert shaken["mean_change"]["n"] == 400


def test_the_direction_is_after_minus_before():
    effect = watermark_effect(np.full(9, 0.5), np.full(9, 0.2), list("abcdefghi"), resamples=20)
    assert effect["mean_change"]["value"] == pytest.approx(-0.3)


@pytest.mark.parametrize(
    ("before", "after", "group"),
    [([0.1], [0.1, 0.2], ["a"]), ([0.1], [0.1], []), ([], [], []), ([1.2], [0.1], ["a"]),
     ([np.nan], [0.1], ["a"])],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(before, after, group):
    with pytest.raises(ValueError, match=r"probability|photo"):
        watermark_effect(np.array(before), np.array(after), group)


def test_each_left_out_source_is_measured_on_what_could_be_learnt():
    table = drawn_table()
    split = {
        name: table.where(np.array([source == name for source in table.source]))
        for name in ("first", "second")
    }
    blocks = leave_one_source_out(split, prior=None, resamples=30)
    # Only the second source shares a label (milium) with the first.
    assert blocks["second"]["not_learnt"] == {}
    assert blocks["second"]["sensitivity"]["milium"]["n"] == len(split["second"])
    assert blocks["first"]["not_learnt"] == {
        "calcinosis_cutis": 12, "gouty_tophus": 14, "other": 120,
    }  # fmt: skip
    assert (
        blocks["first"]["label_counts"]["milium"] == blocks["first"]["sensitivity"]["milium"]["n"]
    )
    alone = compute_metrics(split["second"], prior=None, resamples=30)
    assert blocks["second"]["sensitivity"] == alone["sensitivity"]


def test_one_source_or_unlike_labels_are_refused():
    table = drawn_table()
    with pytest.raises(PredictionsError, match="two sources"):
        leave_one_source_out({"only": table}, prior=None)
    renamed = replace(table, labels=("a", "b", "c", "other"))
    with pytest.raises(PredictionsError, match="same labels"):
        leave_one_source_out({"first": table, "second": renamed}, prior=None)
