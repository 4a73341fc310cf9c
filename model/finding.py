"""The decision: what a reader of a photo is told. Every outcome ends at a clinician."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from calcinosis.model.labels import OTHER, conditions
from calcinosis.model.quality import QualityIssue
from calcinosis.model.words import Words, words
from numpy.typing import NDArray

Outcome = Literal["retake", "out_of_scope", "uncertain", "suggestive"]
OUTCOMES: tuple[Outcome, ...] = ("retake", "out_of_scope", "uncertain", "suggestive")


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
class Finding:
    """What is said of a photo, or of several of one lesion.

    Attributes:
        outcome: `retake`, the photo cannot be used; `out_of_scope`, it looks like none of the conditions;
            `uncertain`, more than one label remains; `suggestive`, one condition remains.
        headline: the outcome in a sentence.
        probabilities: calibrated, of each label, summing to 1, under the prior that `reasons` states.
        prediction_set: the labels that cannot be excluded; never empty.
        reasons: why, in sentences.
        advice: what would settle it, and that only a clinician can.
        checkpoint: the name of the checkpoint that was asked.
        heat_maps: one a photo, None where the network was not asked about it.
        problem: the code of what is wrong with the photo, where the outcome is `retake`.
    """

    outcome: Outcome
    headline: str
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    reasons: tuple[str, ...]
    advice: str
    checkpoint: str
    heat_maps: tuple[HeatMap | None, ...] = field(default=(None,), compare=False)
    problem: str | None = None

    @property
    def heat_map(self) -> HeatMap | None:
        """The heat map of the only photo, or of the first that the network was asked about."""
        return next((heat_map for heat_map in self.heat_maps if heat_map), None)

    def as_json(self) -> dict[str, Any]:
        """The finding as the command line and the API give it, without the heat map."""
        return {
            "outcome": self.outcome,
            "probabilities": {label: round(p, 6) for label, p in self.probabilities.items()},
            "prediction_set": list(self.prediction_set),
            "reasons": [self.headline, *self.reasons],
            "advice": self.advice,
            "checkpoint": self.checkpoint,
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


def decide(
    probabilities: Mapping[str, float],
    prediction_set: Sequence[str],
    *,
    prior: Mapping[str, float],
    coverage: float,
    checkpoint: str,
    heat_maps: Sequence[HeatMap | None] = (None,),
    left_out: Mapping[int, QualityIssue] = MappingProxyType({}),
    language: str = "en",
) -> Finding:
    """The finding for a usable photo, or for several of one lesion together.

    `left_out` says which photos of several, counted from 1, are not in it, and why.
    """
    say = words(language)
    outcome = outcome_of(prediction_set)
    labels = tuple(probabilities)
    share = f"{coverage:.0%}"
    if outcome == "uncertain":
        headline = say("outcomes.uncertain", labels=say.listing(prediction_set))
        why = say("reasons.set_of_many", labels=_start(say.listing(prediction_set)), coverage=share)
    else:
        headline = say(f"outcomes.{outcome}", label=say.label(prediction_set[0]))
        why = say("reasons.set_of_one", label=_start(say.label(prediction_set[0])), coverage=share)
    reasons = [why]
    if outcome == "out_of_scope":
        absent = say.listing(conditions(labels), "or")
        reasons.append(say("reasons.out_of_scope", labels=absent))
    if len(heat_maps) - len(left_out) > 1:
        reasons.append(say("reasons.together", count=len(heat_maps) - len(left_out)))
    for number, problem in left_out.items():
        reason = say(f"quality.{problem.code}.reason", **problem.values)
        reasons.append(say("reasons.left_out", number=number, reason=reason))
    reasons += [_prior_sentence(say, prior), say("reasons.labels_seen_rarely")]
    return Finding(
        outcome=outcome,
        headline=headline,
        probabilities=dict(probabilities),
        prediction_set=tuple(prediction_set),
        reasons=tuple(reasons),
        advice=_advice(say, prediction_set),
        checkpoint=checkpoint,
        heat_maps=tuple(heat_maps),
    )


def retake_finding(
    problem: QualityIssue, *, prior: Mapping[str, float], checkpoint: str, language: str = "en"
) -> Finding:
    """The finding for a photo that cannot be used: it changes nothing and excludes nothing."""
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


def _advice(say: Words, prediction_set: Sequence[str]) -> str:
    settle = [say.settle(label) for label in prediction_set]
    return " ".join([say("deferral.statement"), *settle, say("deferral.red_flags")])


def _prior_sentence(say: Words, prior: Mapping[str, float]) -> str:
    chances = ", ".join(f"{say.label(label)} {p:.3g}" for label, p in prior.items())
    return say("reasons.prior", prior=chances)


def _start(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
