"""What was known before the photo: settings and findings that move the prior by Bayes' rule.

The photo's own part, how much it speaks for each label, does not change with it, and neither does the prediction
set, whose coverage was measured without it. The numbers and where they come from are in `context.toml`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from calcinosis.model.labels import LABELS, OTHER

GROUPS: Final = ("setting", "known", "site")
"""The groups of what may be known; of a setting and of a site there is at most one."""


@dataclass(frozen=True)
class Known:
    """One thing that may be known before a photo is looked at.

    Attributes:
        group: `setting`, `known` or `site`.
        factors: for each label of this project, its chance (of a setting) or its likelihood ratio.
        basis: `derived` from the sources, or `illustrative`.
        sources: names of `sources.toml`.
    """

    group: str
    factors: Mapping[str, float]
    basis: str
    sources: tuple[str, ...]


@cache
def known_contexts() -> Mapping[str, Known]:
    """All that `--context` and the page know, by name."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: Known(group, _factors(entry), entry["basis"], tuple(entry["sources"]))
            for group in GROUPS
            for name, entry in table[group].items()
        }
    )


def _factors(entry: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    if "chances" in entry:
        chances = entry["chances"]
        return MappingProxyType({**chances, OTHER: 1 - sum(chances.values())})
    return MappingProxyType({label: entry["ratios"].get(label, 1.0) for label in LABELS})


def prior_given(
    context: Sequence[str], prior: Sequence[float], labels: Sequence[str] = LABELS
) -> tuple[float, ...]:
    """The prior once something is known: that of the setting if one is named, times every ratio.

    The ratios are multiplied as if what is known were independent given the label, which it rarely is.

    Args:
        context: names of `known_contexts`.
        prior: chances of each label where no setting is named.
        labels: what the chances are of.

    Raises:
        ValueError: for an unknown name, two settings or sites, or labels that are not this project's.

    Examples:
        >>> [round(p, 2) for p in prior_given(["general_practice", "gout"], (0.25,) * 4)]
        [0.0, 0.48, 0.05, 0.47]
    """
    if not context:
        return tuple(prior)
    if tuple(labels) != LABELS:
        raise ValueError("a context is known for this project's own labels only; name a prior")
    table = known_contexts()
    if unknown := [name for name in context if name not in table]:
        raise ValueError(f"no context {unknown[0]!r}; there are: {', '.join(table)}")
    groups = [table[name].group for name in context]
    if groups.count("setting") > 1 or groups.count("site") > 1 or len(set(context)) < len(context):
        raise ValueError("a context names one setting and one site at most, and nothing twice")
    chances = dict(zip(labels, prior, strict=True))
    for name in sorted(context, key=lambda name: GROUPS.index(table[name].group)):
        factors = table[name].factors
        if table[name].group == "setting":
            chances = dict(factors)
        else:
            chances = {label: chances[label] * factors[label] for label in labels}
    total = sum(chances.values())
    return tuple(chances[label] / total for label in labels)
