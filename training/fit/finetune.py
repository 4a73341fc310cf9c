"""Training what is not frozen of a network: to name the labels, or to predict what a teacher says."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from calcinosis.common.errors import TrainingError
from calcinosis.common.progress import track
from calcinosis.data.manifest import Row
from calcinosis.model.labels import OTHER
from calcinosis.model.network import Network
from calcinosis.training.fit.checkpointing import State
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps
from calcinosis.training.fit.heads import Head
from calcinosis.training.fit.layers import learning_layers
from calcinosis.training.fit.log import Epoch, EpochLog
from calcinosis.training.recipe import Recipe
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_BATCH: Final = 64
_WARM_UP: Final = 0.05  # share of the steps

IGNORE_INDEX: Final = -1
"""The source label of a photo that has no part in telling them apart."""

Integers = NDArray[np.int64]
Report = Callable[[str], None]


def silently(line: str) -> None:
    """A report of what is not worth a line."""


@dataclass(frozen=True)
class Targets:
    """What the network learns of each row.

    Attributes:
        labels: (rows,) index into the recipe's labels.
        source_labels: (rows,) index of the label that the source gave; `IGNORE_INDEX` where it is not learnt.
        draw: (rows,) relative chance of being drawn, before the rows of a fold are picked.
    """

    labels: Integers
    source_labels: Integers
    draw: NDArray[np.float64]


def make_targets(rows: Sequence[Row], recipe: Recipe) -> Targets:
    """Labels and drawing chances of the rows: conditions alike, `other` half look-alikes.

    A top that is taught by a teacher learns nothing of what the conditions' photos show.
    """
    labels = np.array([recipe.labels.index(row.label) for row in rows])
    names = sorted({row.source_label for row in rows})
    source_labels = np.array([names.index(row.source_label) for row in rows])
    if recipe.trainable_stages_see_no_label:
        source_labels[labels < len(recipe.labels) - 1] = IGNORE_INDEX
    strata = np.array([row.kind if row.label == OTHER else row.label for row in rows])
    background = sorted(set(strata[labels == len(recipe.labels) - 1]))
    conditions = sorted(set(strata) - set(background))
    draw = np.zeros(len(rows))
    for names_of, share in (
        (conditions, recipe.condition_share),
        (background, 1 - recipe.condition_share),
    ):
        for name in names_of:
            draw[strata == name] = share / len(names_of) / (strata == name).sum()
    return Targets(labels, source_labels, draw / draw.sum())


@torch.no_grad()
def compute_features(
    network: Network, activations: FeatureMaps, rows: Integers, hardware: Device
) -> np.ndarray:
    """What the head reads of a network's start weights, (n, width), for the plain views of rows (n,)."""
    network.eval().to(hardware.device)
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = activations.plain(rows[start : start + _BATCH]).to(hardware.device)
        with hardware.autocast():
            features = network.pretrained_features(batch.to(memory_format=torch.channels_last))
        parts.append(features.float().cpu().numpy())
    network.cpu()
    return np.concatenate(parts)


def set_head(network: Network, head: Head) -> None:
    """Put a fitted head into the network's."""
    network.head.load_state_dict(linear_of(head).state_dict())


def head_of(layer: nn.Linear) -> Head:
    """A layer as a head."""
    weights, biases = (p.detach().cpu().double().numpy() for p in layer.parameters())
    return Head(weights, biases)


def linear_of(head: Head) -> nn.Linear:
    """A fitted head as a layer."""
    layer = nn.Linear(*head.weights.T.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weights))
        layer.bias.copy_(torch.from_numpy(head.biases))
    return layer


@dataclass(frozen=True)
class TrainingSet:
    """What the layers of a top learn from.

    Attributes:
        activations: the trunk's output for the views of each row.
        targets: what is learnt of each row.
        taught: (views, d) the teacher's embedding of each view; None where the labels are learnt.
    """

    activations: FeatureMaps
    targets: Targets
    taught: NDArray[np.float32] | None = None


