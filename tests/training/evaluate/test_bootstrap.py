"""Intervals: what is drawn, and how wide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from calcinosis.training.evaluate.bootstrap import (
    group_resamples,
    groups_worth,
    percentile_interval,
    wilson_interval,
)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(share):
    successes, trials = share
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, trials), expected, atol=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(successes, trials):
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(successes, trials)


def test_groups_are_worth_fewer_the_less_alike_their_weights():
    assert groups_worth(["a", "b", "a", "b"]) == 2
    assert groups_worth(["a", "b", "c"], [1.0, 1.0, 0.0]) == 2
    assert 1 < groups_worth([0, 1, 1, 1, 1]) < 2


def test_groups_are_drawn_whole_and_the_chunking_changes_nothing():
    group = ["a", "b", "a", "c", "b", "a"]
    chunk_size = next(group_resamples(group, resamples=7, seed=3, chunk_size=7))
    in_parts = np.hstack(list(group_resamples(group, resamples=7, seed=3, chunk_size=3)))
    np.testing.assert_array_equal(chunk_size, in_parts)
    np.testing.assert_array_equal(chunk_size[0], chunk_size[2])
    np.testing.assert_array_equal(chunk_size[0], chunk_size[5])
    np.testing.assert_array_equal(chunk_size[[0, 1, 3]].sum(axis=0), 3)


def test_grouped_photos_give_a_wider_interval_than_single_ones():
    value = np.repeat(np.random.default_rng(0).random(20), 10)

    def width(group):
        weights = next(group_resamples(group, resamples=500, seed=0, chunk_size=500))
        low, high = percentile_interval(value @ weights / weights.sum(axis=0))
        return high - low

    together = [str(row // 10) for row in range(200)]
    alone = [str(row) for row in range(200)]
    assert width(together) > 2 * width(alone)


def test_percentile_interval_holds_the_middle_and_refuses_mostly_undefined():
    low, high = percentile_interval(np.arange(1001, dtype=float))
    assert (low, high) == pytest.approx((25, 975))
    assert percentile_interval(np.array([1.0] * 90 + [np.nan] * 10)) is None
    assert percentile_interval(np.array([])) is None
