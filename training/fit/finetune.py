"""Fine-tuning: the stages that are not frozen learn to name the source labels, some 400 diseases.

A few dozen photographs of three conditions teach a network little that holds elsewhere; all the other
diseases that the sources name teach it what skin looks like. A photo is told apart among the labels that
its own source uses, so that nothing is gained by telling the sources apart.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from calcinosis.common.errors import TrainingError
from calcinosis.common.progress import track
from calcinosis.data.manifest import Row
from calcinosis.model.network import Network
from calcinosis.training.fit.checkpointing import State
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps, Integers
from calcinosis.training.fit.layers import learning_layers
from calcinosis.training.fit.log import Epoch, EpochLog
from calcinosis.training.recipe import Recipe
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_WARM_UP: Final = 0.05  # share of the steps
_MAX_GRADIENT_NORM: Final = 1.0


@dataclass(frozen=True)
class Targets:
    """What is learnt of each row.

    Attributes:
        source_labels: (rows,) index of the label that the source gave.
        candidates: (rows, source labels) those that a photo is told apart among: the labels of its source,
            or all of them where its source has but one.
        sampling_weights: (rows,) relative chance of being drawn.
    """

    source_labels: Integers
    candidates: NDArray[np.bool_]
    sampling_weights: NDArray[np.float64]


def make_targets(rows: Sequence[Row], label_balance: float) -> Targets:
    """The targets of the rows that may be learnt from.

    Args:
        label_balance: b; a photo weighs (n · m)^-b, of n photos of its source and m of its source label
            there: 0 draws every photo alike, 1 every source, and within it every label.
    """
    given = [row.source_label or row.label for row in rows]
    names, source_labels = np.unique(given, return_inverse=True)
    sources = np.array([row.source for row in rows])
    candidates = np.zeros((len(rows), len(names)), dtype=bool)
    weights = np.zeros(len(rows))
    for source in np.unique(sources):
        own = sources == source
        counts = np.bincount(source_labels[own], minlength=len(names))
        candidates[own] = counts > 0 if (counts > 0).sum() > 1 else True
        balanced = counts[source_labels[own]].astype(float) ** -label_balance
        weights[own] = balanced / balanced.sum() * own.sum() ** (1 - label_balance)
    return Targets(source_labels, candidates, weights / weights.sum())


class TrainingViews:
    """The views that a photo is learnt from: unaugmented ones, and augmented ones.

    Args:
        rows: how many photos there are.
        unaugmented: feature maps of what photos are judged by: the centre crop, the same with a changed
            watermark; each with the mirror image's as further channels where `flip_tta`.
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
            for part in range(maps.values.shape[1] // channels):
                places = np.arange(len(maps.rows))
                views.append(np.stack([np.full_like(places, number), places, part + 0 * places], 1))
                owners.append(maps.rows)
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


class _Learner(nn.Module):
    """The trainable stages, with a layer that names the source labels while they learn."""

    def __init__(self, network: Network, source_labels: int) -> None:
        super().__init__()
        self.stages = network.trainable
        self.head = nn.Linear(network.head.in_features, source_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        maps: torch.Tensor,
        targets: torch.Tensor,
        candidates: torch.Tensor,
        smoothing: float,
        device: Device,
    ) -> torch.Tensor:
        """Mean cross-entropy of n photos among each one's candidates, with label smoothing.

        Args:
            maps: (n, channels, h, w), the frozen stages' output.
            targets: (n,) the source labels.
            candidates: (n, source labels).
            smoothing: share of the target that all candidates have alike.
            device: for the precision.
        """
        with device.autocast():
            last = self.stages(maps.to(memory_format=torch.channels_last))
        features = Network.pooled_features(last.float())
        logits = self.head(features).masked_fill(~candidates, -math.inf)
        likelihoods = logits.log_softmax(dim=1)
        named = -likelihoods.gather(1, targets[:, None])[:, 0]
        alike = -likelihoods.masked_fill(~candidates, 0).sum(dim=1) / candidates.sum(dim=1)
        return ((1 - smoothing) * named + smoothing * alike).mean()


def finetune(
    network: Network,
    views: TrainingViews,
    rows: Integers,
    targets: Targets,
    recipe: Recipe,
    folder: Path,
    device: Device,
) -> None:
    """Train the network's trainable stages to name source labels, in place; ends with averaged weights.

    After each epoch the state goes to `folder`, so that a run that was stopped goes on there and ends
    with the same weights; so does a line of the log. With several processes each takes its shard of a
    batch, and the gradient is that of the whole batch.

    Args:
        network: its trainable stages are trained.
        views: of all photos.
        rows: the numbers (n,) of those that may be learnt from.
        targets: what is learnt of each of these.
        recipe: says how.
        folder: for the state and the log.
        device: to compute on.

    Raises:
        TrainingError: `diverged`, if the loss is not a number; the last good state stays on disk.
            `uneven_batch`, if the processes cannot share a batch evenly.
    """
    if recipe.batch_size % device.processes:
        raise TrainingError(
            "uneven_batch",
            f"a batch of {recipe.batch_size} cannot be shared evenly by {device.processes} processes; "
            f"change batch_size or the number of processes",
        )
    run = _Run(network, views, rows, targets, recipe, device)
    state = State(folder, run.learner, run.averaged, run.optimizer)
    done = state.restore()
    log = EpochLog(folder, done)
    for epoch in range(done, recipe.epochs):
        began = time.monotonic()
        losses = []
        for loss in run.epoch(epoch):
            if not math.isfinite(loss):
                raise TrainingError(
                    "diverged",
                    f"the loss is {loss} in epoch {epoch + 1}; lower learning_rate, or go on "
                    f"with --resume from the last good epoch",
                    name=str(folder),
                )
            losses.append(loss)
        if device.is_main:
            rate = run.optimizer.param_groups[0]["lr"]
            seconds = round(time.monotonic() - began, 1)
            log.add(Epoch(epoch + 1, float(np.mean(losses)), rate, seconds))
            state.save(epoch + 1)
    trained: Any = run.averaged.module
    network.trainable.load_state_dict(trained.stages.state_dict())
    network.eval().cpu()


class _Run:
    """A fine-tuning under way: the learner, the running average of its weights, and the optimizer."""

    def __init__(
        self,
        network: Network,
        views: TrainingViews,
        rows: Integers,
        targets: Targets,
        recipe: Recipe,
        device: Device,
    ) -> None:
        self.views, self.rows, self.targets = views, rows, targets
        self.recipe, self.device = recipe, device
        torch.manual_seed(recipe.seed)
        self.learner = _Learner(network, targets.candidates.shape[1])
        self.learner.to(device.torch_device).train()
        if recipe.freeze_batch_norm:
            for module in self.learner.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.averaged = AveragedModel(
            self.learner, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
        )
        parts = (self.learner.stages, self.learner.head)
        self.rates = (recipe.learning_rate, recipe.head_learning_rate)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(part.parameters()), "lr": rate}
                for part, rate in zip(parts, self.rates, strict=True)
            ],
            weight_decay=recipe.weight_decay,
        )
        self.shared = device.share(self.learner)

    def epoch(self, epoch: int) -> Iterator[float]:
        """Train for an epoch, numbered from 0; yields the loss of each step before it is taken."""
        recipe = self.recipe
        generator = np.random.default_rng([recipe.seed, epoch])
        steps = math.ceil(recipe.samples_per_epoch / recipe.batch_size)
        drawn = generator.choice(
            len(self.rows), size=(steps, recipe.batch_size), p=self.targets.sampling_weights
        )
        what = f"Epoch {epoch + 1} of {recipe.epochs}"
        total, before = steps * recipe.epochs, epoch * steps
        for step, batch in track(enumerate(drawn, start=before), what, total=total, done=before):
            factor = _warm_cosine(step, total)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            views = self.views.sample(self.rows[batch], generator, recipe.unaugmented_share)
            self.optimizer.zero_grad(set_to_none=True)
            with learning_layers(self.learner.stages, self.device):
                loss = self._loss(batch, views)
                loss.backward()
            yield self.device.mean(loss)
            nn.utils.clip_grad_norm_(self.learner.parameters(), _MAX_GRADIENT_NORM)
            self.optimizer.step()
            self.averaged.update_parameters(self.learner)

    def _loss(self, batch: Integers, views: Integers) -> torch.Tensor:
        """The loss of this process's shard of a batch (n,), shown in these views (n,)."""
        own, to = self.device.shard(len(batch)), self.device.torch_device
        loss: torch.Tensor = self.shared(
            self.views.load(views[own]).to(to),
            torch.from_numpy(self.targets.source_labels[batch[own]]).to(to),
            torch.from_numpy(self.targets.candidates[batch[own]]).to(to),
            self.recipe.label_smoothing,
            self.device,
        )
        return loss


def _warm_cosine(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then half a cosine (arXiv:1608.03983)."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
