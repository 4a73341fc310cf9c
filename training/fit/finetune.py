"""Fine-tuning: the stages that are not frozen learn to name the source labels, some 400 diseases.

A few dozen photographs of three conditions teach a network little that holds elsewhere; all the other
diseases that the sources name teach it what skin looks like. A photo is told apart among the labels that
its own source uses, so that nothing is gained by telling the sources apart.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from calcinosis.common.errors import TrainingError
from calcinosis.common.progress import track
from calcinosis.data.curation import disease_key
from calcinosis.data.manifest import Row
from calcinosis.model.labels import OTHER
from calcinosis.model.network import Network
from calcinosis.training.fit.checkpointing import State, write_tensors
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import Integers
from calcinosis.training.fit.layers import learning_layers
from calcinosis.training.fit.log import Epoch, EpochLog
from calcinosis.training.fit.training_views import TrainingViews
from calcinosis.training.recipe import Recipe

_WARM_UP: Final = 0.05  # share of the steps
_MAX_GRADIENT_NORM: Final = 2.0
_SINGLE_LABEL_SOURCES: Final = 0.06
_ERASED: Final = (2, 5)  # ninths of the map's side, from and below


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

    Sources of several labels are drawn alike. A source with a single one has nothing to tell apart, and
    all of those together get a share of `_SINGLE_LABEL_SOURCES` beside each of the others.

    Args:
        rows: the photos.
        label_balance: b; of a source, a photo of a label with m photos weighs m^-b.
    """
    names, source_labels = np.unique([disease_of(row) for row in rows], return_inverse=True)
    sources = np.array([row.source for row in rows])
    candidates = np.zeros((len(rows), len(names)), dtype=bool)
    weights = np.bincount(source_labels)[source_labels].astype(float) ** -label_balance
    single = np.ones(len(rows), dtype=bool)
    for source in np.unique(sources):
        own = sources == source
        known = np.isin(np.arange(len(names)), source_labels[own])
        candidates[own] = known if known.sum() > 1 else True
        if known.sum() > 1:
            weights[own] /= weights[own].sum()
            single[own] = False
    if single.any():
        weights[single] *= (1 if single.all() else _SINGLE_LABEL_SOURCES) / weights[single].sum()
    return Targets(source_labels, candidates, weights / weights.sum())


def disease_of(row: Row) -> str:
    """What fine-tuning names a photo: a condition by its label, all else as its source, however spelt."""
    if row.label != OTHER or not row.source_label:
        return row.label
    return disease_key(row.source_label)


