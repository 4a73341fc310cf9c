"""What every baseline learns from and answers for: folds, and what it never learnt the look of."""

from collections.abc import Sequence
from dataclasses import dataclass

from calcinosis.data.manifest import Row
from calcinosis.model.labels import OTHER


@dataclass(frozen=True)
class Split:
    """Photos to learn from and photos to answer for; no group is in both.

    Attributes:
        name: `fold-0`, `without-SOURCE` or `without-SOURCE-other`, and of the latter's folds `without-SOURCE-fold-0`.
        train: to learn from.
        test: to answer for.
    """

    name: str
    train: list[Row]
    test: list[Row]


def fold_split(rows: Sequence[Row], fold: int) -> Split:
    """A fold against the others."""
    return Split(
        f"fold-{fold}",
        [row for row in rows if row.fold != fold],
        [row for row in rows if row.fold == fold],
    )


def inner_splits(split: Split, folds: Sequence[int]) -> list[Split]:
    """Folds of what a split learns from, each against the others: what its thresholds are set on."""
    inner = [fold_split(split.train, fold) for fold in folds]
    return [Split(f"{split.name}-{fold.name}", fold.train, fold.test) for fold in inner]


def external_split(rows: Sequence[Row], left_out: str) -> Split:
    """Everything but a source, or but the `other` of one, against what was left out.

    Args:
        rows: all photos.
        left_out: `SOURCE` or `SOURCE:other`.

    Raises:
        SystemExit: if that leaves nothing to learn from, or nothing out.
    """
    source, _, label = left_out.partition(":")
    if label not in ("", OTHER):
        raise SystemExit(f"{left_out}: leave out SOURCE or SOURCE:{OTHER}")
    test = [row for row in rows if row.source == source and label in ("", row.label)]
    groups = {row.group for row in test}
    train = [row for row in rows if row.group not in groups]
    if not test or not train:
        raise SystemExit(f"{left_out}: the manifest has no such photos, or no others")
    return Split("-".join(["without", source, *([label] if label else [])]), train, test)
