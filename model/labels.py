"""The label set."""

from collections.abc import Sequence
from typing import Final

OTHER: Final = "other"
"""The background label: every photograph that shows none of the conditions."""

LABELS: Final = ("calcinosis_cutis", "gouty_tophus", "milium", OTHER)
"""The labels of this project, in the order of every table and tensor."""


def check_labels(labels: Sequence[str]) -> None:
    """Make sure that a label set is one.

    Raises:
        ValueError: if a label is there twice, or `other` is not the last.
    """
    if len(set(labels)) != len(labels) or tuple(labels[-1:]) != (OTHER,):
        raise ValueError(f"labels are distinct and end with {OTHER!r}")


def conditions(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that name a condition: all but `other`."""
    return tuple(label for label in labels if label != OTHER)


MIMICS: Final = (("gouty_tophus", "calcinosis_cutis"),)
"""Pairs (leader, mimic): where the leader is the most probable label, a photograph alone does not speak against
the mimic. A pair leaves when networks that learnt nothing of a site and of a source tell the two apart there."""


def joined(labels: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The pairs of mimics among some labels, by the labels' numbers."""
    place = {label: number for number, label in enumerate(labels)}
    return tuple((place[a], place[b]) for a, b in MIMICS if a in place and b in place)
