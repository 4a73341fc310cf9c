"""How sure a figure is: bootstrap over groups, and Wilson's interval for a share."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 1000
SEED: Final = 0
_NORMAL_QUANTILE: Final = 1.959963984540054  # two-sided 95 %


def group_resamples(
    group: Sequence[str], *, resamples: int, seed: int, chunk_size: int
) -> Iterator[NDArray[np.float64]]:
    """Draw whole groups with replacement, as often as there are groups, `resamples` times.

    Photos of one patient are alike, so drawing photos one by one would make intervals too
    narrow (cluster bootstrap; Field and Welsh, 2007).

    Args:
        group: (n,) the group of each photo.
        resamples: how many draws.
        seed: the same seed gives the same draws, however many are made at once.
        chunk_size: how many draws to hold in memory together.

    Yields:
        (n, r) how often each photo was drawn, with r at most `chunk_size`; the r add up to
        `resamples`.
    """
    _, index = np.unique(np.asarray(group, dtype=object).astype(str), return_inverse=True)
    groups = int(index.max()) + 1 if len(index) else 0
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, chunk_size):
        draws = min(chunk_size, resamples - start)
        counts = np.empty((groups, draws))
        for draw in range(draws):
            drawn = generator.integers(0, groups, size=groups)
            counts[:, draw] = np.bincount(drawn, minlength=groups)
        yield counts[index]


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The central 95 % of the resampled values (Efron's percentile interval).

    Returns None when the figure could not be computed in more than one resample in twenty: an
    interval from the lucky ones would flatter.
    """
    defined = values[np.isfinite(values)]
    if len(values) == 0 or len(defined) < CONFIDENCE * len(values):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def groups_worth(groups: ArrayLike, weights: ArrayLike | None = None) -> float:
    """How many groups of equal weight these are worth (Kish, Survey Sampling, 1965).

    >>> groups_worth(["a", "b", "c", "c"])
    2.6666666666666665

    Args:
        groups: (n,) the group of each photo; at least one.
        weights: (n,) of the photos, each 1 unless given; they add up to more than 0.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=None if weights is None else np.asarray(weights))
    return float(sums.sum() ** 2 / (sums**2).sum())


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share (Wilson, 1927); never zero wide, never beyond 0 or 1.

    >>> [round(bound, 2) for bound in wilson_interval(13, 16)]
    [0.57, 0.93]

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} successes of {trials} trials is no share")
    share, z2 = successes / trials, _NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL_QUANTILE * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half /= 1 + z2 / trials
    low = 0.0 if successes == 0 else max(0.0, float(centre - half))
    high = 1.0 if successes == trials else min(1.0, float(centre + half))
    return low, high
