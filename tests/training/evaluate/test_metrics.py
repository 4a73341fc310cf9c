"""The named figures: each one's definition, its interval, and what happens when it has none."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from calcinosis.training.evaluate.metrics.compute import (
    compute_metrics,
    find_figure,
    listed_metrics,
    paired_difference,
)
from calcinosis.training.evaluate.metrics.registry import METRICS, metric_of
from calcinosis.training.evaluate.predictions import (
    PredictionsError,
    read_predictions,
    write_predictions,
)
from tests.training.tables import LABELS, drawn_table

PRIOR = (0.1, 0.2, 0.3, 0.4)
CONTRACT = [
    "balanced_accuracy",
    "three_way_balanced_accuracy",
    *(f"auroc.{label}" for label in LABELS),
    *(f"auroc_lookalike.{label}" for label in LABELS[:3]),
    *(f"average_precision.{label}" for label in LABELS),
    *(f"sensitivity.{label}" for label in LABELS),
    *(f"specificity.{label}" for label in LABELS),
    "ece",
    "brier",
    *(f"conformal.coverage.{label}" for label in LABELS),
    "conformal.mean_set_size",
    "selective.aurc",
    "selective.augrc",
    "selective.risk_at_80",
    "three_way.selective.risk_at_80",
]


@pytest.fixture(scope="module")
def table():
    return drawn_table()


@pytest.fixture(scope="module")
def metrics(table):
    return compute_metrics(table, prior=PRIOR, resamples=200)


def value(metrics, name):
    return find_figure(metrics, name)["value"]


@pytest.mark.parametrize("name", CONTRACT)
def test_every_figure_of_the_contract_lies_in_its_interval(metrics, name):
    figure = find_figure(metrics, name)
    assert {"value", "low", "high", "n"} <= set(figure)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert figure["low"] < figure["high"]
    assert figure["n"] > 0


def test_the_figures_are_plain_json_and_the_seed_decides_them(table, metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert compute_metrics(table, prior=PRIOR, resamples=200) == metrics


def test_a_written_table_gives_the_same_figures(table, metrics, tmp_path):
    write_predictions(table, tmp_path / "predictions.csv")
    again = read_predictions(tmp_path / "predictions.csv")
    assert compute_metrics(again, prior=PRIOR, resamples=200) == metrics


def test_classification_figures_are_scikit_learns(table, metrics):
    truth, called = table.label, table.argmax
    assert value(metrics, "accuracy") == pytest.approx(oracle.accuracy_score(truth, called))
    assert value(metrics, "balanced_accuracy") == pytest.approx(
        oracle.balanced_accuracy_score(truth, called)
    )
    targets = truth < 3
    assert value(metrics, "three_way_balanced_accuracy") == pytest.approx(
        oracle.balanced_accuracy_score(
            truth[targets], table.probabilities[targets, :3].argmax(axis=1)
        )
    )
    for index, label in enumerate(LABELS):
        own = truth == index
        assert value(metrics, f"sensitivity.{label}") == pytest.approx(
            oracle.recall_score(own, called == index)
        )
        assert value(metrics, f"specificity.{label}") == pytest.approx(
            oracle.recall_score(~own, called != index)
        )
    expected = oracle.confusion_matrix(truth, called)
    found = [[metrics["confusion"][a][b] for b in LABELS] for a in LABELS]
    np.testing.assert_array_equal(found, expected)


def test_ranking_figures_are_scikit_learns(table, metrics):
    kind = np.array(table.kind)
    hard = (table.label < 3) | (kind == "lookalike")
    for index, label in enumerate(LABELS):
        score, own = table.probabilities[:, index], table.label == index
        assert value(metrics, f"auroc.{label}") == pytest.approx(oracle.roc_auc_score(own, score))
        assert value(metrics, f"average_precision.{label}") == pytest.approx(
            oracle.average_precision_score(own, score)
        )
        if index < 3:
            assert value(metrics, f"auroc_lookalike.{label}") == pytest.approx(
                oracle.roc_auc_score(own[hard], score[hard])
            )
    assert find_figure(metrics, "auroc.milium")["positives"] == 20


def at_prior(table):
    """Each photo's weight when labels are as frequent as the prior says."""
    return np.array([PRIOR[own] / (table.label == own).sum() for own in table.label])


