"""A recipe with the photographs it is applied to: what is fitted to some of them, and what it says of others."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from data.manifest import Row, check_files
from data.splits import assign_folds, check_folds
from model.backbones import Backbone, build_backbone
from model.calibration import Calibration, Conformal
from model.finding import outcome_of
from model.network import Network
from model.preprocessing import Preprocessing
from training.activations import Activations, compute_activations
from training.calibrate import fit_blend, fit_calibration, fit_conformal
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
from training.hardware import Hardware
from training.predictions import NO_FOLD, Predictions
from training.recipe import Recipe
from training.storage import write_whole
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
        hardware: what it is computed on.
    """

    recipe: Recipe
    rows: list[Row]
    backbone: Backbone
    preprocessing: Preprocessing
    start: Network
    activations: Activations
    targets: Targets
    features: NDArray[np.float32]
    hardware: Hardware

    @property
    def folds(self) -> Integers:
        """(rows,) the fold that holds each photo out."""
        return np.array([row.fold for row in self.rows], dtype=np.int64)


def prepare(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    cache: Path,
    report: Report,
    hardware: Hardware | None = None,
) -> Study:
    """Assign folds and estimate skin tones where the manifest has none, and read every photograph.

    Raises:
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    hardware = hardware or Hardware()
    folded = list(rows) if all(row.fold is not None for row in rows) else assign_folds(rows)
    check_folds(folded)
    check_files(folded, root)
    with hardware.one_after_another():
        folded = fill_skin_tones(folded, root, cache / "skin_tones.json")
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, pretrained=recipe.pretrained)
    preprocessing = backbone.preprocessing
    if recipe.input_size:
        preprocessing = preprocessing.model_copy(update={"size": recipe.input_size})
    start = Network(backbone, len(recipe.labels), frozen_stages=recipe.frozen_stages)
    activations = compute_activations(folded, root, start, preprocessing, recipe, cache, hardware)
    report(f"{len(folded)} photographs read")
    features = compute_features(start, activations, np.arange(len(folded)), hardware)
    targets = make_targets(folded, recipe)
    return Study(
        recipe, folded, backbone, preprocessing, start, activations, targets, features, hardware
    )


def fit(
    study: Study, rows: Integers, folder: Path, *, resume: bool, report: Report
) -> list[Network]:
    """The networks fitted to these rows (n,) of the study by its recipe.

    One, or with `keep_start` two: the fine-tuned one, then the start network with its probe. What was
    fitted is kept in a folder: asked again with `resume`, the same networks come from there.
    """
    probe = copy.deepcopy(study.start)
    kept = folder / "probe.safetensors"
    if study.hardware.writes and not (resume and kept.exists()):
        found = fit_probe(study.features[rows], study.targets.labels[rows], study.recipe)
        write_whole(kept, save({"weights": found[0], "biases": found[1]}))
    study.hardware.wait()
    fitted = load_file(kept)
    set_head(probe, fitted["weights"], fitted["biases"])
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
        study.hardware,
        resume=resume,
        report=report,
    )
    return [tuned, probe] if study.recipe.keep_start else [tuned]


def kept_logits(
    path: Path, ask: Callable[[], Floats], hardware: Hardware, *, resume: bool
) -> Floats:
    """Logits from a file of a run that goes on; asked for, and kept there, where there is none."""
    known = resume and path.exists()
    hardware.wait()  # before any process writes the file that the others look for
    if not known:
        logits = ask()
        if hardware.writes:
            write_whole(path, save({"logits": logits}))
    hardware.wait()
    return load_file(path)["logits"]


@torch.no_grad()
def network_logits(
    networks: Sequence[Network], study: Study, activations: Activations, rows: Integers
) -> Floats:
    """Logits (n, networks, labels) of the plain views of rows (n,) of the activations."""
    features = [
        compute_features(network, activations, rows, study.hardware) for network in networks
    ]
    logits = [
        network.head(torch.from_numpy(feature))
        for network, feature in zip(networks, features, strict=True)
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

    def read(self, logits: Floats, prior: Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
        """Probabilities and membership of the prediction sets, both (n, labels)."""
        mixed = self.blended(logits)
        members = self.conformal.prediction_sets(self.calibration.probabilities(mixed))
        return self.calibration.probabilities(mixed, prior), members


def fit_readout(logits: Floats, labels: Integers, coverage: float) -> Readout:
    """Blend, calibration and prediction sets from held-out logits (n, networks, labels)."""
    blend = fit_blend(logits, labels)
    mixed = np.einsum("nbk,b->nk", logits, blend)
    calibration = fit_calibration(mixed, labels)
    conformal = fit_conformal(calibration.probabilities(mixed), labels, coverage)
    return Readout(blend, calibration, conformal)


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
