"""A finding: what a reader of a photo is told, and how boldly a probability may be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from calcinosis.model.conformal import Conformal
from calcinosis.model.frequencies import Frequency
from calcinosis.model.labels import OTHER

Outcome = Literal["retake", "out_of_scope", "uncertain", "suggestive"]
OUTCOMES: tuple[Outcome, ...] = ("retake", "out_of_scope", "uncertain", "suggestive")

JSON_VERSION: Final = 4
"""Of `Finding.as_json`; raised when a key is added or changes its meaning. No key was ever taken away.

4: `frequency` counts all rounds of the tests together, and says in `rounds` how many there were.
"""
DEPOSIT: Final = frozenset({"calcinosis_cutis", "gouty_tophus"})
"""Two conditions that are one thing in a photograph: something chalky in the skin."""
FEW_PATIENTS: Final = 30
"""With fewer patients of a label, no probability is shown that only many could support."""
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
        notes: what must be read with that: that a photo rules nothing out and among whom was counted, where it
            looks like none of the conditions; why each is refused, where several photos are.
        danger: what else a lump can be, with how often the tests missed it; empty for a retake, and where the
            labels are not this project's.
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
        remedy: what to do better about the photo, which `advice` begins with; empty but for a retake.
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
    notes: tuple[str, ...] = ()
    danger: str = ""
    shown: dict[str, Shown] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    frequency: Frequency | None = None
    heat_maps: tuple[HeatMap | None, ...] = field(default=(None,), compare=False)
    problem: str | None = None
    remedy: str = ""

    @property
    def summary(self) -> tuple[str, ...]:
        """What is read first, in its order: the headline, the mimic and its test, the frequency, the notes, the danger."""
        told = "" if self.headline.startswith(self.frequency_text) else self.frequency_text
        texts = (self.headline, self.mimic, told, *self.notes, self.danger)
        return tuple(text for text in texts if text)

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
