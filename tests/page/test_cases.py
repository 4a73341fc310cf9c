"""Worked cases: what is stored of them is what the decision code says, in every language, with its answer."""

from html import unescape

import numpy as np
import pytest

from calcinosis.model.config import SHIPPED, load_config
from calcinosis.model.finding import outcome_of
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.model.words import languages
from calcinosis.page.cases import cases, finding_of, refusal_of, worked_cases
from calcinosis.page.findings import Reader
from calcinosis.page.words import unbroken, words


@pytest.fixture
def told_with(reader: Predictor) -> Reader:
    return Reader(reader.config, reader.prior.tolist())


def test_the_stored_sets_are_what_the_shipped_checkpoint_decides() -> None:
    conformal = load_config(SHIPPED).conformal
    for name, case in worked_cases().items():
        assert sum(case["probabilities"].values()) == pytest.approx(1)
        assert tuple(case["probabilities"]) == LABELS
        values = np.array([list(case["probabilities"].values())])
        members = conformal.prediction_sets(values)[0]
        decided = [label for label, member in zip(LABELS, members, strict=True) if member]
        assert decided == case["prediction_set"], name


def test_there_are_six_of_every_kind(told_with: Reader) -> None:
    table = worked_cases()
    assert len(table) == 6
    outcomes = {outcome_of(case["prediction_set"]) for case in table.values()}
    assert outcomes == {"suggestive", "uncertain", "out_of_scope"}
    refused = [case for case in table.values() if "problem" in case]
    assert [refusal_of(case, told_with, "en").outcome for case in refused] == ["retake"]


@pytest.mark.parametrize("language", languages())
def test_each_is_told_by_the_decision_and_ends_with_a_question_and_its_answer(
    told_with: Reader, language: str
) -> None:
    html = unescape(cases(told_with, language))
    say = words(language)
    assert html.count('<svg class="cc-drawing"') == 6
    assert html.count(say("cases.made_up")) == 6
    for name, case in worked_cases().items():
        assert str(say.table["cases"][name]["question"]) in html
        assert str(say.table["cases"][name]["answer"]) in html
        assert case["sources"]
        assert unbroken(finding_of(case, told_with, language).headline) in html
    assert html.count(say("deferral.statement")) == 7


def test_other_peoples_labels_have_no_cases(told_with: Reader) -> None:
    config = told_with.config.model_copy(update={"labels": ("wart", "a", "b", "other")})
    assert cases(Reader(config, told_with.prior), "en") == ""
