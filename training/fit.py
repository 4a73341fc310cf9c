"""Fitting a network: first a probe on what it already sees, then fine-tuning what is not frozen."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from data.manifest import Row
from model.labels import OTHER
from model.network import Network
from training.activations import Activations
from training.errors import TrainingError
from training.recipe import Recipe

_BATCH: Final = 64
_WARM_UP: Final = 0.05  # share of the steps

Integers = NDArray[np.int64]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Targets:
    """What the network learns of each row.

    Attributes:
        labels: (rows,) index into the recipe's labels.
        source_labels: (rows,) index of the label that the source gave.
        draw: (rows,) relative chance of being drawn, before the rows of a fold are picked.
    """

    labels: Integers
    source_labels: Integers
    draw: NDArray[np.float64]


def make_targets(rows: Sequence[Row], recipe: Recipe) -> Targets:
    """Labels and drawing chances of the rows: conditions alike, `other` half look-alikes."""
    labels = np.array([recipe.labels.index(row.label) for row in rows])
    names = sorted({row.source_label for row in rows})
    source_labels = np.array([names.index(row.source_label) for row in rows])
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
def compute_features(network: Network, activations: Activations, rows: Integers) -> np.ndarray:
    """Pooled, scaled features (n, channels) of the plain views of rows (n,)."""
    network.eval()
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = activations.plain(rows[start : start + _BATCH])
        with torch.autocast("cpu", torch.bfloat16):
            feature_map = network.top(batch.to(memory_format=torch.channels_last))
        parts.append(network.features(feature_map.float()).numpy())
    return np.concatenate(parts)


def fit_probe(
    features: np.ndarray, labels: Integers, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (labels, channels) and biases (labels,) of a balanced logistic regression.

    The features are standardised for the fit; the scaling is then folded into the weights. Balanced
    means that the logits hold for labels that are equally likely.
    """
    scaler = StandardScaler().fit(features)
    probe = LogisticRegression(C=recipe.probe_strength, class_weight="balanced", max_iter=500)
    probe.fit(scaler.transform(features), labels)
    weights, biases = probe.coef_, probe.intercept_
    if len(probe.classes_) == 2:  # scikit-learn keeps one row for two classes
        weights, biases = (
            np.stack([-weights[0], weights[0]]) / 2,
            np.array([-biases[0], biases[0]]) / 2,
        )
    weights = weights / scaler.scale_
    return weights, biases - weights @ scaler.mean_


def set_head(network: Network, weights: np.ndarray, biases: np.ndarray) -> None:
    """Put a probe into the network's head."""
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weights))
        network.head.bias.copy_(torch.from_numpy(biases))


def finetune(
    network: Network,
    activations: Activations,
    targets: Targets,
    rows: Integers,
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool,
    report: Report,
) -> None:
    """Train the network's top and head on these rows, in place; ends with the averaged weights.

    After each epoch the state goes to `folder`, so that a run that was stopped goes on there and ends
    with the same weights.

    Raises:
        TrainingError: `diverged`, if the loss is not a number; the last good state stays on disk.
    """
    learner = _Learner(network, int(targets.source_labels.max()) + 1)
    learner.train()
    if recipe.freeze_batch_norm:
        for module in network.top.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    averaged = AveragedModel(
        learner, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging), use_buffers=True
    )
    steps = math.ceil(recipe.draws / recipe.batch_size)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(network.top.parameters()), "lr": recipe.learning_rate},
            {
                "params": [*network.head.parameters(), *learner.second_head.parameters()],
                "lr": recipe.head_learning_rate,
            },
        ],
        weight_decay=recipe.weight_decay,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    state = _State(folder, learner, averaged, optimizer)
    chances = targets.draw[rows] / targets.draw[rows].sum()
    prior = torch.tensor(
        [chances[targets.labels[rows] == label].sum() for label in range(len(recipe.labels))]
    ).float()
    for epoch in range(state.restore() if resume else 0, recipe.epochs):
        generator = np.random.default_rng([recipe.seed, epoch])
        drawn = rows[generator.choice(len(rows), size=steps * recipe.batch_size, p=chances)]
        losses = []
        for step, batch_rows in enumerate(drawn.reshape(steps, recipe.batch_size)):
            factor = _warm_cosine(epoch * steps + step, steps * recipe.epochs)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            batch = activations.augmented(batch_rows, generator)
            optimizer.zero_grad(set_to_none=True)
            with _depthwise_in_full_precision(network.top):
                loss = learner.loss(
                    batch,
                    torch.from_numpy(targets.labels[batch_rows]),
                    torch.from_numpy(targets.source_labels[batch_rows]),
                    prior,
                    recipe,
                    generator,
                )
                loss.backward()
            if not torch.isfinite(loss):
                raise TrainingError(
                    "diverged",
                    f"the loss is {loss.item()} in epoch {epoch + 1}; lower learning_rate, or go on "
                    f"with --resume from the last good epoch",
                    name=str(folder),
                )
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(learner)
            losses.append(loss.item())
        state.save(epoch + 1)
        report(f"epoch {epoch + 1} of {recipe.epochs}: loss {np.mean(losses):.3f}")
    trained: Any = averaged.module
    network.load_state_dict(trained.network.state_dict())
    network.eval()


