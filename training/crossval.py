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
from training.calibrate import fit_blend, fit_calibration, fit_conformal
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
from training.report import write_report
from training.runs import claim_folder
from training.tones import fill_skin_tones

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
    """Assign folds and estimate skin tones where the manifest has none, and read every photograph.

    Raises:
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    folded = list(rows) if all(row.fold is not None for row in rows) else assign_folds(rows)
    check_folds(folded)
    folded = fill_skin_tones(folded, root, cache / "skin_tones.json")
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


def fit(
    study: Study, rows: Integers, folder: Path, *, resume: bool, report: Report
) -> list[Network]:
    """The networks fitted to these rows (n,) of the study by its recipe.

    One, or with `keep_start` two: the fine-tuned one, then the start network with its probe.
    """
    probe = copy.deepcopy(study.start)
    weights, biases = fit_probe(study.features[rows], study.targets.labels[rows], study.recipe)
    set_head(probe, weights, biases)
    if study.recipe.method == "probe":
        return [probe]
    tuned = copy.deepcopy(probe)
    finetune(
        tuned,
        study.activations,
        study.targets,
        rows,
        study.recipe,
        folder,
        resume=resume,
        report=report,
    )
    return [tuned, probe] if study.recipe.keep_start else [tuned]


def held_out_logits(study: Study, out: Path, *, resume: bool, report: Report) -> Floats:
    """Logits (rows, networks, labels) of every photo, from the fold that held it out."""
    folds = np.array([row.fold for row in study.rows])
    parts = {}
    for fold in np.unique(folds):
        folder = out / f"fold-{fold}"
        path = folder / "logits.safetensors"
        if not (resume and path.exists()):
            report(f"fold {fold}: learning from {(folds != fold).sum()} photographs")
            learnt = np.flatnonzero(folds != fold)
            networks = fit(study, learnt, folder, resume=resume, report=report)
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            held_out = np.flatnonzero(folds == fold)
            save_file({"logits": network_logits(networks, study, held_out)}, partial)
            partial.replace(path)
        parts[fold] = load_file(path)["logits"]
    logits = np.full((len(folds), *next(iter(parts.values())).shape[1:]), np.nan)
    for fold, part in parts.items():
        logits[folds == fold] = part
    if not np.isfinite(logits).all():
        raise TrainingError("diverged", "a held-out photo has no finite logits", name=str(out))
    return logits


@torch.no_grad()
def network_logits(networks: Sequence[Network], study: Study, rows: Integers) -> Floats:
    """Logits (n, networks, labels) of the plain views of rows (n,)."""
    logits = [
        network.head(torch.from_numpy(compute_features(network, study.activations, rows)))
        for network in networks
    ]
    stacked: Floats = torch.stack(logits, dim=1).double().numpy()
    return stacked


def assemble(networks: Sequence[Network], blend: Floats, study: Study) -> Network:
    """One network whose logits are those of the given ones, weighted by `blend` (networks,)."""
    if len(networks) == 1:
        return networks[0]
    tuned, probe = networks
    whole = Network(
        study.backbone,
        len(study.recipe.labels),
        frozen_stages=study.recipe.frozen_stages,
        keeps_start=True,
    )
    whole.trunk.load_state_dict(study.start.trunk.state_dict())
    whole.top.load_state_dict(tuned.top.state_dict())
    if whole.kept is not None:
        whole.kept.load_state_dict(probe.top.state_dict())
    pairs = [(network.head, float(weight)) for network, weight in zip(networks, blend, strict=True)]
    with torch.no_grad():
        whole.head.weight.copy_(torch.cat([head.weight * weight for head, weight in pairs], dim=1))
        biases = torch.stack([head.bias * weight for head, weight in pairs])
        whole.head.bias.copy_(biases.sum(dim=0))
    return whole.eval()


@dataclass(frozen=True)
class Readout:
    """What turns the logits of a recipe's networks into probabilities and prediction sets."""

    blend: Floats
    calibration: Calibration
    conformal: Conformal

    def blended(self, logits: Floats) -> Floats:
        """Logits (n, labels) of the assembled network, from those (n, networks, labels) of its parts."""
        mixed: Floats = np.einsum("nbk,b->nk", logits, self.blend)
        return mixed


def fit_readout(logits: Floats, labels: Integers, coverage: float) -> Readout:
    """Blend, calibration and prediction sets from held-out logits (n, networks, labels)."""
    blend = fit_blend(logits, labels)
    mixed = np.einsum("nbk,b->nk", logits, blend)
    calibration = fit_calibration(mixed, labels)
    conformal = fit_conformal(calibration.probabilities(mixed), labels, coverage)
    return Readout(blend, calibration, conformal)


def cross_predictions(study: Study, logits: Floats) -> Predictions:
    """The predictions table of held-out logits (rows, networks, labels).

    The readout of a fold's photos is fitted on the held-out logits of the other folds, so that no
    photo has a say in how its own probabilities or its own prediction set are made.
    """
    recipe, labels = study.recipe, study.targets.labels
    folds = np.array([row.fold for row in study.rows])
    probabilities = np.zeros((len(folds), len(recipe.labels)))
    members = np.zeros(probabilities.shape, dtype=bool)
    for fold in np.unique(folds):
        others, own = folds != fold, folds == fold
        readout = fit_readout(logits[others], labels[others], recipe.coverage)
        mixed = readout.blended(logits[own])
        probabilities[own] = readout.calibration.probabilities(mixed, recipe.stated_prior)
        reference = readout.calibration.probabilities(mixed)
        members[own] = readout.conformal.prediction_sets(reference)
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
    """Write `predictions.csv`, `metrics.json` and `report.html` to a folder; gives the metrics."""
    write_predictions(predictions, out / "predictions.csv")
    metrics = compute_metrics(predictions, prior=prior)
    partial = out / "metrics.json.partial"
    partial.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    partial.replace(out / "metrics.json")
    write_report(metrics, predictions, out / "report.html")
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
        The study, the held-out logits (rows, networks, labels) and the metrics.

    Raises:
        TrainingError: `other_run`, if `out` holds a run of another recipe or of other photos.
    """
    work = claim_folder(out, recipe, rows, resume=resume)
    study = prepare(rows, root, recipe, cache, report)
    logits = held_out_logits(study, work, resume=resume, report=report)
    metrics = write_results(cross_predictions(study, logits), recipe.stated_prior, out)
    return study, logits, metrics