def test_brier_is_the_sum_of_scikit_learns_at_the_prior(table, metrics):
    expected = sum(
        oracle.brier_score_loss(
            table.label == index, table.probabilities[:, index], sample_weight=at_prior(table)
        )
        for index in range(4)
    )
    assert value(metrics, "brier") == pytest.approx(expected)


def slow_ece(confidence, hit, weights):
    """Fifteen bins of equal mass, photos of one confidence together, one photo at a time."""
    bins = {}
    for p, y, w in zip(confidence, hit, weights, strict=True):
        below = weights[confidence < p].sum() + weights[confidence == p].sum() / 2
        number = min(14, int(below / weights.sum() * 15 + 1e-9))
        bins.setdefault(number, []).append((p, y, w))
    gaps = [abs(sum(w * (p - y) for p, y, w in rows)) for rows in bins.values()]
    return sum(gaps) / weights.sum()


def test_calibration_errors_match_their_slow_twins(table, metrics):
    p = table.probabilities
    for name, weights in (("ece", at_prior(table)), ("ece_unweighted", np.ones(len(table)))):
        slow = [slow_ece(p[:, index], table.label == index, weights) for index in range(4)]
        assert value(metrics, name) == pytest.approx(np.mean(slow))
    top = slow_ece(p.max(axis=1), table.argmax == table.label, at_prior(table))
    assert value(metrics, "ece_top_label") == pytest.approx(top)


def test_probabilities_under_the_prior_are_calibrated_only_at_the_prior():
    """The best possible model, stated under another prior than the pool's: `ece` must be fair."""
    table = drawn_table(counts=(300, 300, 300, 6000))
    signal = np.random.default_rng(1).normal(size=(len(table), 4)) + 1.5 * np.eye(4)[table.label]
    posterior = np.exp(1.5 * signal) * np.array(PRIOR)
    table = replace(table, probabilities=posterior / posterior.sum(axis=1, keepdims=True))
    metrics = compute_metrics(table, prior=PRIOR, resamples=2)
    assert value(metrics, "ece") < 0.03
    assert value(metrics, "ece_unweighted") > 3 * value(metrics, "ece")


def test_conformal_and_selective_figures_count_photo_by_photo(table, metrics):
    sets = table.prediction_set
    for index, label in enumerate(LABELS):
        rows = table.label == index
        expected = sum(sets[row, index] for row in np.flatnonzero(rows)) / rows.sum()
        assert value(metrics, f"conformal.coverage.{label}") == pytest.approx(expected)
    sizes = sets.sum(axis=1)
    assert value(metrics, "conformal.mean_set_size") == pytest.approx(sizes.mean())
    assert value(metrics, "conformal.mean_set_size_prior") == pytest.approx(
        np.average(sizes, weights=at_prior(table))
    )
    p = table.probabilities[table.label < 3, :3]
    p = p / p.sum(axis=1, keepdims=True)
    wrong = p.argmax(axis=1) != table.label[table.label < 3]
    sure = np.sort(p.max(axis=1))[::-1]
    threshold = sure[int(np.ceil(0.8 * len(sure))) - 1]
    assert value(metrics, "three_way.selective.risk_at_80") == pytest.approx(
        wrong[p.max(axis=1) >= threshold].mean()
    )


def test_without_a_prior_the_photos_count_as_they_are(table):
    metrics = compute_metrics(table, prior=None, resamples=20)
    assert metrics["ece"] == metrics["ece_unweighted"]
    assert metrics["prior"] is None


def test_a_subgroup_is_the_block_of_its_photos_alone(table, metrics):
    first = np.array([source == "first" for source in table.source])
    alone = compute_metrics(table.where(first), prior=PRIOR, resamples=200)
    assert metrics["by_source"]["first"]["auroc"] == alone["auroc"]
    assert metrics["by_source"]["first"]["n"] == first.sum()
    assert set(metrics["by_skin_tone"]) == {"ita_estimate:light", "ita_estimate:brown"}


