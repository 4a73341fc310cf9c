"""The decision rules, by property: whatever the network says, the finding ends at a clinician."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calcinosis.model.decision import decide, retake_finding
from calcinosis.model.finding import (
    OUTCOMES,
    Coverage,
    Finding,
    outcome_of,
    shown_probabilities,
)
from calcinosis.model.frequencies import DangerousLookalikes, Frequencies, Frequency
from calcinosis.model.labels import LABELS, OTHER
from calcinosis.model.quality import QualityIssue
from calcinosis.model.words import languages, words
from calcinosis.training.evaluate.bootstrap import wilson_interval

KEYS = ["outcome", "probabilities", "prediction_set", "reasons", "advice", "checkpoint"]
ADDED = ["coverage", "frequency", "problem", "version"]
PRIOR = dict.fromkeys(LABELS, 0.25)
PROBLEMS = [
    QualityIssue("too_small", {"side": 20, "minimum": 96, "third": 32}),
    QualityIssue("too_dark", {}),
    QualityIssue("too_bright", {}),
    QualityIssue("blank", {}),
]


def shares(labels: tuple[str, ...] = LABELS) -> st.SearchStrategy[dict[str, float]]:
    """Any probabilities over the labels."""
    weights = st.lists(st.floats(0, 1e6), min_size=len(labels), max_size=len(labels))
    return weights.filter(lambda w: sum(w) > 0).map(
        lambda w: dict(zip(labels, (np.array(w) / sum(w)).tolist(), strict=True))
    )


def sets(labels: tuple[str, ...] = LABELS) -> st.SearchStrategy[list[str]]:
    """Any prediction set, in the order of the labels."""
    chosen = st.sets(st.sampled_from(labels), min_size=1)
    return chosen.map(lambda members: [label for label in labels if label in members])


def covered(share: float = 0.9, labels: tuple[str, ...] = LABELS) -> dict[str, Coverage]:
    """The same promise of every label."""
    return dict.fromkeys(labels, Coverage(share))


def everything_said(finding: Finding) -> str:
    return " ".join([*finding.summary, *finding.reasons, finding.advice])


def check_that_it_defers(finding: Finding, language: str) -> None:
    say = words(language)
    assert say("deferral.statement") in finding.advice
    assert say("deferral.red_flags") in finding.advice


def check_that_it_claims_nothing(finding: Finding) -> None:
    """English only: no diagnosis is given and none is ruled out."""
    said = everything_said(finding).lower()
    assert not re.search(r"\byou(r lump| probably| likely)? (have|suffer)\b", said)
    assert not re.search(r"\b(it|this|the lump) is (a |an )?(calcinosis|gouty|milium)", said)
    assert not re.search(
        r"\b(benign|malignant|harmless|no need|nothing to worry|definitely)\b", said
    )
    for sentence in re.split(r"[.;] ?", said):
        if re.search(r"\brul(e|es|ed|ing) (\w+ ){0,4}out\b", sentence):
            assert re.search(r"\b(cannot|never|neither|not|no)\b", sentence), sentence


@given(prediction_set=sets())
def test_the_outcome_follows_the_set_alone(prediction_set: list[str]) -> None:
    expected = "uncertain"
    if prediction_set == [OTHER]:
        expected = "out_of_scope"
    elif len(prediction_set) == 1:
        expected = "suggestive"
    assert outcome_of(prediction_set) == expected
    assert expected in OUTCOMES


def test_an_empty_set_has_no_outcome() -> None:
    with pytest.raises(ValueError, match="never empty"):
        outcome_of([])
    with pytest.raises(ValueError, match="never empty"):
        decide(PRIOR, [], prior=PRIOR, coverage=covered(), checkpoint="tiny")


@given(shares(), shares(), shares(), sets(), st.floats(0.5, 0.999))
def test_every_finding_defers_and_claims_nothing(
    probabilities: dict[str, float],
    others: dict[str, float],
    prior: dict[str, float],
    prediction_set: list[str],
    coverage: float,
) -> None:
    for language in languages():
        finding = decide(
            probabilities,
            prediction_set,
            prior=prior,
            coverage=covered(coverage),
            checkpoint="tiny",
            language=language,
        )
        check_that_it_defers(finding, language)
        if language == "en":
            check_that_it_claims_nothing(finding)
        for label in prediction_set:
            assert words(language).settle(label) in finding.advice
        assert finding.outcome == outcome_of(prediction_set)
        assert finding.prediction_set == tuple(prediction_set)
        assert finding.reasons
        assert sum(finding.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert "{" not in everything_said(finding), "every place in a sentence is filled"
        again = decide(
            others,
            prediction_set,
            prior=prior,
            coverage=covered(coverage),
            checkpoint="tiny",
            language=language,
        )
        assert (again.outcome, again.headline, again.advice) == (
            finding.outcome,
            finding.headline,
            finding.advice,
        )


@given(prior=shares(), problem=st.sampled_from(PROBLEMS))
def test_a_photo_that_cannot_be_used_changes_nothing(
    prior: dict[str, float], problem: QualityIssue
) -> None:
    for language in languages():
        finding = retake_finding(problem, prior=prior, checkpoint="tiny", language=language)
        check_that_it_defers(finding, language)
        if language == "en":
            check_that_it_claims_nothing(finding)
        assert finding.outcome == "retake"
        assert finding.probabilities == prior
        assert finding.prediction_set == LABELS
        assert finding.heat_map is None
        assert finding.reasons
        assert "{" not in everything_said(finding)
        assert finding.remedy == words(language)(f"quality.{problem.code}.advice")
        assert finding.advice.startswith(finding.remedy)


@pytest.mark.parametrize("language", languages())
def test_of_several_photos_that_are_refused_each_gets_its_reason(language: str) -> None:
    say = words(language)
    finding = retake_finding(
        PROBLEMS[1],
        prior=PRIOR,
        checkpoint="tiny",
        refused={1: PROBLEMS[1], 2: PROBLEMS[2], 3: PROBLEMS[1]},
        language=language,
    )
    check_that_it_defers(finding, language)
    assert finding.headline == say("outcomes.retake_all")
    assert finding.summary == (finding.headline, *finding.notes)
    for number, code in enumerate(("too_dark", "too_bright", "too_dark"), 1):
        assert str(number) in finding.notes[number - 1]
        assert say(f"quality.{code}.reason") in finding.notes[number - 1]
        assert finding.advice.count(say(f"quality.{code}.advice")) == 1
    assert "{" not in everything_said(finding)


def test_the_reason_of_a_retake_says_what_was_measured() -> None:
    finding = retake_finding(PROBLEMS[0], prior=PRIOR, checkpoint="tiny")
    assert "20" in finding.headline
    assert "96" in finding.headline


@given(shares(), sets())
def test_json_holds_what_the_design_names(
    probabilities: dict[str, float], prediction_set: list[str]
) -> None:
    finding = decide(
        probabilities, prediction_set, prior=PRIOR, coverage=covered(), checkpoint="tiny"
    )
    told = json.loads(json.dumps(finding.as_json(), allow_nan=False))
    assert list(told) == KEYS + ADDED
    assert list(told["probabilities"]) == list(LABELS)
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert told["prediction_set"] == prediction_set
    assert told["checkpoint"] == "tiny"
    assert words()("deferral.statement") in told["advice"]
    assert told["reasons"][0] == finding.headline


def test_json_of_a_retake_has_the_same_shape() -> None:
    told = retake_finding(PROBLEMS[1], prior=PRIOR, checkpoint="tiny").as_json()
    assert list(told) == KEYS + ADDED
    assert told["prediction_set"] == list(LABELS)


@pytest.mark.parametrize(
    "prior", [PRIOR, dict(zip(LABELS, (0.002, 0.003, 0.015, 0.98), strict=True))]
)
def test_the_prior_is_stated(prior: dict[str, float]) -> None:
    finding = decide(PRIOR, [OTHER], prior=prior, coverage=covered(), checkpoint="tiny")
    said = " ".join(finding.reasons)
    for label, chance in prior.items():
        assert f"{words().label(label)} {chance:.3g}" in said
    assert (words()("reasons.still") in said) == (prior != PRIOR)


def test_a_chance_that_is_tiny_is_stated_without_a_power_of_ten() -> None:
    prior = dict(zip(LABELS, (0.0000422, 0.01, 0.4, 0.5899578), strict=True))
    for finding in (
        decide(PRIOR, [OTHER], prior=prior, coverage=covered(), checkpoint="tiny"),
        retake_finding(PROBLEMS[0], prior=prior, checkpoint="tiny"),
    ):
        said = " ".join(finding.reasons)
        assert f"{words().label(LABELS[0])} <0.001, {words().label(LABELS[1])} 0.01," in said
        assert "e-05" not in said


def test_the_coverage_is_stated() -> None:
    finding = decide(PRIOR, ["milium"], prior=PRIOR, coverage=covered(0.95), checkpoint="tiny")
    assert "95\u00a0%" in " ".join(finding.reasons)


@pytest.mark.parametrize(
    ("language", "labels", "headline"),
    [
        ("en", LABELS[:2], "calcinosis cutis and gouty tophus remain possible."),
        ("en", LABELS[1:], "gouty tophus, milium and something else remain possible."),
        ("es", LABELS[:2], "siguen siendo posibles calcinosis cutis y tofo gotoso."),
        ("es", LABELS[1:], "siguen siendo posibles tofo gotoso, quiste de milium y otra cosa."),
    ],
)
def test_the_headline_reads_well_for_two_labels_and_for_more(
    language: str, labels: tuple[str, ...], headline: str
) -> None:
    finding = decide(
        PRIOR, labels, prior=PRIOR, coverage=covered(), checkpoint="tiny", language=language
    )
    assert finding.headline.endswith(f": {headline}")


@settings(max_examples=50)
@given(data=st.data())
def test_labels_of_ones_own_fall_back_to_general_words(data: st.DataObject) -> None:
    labels = ("wart_of_the_foot", "{curly}", "keloid", OTHER)
    probabilities = data.draw(shares(labels))
    prediction_set = data.draw(sets(labels))
    prior = data.draw(shares(labels))
    for language in languages():
        finding = decide(
            probabilities,
            prediction_set,
            prior=prior,
            coverage=covered(0.9, labels),
            checkpoint="theirs",
            frequencies=frequencies_of(1, 2, (OTHER,)),
            language=language,
        )
        check_that_it_defers(finding, language)
        assert finding.danger == "", "a label of theirs may be a cancer that it knows"
        said = everything_said(finding)
        assert "wart of the foot" in said, "the prior names every label"
        assert "wart_of_the_foot" not in said
        assert not re.search("calcinosis|milium|gouty", said), "nothing of the labels we ship"
        if language == "en":
            check_that_it_claims_nothing(finding)
    retake = retake_finding(PROBLEMS[0], prior=prior, checkpoint="theirs")
    assert retake.prediction_set == labels


def frequencies_of(right: int, photos: int, prediction_set: tuple[str, ...]) -> Frequencies:
    """A table of one row for a set that its first label leads."""
    leader = prediction_set[0]
    named_label = leader if leader != OTHER else OTHER
    shown = dict.fromkeys(LABELS, 0) | {OTHER: photos - right}
    shown[named_label] = right if named_label != OTHER else photos
    row = Frequency(
        prediction_set=prediction_set,
        leader=leader,
        low=0,
        high=1,
        photos=photos,
        patients=photos,
        shown=shown,
        interval=wilson_interval(right, photos),
    )
    return Frequencies(
        photos=dict.fromkeys(LABELS, 5) | {OTHER: 85},
        rows=(row,),
        malignant=DangerousLookalikes(photos=277, patients=263, called=2),
    )


LED = {label: 0.97 if label == "milium" else 0.01 for label in LABELS}


def milium(frequencies: Frequencies | None, language: str = "en") -> Finding:
    return decide(
        LED,
        ["milium"],
        prior=PRIOR,
        coverage=covered(),
        checkpoint="tiny",
        frequencies=frequencies,
        language=language,
    )


@pytest.mark.parametrize("language", languages())
def test_the_number_comes_first_where_it_was_seldom_right(language: str) -> None:
    say = words(language)
    often = milium(frequencies_of(55, 56, ("milium",)), language)
    assert often.headline == say("outcomes.suggestive", label=say.label("milium"))
    assert often.summary == (often.headline, often.mimic, often.frequency_text, often.danger)
    assert "56" in often.frequency_text
    assert "55" in often.frequency_text
    seldom = milium(frequencies_of(4, 24, ("milium",)), language)
    assert seldom.headline.startswith(seldom.frequency_text)
    assert "24" in seldom.headline
    assert say("outcomes.suggestive", label=say.label("milium")) not in " ".join(seldom.summary)
    assert seldom.summary.count(seldom.frequency_text) == 0, "the number is said once"
    for finding in (often, seldom):
        assert finding.mimic == say.mimic("milium")
        assert "277" in finding.danger
        assert finding.as_json()["frequency"]["photos"] == finding.frequency.photos


@given(st.integers(0, 60), st.integers(1, 60), shares(), sets())
def test_no_text_claims_more_than_its_numbers(
    right: int, photos: int, probabilities: dict[str, float], prediction_set: list[str]
) -> None:
    right = min(right, photos)
    table = frequencies_of(right, photos, tuple(prediction_set))
    for language in languages():
        say = words(language)
        finding = decide(
            probabilities,
            prediction_set,
            prior=PRIOR,
            coverage=covered(),
            checkpoint="tiny",
            frequencies=table,
            language=language,
        )
        said = " ".join(finding.summary)
        assert "{" not in said
        assert not re.search(r"\b(only one|the only|excluded|at least|al menos|única)\b", said)
        if language == "en":
            check_that_it_claims_nothing(finding)
        if finding.outcome == "suggestive":
            bold = say("outcomes.suggestive", label=say.label(prediction_set[0])) in said
            low = finding.frequency.interval[0] if finding.frequency else 0.0
            assert bold == (low >= 0.5 and photos >= 5)
        if finding.frequency is None:
            assert finding.frequency_text == say("frequency.none")
        elif photos < 5:
            assert finding.frequency_text == say("frequency.few", photos=photos)
        for number in re.findall(r"\d+", finding.frequency_text.split("(")[0]):
            assert int(number) in {
                photos,
                *finding.frequency.shown.values(),
                finding.frequency.right,
            }


@pytest.mark.parametrize("language", languages())
def test_what_looks_like_none_of_them_rules_out_none_and_says_among_whom(language: str) -> None:
    say = words(language)
    for table in (frequencies_of(0, 40, (OTHER,)), None):
        finding = decide(
            PRIOR,
            [OTHER],
            prior=PRIOR,
            coverage=covered(),
            checkpoint="tiny",
            frequencies=table,
            language=language,
        )
        absent = say("reasons.out_of_scope", labels=say.listing(LABELS[:3], "or"))
        assert absent in finding.summary
        assert any("85" in note and "100" in note for note in finding.notes) == bool(table)
        assert not set(finding.notes) & set(finding.reasons), "it is said once"


@given(shares(), st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_no_probability_is_shown_that_its_patients_do_not_support(
    probabilities: dict[str, float], patients: list[int]
) -> None:
    promised = {
        label: Coverage(0.9, 0.8, count) for label, count in zip(LABELS, patients, strict=True)
    }
    shown = shown_probabilities(probabilities, promised)
    assert list(shown) == list(LABELS)
    for label, p in probabilities.items():
        few = promised[label].patients < 30
        assert 0.01 <= shown[label].value <= 0.99
        if few:
            assert 0.05 <= shown[label].value <= 0.95
        if min(patients) < 30:
            assert shown[label].value <= 0.95
        if not shown[label].bound:
            assert shown[label].value == p
        elif shown[label].bound == "below":
            assert p < shown[label].value
        else:
            assert p > shown[label].value


@pytest.mark.parametrize("language", languages())
def test_calcinosis_and_tophus_are_named_as_a_deposit_with_both_tests(language: str) -> None:
    say = words(language)
    led = {label: 0.97 if label == "gouty_tophus" else 0.01 for label in LABELS}
    pair = ["calcinosis_cutis", "gouty_tophus"]
    finding = decide(
        led, pair, prior=PRIOR, coverage=covered(), checkpoint="tiny", language=language
    )
    assert finding.outcome == "uncertain"
    assert finding.headline == say("outcomes.deposit", labels=say.listing(pair))
    assert finding.mimic == say.mimic("gouty_tophus")
    for label in pair:
        assert say.settle(label) in finding.advice


def test_the_lower_bound_stands_beside_the_nominal_coverage() -> None:
    promised = covered() | {"gouty_tophus": Coverage(0.9, 0.793, 21)}
    finding = decide(PRIOR, [OTHER], prior=PRIOR, coverage=promised, checkpoint="tiny")
    said = " ".join(finding.reasons)
    assert "21 patients" in said
    assert "79.3\u00a0%" in said
    assert "approximation" in said
    told = finding.as_json()["coverage"]["gouty_tophus"]
    assert told == {"nominal": 0.9, "lower": 0.793, "patients": 21}


def test_patients_too_few_for_a_bound_are_no_promise_of_all() -> None:
    promised = covered() | {"milium": Coverage(0.9, None, 8)}
    finding = decide(PRIOR, ["milium", OTHER], prior=PRIOR, coverage=promised, checkpoint="tiny")
    said = " ".join(finding.reasons)
    assert "For milium there were too few patients for a bound: the list always holds it." in said
    assert "as low as" not in said
    assert said.count("too few patients") == 1


def test_a_mimic_that_is_kept_beside_a_likelier_absentee_is_explained() -> None:
    probabilities = dict(zip(LABELS, (0.01, 0.7, 0.09, 0.2), strict=True))
    kept = ["calcinosis_cutis", "gouty_tophus", OTHER]
    even = dict.fromkeys(LABELS, 0.25)
    for language in ("en", "es"):
        say = words(language)
        explained = say("reasons.mimic", kept=say.label(kept[0]), label=say.label(kept[1]))
        for prediction_set, said in ((kept, True), ([*kept, "milium"], False)):
            finding = decide(
                probabilities,
                prediction_set,
                prior=even,
                coverage=covered(),
                checkpoint="tiny",
                language=language,
            )
            assert (explained in finding.reasons) == said


@pytest.mark.parametrize("language", languages())
def test_what_several_rounds_of_tests_counted_is_told_as_that(language: str) -> None:
    say = words(language)
    once = frequencies_of(right=7, photos=24, prediction_set=("milium",))
    row = once.rows[0].model_copy(update={"rounds": 4})
    assert once.malignant is not None
    malignant = once.malignant.model_copy(update={"rounds": 4})
    told = milium(once.model_copy(update={"rows": (row,), "malignant": malignant}), language)
    counts = {"rounds": 4, "photos": 24, "patients": 24, "right": 7, "low": 14, "high": 50}
    milia = {"label": say.label("milium"), **counts}
    assert told.frequency_text == say("frequency.named_in_rounds", **milia)
    assert told.danger == say("danger.known_in_rounds", rounds=4, photos=277, called=2)
    few = row.model_copy(update={"photos": 19, "shown": row.shown})
    told = milium(once.model_copy(update={"rows": (few,)}), language)
    assert told.frequency_text == say("frequency.few_in_rounds", photos=19, rounds=4)


def test_an_interval_is_rounded_outward() -> None:
    row = Frequency(
        prediction_set=(OTHER,),
        leader=OTHER,
        low=0,
        high=1,
        photos=931,
        patients=905,
        shown={OTHER: 931},
        interval=(0.9958, 1.0),
    )
    finding = decide(
        dict(zip(LABELS, (0.1, 0.1, 0.1, 0.7), strict=True)),
        [OTHER],
        prior=PRIOR,
        coverage=covered(),
        checkpoint="tiny",
        frequencies=Frequencies(photos={OTHER: 931}, rows=(row,)),
    )
    assert "99 to 100" in finding.frequency_text
