"""How often is an estimated skin tone right? Held against the skin types that a set states itself.

    python -m calcinosis.benchmarks.skin_types --manifest data/curated/pool.csv --root photos/

The six groups of `training.robustness.skin_tone` are put beside Fitzpatrick's types I to VI in order. Every type
weighs the same, however many photographs it has; 95 % intervals are over groups.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcinosis.common.progress import track
from calcinosis.data.locating import open_source
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.training.evaluate.bootstrap import (
    RESAMPLES,
    SEED,
    group_resamples,
    percentile_interval,
)
from calcinosis.training.robustness.skin_tone import PREFIX, TONES, estimate_tone

_STATED: Final = "fitzpatrick:"
_ORDER: Final = {PREFIX + name: number for number, (name, _) in enumerate(TONES, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    given = parser.parse_args()
    rows = [
        row
        for row in read_manifest(given.manifest, labels=LABELS)
        if row.skin_tone.startswith(_STATED)
    ]
    if not rows:
        raise SystemExit(f"{given.manifest}: no skin_tone begins with {_STATED}")
    told: list[tuple[Row, int]] = []
    for row in track(rows, "Estimating", total=len(rows)):
        tone = estimate_tone(open_photo(open_source(given.root, row.file), name=row.file))
        if tone:
            told.append((row, _ORDER[tone]))
    stated = np.array([int(row.skin_tone.removeprefix(_STATED)) for row, _ in told])
    estimated = np.array([number for _, number in told])
    print(f"{len(rows)} photographs state a type, {len(told)} get an estimate")
    groups = [row.group for row, _ in told]
    for what, hit in (
        ("the same", estimated == stated),
        ("within one step", abs(estimated - stated) <= 1),
        ("darker than stated", estimated > stated),
    ):
        print(f"{what:20} {_share(hit, stated, groups)}")
    print("\nstated by estimated, " + ", ".join(name for name, _ in TONES))
    for number in range(1, len(TONES) + 1):
        counts = [
            (estimated[stated == number] == other).sum() for other in range(1, len(TONES) + 1)
        ]
        print(f"{number:>3} {' '.join(f'{count:>5}' for count in counts)}")


def _share(hit: NDArray[np.bool_], stated: NDArray[np.int64], groups: list[str]) -> str:
    """The share that is a hit, the mean over the types that are there, with its interval."""
    of_type = [stated == number for number in np.unique(stated)]

    def mean_of(times: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # a resample may lack a type
            shares = [(hit & own) @ times / (own @ times) for own in of_type]
        return np.asarray(np.nanmean(shares, axis=0))

    value = float(mean_of(np.ones((len(hit), 1)))[0])
    drawn = group_resamples(groups, resamples=RESAMPLES, seed=SEED, chunk_size=100)
    interval = percentile_interval(np.concatenate([mean_of(times) for times in drawn]))
    return f"{value:.1%}" + (f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else "")


if __name__ == "__main__":
    main()