def test_what_cannot_be_computed_is_null_with_its_reason(metrics):
    second = metrics["by_source"]["second"]
    for name in ("auroc.milium", "balanced_accuracy", "ece", "specificity.milium"):
        figure = find_figure(second, name)
        assert figure["value"] is None
        assert figure["low"] is None
        assert figure["high"] is None
        assert figure["reason"]
    assert find_figure(second, "specificity.milium")["reason"] == "nothing but milium here"
    assert find_figure(second, "sensitivity.milium")["value"] is not None
    assert find_figure(second, "sensitivity.other")["n"] == 0


def test_a_handful_of_photos_is_shown_by_its_counts_alone(table):
    source = ("rare",) * 9 + table.source[9:]
    rare = compute_metrics(replace(table, source=source), prior=None, resamples=5)
    assert rare["by_source"]["rare"]["n"] == 9
    assert "sensitivity" not in rare["by_source"]["rare"]


def test_a_perfect_share_is_not_given_a_perfect_interval(table):
    perfect = replace(table, probabilities=np.eye(4)[table.label])
    metrics = compute_metrics(perfect, prior=None, resamples=50)
    share = find_figure(metrics, "sensitivity.calcinosis_cutis")
    assert share["value"] == share["high"] == 1
    assert share["low"] == pytest.approx(6 / (6 + 1.96**2), abs=1e-3)  # 6 groups of 6
    ranking = find_figure(metrics, "auroc.calcinosis_cutis")
    assert ranking["value"] == 1
    assert ranking["low"] is None
    assert "cannot show uncertainty" in ranking["reason"]


def test_the_spellings_of_a_lookalike_are_counted_together(table):
    spelt = ("Xanthomas", "xanthoma", "Xanthomas", "Eczema")
    names = tuple(spelt[row % 4] for row in range(len(table)))
    found = compute_metrics(replace(table, source_label=names), prior=None, resamples=2)
    looks = [i for i, kind in enumerate(table.kind) if kind == "lookalike"]
    rows = found["by_lookalike"]
    assert list(rows) == ["Eczema", "Xanthomas"]
    assert rows["Xanthomas"]["n"] == sum(names[i] != "Eczema" for i in looks)
    groups = {table.group[i] for i in looks if names[i] != "Eczema"}
    assert rows["Xanthomas"]["groups"] == len(groups)


def test_lookalike_errors_are_counted_by_condition(table, metrics):
    row = metrics["by_lookalike"]["condition 1"]
    chosen = [
        i for i in range(len(table))
        if table.kind[i] == "lookalike" and table.source_label[i] == "condition 1"
    ]  # fmt: skip
    assert row["n"] == len(chosen) == sum(row["called"].values())
    wrong = sum(table.argmax[i] != 3 for i in chosen) / len(chosen)
    assert row["taken_for_condition"]["value"] == pytest.approx(wrong)


def test_outcomes_are_counted_by_label(table, metrics):
    counts = metrics["outcomes"]["milium"]
    assert sum(counts.values()) == 20
    assert counts["suggestive"] == sum(
        o == "suggestive" for o, own in zip(table.outcome, table.label, strict=True) if own == 2
    )


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.5, 0.5, 0.5, -0.5), (0.3, 0.3, 0.3, 0.3)])
def test_a_prior_that_is_none_is_refused(table, prior):
    with pytest.raises(ValueError, match="prior"):
        compute_metrics(table, prior=prior, resamples=2)


def test_an_empty_table_is_refused(table):
    with pytest.raises(PredictionsError, match="no photo"):
        compute_metrics(table.where(np.zeros(len(table), dtype=bool)), prior=None)


def test_a_paired_difference_is_narrower_than_its_two_figures(table):
    random = np.random.default_rng(0)
    p = table.probabilities * np.exp(random.normal(scale=0.3, size=table.probabilities.shape))
    other = replace(table, probabilities=p / p.sum(axis=1, keepdims=True))
    shuffled = other.where(random.permutation(len(table)))
    difference = paired_difference(table, shuffled, "auroc.milium", resamples=200)
    one, two = (compute_metrics(t, prior=None, resamples=200) for t in (table, other))
    assert difference["value"] == pytest.approx(
        value(one, "auroc.milium") - value(two, "auroc.milium")
    )
    single = find_figure(one, "auroc.milium")
    assert difference["high"] - difference["low"] < single["high"] - single["low"]


