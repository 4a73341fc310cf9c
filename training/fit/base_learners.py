"""What a recipe fits to some photographs: a trained network, linear heads, and the one network of both."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from calcinosis.common.files import atomic_write
from calcinosis.model.network import Network
from calcinosis.training.evaluate.calibrate import StackingWeights
from calcinosis.training.fit.features import FeatureMaps
from calcinosis.training.fit.finetune import (
    Integers,
    Report,
    compute_features,
    head_of,
    set_head,
    train_top,
)
from calcinosis.training.fit.heads import (
    Features,
    Head,
    fit_distilled,
    fit_lda,
    fit_logistic,
    fit_on_predicted,
    fit_ridge,
)
from calcinosis.training.fit.prepare import Floats, PreparedData
from safetensors.numpy import load_file, save
from sklearn.preprocessing import StandardScaler

_FIRST: Final = "first"  # the head that fine-tuning begins from


@dataclass(frozen=True)
class Fitted:
    """What a recipe made of some photographs.

    Attributes:
        tuned: the network with the trained top, if the recipe trains one.
        top_heads: linear heads on what it makes of a photo: the one it was trained with, or those of the recipe.
        heads: linear heads on the features of the start weights, in the order of the recipe.
        seen: (rows, width) what the trained top makes of the plain views of all photos, where that is known.
    """

    tuned: Network | None
    top_heads: tuple[Head, ...]
    heads: tuple[Head, ...]
    seen: Features | None = None


def fit(
    study: PreparedData,
    rows: Integers,
    folder: Path,
    *,
    top: Path | None = None,
    resume: bool,
    report: Report,
) -> Fitted:
    """What the study's recipe makes of these rows (n,).

    What was fitted is kept in a folder: asked again with `resume`, the same comes from there.

    Args:
        top: with the method `distil`, a folder whose top is taken as it is; only heads are fitted.
    """
    recipe = study.recipe
    names = [*recipe.heads, *([_FIRST] if recipe.method == "finetune" else [])]

    def fit_heads() -> dict[str, Head]:
        views = _views_of(study, rows, study.features, [one.features for one in study.changed])
        return {name: _fit_head(name, study, *views) for name in names}

    heads = _kept_heads(folder / "heads.safetensors", fit_heads, study, resume=resume)
    tuned, seen = None, None
    top_heads: tuple[Head, ...] = ()
    if recipe.method == "finetune":
        tuned = _new_network(study)
        set_head(tuned, heads[_FIRST])
        train_top(
            tuned,
            study.lessons,
            rows,
            recipe,
            folder,
            study.hardware,
            resume=resume,
            report=report,
        )
        top_heads = (head_of(tuned.head),)
    elif recipe.method == "distil":
        tuned, predicting = _distil(
            study, rows, top or folder, resume=resume or top is not None, report=report
        )
        seen, *changed = _seen_by(tuned, study, top or folder, resume=resume or top is not None)

        def fit_top_heads() -> dict[str, Head]:
            views = _views_of(study, rows, seen, changed)
            return {
                name: _fit_top_head(name, study, *views, predicting) for name in recipe.top_heads
            }

        found = _kept_heads(folder / "top_heads.safetensors", fit_top_heads, study, resume=resume)
        top_heads = tuple(found[name] for name in recipe.top_heads)
    return Fitted(tuned, top_heads, tuple(heads[name] for name in recipe.heads), seen)


def _distil(
    study: PreparedData, rows: Integers, folder: Path, *, resume: bool, report: Report
) -> tuple[Network, Head]:
    """A network whose top learnt to predict the teacher of these rows (n,), and what predicts it."""
    recipe, lessons, tuned = study.recipe, study.lessons, _new_network(study)
    if study.taught is None or lessons.taught is None:
        raise ValueError("nothing was asked of the teacher")
    counts = np.diff(lessons.activations.starts)
    own = np.repeat(np.isin(np.arange(len(study.rows)), rows), counts)
    scaler = StandardScaler().fit(lessons.taught[own])
    predicting = train_top(
        tuned,
        replace(lessons, taught=scaler.transform(lessons.taught)),
        rows,
        recipe,
        folder,
        study.hardware,
        predicting=fit_ridge(
            study.features[rows][:, : study.backbone.channels],
            scaler.transform(study.taught[rows]),
            recipe.teacher_ridge,
        ),
        resume=resume,
        report=report,
    )
    return tuned, predicting


def _seen_by(tuned: Network, study: PreparedData, folder: Path, *, resume: bool) -> list[Features]:
    """What a trained top makes of the plain views (rows, width), and of those with changed marks (m, width).

    It is kept in the folder of the top.
    """
    path = folder / "seen.safetensors"
    if study.hardware.writes and not (resume and path.exists()):
        views = [study.activations, *(one.activations for one in study.changed)]
        seen = {
            str(number): compute_features(
                tuned, activations, np.arange(len(activations.starts) - 1), study.hardware
            )
            for number, activations in enumerate(views)
        }
        atomic_write(path, save(seen))
    study.hardware.wait()
    stored = load_file(path)
    return [stored[str(number)] for number in range(len(stored))]


def _new_network(study: PreparedData) -> Network:
    """The start network without its linear heads, for a training of its own."""
    recipe = study.recipe
    network = Network(
        study.backbone,
        len(recipe.labels),
        frozen_stages=recipe.frozen_stages,
        flip_tta=recipe.flip_tta,
    )
    return copy.deepcopy(network)  # the backbone's own layers stay as they are


def _kept_heads(
    path: Path, fit_heads: Callable[[], dict[str, Head]], study: PreparedData, *, resume: bool
) -> dict[str, Head]:
    """Heads from a file of a run that goes on; fitted, and kept there, where there is none."""
    if study.hardware.writes and not (resume and path.exists()):
        tensors: dict[str, np.ndarray] = {}
        for name, head in fit_heads().items():
            tensors |= {f"{name}.weights": head.weights, f"{name}.biases": head.biases}
        atomic_write(path, save(tensors))
    study.hardware.wait()
    stored = load_file(path)
    names = {name.partition(".")[0] for name in stored}
    return {name: Head(stored[f"{name}.weights"], stored[f"{name}.biases"]) for name in names}


def _views_of(
    study: PreparedData, rows: Integers, plain: Features, changed: Sequence[Features]
) -> tuple[Integers, Features]:
    """What heads learn of rows: the row (m,) and the features (m, width) of each view.

    Args:
        plain: (all rows, width) features of the plain views.
        changed: those of the views with changed marks, in the order of the study's.
    """
    numbers, features = [rows], [plain[rows]]
    for one, views in zip(study.changed, changed, strict=True):
        again = np.isin(one.numbers, rows)
        numbers.append(one.numbers[again])
        features.append(views[again])
    return np.concatenate(numbers), np.concatenate(features)


def _fit_head(name: str, study: PreparedData, rows: Integers, features: Features) -> Head:
    """A head of rows (m,) with their features (m, width)."""
    recipe, count = study.recipe, len(study.recipe.labels)
    labels = study.targets.labels[rows]
    last = features[:, : study.backbone.channels]  # the mean of the last feature map
    if name == _FIRST:
        return fit_logistic(last, labels, count, recipe.probe_strength)
    if name == "logistic":
        return fit_logistic(features, labels, count, recipe.probe_strength)
    if name == "distilled" and study.taught is not None:
        taught = study.taught[rows]
        return fit_distilled(
            features, labels, count, taught, recipe.teacher_ridge, recipe.teacher_strength
        )
    # On every stage, a covariance of three times the width, it lost 0.01 AUROC of calcinosis.
    head = fit_lda(last, labels, count, recipe.shrinkage)
    weights = np.zeros((count, features.shape[1]))
    weights[:, : last.shape[1]] = head.weights
    return Head(weights, head.biases)


def _fit_top_head(
    name: str, study: PreparedData, rows: Integers, features: Features, predicting: Head
) -> Head:
    """A head of rows (m,) with what a trained top makes of them (m, width).

    Args:
        predicting: what predicts the teacher of it.
    """
    recipe, count = study.recipe, len(study.recipe.labels)
    labels = study.targets.labels[rows]
    if name == "logistic":
        return fit_logistic(features, labels, count, recipe.probe_strength)
    # Not by a new ridge regression: what the top makes of the photos it learnt from fits too well.
    return fit_on_predicted(features, labels, count, predicting, recipe.teacher_strength)


def part_logits(
    fitted: Fitted, study: PreparedData, activations: FeatureMaps, rows: Integers
) -> Floats:
    """Logits (n, parts, labels) of the plain views of rows (n,) of the activations.

    The parts are the heads on the trained network, if there is one, and those on the start weights.
    """
    parts = []
    if fitted.tuned is not None:
        if fitted.seen is not None and activations is study.activations:
            seen = fitted.seen[rows]
        else:
            seen = compute_features(fitted.tuned, activations, rows, study.hardware)
        parts += [head.logits(seen) for head in fitted.top_heads]
    if fitted.heads:
        if activations is study.activations:
            seen = study.features[rows]
        else:
            seen = compute_features(study.start, activations, rows, study.hardware)
        parts += [head.logits(seen) for head in fitted.heads]
    stacked: Floats = np.stack(parts, axis=1)
    return stacked


def fold_into_network(fitted: Fitted, blend: StackingWeights, study: PreparedData) -> Network:
    """One network whose logits are the blend of the parts' logits (n, parts, labels)."""
    network = Network(
        study.backbone,
        len(study.recipe.labels),
        frozen_stages=study.recipe.frozen_stages,
        two_branch=fitted.tuned is not None and bool(fitted.heads),
        multi_scale=study.recipe.multi_scale and bool(fitted.heads),
        flip_tta=study.recipe.flip_tta,
    )
    network = copy.deepcopy(network)  # the backbone's own layers stay as they are
    network.frozen.load_state_dict(study.start.frozen.state_dict())
    network.trainable.load_state_dict((fitted.tuned or study.start).trainable.state_dict())
    if network.pretrained_branch is not None:
        network.pretrained_branch.load_state_dict(study.start.trainable.state_dict())
    parts = [
        _weighed(head, weights)
        for head, weights in zip([*fitted.top_heads, *fitted.heads], blend.weights, strict=True)
    ]
    tops, starts = parts[: len(fitted.top_heads)], parts[len(fitted.top_heads) :]
    columns = [np.sum([p.weights for p in some], axis=0) for some in (tops, starts) if some]
    biases = np.sum([part.biases for part in parts], axis=0)
    biases[:-1] += blend.offsets
    set_head(network, Head(np.concatenate(columns, axis=1), biases))
    return network.eval()


def _weighed(head: Head, weights: Floats) -> Head:
    """The head whose logits are the margins over the last label times weights (labels - 1,)."""
    scale = np.append(weights, 0.0)
    return Head(
        (head.weights - head.weights[-1]) * scale[:, None], (head.biases - head.biases[-1]) * scale
    )