class _Learner(nn.Module):
    """The trainable stages, with a layer that names the source labels while they learn."""

    def __init__(self, network: Network, source_labels: int, recipe: Recipe) -> None:
        super().__init__()
        self.frozen, self.stages = split_trainable(network, recipe.frozen_blocks)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(network.channels, source_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.recipe = recipe

    def train(self, mode: bool = True) -> "_Learner":
        """Batch statistics of the frozen blocks stay as they were."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(
        self, maps: torch.Tensor, targets: torch.Tensor, candidates: torch.Tensor, device: Device
    ) -> torch.Tensor:
        """Mean cross-entropy of n photos among each one's candidates, with MixUp and label smoothing.

        Args:
            maps: (n, channels, h, w), the frozen stages' output.
            targets: (n,) the source labels.
            candidates: (n, source labels); of a mixed pair, those of either.
            device: for the precision.
        """
        recipe = self.recipe
        share, partner = 1.0, torch.arange(len(maps), device=maps.device)
        with device.autocast():
            maps = self.frozen(maps.to(memory_format=torch.channels_last))
            if recipe.mixup:
                share = torch.distributions.Beta(recipe.mixup, recipe.mixup).sample().item()
                partner = torch.randperm(len(maps), device=maps.device)
                maps = share * maps + (1 - share) * maps[partner]
                candidates = candidates | candidates[partner]
            maps = self.stages(erase(maps, recipe.erased))
        features = functional.dropout(Network.pooled_features(maps.float()), recipe.dropout)
        likelihoods = self.head(features).masked_fill(~candidates, -math.inf).log_softmax(dim=1)
        named = -sum_of_pair(likelihoods, targets, targets[partner], share)
        alike = -likelihoods.masked_fill(~candidates, 0).sum(dim=1) / candidates.sum(dim=1)
        smoothing = recipe.label_smoothing
        return ((1 - smoothing) * named + smoothing * alike).mean()


def sum_of_pair(
    likelihoods: torch.Tensor, first: torch.Tensor, second: torch.Tensor, share: float
) -> torch.Tensor:
    """The log-likelihood (n,) of a target (n,) and of the one that is mixed into it, by their shares."""
    pair = likelihoods.gather(1, torch.stack([first, second], dim=1))
    return pair[:, 0] if share == 1 else share * pair[:, 0] + (1 - share) * pair[:, 1]


def erase(maps: torch.Tensor, share: float) -> torch.Tensor:
    """Maps (n, channels, h, w) of which a share has a rectangle set to the channels' mean over all."""
    if not share:
        return maps
    n, _, height, width = maps.shape
    inside = torch.ones((n, height, width), dtype=torch.bool, device=maps.device)
    for side, shape in ((height, (1, height, 1)), (width, (1, 1, width))):
        low, high = (max(1, round(ninths * side / 9)) for ninths in _ERASED)
        length = torch.randint(low, max(high, low + 1), (n, 1, 1), device=maps.device)
        start = torch.randint(0, side, (n, 1, 1), device=maps.device)
        place = torch.arange(side, device=maps.device).view(shape)
        inside = inside & (place >= start) & (place < start + length)
    inside &= torch.rand((n, 1, 1), device=maps.device) < share
    return torch.where(inside[:, None], maps.mean(dim=(0, 2, 3))[:, None, None], maps)


def split_trainable(network: Network, frozen_blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The trainable stages in two: the blocks of the first that stay as they are, and what is trained.

    Raises:
        TrainingError: `too_few_blocks`, if the first has no so many with one left to train.
    """
    first, *rest = network.trainable
    if not frozen_blocks:
        return nn.Sequential(), network.trainable
    blocks = list(first) if isinstance(first, nn.Sequential) else []
    if frozen_blocks >= len(blocks):
        raise TrainingError(
            "too_few_blocks",
            f"frozen_blocks is {frozen_blocks}, and the first stage that is not frozen has {len(blocks)} "
            "blocks; set fewer, or freeze the stage",
        )
    kept, trained = blocks[:frozen_blocks], blocks[frozen_blocks:]
    return nn.Sequential(*kept), nn.Sequential(*trained, *rest)


def finetune(
    network: Network,
    views: Callable[[], TrainingViews],
    rows: Integers,
    targets: Targets,
    recipe: Recipe,
    folder: Path,
    device: Device,
) -> None:
    """Train the network's trainable stages to name source labels, in place; ends with averaged weights.

    These are kept in `folder`, and taken from there where they are known. After each epoch the state goes
    there too, so that a run that was stopped goes on and ends with the same weights; so does a line of
    the log. With several processes each takes its shard of a
    batch, and the gradient is that of the whole batch.

    Args:
        network: its trainable stages are trained.
        views: gives those of all photos; asked only where there is something to train.
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
    kept = folder / "finetuned.safetensors"
    known = kept.exists()
    device.wait()  # before any process writes the file that the others look for
    if not known:
        _train(network, views, rows, targets, recipe, folder, device)
        if device.is_main:
            write_tensors(kept, network.trainable.state_dict())
        device.wait()
    network.trainable.load_state_dict(load_file(kept))
    network.eval().cpu()


def _train(
    network: Network,
    views: Callable[[], TrainingViews],
    rows: Integers,
    targets: Targets,
    recipe: Recipe,
    folder: Path,
    device: Device,
) -> None:
    """What `finetune` does where the weights are not known."""
    run = _Run(network, views(), rows, targets, recipe, device)
    state = State(folder, run.learner, run.averaged, run.optimizer)
    done = state.restore()
    with closing(EpochLog(folder, done)) as log:
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
    run.learner.stages.load_state_dict(trained.stages.state_dict())  # which are the network's own
    network.cpu()


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
        self.learner = _Learner(network, targets.candidates.shape[1], recipe)
        self.learner.to(device.torch_device).train()
        if recipe.freeze_batch_norm:
            for module in self.learner.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.averaged = AveragedModel(
            self.learner, multi_avg_fn=_moving_average(recipe.ema_decay), use_buffers=True
        )
        parts = (self.learner.stages, self.learner.head)
        self.rates = (recipe.learning_rate, recipe.head_learning_rate)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
                for part, rate in zip(parts, self.rates, strict=True)
            ],
            weight_decay=recipe.weight_decay,
        )
        self.shared = device.share(self.learner)

    def epoch(self, epoch: int) -> Iterator[float]:
        """Train for an epoch, numbered from 0; yields the loss of each step before it is taken."""
        recipe = self.recipe
        generator = np.random.default_rng([recipe.seed, epoch])
        torch.manual_seed(
            int(generator.integers(2**31))
        )  # a run that goes on mixes as it would have
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
            self.device,
        )
        return loss


def _moving_average(decay: float) -> Any:
    """An exponential moving average that forgets sooner in its first steps, as TensorFlow's does."""

    @torch.no_grad()
    def update(averaged: Any, current: Any, steps: Any) -> None:
        own = min(decay, (1 + float(steps)) / (10 + float(steps)))
        get_ema_multi_avg_fn(own)(averaged, current, steps)

    return update


def _warm_cosine(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then half a cosine (arXiv:1608.03983)."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