def train_top(
    network: Network,
    lessons: TrainingSet,
    rows: Integers,
    recipe: Recipe,
    folder: Path,
    hardware: Device,
    *,
    predicting: Head | None = None,
    resume: bool,
    report: Report,
) -> Head:
    """Train the network's top on these rows, in place; ends with the averaged weights.

    Without a teacher it learns, with the network's head, to name the labels; with one, to predict the
    teacher's embeddings, and the head stays as it is. It tells the source labels apart besides.

    After each epoch the state goes to `folder`, so that a run that was stopped goes on there and ends
    with the same weights; so does a line of the log. With several processes each takes its part of a
    batch, and the gradient is that of the whole batch.

    Args:
        network: its top is trained.
        lessons: views, and what is learnt of them.
        rows: the numbers (n,) of those that may be learnt from.
        recipe: says how.
        folder: for the state and the log.
        hardware: to compute on.
        predicting: where predicting the teacher begins.
        resume: go on with what the folder holds.
        report: is told of each epoch.

    Returns:
        The head that was trained with the top: the network's own, or the one that predicts the teacher.

    Raises:
        TrainingError: `diverged`, if the loss is not a number; the last good state stays on disk.
            `uneven_batch`, if the processes cannot share a batch evenly.
    """
    if recipe.batch_size % hardware.processes:
        raise TrainingError(
            "uneven_batch",
            f"a batch of {recipe.batch_size} cannot be shared evenly by {hardware.processes} processes; "
            f"change batch_size or the number of processes",
        )
    activations, targets = lessons.activations, lessons.targets
    chances = targets.draw[rows] / targets.draw[rows].sum()
    log_prior = None
    if predicting is None:
        prior = np.bincount(targets.labels[rows], chances, minlength=len(recipe.labels))
        log_prior = torch.from_numpy(prior).float().log().to(hardware.device)
    learner = _Learner(network, int(targets.source_labels.max()) + 1, predicting)
    learner.to(hardware.device).train()
    if recipe.freeze_batch_norm:
        for module in network.trainable.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    averaged = AveragedModel(
        learner, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
    )
    optimizer = torch.optim.AdamW(
        [
            {"params": list(network.trainable.parameters()), "lr": recipe.learning_rate},
            {
                "params": [*learner.first_head.parameters(), *learner.second_head.parameters()],
                "lr": recipe.head_learning_rate,
            },
        ],
        weight_decay=recipe.weight_decay,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    state = State(folder, learner, averaged, optimizer)
    done = state.restore() if resume else 0
    log = EpochLog(folder, done)
    shared = hardware.share(learner)
    steps = math.ceil(recipe.samples_per_epoch / recipe.batch_size)
    for epoch in range(done, recipe.epochs):
        began = time.monotonic()
        generator = np.random.default_rng([recipe.seed, epoch])
        drawn = rows[generator.choice(len(rows), size=steps * recipe.batch_size, p=chances)]
        losses = []
        batches = enumerate(drawn.reshape(steps, recipe.batch_size), start=epoch * steps)
        what = f"Epoch {epoch + 1} of {recipe.epochs}"
        for step, batch_rows in track(
            batches, what, total=steps * recipe.epochs, done=epoch * steps
        ):
            factor = _warm_cosine(step, steps * recipe.epochs)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            views = activations.choose(batch_rows, generator, recipe.plain_share)
            share, partner = _mixture(recipe, generator)
            own = hardware.part(recipe.batch_size)
            batch = activations.views(views[own])
            if share < 1:
                batch = share * batch + (1 - share) * activations.views(views[partner[own]])
            pairs = np.stack([batch_rows[own], batch_rows[partner[own]]])
            if lessons.taught is None:
                wanted = torch.from_numpy(targets.labels[pairs])
            else:
                wanted = torch.from_numpy(lessons.taught[[views[own], views[partner[own]]]])
            optimizer.zero_grad(set_to_none=True)
            with learning_layers(network.trainable, hardware):
                loss = shared(
                    batch.to(hardware.device),
                    wanted.to(hardware.device),
                    torch.from_numpy(targets.source_labels[pairs]).to(hardware.device),
                    share,
                    log_prior,
                    recipe,
                    hardware,
                )
                loss.backward()
            losses.append(hardware.mean(loss))
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    "diverged",
                    f"the loss is {losses[-1]} in epoch {epoch + 1}; lower learning_rate, or go on "
                    f"with --resume from the last good epoch",
                    name=str(folder),
                )
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(learner)
        if hardware.writes:
            rate = optimizer.param_groups[0]["lr"]
            seconds = time.monotonic() - began
            log.add(Epoch(epoch + 1, float(np.mean(losses)), rate, round(seconds, 1)))
            state.save(epoch + 1)
        report(f"epoch {epoch + 1} of {recipe.epochs}: loss {np.mean(losses):.3f}")
    trained: Any = averaged.module
    network.load_state_dict(trained.network.state_dict())
    network.eval().cpu()
    return head_of(trained.first_head)