def test_a_table_does_not_differ_from_itself(table):
    for name in ("brier", "sensitivity_at_specificity.milium.0.90", "conformal.coverage.other"):
        difference = paired_difference(table, table, name, prior=PRIOR, resamples=20)
        assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)


def test_a_difference_over_a_handful_of_patients_has_no_interval(table):
    few = table.where((table.label != 2) | (np.arange(len(table)) < 12 + 14 + 8))
    assert len({g for g, own in zip(few.group, few.label, strict=True) if own == 2}) == 4
    difference = paired_difference(few, few, "auroc.milium", resamples=20)
    assert (difference["value"], difference["low"]) == (0, None)
    assert "fewer than 5" in difference["reason"]
    named = replace(few, prediction_set=few.prediction_set | (np.arange(4) == 2))
    for pair in ((few, named), (named, few)):  # the rarer of both counts
        assert paired_difference(*pair, "conformal.coverage.milium", resamples=20)["low"] is None


def test_unlike_tables_and_unknown_figures_are_refused(table):
    with pytest.raises(PredictionsError, match="other photos"):
        paired_difference(table, table.where(table.label > 0), "ece")
    with pytest.raises(PredictionsError, match="group differs"):
        paired_difference(table, replace(table, group=table.file), "ece")
    with pytest.raises(KeyError, match="no figure is named"):
        paired_difference(table, table, "auroc.wart", resamples=2)
    with pytest.raises(KeyError, match="no figure is named"):
        paired_difference(table, table, "charm", resamples=2)


def test_what_is_called_suggestive_is_counted_as_a_slow_loop_counts_it():
    drawn = drawn_table()
    names = ["Melanoma" if row % 7 == 0 else "Eczema" for row in range(len(drawn))]
    sites = ["ear" if row % 2 else "" for row in range(len(drawn))]
    first = drawn.prediction_set.copy()
    first[:4] = [True, True, False, False]
    first[-28:-24] = [
        True,
        True,
        False,
        False,
    ]  # a deposit is a finding: of what is something else, a false one
    outcome = [
        "uncertain" if row.sum() > 1 else ("out_of_scope" if row[3] else "suggestive")
        for row in first
    ]
    table = replace(
        drawn, source_label=tuple(names), prediction_set=first, outcome=tuple(outcome),
        body_site=tuple(sites),
    )  # fmt: skip
    metrics = compute_metrics(table, prior=PRIOR, resamples=50)
    others, wrong, cancers, missed, only_conditions = 0, 0, 0, 0, 0
    for label, name, row, said in zip(table.label, names, first, outcome, strict=True):
        others += label == 3
        named = said == "suggestive" or row.tolist() == [True, True, False, False]
        wrong += label == 3 and named
        cancers += name == "Melanoma"
        missed += name == "Melanoma" and named
        only_conditions += name == "Melanoma" and not row[3]
    assert value(metrics, "suggestive.false_rate") == pytest.approx(wrong / others)
    assert value(metrics, "suggestive.false_rate_malignant") == pytest.approx(missed / cancers)
    left_out = value(metrics, "suggestive.other_left_out_malignant")
    assert left_out == pytest.approx(only_conditions / cancers)
    for index, label in enumerate(LABELS[:3]):
        called = [n for n, row in enumerate(first) if row.sum() == 1 and row[index]]
        right = sum(table.label[n] == index for n in called)
        assert value(metrics, f"suggestive.count.{label}") == len(called)
        assert value(metrics, f"suggestive.precision.{label}") == pytest.approx(right / len(called))
    pairs = [n for n, row in enumerate(first) if row.tolist() == [True, True, False, False]]
    shown = sum(table.label[n] < 2 for n in pairs)
    assert value(metrics, "suggestive.count.deposit") == len(pairs) >= 4
    assert value(metrics, "suggestive.precision.deposit") == pytest.approx(shown / len(pairs))
    assert set(metrics["by_body_site"]) == {"ear"}
    assert metrics["by_body_site"]["ear"]["n"] == sites.count("ear")


def test_each_metric_is_registered_once_with_all_that_report_and_card_need():
    listed = listed_metrics()
    assert listed[0].name == "suggestive.precision"
    for metric in listed:
        assert metric.title
        assert metric_of(f"{metric.name}.milium") is metric
    assert {metric.name for metric in listed} < set(METRICS)
