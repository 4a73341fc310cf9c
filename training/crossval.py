"""Cross-validation: each photo is judged by a network that saw no photo of its group."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from data.manifest import Row
from data.splits import assign_folds, check_folds
from model.backbones import Backbone, build_backbone
from model.calibration import Calibration, Conformal
from model.finding import outcome_of
from model.network import Network
from model.preprocessing import Preprocessing
from training.activations import Activations, compute_activations
from training.calibrate import fit_calibration, fit_conformal
from training.errors import TrainingError
from training.fit import (
    Integers,
    Report,
    Targets,
    compute_features,
    finetune,
    fit_probe,
    make_targets,
    set_head,
)
from training.metrics import compute_metrics
from training.predictions import NO_FOLD, Predictions, write_predictions
from training.recipe import Recipe
from training.runs import claim_folder

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """A recipe with the photographs it is applied to, read once for all folds.

    Attributes:
        rows: the photos, each with its fold.
        start: the network before any fit.
        activations: what the frozen part of it makes of each view.
        features: (rows, channels) of the plain views under the start network.
    """

    recipe: Recipe
    rows: list[Row]
    backbone: Backbone
    preprocessing: Preprocessing
    start: Network
    activations: Activations
    targets: Targets
    features: NDArray[np.float32]


def prepare(rows: Sequence[Row], root: Path, recipe: Recipe, cache: Path, report: Report) -> Study:
    """Assign folds where the manifest has none, and read every photograph.

    Raises:
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    folded = list(rows) if all(row.fold is not None for row in rows) else assign_folds(rows)
    check_folds(folded)
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, pretrained=recipe.pretrained)
    preprocessing = backbone.preprocessing
    if recipe.input_size:
        preprocessing = preprocessing.model_copy(update={"size": recipe.input_size})
    start = Network(backbone, len(recipe.labels), frozen_stages=recipe.frozen_stages)
    activations = compute_activations(folded, root, start, preprocessing, recipe, cache)
    report(f"{len(folded)} photographs read")
    features = compute_features(start, activations, np.arange(len(folded)))
    targets = make_targets(folded, recipe)
    return Study(recipe, folded, backbone, preprocessing, start, activations, targets, features)


def fit(study: Study, rows: Integers, folder: Path, *, resume: bool, report: Report) -> Network:
    """A network fitted to these rows (n,) of the study by its recipe."""
    network = copy.deepcopy(study.start)
    weights, biases = fit_probe(study.features[rows], study.targets.labels[rows], study.recipe)
    set_head(network, weights, biases)
    if study.recipe.method == "finetune":
        finetune(
            network,
            study.activations,
            study.targets,
            rows,
            study.recipe,
            folder,
            resume=resume,
            report=report,
        )
    return network


def held_out_logits(study: Study, out: Path, *, resume: bool, report: Report) -> Floats:
    """Logits (rows, labels) of every photo, each from the network of the fold that held it out."""
    folds = np.array([row.fold for row in study.rows])
    logits = np.full((len(folds), len(study.recipe.labels)), np.nan)
    for fold in np.unique(folds):
        folder = out / f"fold-{fold}"
        path = folder / "logits.safetensors"
        held_out = np.flatnonzero(folds == fold)
        if not (resume and path.exists()):
            report(f"fold {fold}: learning from {(folds != fold).sum()} photographs")
            network = fit(
                study, np.flatnonzero(folds != fold), folder, resume=resume, report=report
            )
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            save_file({"logits": network_logits(network, study, held_out)}, partial)
            partial.replace(path)
        logits[held_out] = load_file(path)["logits"]
    if not np.isfinite(logits).all():
        raise TrainingError("diverged", "a held-out photo has no finite logits", name=str(out))
    return logits


@torch.no_grad()
def network_logits(network: Network, study: Study, rows: Integers) -> Floats:
    """Logits (n, labels) of the plain views of rows (n,)."""
    features = torch.from_numpy(compute_features(network, study.activations, rows))
    logits: Floats = network.head(features).double().numpy()
    return logits


def calibrate(logits: Floats, labels: Integers, coverage: float) -> tuple[Calibration, Conformal]:
    """Calibration and prediction sets from held-out logits (n, labels)."""
    calibration = fit_calibration(logits, labels)
    return calibration, fit_conformal(calibration.probabilities(logits), labels, coverage)


def cross_predictions(study: Study, logits: Floats) -> Predictions:
    """The predictions table of held-out logits.

    The calibration of a fold's photos is fitted on the held-out logits of the other folds, so that no
    photo has a say in how its own probabilities or its own prediction set are made.
    """
    recipe, labels = study.recipe, study.targets.labels
    folds = np.array([row.fold for row in study.rows])
    probabilities = np.zeros_like(logits)
    members = np.zeros(logits.shape, dtype=bool)
    for fold in np.unique(folds):
        others, own = folds != fold, folds == fold
        calibration, conformal = calibrate(logits[others], labels[others], recipe.coverage)
        probabilities[own] = calibration.probabilities(logits[own], recipe.stated_prior)
        members[own] = conformal.prediction_sets(calibration.probabilities(logits[own]))
    return make_predictions(study.rows, recipe.labels, probabilities, members)


def make_predictions(
    rows: Sequence[Row],
    labels: tuple[str, ...],
    probabilities: Floats,
    members: NDArray[np.bool_],
) -> Predictions:
    """A predictions table of rows with their probabilities and prediction sets, both (n, labels)."""
    sets = [[label for label, member in zip(labels, row, strict=True) if member] for row in members]
    return Predictions(
        labels=labels,
        file=tuple(row.file for row in rows),
        label=np.array([labels.index(row.label) for row in rows]),
        group=tuple(row.group for row in rows),
        source=tuple(row.source for row in rows),
        source_label=tuple(row.source_label for row in rows),
        kind=tuple(row.kind for row in rows),
        skin_tone=tuple(row.skin_tone for row in rows),
        fold=np.array([NO_FOLD if row.fold is None else row.fold for row in rows]),
        probabilities=probabilities,
        prediction_set=members,
        outcome=tuple(outcome_of(prediction_set) for prediction_set in sets),
    )


def write_results(predictions: Predictions, prior: Sequence[float], out: Path) -> dict[str, Any]:
    """Write `predictions.csv` and `metrics.json` to a folder; gives the metrics."""
    write_predictions(predictions, out / "predictions.csv")
    metrics = compute_metrics(predictions, prior=prior)
    partial = out / "metrics.json.partial"
    partial.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    partial.replace(out / "metrics.json")
    return metrics


def cross_validate(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    out: Path,
    *,
    cache: Path,
    resume: bool,
    report: Report,
) -> tuple[Study, Floats, dict[str, Any]]:
    """Cross-validate a recipe on a manifest's rows; writes `predictions.csv` and `metrics.json`.

    Working state goes to `out/work`.

    Returns:
        The study, the held-out logits (rows, labels) and the metrics.

    Raises:
        TrainingError: `other_run`, if `out` holds a run of another recipe or of other photos.
    """
    work = claim_folder(out, recipe, rows, resume=resume)
    study = prepare(rows, root, recipe, cache, report)
    logits = held_out_logits(study, work, resume=resume, report=report)
    metrics = write_results(cross_predictions(study, logits), recipe.stated_prior, out)
    return study, logits, metrics
