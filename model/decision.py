"""The decision, from probabilities to a finding in words. Every outcome ends at a clinician."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from calcinosis.model.finding import (
    DEPOSIT,
    Coverage,
    Finding,
    HeatMap,
    outcome_of,
    shown_probabilities,
)
from calcinosis.model.frequencies import Frequencies, Frequency, named
from calcinosis.model.labels import LABELS, OTHER, conditions
from calcinosis.model.quality import QualityIssue
from calcinosis.model.words import Words, words


def decide(
    probabilities: Mapping[str, float],
    prediction_set: Sequence[str],
    *,
    prior: Mapping[str, float],
    coverage: Mapping[str, Coverage],
    checkpoint: str,
    frequencies: Frequencies | None = None,
    heat_maps: Sequence[HeatMap | None] = (None,),
    left_out: Mapping[int, QualityIssue] = MappingProxyType({}),
    language: str = "en",
) -> Finding:
    """The finding for a usable photo, or for several of one lesion together.

    Args:
        probabilities: calibrated, under `prior`.
        prediction_set: the labels that remain.
        prior: what the probabilities assume.
        coverage: what the set promises, of each label.
        checkpoint: its name.
        frequencies: how often it was right before.
        heat_maps: one per photo.
        left_out: which photos of several, counted from 1, are not in it, and why.
        language: of the words.
    """
    say = words(language)
    outcome = outcome_of(prediction_set)
    reference = {
        label: p / prior[label] if prior[label] > 0 else 0.0 for label, p in probabilities.items()
    }
    total = sum(reference.values()) or 1.0
    reference = {label: p / total for label, p in reference.items()}
    frequency = frequencies.find(prediction_set, reference) if frequencies else None
    frequency_text = _frequency_text(say, frequency, prediction_set) if frequencies else ""
    unlikely = _nothing_ruled_out(say, tuple(prior), frequencies)
    return Finding(
        outcome=outcome,
        headline=_headline(say, prediction_set, frequency, frequency_text),
        mimic=_mimic(say, prediction_set, reference),
        frequency_text=frequency_text,
        notes=(*(unlikely if outcome == "out_of_scope" else ()), *_left_out(say, left_out)),
        danger=danger_sentence(say, tuple(prior), frequencies),
        probabilities=dict(probabilities),
        shown=shown_probabilities(probabilities, coverage),
        prediction_set=tuple(prediction_set),
        reasons=tuple(
            _reasons(
                say, prediction_set, reference, prior, coverage, frequencies, heat_maps, left_out
            )
        ),
        advice=_advice(say, prediction_set),
        checkpoint=checkpoint,
        coverage=dict(coverage),
        frequency=frequency,
        heat_maps=tuple(heat_maps),
    )


def retake_finding(
    problem: QualityIssue,
    *,
    prior: Mapping[str, float],
    checkpoint: str,
    refused: Mapping[int, QualityIssue] = MappingProxyType({}),
    language: str = "en",
) -> Finding:
    """The finding for a photo that cannot be used: it changes nothing and leaves every label on the list.

    Args:
        problem: what is wrong with it, or with the first of several.
        prior: what the probabilities are.
        checkpoint: its name.
        refused: of several, counted from 1, what is wrong with each.
        language: of the words.
    """
    say = words(language)
    headline = say("outcomes.retake", reason=_refusal(say, problem))
    codes = dict.fromkeys(issue.code for issue in (problem, *refused.values()))
    remedy = " ".join(say(f"quality.{code}.advice") for code in codes)
    return Finding(
        outcome="retake",
        headline=say("outcomes.retake_all") if len(refused) > 1 else headline,
        notes=tuple(_left_out(say, refused)) if len(refused) > 1 else (),
        probabilities=dict(prior),
        prediction_set=tuple(prior),
        reasons=(say("reasons.unusable"), prior_sentence(say, prior)),
        advice=f"{remedy} {_advice(say, ())}",
        checkpoint=checkpoint,
        problem=problem.code,
        remedy=remedy,
    )


def _headline(
    say: Words, prediction_set: Sequence[str], frequency: Frequency | None, frequency_text: str
) -> str:
    """The outcome in a sentence, with the number before it where a condition is named that seldom was there."""
    outcome = outcome_of(prediction_set)
    deposit = set(prediction_set) == DEPOSIT
    if outcome == "suggestive" or deposit:
        seldom = frequency is None or frequency.few or frequency.interval[0] < 0.5
        if frequency_text and seldom:
            label = say.listing(prediction_set, "or")
            return f"{frequency_text} {say('outcomes.worth_thinking', label=label)}"
    if deposit:
        return say("outcomes.deposit", labels=say.listing(prediction_set))
    if outcome == "uncertain":
        return say("outcomes.uncertain", labels=say.listing(prediction_set))
    return say(f"outcomes.{outcome}", label=say.label(prediction_set[0]))


def _mimic(say: Words, prediction_set: Sequence[str], reference: Mapping[str, float]) -> str:
    """What looks the same as the likeliest condition that the finding names, and the test that tells."""
    of_set = conditions(prediction_set)
    return say.mimic(max(of_set, key=lambda label: reference[label])) if of_set else ""


def _frequency_text(say: Words, frequency: Frequency | None, prediction_set: Sequence[str]) -> str:
    if frequency is None:
        return say("frequency.none")
    rounds = "_in_rounds" if frequency.rounds > 1 else ""
    counts = [
        f"{n} {say.label(label)}"
        for label, n in frequency.shown.items()
        if n or label in prediction_set
    ]
    kind = "named"
    if frequency.few:
        kind = "few"
    elif outcome_of(prediction_set) == "uncertain" and set(prediction_set) != DEPOSIT:
        kind = "open"
    low, high = frequency.interval
    return say(
        f"frequency.{kind}{rounds}",
        rounds=frequency.rounds,
        photos=frequency.photos,
        patients=frequency.patients,
        counts=", ".join(counts),
        right=frequency.right,
        label=say.listing(named(prediction_set), "or"),
        low=math.floor(100 * low),  # outward, so that no share below all reads 100
        high=math.ceil(100 * high),
    )


def danger_sentence(say: Words, labels: Sequence[str], frequencies: Frequencies | None) -> str:
    """That a lump can be skin cancer, and how often it was missed; empty for labels that may name one."""
    if not set(labels) <= set(LABELS):
        return ""
    if frequencies is None or (malignant := frequencies.malignant) is None:
        return say("danger.unknown")
    counts = {"called": malignant.called, "photos": malignant.photos}
    if malignant.rounds > 1:
        return say("danger.known_in_rounds", rounds=malignant.rounds, **counts)
    return say("danger.known", **counts)


def _reasons(
    say: Words,
    prediction_set: Sequence[str],
    reference: Mapping[str, float],
    prior: Mapping[str, float],
    coverage: Mapping[str, Coverage],
    frequencies: Frequencies | None,
    heat_maps: Sequence[HeatMap | None],
    left_out: Mapping[int, QualityIssue],
) -> list[str]:
    labels = tuple(prior)
    reasons = [
        say(
            "reasons.set",
            labels=say.listing(prediction_set),
            coverage=", ".join(
                f"{say.label(name)} {_percent(coverage[name].nominal)}" for name in labels
            ),
        )
    ]
    if kept := _kept_as_mimics(prediction_set, reference):
        leader = max(reference, key=lambda label: reference[label])
        reasons.append(say("reasons.mimic", kept=say.listing(kept, "or"), label=say.label(leader)))
    least = min(labels, key=lambda name: coverage[name].lower or 1.0)
    if (lower := coverage[least].lower) is not None:
        of = {"label": say.label(least), "lower": _percent(lower)}
        reasons.append(say("reasons.few_patients", patients=coverage[least].patients or 0, **of))
    few = (say.label(name) for name in labels if coverage[name].unbounded)
    reasons.extend(say("reasons.no_bound", label=label) for label in few)
    if frequencies and outcome_of(prediction_set) != "out_of_scope":
        reasons.append(_composition(say, frequencies))
    if len(heat_maps) - len(left_out) > 1:
        reasons.append(say("reasons.together", count=len(heat_maps) - len(left_out)))
    reasons.append(prior_sentence(say, prior))
    if len(set(prior.values())) > 1:
        reasons.append(say("reasons.still"))
    return [*reasons, say("reasons.labels_seen_rarely")]


def _nothing_ruled_out(
    say: Words, labels: Sequence[str], frequencies: Frequencies | None
) -> tuple[str, ...]:
    """What stands beside a photo that looks like none of the conditions."""
    unlikely = say("reasons.out_of_scope", labels=say.listing(conditions(labels), "or"))
    return (unlikely, _composition(say, frequencies)) if frequencies else (unlikely,)


def _composition(say: Words, frequencies: Frequencies) -> str:
    total = sum(frequencies.photos.values())
    share = frequencies.photos.get(OTHER, 0) / max(total, 1)
    return say("reasons.composition", photos=total, share=_percent(share))


def _left_out(say: Words, problems: Mapping[int, QualityIssue]) -> list[str]:
    return [
        say("reasons.left_out", number=number, reason=_refusal(say, problem))
        for number, problem in problems.items()
    ]


def _refusal(say: Words, problem: QualityIssue) -> str:
    return say(f"quality.{problem.code}.reason", **problem.values)


def _kept_as_mimics(
    prediction_set: Sequence[str], reference: Mapping[str, float]
) -> tuple[str, ...]:
    """What is on the list though a label that is not on it is more probable: the leader looks the same."""
    out = max((p for label, p in reference.items() if label not in prediction_set), default=0.0)
    return tuple(label for label in prediction_set if reference[label] < out)


def _advice(say: Words, prediction_set: Sequence[str]) -> str:
    settle = [say.settle(label) for label in prediction_set]
    return " ".join([say("deferral.statement"), *settle, say("deferral.red_flags")])


def prior_sentence(say: Words, prior: Mapping[str, float]) -> str:
    """What the probabilities assume."""
    shown = {say.label(k): "<0.001" if 0 < p < 0.001 else f"{p:.3g}" for k, p in prior.items()}
    return say("reasons.prior", prior=", ".join(f"{name} {p}" for name, p in shown.items()))


def _percent(share: float) -> str:
    """A share in percent, with one digit after the point where it has one: 90 %, 99.5 %."""
    return f"{100 * share:.3g}\u00a0%"
