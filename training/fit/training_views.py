"""The views that fine-tuning is shown of each photo, and which of them it is shown next."""

from collections.abc import Sequence

import numpy as np
import torch

from calcinosis.training.fit.features import FeatureMaps, Integers


class TrainingViews:
    """The views that a photo is learnt from: unaugmented ones, and augmented ones.

    Args:
        rows: how many photos there are.
        unaugmented: feature maps of what a photo is shown as, the last that hold it: the centre crop, or
            the square without a mark; with the mirror image's as further channels where `flip_tta`.
        augmented: feature maps of augmented views.
        channels: of the feature map of one view.
    """

    def __init__(
        self,
        rows: int,
        unaugmented: Sequence[FeatureMaps],
        augmented: FeatureMaps,
        channels: int,
    ) -> None:
        self._maps = [*unaugmented, augmented]
        self._channels = channels
        # Each view as (number of its maps, place in them, which of the channels' parts), by rows.
        views, owners = [], []
        for number, maps in enumerate(self._maps):
            later = [other.rows for other in unaugmented[number + 1 :]]
            places = np.flatnonzero(~np.isin(maps.rows, np.concatenate([[], *later])))
            for part in range(maps.values.shape[1] // channels):
                views.append(np.stack([np.full_like(places, number), places, part + 0 * places], 1))
                owners.append(maps.rows[places])
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")  # so the augmented ones of a row come last
        self._views = np.concatenate(views)[order]
        self._starts = np.searchsorted(owner[order], np.arange(rows + 1))
        self._augmented = np.bincount(augmented.rows, minlength=rows)

    def sample(
        self, rows: Integers, generator: np.random.Generator, unaugmented_share: float
    ) -> Integers:
        """The numbers (n,) of a random view of each of rows (n,), an augmented one where there is one.

        `unaugmented_share` of them are unaugmented all the same.
        """
        augmented = self._augmented[rows]
        unaugmented = self._starts[rows + 1] - self._starts[rows] - augmented
        plain = (augmented == 0) | (generator.random(len(rows)) < unaugmented_share)
        chosen = generator.integers(0, np.where(plain, unaugmented, np.maximum(augmented, 1)))
        numbers: Integers = self._starts[rows] + chosen + np.where(plain, 0, unaugmented)
        return numbers

    def load(self, numbers: Integers) -> torch.Tensor:
        """Feature maps (n, channels, h, w) of the views with these numbers (n,)."""
        chosen = self._views[numbers]
        out = torch.empty((len(numbers), self._channels, *self._maps[0].values.shape[2:]))
        for number, maps in enumerate(self._maps):
            at = np.flatnonzero(chosen[:, 0] == number)
            if len(at):
                _, places, parts = chosen[at].T
                seen = maps[places].unflatten(1, (-1, self._channels))
                out[at] = seen[torch.arange(len(at)), torch.from_numpy(parts)]
        return out
