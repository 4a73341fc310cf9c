"""How often a checkpoint was right where it said this before: counts from its cross-validation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from calcinosis.model.labels import conditions

_FEW_PHOTOS: Final = 5


class Frequency(BaseModel):
    """What the photographs showed that looked alike to a checkpoint, at the composition of its pool.

    Attributes:
        prediction_set: the labels that their sets held.
        leader: the most probable label of each.
        low, high: the band of its probability under the reference prior; `high` is not in it, but for 1.
        photos: how many there were, one counted once in each round of the tests.
        patients: whose they were.
        rounds: of the tests, each a cross-validation with other folds.
        shown: how many of the photographs showed each label.
        interval: 95 % interval (Wilson, over patients) of the share that showed a named label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction_set: tuple[str, ...]
    leader: str
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    photos: int = Field(ge=1)
    patients: int = Field(ge=1)
    rounds: int = Field(default=1, ge=1)
    shown: dict[str, int]
    interval: tuple[float, float]

    @property
    def few(self) -> bool:
        """Whether the photographs are too few, in a round, to say how often a finding like this is right."""
        return self.photos < _FEW_PHOTOS * self.rounds

    @property
    def right(self) -> int:
        """How many of the photographs showed a label that the finding names."""
        return sum(self.shown.get(label, 0) for label in named(self.prediction_set))

    def as_json(self) -> dict[str, Any]:
        """The counts as a finding gives them, with the share that was right and its interval."""
        low, high = self.interval
        return {
            "photos": self.photos,
            "patients": self.patients,
            "rounds": self.rounds,
            "shown": self.shown,
            "share": round(self.right / self.photos, 6),
            "low": round(low, 6),
            "high": round(high, 6),
        }


class DangerousLookalikes(BaseModel):
    """Photographs of skin cancers in the tests, and how often, in all rounds, the set of one left `other` out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: int = Field(ge=1)
    patients: int = Field(ge=1)
    rounds: int = Field(default=1, ge=1)
    called: int = Field(ge=0)


class Frequencies(BaseModel):
    """The table of a checkpoint.

    Attributes:
        photos: of the tests, by what they show, each counted once.
        rows: bands of one prediction set and leader follow each other without a gap, from 0 to 1.
        malignant: null where no photograph is known to show a skin cancer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: dict[str, int]
    rows: tuple[Frequency, ...]
    malignant: DangerousLookalikes | None = None

    def find(
        self, prediction_set: Sequence[str], probabilities: Mapping[str, float]
    ) -> Frequency | None:
        """The row of a finding, by its set and its probabilities under the reference prior."""
        leader = max(probabilities, key=lambda label: probabilities[label])
        p = min(probabilities[leader], 1.0)
        for row in self.rows:
            same = set(row.prediction_set) == set(prediction_set) and row.leader == leader
            if same and (row.low <= p < row.high or p == row.high == 1):
                return row
        return None


def named(prediction_set: Sequence[str]) -> tuple[str, ...]:
    """What a finding with this set names: its conditions, or the background where it stands alone.

    >>> named(("milium", "other")), named(("other",))
    (('milium',), ('other',))
    """
    return conditions(prediction_set) or tuple(prediction_set)
