"""Each measure against a library or a slow, obvious twin, with ties and with weights."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from calcinosis.training.evaluate.metrics import kernels as measures


@pytest.fixture(params=range(4))
def drawn(request):
    """Coarse scores (so that there are ties), truth, and integer weights as a resample has."""
    random = np.random.default_rng(request.param)
    rows = 90
    score = np.round(random.random(rows), 2)
    positive = random.random(rows) < 0.15 + 0.5 * score
    weights = random.integers(0, 4, size=(rows, 3)).astype(float)
    weights[:, 0] = 1
    return score, positive, weights


def per_column(weights, function):
    return np.array([function(column) for column in weights.T])


def test_area_under_roc_is_scikit_learns(drawn):
    score, positive, weights = drawn
    expected = per_column(weights, lambda w: oracle.roc_auc_score(positive, score, sample_weight=w))
    np.testing.assert_allclose(measures.area_under_roc(score, positive, weights), expected)


def test_average_precision_is_scikit_learns(drawn):
    score, positive, weights = drawn
    expected = per_column(
        weights, lambda w: oracle.average_precision_score(positive, score, sample_weight=w)
    )
    np.testing.assert_allclose(measures.average_precision(score, positive, weights), expected)


@pytest.mark.parametrize("specificity", [0.8, 0.9, 0.95])
def test_sensitivity_at_tries_every_threshold(drawn, specificity):
    score, positive, weights = drawn

    def slow(w):
        best = 0.0
        for threshold in {*score, np.inf}:
            called = score >= threshold
            if w[~called & ~positive].sum() / w[~positive].sum() >= specificity - 1e-9:
                best = max(best, w[called & positive].sum() / w[positive].sum())
        return best

    result = measures.sensitivity_at(specificity, score, positive, weights)
    np.testing.assert_allclose(result, per_column(weights, slow))


def test_calibration_error_sums_the_gaps_bin_by_bin(drawn):
    score, positive, weights = drawn
    bin_of = measures.equal_mass_bins(score, np.ones(len(score)))

    def slow(w):
        total = 0.0
        for number in set(bin_of):
            here = (bin_of == number) & (w > 0)
            if here.any():
                said = np.average(score[here], weights=w[here])
                found = np.average(positive[here], weights=w[here])
                total += w[here].sum() / w.sum() * abs(said - found)
        return total

    result = measures.calibration_error(score, positive, weights, bin_of)
    np.testing.assert_allclose(result, per_column(weights, slow))


def test_equal_mass_bins_are_quantiles_when_there_are_no_ties():
    confidence = np.random.default_rng(0).permutation(60) / 60
    bins = measures.equal_mass_bins(confidence, np.ones(60), bins=15)
    assert np.bincount(bins).tolist() == [4] * 15
    slow = np.empty(60, dtype=int)
    for number, rows in enumerate(np.array_split(np.argsort(confidence), 15)):
        slow[rows] = number
    np.testing.assert_array_equal(bins, slow)


def test_equal_mass_bins_keep_ties_together_and_follow_weights():
    assert len(set(measures.equal_mass_bins(np.full(30, 0.4), np.ones(30)))) == 1
    # One photo that outweighs the other nine together fills half of the mass alone.
    weights = np.array([9.0, *[1.0] * 9])
    bins = measures.equal_mass_bins(np.linspace(0, 0.9, 10), weights, bins=2)
    assert bins.tolist() == [0, *[1] * 9]


def slow_curve(confidence, loss, w):
    """Coverage and risk at each distinct confidence, most_confident first."""
    points = []
    for threshold in sorted(set(confidence), reverse=True):
        kept = (confidence >= threshold) & (w > 0)
        if kept.any():
            points.append((w[kept].sum() / w.sum(), np.average(loss[kept], weights=w[kept])))
    return points


def test_aurc_averages_the_risk_over_coverages(drawn):
    confidence, wrong, weights = drawn

    def slow(w):
        area, before = 0.0, 0.0
        for coverage, risk in slow_curve(confidence, wrong, w):
            area += (coverage - before) * risk
            before = coverage
        return area

    result = measures.area_under_risk_coverage(confidence, wrong, weights)
    np.testing.assert_allclose(result, per_column(weights, slow))


def test_aurc_without_ties_is_the_mean_risk_of_the_first_photos():
    random = np.random.default_rng(5)
    confidence, wrong = random.random(40), random.random(40) < 0.3
    order = np.argsort(-confidence)
    slow = np.mean([wrong[order[: kept + 1]].mean() for kept in range(40)])
    result = measures.area_under_risk_coverage(confidence, wrong, np.ones((40, 1)))
    np.testing.assert_allclose(result, slow)


def test_augrc_is_the_closed_form_of_traub_et_al(drawn):
    confidence, wrong, weights = drawn

    def closed(w):
        accuracy = np.average(~wrong, weights=w)
        ranking = oracle.roc_auc_score(~wrong, confidence, sample_weight=w)
        return (1 - ranking) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2

    result = measures.area_under_generalised_risk(confidence, wrong, weights)
    np.testing.assert_allclose(result, per_column(weights, closed))


def test_risk_at_keeps_the_smallest_sufficient_share(drawn):
    confidence, wrong, weights = drawn

    def slow(w):
        return next(r for c, r in slow_curve(confidence, wrong, w) if c >= 0.8 - 1e-9)

    result = measures.selective_risk(0.8, confidence, wrong, weights)
    np.testing.assert_allclose(result, per_column(weights, slow))


def test_reweighting_reaches_the_prior_and_refuses_the_impossible():
    label = np.array([0, 0, 1, 2, 2, 2])
    prior = np.array([0.5, 0.2, 0.3])
    weights = np.array([[1, 2, 1, 1, 0, 3], [1, 1, 0, 1, 1, 1]], dtype=float).T
    scaled = measures.reweight_to_prior(label, prior, weights)
    frequencies = [scaled[label == index, 0].sum() for index in range(3)]
    np.testing.assert_allclose(frequencies, prior)
    assert np.isnan(measures.weighted_mean(np.ones(6), scaled)[1])


@pytest.mark.filterwarnings(
    "error", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("truth", [True, False])
def test_one_class_alone_is_undefined_without_a_warning(truth):
    score, positive, weights = np.linspace(0, 1, 5), np.full(5, truth), np.ones((5, 2))
    assert np.isnan(measures.area_under_roc(score, positive, weights)).all()
    assert np.isnan(measures.sensitivity_at(0.9, score, positive, weights)).all()
    nobody = np.zeros((5, 1))
    assert np.isnan(measures.weighted_mean(score, nobody)).all()
