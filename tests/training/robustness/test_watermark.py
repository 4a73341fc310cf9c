"""The counterfactual effect of a watermark."""

import numpy as np
import pytest

from calcinosis.training.robustness.watermark import watermark_effect


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