class _Learner(nn.Module):
    """The network with a second head, which tells the source labels apart while it learns."""

    def __init__(self, network: Network, source_labels: int) -> None:
        super().__init__()
        self.network = network
        self.second_head = nn.Linear(network.head.in_features, source_labels)
        nn.init.zeros_(self.second_head.weight)
        nn.init.zeros_(self.second_head.bias)

    def loss(
        self,
        batch: torch.Tensor,
        labels: torch.Tensor,
        source_labels: torch.Tensor,
        prior: torch.Tensor,
        recipe: Recipe,
        generator: np.random.Generator,
    ) -> torch.Tensor:
        """Mean loss over a batch of activations.

        The labels' logits are learnt as if the labels were equally likely: what the drawing prefers is
        added to them before the softmax (Menon et al. 2021, arXiv:2007.07314).
        """
        share, partner = 1.0, np.arange(len(batch))
        if recipe.mixup > 0:
            share = float(generator.beta(recipe.mixup, recipe.mixup))
            partner = generator.permutation(len(batch))
            batch = share * batch + (1 - share) * batch[partner]
        with torch.autocast("cpu", torch.bfloat16):
            feature_map = self.network.top(batch.to(memory_format=torch.channels_last))
        features = self.network.features(feature_map.float())
        logits = self.network.head(features) + prior.log()
        second = self.second_head(features)
        total = torch.zeros(())
        for part, order in ((share, np.arange(len(batch))), (1 - share, partner)):
            if part > 0:
                first = functional.cross_entropy(logits, labels[order])
                other = functional.cross_entropy(
                    second, source_labels[order], label_smoothing=recipe.label_smoothing
                )
                total = total + part * (first + recipe.source_label_weight * other)
        return total


@contextmanager
def _depthwise_in_full_precision(top: nn.Module) -> Iterator[None]:
    """Keep depthwise convolutions out of autocast: measured, their bfloat16 backward pass on a CPU
    takes 3.6 times as long as the one in float32, while the others gain.
    """

    def full_precision(convolution: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        forward = type(convolution).forward

        def run(inputs: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", enabled=False):
                output: torch.Tensor = forward(convolution, inputs.float())
            return output

        return run

    depthwise: list[Any] = [
        m for m in top.modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1
    ]
    for convolution in depthwise:
        convolution.forward = full_precision(convolution)
    try:
        yield
    finally:
        for convolution in depthwise:
            del convolution.forward


def _warm_cosine(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then half a cosine (arXiv:1608.03983)."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class _State:
    """A training's state on disk: tensors in safetensors, the rest in JSON."""

    def __init__(
        self,
        folder: Path,
        learner: nn.Module,
        averaged: AveragedModel,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.folder = folder
        self.learner, self.averaged, self.optimizer = learner, averaged, optimizer

    def save(self, epoch: int) -> None:
        """Write the state after an epoch; the old one goes when the new one is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            **{f"learner.{k}": v for k, v in self.learner.state_dict().items()},
            **{f"averaged.{k}": v for k, v in self.averaged.state_dict().items()},
        }
        for number, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in slots.items()}
        path = self.folder / f"state-{epoch}.safetensors"
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path)
        partial = self.folder / "state.json.partial"
        partial.write_text(json.dumps({"epoch": epoch, "tensors": path.name}))
        partial.replace(self.folder / "state.json")
        for old in self.folder.glob("state-*.safetensors"):
            if old != path:
                old.unlink()

    def restore(self) -> int:
        """Load the last state, if there is one; gives the epochs that are done."""
        try:
            note = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return 0
        tensors = load_file(self.folder / note["tensors"])

        def below(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.learner.load_state_dict(below("learner."))
        self.averaged.load_state_dict(below("averaged."))
        whole = self.optimizer.state_dict()
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in below("optimizer.").items():
            number, name = key.split(".")
            slots.setdefault(int(number), {})[name] = tensor
        whole["state"] = slots
        self.optimizer.load_state_dict(whole)
        epoch: int = note["epoch"]
        return epoch
