"""The decision: what a reader of a photo is told. Every outcome ends at a clinician."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from calcinosis.model.conformal import Conformal
from calcinosis.model.frequencies import Frequencies, Frequency, named
from calcinosis.model.labels import OTHER, conditions
from calcinosis.model.quality import QualityIssue
from calcinosis.model.words import Words, words

Outcome = Literal["retake", "out_of_scope", "uncertain", "suggestive"]
OUTCOMES: tuple[Outcome, ...] = ("retake", "out_of_scope", "uncertain", "suggestive")

JSON_VERSION: Final = 3
"""Of `Finding.as_json`; raised when a key is added. No key was ever taken away or changed its meaning."""
DEPOSIT: Final = frozenset({"calcinosis_cutis", "gouty_tophus"})
"""Two conditions that are one thing in a photograph: something chalky in the skin."""
FEW_PATIENTS: Final = 30
"""With fewer patients of a label, no probability is shown that only many could support."""
FEW_PHOTOS: Final = 5
"""With fewer photographs that looked alike, nothing is said of how often it was right."""
_WIDE, _NARROW = (0.05, 0.95), (0.01, 0.99)


@dataclass(frozen=True)
class HeatMap:
    """Where in a photo the network saw what speaks for one label.

    Attributes:
        label: that label.
        cam: (h, w), the class activation map: from 0, where nothing speaks for the label, to 1, the most in
            this photo.
        box: the part of the photo that it covers: left, upper, right, lower, in pixels.
    """

    label: str
    cam: NDArray[np.float32]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Coverage:
    """What the set promises of one label.

    Attributes:
        nominal: about this share of its patients keep the label in their sets.
        lower: the share that holds with 95 % confidence; None where patients are too few or not counted.
        patients: how many set its threshold; None where they were not counted.
    """

    nominal: float
    lower: float | None = None
    patients: int | None = None

    @property
    def few(self) -> bool:
        """Whether too few patients stand behind the label for an extreme probability."""
        return self.patients is None or self.patients < FEW_PATIENTS

    @property
    def unbounded(self) -> bool:
        """Whether the patients are too few for a bound; the label then stands in every set."""
        return self.lower is None and self.patients is not None


@dataclass(frozen=True)
class Shown:
    """A probability as it is to be shown.

    Attributes:
        value: from 0 to 1.
        bound: `below` or `above`, where only that side of `value` is supported; empty where it is the value.
    """

    value: float
    bound: Literal["", "below", "above"] = ""


@dataclass(frozen=True)
class Finding:
    """What is said of a photo, or of several of one lesion.

    Attributes:
        outcome: `retake`, the photo cannot be used; `out_of_scope`, it looks like none of the conditions;
            `uncertain`, more than one label remains; `suggestive`, one condition remains.
        headline: the outcome in a sentence; where it was seldom right in the tests, the number comes first.
        mimic: what looks the same as the condition that leads, and the test that tells; may be empty.
        frequency_text: how often photographs that looked like this showed what; may be empty.
        danger: what else a lump can be, with how often the tests missed it; empty for a retake.
        probabilities: calibrated, of each label, summing to 1, under the prior that `reasons` states.
        shown: the same as they are to be shown: no bolder than the patients behind them support; empty for a retake.
        prediction_set: the labels that stay on the list; never empty.
        reasons: why, in sentences.
        advice: what would settle it, and that only a clinician can.
        checkpoint: the name of the checkpoint that was asked.
        coverage: what the set promises, of each label; empty for a retake.
        frequency: the counts behind `frequency_text`; None where there are none.
        heat_maps: one per photo, None where the network was not asked about it.
        problem: the code of what is wrong with the photo, where the outcome is `retake`.
    """

    outcome: Outcome
    headline: str
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    reasons: tuple[str, ...]
    advice: str
    checkpoint: str
    mimic: str = ""
    frequency_text: str = ""
    danger: str = ""
    shown: dict[str, Shown] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    frequency: Frequency | None = None
    heat_maps: tuple[HeatMap | None, ...] = field(default=(None,), compare=False)
    problem: str | None = None

    @property
    def summary(self) -> tuple[str, ...]:
        """What is read first, in its order: the headline, the mimic and its test, the frequency, the danger."""
        told = "" if self.headline.startswith(self.frequency_text) else self.frequency_text
        return tuple(text for text in (self.headline, self.mimic, told, self.danger) if text)

    @property
    def heat_map(self) -> HeatMap | None:
        """The heat map of the only photo, or of the first that the network was asked about."""
        return next((heat_map for heat_map in self.heat_maps if heat_map), None)

    def _repr_html_(self) -> str:
        from calcinosis.model.show import finding_html

        return finding_html(self)

    def as_json(self) -> dict[str, Any]:
        """The finding as the command line and the API give it, without the heat map."""
        return {
            "outcome": self.outcome,
            "probabilities": {label: round(p, 6) for label, p in self.probabilities.items()},
            "prediction_set": list(self.prediction_set),
            "reasons": [*self.summary, *self.reasons],
            "advice": self.advice,
            "checkpoint": self.checkpoint,
            "coverage": {
                label: {
                    "nominal": told.nominal,
                    "lower": None if told.lower is None else round(told.lower, 6),
                    "patients": told.patients,
                }
                for label, told in self.coverage.items()
            },
            "frequency": self.frequency.as_json() if self.frequency else None,
            "problem": self.problem,
            "version": JSON_VERSION,
        }


def outcome_of(prediction_set: Sequence[str]) -> Outcome:
    """The outcome for a usable photo: the prediction set decides alone.

    Raises:
        ValueError: if the set is empty; conformal prediction here never leaves one so.
    """
    if not prediction_set:
        raise ValueError("a prediction set is never empty")
    if len(prediction_set) > 1:
        return "uncertain"
    return "out_of_scope" if prediction_set[0] == OTHER else "suggestive"


def coverage_of(conformal: Conformal, labels: Sequence[str]) -> dict[str, Coverage]:
    """What the sets of a checkpoint promise, label by label."""
    patients = conformal.patients or (None,) * len(labels)
    told = zip(conformal.coverage, conformal.lower_bounds, patients, strict=True)
    return {label: Coverage(*values) for label, values in zip(labels, told, strict=True)}


def shown_probabilities(
    probabilities: Mapping[str, float], coverage: Mapping[str, Coverage]
) -> dict[str, Shown]:
    """Probabilities as they are to be shown, with 5 % and 95 % the utmost where few patients stand behind.

    A high probability says that all other labels are unlikely, so it rests on the label with the fewest
    patients. Where enough stand behind each, nothing is shown as less than 1 % or more than 99 %.
    """
    few = {label for label in probabilities if label not in coverage or coverage[label].few}
    top = _WIDE[1] if few else _NARROW[1]
    capped = bool(few) and max(probabilities.values()) > top
    shown = {}
    for label, p in probabilities.items():
        bottom = _WIDE[0] if capped or label in few else _NARROW[0]
        if p > top:
            shown[label] = Shown(top, "above")
        else:
            shown[label] = Shown(bottom, "below") if p < bottom else Shown(p)
    return shown


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
    return Finding(
        outcome=outcome,
        headline=_headline(say, prediction_set, frequency, frequency_text),
        mimic=_mimic(say, prediction_set, reference),
        frequency_text=frequency_text,
        danger=_danger(say, frequencies),
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
    problem: QualityIssue, *, prior: Mapping[str, float], checkpoint: str, language: str = "en"
) -> Finding:
    """The finding for a photo that cannot be used: it changes nothing and leaves every label on the list."""
    say = words(language)
    reason = say(f"quality.{problem.code}.reason", **problem.values)
    return Finding(
        outcome="retake",
        headline=say("outcomes.retake", reason=reason),
        probabilities=dict(prior),
        prediction_set=tuple(prior),
        reasons=(say("reasons.unusable"), _prior_sentence(say, prior)),
        advice=f"{say(f'quality.{problem.code}.advice')} {_advice(say, ())}",
        checkpoint=checkpoint,
        problem=problem.code,
    )


def _headline(
    say: Words, prediction_set: Sequence[str], frequency: Frequency | None, frequency_text: str
) -> str:
    """The outcome in a sentence, with the number before it where a condition is named that seldom was there."""
    outcome = outcome_of(prediction_set)
    deposit = set(prediction_set) == DEPOSIT
    if outcome == "suggestive" or deposit:
        seldom = frequency is None or frequency.photos < FEW_PHOTOS or frequency.interval[0] < 0.5
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
    if frequency.photos < FEW_PHOTOS:
        return say("frequency.few", photos=frequency.photos)
    if outcome_of(prediction_set) == "uncertain" and set(prediction_set) != DEPOSIT:
        counts = [
            f"{n} {say.label(label)}"
            for label, n in frequency.shown.items()
            if n or label in prediction_set
        ]
        return say("frequency.open", photos=frequency.photos, counts=", ".join(counts))
    low, high = frequency.interval
    return say(
        "frequency.named",
        photos=frequency.photos,
        right=frequency.right,
        label=say.listing(named(prediction_set), "or"),
        low=math.floor(100 * low),  # outward, so that no share below all reads 100
        high=math.ceil(100 * high),
    )


def _danger(say: Words, frequencies: Frequencies | None) -> str:
    if frequencies is None or (malignant := frequencies.malignant) is None:
        return say("danger.unknown")
    return say("danger.known", called=malignant.called, photos=malignant.photos)


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
    if outcome_of(prediction_set) == "out_of_scope":
        absent = say.listing(conditions(labels), "or")
        reasons.append(say("reasons.out_of_scope", labels=absent))
    if frequencies:
        total = sum(frequencies.photos.values())
        share = frequencies.photos.get(OTHER, 0) / max(total, 1)
        reasons.append(say("reasons.composition", photos=total, share=_percent(share)))
    if len(heat_maps) - len(left_out) > 1:
        reasons.append(say("reasons.together", count=len(heat_maps) - len(left_out)))
    for number, problem in left_out.items():
        reason = say(f"quality.{problem.code}.reason", **problem.values)
        reasons.append(say("reasons.left_out", number=number, reason=reason))
    reasons.append(_prior_sentence(say, prior))
    if len(set(prior.values())) > 1:
        reasons.append(say("reasons.still"))
    return [*reasons, say("reasons.labels_seen_rarely")]


def _kept_as_mimics(
    prediction_set: Sequence[str], reference: Mapping[str, float]
) -> tuple[str, ...]:
    """What is on the list though a label that is not on it is more probable: the leader looks the same."""
    out = max((p for label, p in reference.items() if label not in prediction_set), default=0.0)
    return tuple(label for label in prediction_set if reference[label] < out)


def _advice(say: Words, prediction_set: Sequence[str]) -> str:
    settle = [say.settle(label) for label in prediction_set]
    return " ".join([say("deferral.statement"), *settle, say("deferral.red_flags")])


def _prior_sentence(say: Words, prior: Mapping[str, float]) -> str:
    shown = {say.label(k): "<0.001" if 0 < p < 0.001 else f"{p:.3g}" for k, p in prior.items()}
    return say("reasons.prior", prior=", ".join(f"{name} {p}" for name, p in shown.items()))


def _percent(share: float) -> str:
    """A share in percent, with one digit after the point where it has one: 90 %, 99.5 %."""
    return f"{100 * share:.3g}\u00a0%"
