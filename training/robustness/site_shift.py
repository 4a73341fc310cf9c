"""How a recipe does on a body site where it never saw a condition."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from calcinosis.common.errors import ManifestError
from calcinosis.data.manifest import Row
from calcinosis.training.evaluate.out_of_fold import predictions_without
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.robustness.source_shift import figures_of

log = logging.getLogger(__name__)

FEWEST_GROUPS: Final = 3
"""With fewer groups at a site nothing is measured there."""


def check_body_sites(rows: Sequence[Row]) -> None:
    """Make sure, before any long work begins, that some photos have a body site.

    Raises:
        ManifestError: `no_body_sites`.
    """
    if not any(row.body_site for row in rows):
        raise ManifestError(
            "no_body_sites", "no row has a body_site; fill in the column to leave one out"
        )


def evaluate_left_out_sites(data: PreparedData, work: Path) -> dict[str, Any]:
    """How the recipe does on a condition's photos of one body site when it learns from none of them.

    Photos of the condition at other sites, and of everything else at this site, are learnt from.

    Returns:
        For each condition, and each site of it, the block of figures of `compute_metrics` over the
        left-out photos and all of `other`, which the same networks held out; `groups_left_out` and
        `left_out` count the former. Sites of few groups, and one that has all, have only the counts.
    """
    sites = np.array([row.body_site for row in data.rows])
    other = data.labels == len(data.recipe.labels) - 1
    blocks: dict[str, Any] = {}
    for label, name in enumerate(data.recipe.labels[:-1]):
        own = data.labels == label
        blocks[name] = {}
        for site in sorted(set(sites[own]) - {""}):
            left_out = own & (sites == site)
            groups = len(set(data.groups[left_out]))
            block: dict[str, Any] = {"left_out": int(left_out.sum()), "groups_left_out": groups}
            if groups < FEWEST_GROUPS:
                block["reason"] = f"fewer than {FEWEST_GROUPS} groups"
            elif len(set(data.folds[own & ~left_out])) < 2:
                block["reason"] = "too few groups at other sites to learn from"
            else:
                log.info("%s without %s: %d photographs left out", name, site, left_out.sum())
                folder = work / f"without-{name}-{site}"
                predictions = predictions_without(data, left_out, folder)
                block |= figures_of(
                    predictions.where(left_out | other), data.recipe.normalised_prior
                )
            blocks[name][str(site)] = block
    return blocks
