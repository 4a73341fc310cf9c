"""What was known before the photo: Bayes' rule on the prior, with sources, and the set left alone."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcinosis.model.context import known_contexts, prior_given
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.model.words import all_sources
from tests.drawings import draw

EVEN = (0.25,) * 4
NAMES = tuple(known_contexts())


@pytest.fixture(scope="module")
def reader(tiny_checkpoint: Path) -> Predictor:
    return Predictor(tiny_checkpoint)


def test_nothing_known_leaves_the_prior() -> None:
    assert prior_given([], (0.1, 0.2, 0.3, 0.4)) == (0.1, 0.2, 0.3, 0.4)


def test_bayes_rule_is_what_one_works_out_by_hand() -> None:
    after = prior_given(["systemic_sclerosis", "general_practice"], EVEN)
    odds = 0.005 * 65
    assert after[0] == pytest.approx(odds / (odds + 0.01 + 0.1 + 0.885))
    assert 0.2 < after[0] < 0.3, "about the quarter of people with systemic sclerosis who have it"


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_any_context_gives_chances_or_says_why_not(context: list[str]) -> None:
    groups = [known_contexts()[name].group for name in context]
    if groups.count("setting") > 1 or groups.count("site") > 1:
        with pytest.raises(ValueError, match="one setting and one site"):
            prior_given(context, EVEN)
        return
    prior = prior_given(context, EVEN)
    assert math.isclose(sum(prior), 1)
    assert all(0 < chance < 1 for chance in prior)


@pytest.mark.parametrize("context", [["moonlight"], ["gout", "gout"], ["face", "ear"]])
def test_what_is_not_known_or_twice_is_refused(context: list[str]) -> None:
    with pytest.raises(ValueError, match=r"context|nothing twice"):
        prior_given(context, EVEN)


def test_other_peoples_labels_have_no_context() -> None:
    with pytest.raises(ValueError, match="own labels"):
        prior_given(["gout"], (0.5, 0.5), ("wart", "other"))


def test_every_number_says_where_it_comes_from() -> None:
    for known in known_contexts().values():
        assert set(known.factors) == set(LABELS)
        assert known.basis in ("derived", "illustrative")
        assert known.sources or known.basis == "illustrative"
        assert set(known.sources) <= set(all_sources())


def test_the_probabilities_move_and_the_prediction_set_does_not(reader: Predictor) -> None:
    photo = draw("gouty_tophus", size=(320, 300))
    plain = reader.read(photo)
    known = Predictor(reader.checkpoint, context=["rheumatology_clinic", "gout"]).read(photo)
    assert known.prediction_set == plain.prediction_set
    assert known.probabilities["gouty_tophus"] > plain.probabilities["gouty_tophus"]
    moved = {
        label: plain.probabilities[label] / before * after
        for label, before, after in zip(
            LABELS, EVEN, prior_given(["rheumatology_clinic", "gout"], EVEN), strict=True
        )
    }
    for label in LABELS:
        share = moved[label] / sum(moved.values())
        assert known.probabilities[label] == pytest.approx(share, rel=1e-4)
    with pytest.raises(ValueError, match="prior or a context"):
        Predictor(reader.checkpoint, prior=EVEN, context=["gout"])
