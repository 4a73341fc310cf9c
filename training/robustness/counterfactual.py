"""What the figures of one table cannot show: the pull of a watermark, and of a photo's source."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from calcinosis.training.evaluate.bootstrap import group_resamples, percentile_interval
from calcinosis.training.evaluate.metrics.compute import checked_prior, compute_block
from calcinosis.training.evaluate.metrics.kernels import Array, weighted_mean
from calcinosis.training.evaluate.predictions import Predictions, PredictionsError


def watermark_effect(
    before: Array, after: Array, group: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How far a probability moves when a watermark is pasted onto, or masked out of, each photo.

    Args:
        before: (n,) the probability of one label for each photo as it is.
        after: (n,) the same for the changed photo.
        group: (n,) the photos' groups.
        resamples: bootstrap draws of whole groups.
        seed: of the draws.

    Returns:
        `mean_change` (after minus before; 0 where the mark only adds noise) and
        `mean_absolute_change`, each `{"value", "low", "high", "n"}`.

    Raises:
        ValueError: the lengths differ, there is no photo, or a probability is not between 0 and 1.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or len(group) != len(before):
        raise ValueError("give one probability before, one after and one group for each photo")
    if not len(before):
        raise ValueError("there is no photo to measure on")
    for values in (before, after):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a probability lies between 0 and 1")
    change = after - before
    draws = list(group_resamples(group, resamples=resamples, seed=seed, chunk_size=100))
    return {
        name: _mean_with_interval(values, draws)
        for name, values in (("mean_change", change), ("mean_absolute_change", np.abs(change)))
    }


def _mean_with_interval(values: Array, draws: Sequence[Array]) -> dict[str, Any]:
    resampled = np.concatenate([weighted_mean(values, weights) for weights in draws])
    low, high = percentile_interval(resampled) or (None, None)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def leave_one_source_out(
    held_out: Mapping[str, Predictions],
    *,
    prior: Sequence[float] | None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """How a recipe does on a source that it learnt nothing from.

    Args:
        held_out: for each source, what a model trained on all other sources said of its photos.
        prior: as for `compute_metrics`.
        resamples: bootstrap draws of whole groups.
        seed: of the draws.

    Returns:
        For each source the block of figures of `compute_metrics`. Photos whose label no other
        source holds are left out, because nothing could have taught the model that label; how
        many, by label, stands in `not_learnt`. A source of such photos alone has only that.

    Raises:
        PredictionsError: fewer than two sources, or tables of different labels.
    """
    tables = list(held_out.values())
    if len(tables) < 2 or len({table.labels for table in tables}) != 1:
        raise PredictionsError("not_paired", "give two sources or more, with the same labels")
    names = tables[0].labels
    frequencies = checked_prior(prior, len(names))
    blocks: dict[str, Any] = {}
    for source, table in held_out.items():
        elsewhere = np.unique(
            np.concatenate([other.label for name, other in held_out.items() if name != source])
        )
        learnt = np.isin(table.label, elsewhere)
        missing = table.label[~learnt]
        blocks[source] = {
            "n": len(table),
            "not_learnt": {names[i]: int((missing == i).sum()) for i in np.unique(missing)},
        }
        if learnt.any():
            rows = table.where(learnt)
            blocks[source] |= compute_block(rows, frequencies, resamples, seed)
    return blocks