def _mixture(recipe: Recipe, generator: np.random.Generator) -> tuple[float, Integers]:
    """The share that each photo of a batch keeps of itself, and the place of the one it is mixed with."""
    if recipe.mixup == 0:
        return 1.0, np.arange(recipe.batch_size)
    share = float(generator.beta(recipe.mixup, recipe.mixup))
    return share, generator.permutation(recipe.batch_size)


class _Learner(nn.Module):
    """The network with a second head, which tells the source labels apart while it learns.

    The first head is the network's own, or one that predicts a teacher, which begins at `predicting`.
    """

    def __init__(self, network: Network, source_labels: int, predicting: Head | None) -> None:
        super().__init__()
        self.network = network
        self.first_head = network.head
        if predicting is not None:
            self.first_head = linear_of(predicting)
            network.head.requires_grad_(False)
        self.second_head = nn.Linear(network.head.in_features, source_labels)
        nn.init.zeros_(self.second_head.weight)
        nn.init.zeros_(self.second_head.bias)

    def forward(
        self,
        batch: torch.Tensor,
        wanted: torch.Tensor,
        source_labels: torch.Tensor,
        share: float,
        log_prior: torch.Tensor | None,
        recipe: Recipe,
        hardware: Device,
    ) -> torch.Tensor:
        """Mean loss over n mixed activations.

        The labels' logits are learnt as if the labels were equally likely: what the drawing prefers is
        added to them before the softmax (Menon et al. 2021, arXiv:2007.07314).

        Args:
            batch: (n, channels, h, w).
            wanted: of each photo and of the one that is mixed into it, the labels (2, n), or the
                teacher's embeddings (2, n, d), whose mean squared distance is the loss.
            source_labels: (2, n) the same.
            share: that each photo keeps of itself.
            log_prior: (labels,) logarithms of the drawing's chances; None with a teacher.
            recipe: for the weights of the parts.
            hardware: for the precision.
        """
        with hardware.autocast():
            feature_map = self.network.trainable(batch.to(memory_format=torch.channels_last))
        features = self.network.pooled_features(feature_map.float())
        said, second = self.first_head(features), self.second_head(features)
        total = torch.zeros((), device=batch.device)
        for part, first_wanted, second_label in zip(
            (share, 1 - share), wanted, source_labels, strict=True
        ):
            if part > 0:
                if log_prior is None:
                    first = functional.mse_loss(said, first_wanted)
                else:
                    first = functional.cross_entropy(said + log_prior, first_wanted)
                other = functional.cross_entropy(
                    second,
                    second_label,
                    ignore_index=IGNORE_INDEX,
                    label_smoothing=recipe.label_smoothing,
                    reduction="sum",
                ) / len(second)
                total = total + part * (first + recipe.source_label_weight * other)
        return total


def _warm_cosine(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then half a cosine (arXiv:1608.03983)."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
