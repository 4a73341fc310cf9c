"""Training: cross-validate the recipe, fit it on every photo, and write the checkpoint."""

import datetime
import logging
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from calcinosis.common.errors import TrainingError
from calcinosis.common.files import atomic_write, write_json
from calcinosis.common.options import RunOptions
from calcinosis.common.progress import track
from calcinosis.common.version import package_version
from calcinosis.data.manifest import Row
from calcinosis.model.checkpoint import save_checkpoint
from calcinosis.model.config import CheckpointConfig
from calcinosis.model.labels import joined
from calcinosis.training.crossval import (
    CrossValidation,
    check_rows,
    run_cross_validation,
)
from calcinosis.training.evaluate.calibrate import fit_calibrator, fit_ood_detector
from calcinosis.training.evaluate.dermoscopy import (
    DERMOSCOPY,
    DermoscopyFit,
    check_dermoscopy,
    fit_dermoscopy,
)
from calcinosis.training.evaluate.frequencies import count_frequencies
from calcinosis.training.evaluate.out_of_fold import oof_cosines
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.fitted import Fitted, fit
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.recipe import Recipe
from calcinosis.training.report.card import write_card
from calcinosis.training.report.facts import FILE, Facts, read_facts
from calcinosis.training.report.licence import source_licences, source_terms, weights_licence
from calcinosis.training.robustness.ood import Picture, evaluate_ood, read_pictures
from calcinosis.training.run_dir import lock_run_dir, manifest_digest

log = logging.getLogger(__name__)

IN_DISTRIBUTION: Final = 0.99
"""Share of the photographs that the out-of-distribution detector lets pass."""


def train(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    options: RunOptions,
    device: Device | None = None,
) -> CheckpointConfig:
    """Train a checkpoint on a manifest's rows and measure it.

    The recipe is first cross-validated: that gives the figures, and the out-of-fold logits that the
    checkpoint's calibration and prediction sets are fitted on (as scikit-learn's
    `CalibratedClassifierCV` does with `ensemble=False`). Then it is fitted on every photo.

    Writes the checkpoint, its card, `metrics.json`, `predictions.csv` and `report.html` to
    `options.out`. Arguments and errors are those of `cross_validate`, and `bad_facts`.
    """
    device = device or Device(options.device, options.precision)
    rows = check_rows(rows, root, recipe, options)
    facts = _read_facts(options)
    pictures = read_pictures(options, root, recipe)
    shown = list(pictures.get(DERMOSCOPY, {}).values())
    if shown:
        check_dermoscopy([picture.group for picture in shown], len({row.fold for row in rows}))
    with lock_run_dir(options, recipe, rows, root, device):
        validated = run_cross_validation(rows, root, recipe, options, device)
        data, metrics = validated.data, validated.metrics

        log.info("the checkpoint: training on every photograph")
        fitted = fit(data, np.arange(len(data.rows)), options.work / "final")
        config = _config(validated, fitted, facts, options)
        dermoscopy = None
        if shown:
            dermoscopy = _fit_dermoscopy(data, fitted, shown)
            conditions = data.labels < len(recipe.labels) - 1
            metrics["dermoscopy"] = dermoscopy.metrics(conditions, data.groups.tolist())
            config.dermoscopy = dermoscopy.detector
            config.training["dermoscopy"] = len(shown)
        if device.is_main:
            if options.facts:
                atomic_write(options.out / FILE, options.facts.read_bytes())
            save_checkpoint(options.out, fitted.build_network(), config)
        device.wait()

        if options.ood:
            metrics["out_of_distribution"] = evaluate_ood(
                data, validated.logits, options.out, options.work, pictures, dermoscopy
            )
        if device.is_main:
            write_json(options.out / "metrics.json", metrics)
            write_card(options.out)
    return config


def _read_facts(options: RunOptions) -> Facts:
    """What the card shall say: of the file that was given, which has to be there, or of the folder's own."""
    if options.facts and not options.facts.is_file():
        raise TrainingError(
            "bad_facts", "is no file; check the name given as --facts", name=str(options.facts)
        )
    return read_facts(options.facts or options.out / FILE)


def _config(
    validated: CrossValidation, fitted: Fitted, facts: Facts, options: RunOptions
) -> CheckpointConfig:
    """What the checkpoint says of itself."""
    data, recipe, network = validated.data, validated.data.recipe, fitted.network
    calibrator = fit_calibrator(
        validated.logits,
        data.labels,
        data.groups.tolist(),
        recipe.coverages,
        joined(recipe.labels),
    )
    cosines = oof_cosines(data, options.work)
    provenance = _provenance(data.rows, recipe, options.command)
    provenance["start_weights"] = data.backbone.licence
    return CheckpointConfig(
        name=recipe.name,
        labels=recipe.labels,
        backbone=recipe.backbone,
        frozen_stages=recipe.frozen_stages,
        multi_scale=network.multi_scale,
        flip_tta=network.flip_tta,
        preprocessing=data.preprocessing,
        calibration=calibrator.calibration,
        conformal=calibrator.conformal,
        frequencies=count_frequencies(validated.rounds, recipe.normalised_prior),
        ood=fit_ood_detector(fitted.features[:, : network.channels], cosines, IN_DISTRIBUTION),
        prior=recipe.normalised_prior,
        licence=weights_licence(source_terms(provenance, facts)),
        training=provenance,
    )


def _fit_dermoscopy(
    data: PreparedData, fitted: Fitted, pictures: Sequence[Picture]
) -> DermoscopyFit:
    """What tells dermoscopy from the photographs."""
    network = fitted.build_network()
    with torch.no_grad():
        embeddings = [
            network.forward_with_cam(data.preprocessing(picture.open())[None]).embedding[0].numpy()
            for picture in track(pictures, "Reading dermoscopy", total=len(pictures))
        ]
    photos = fitted.features[:, : network.channels]
    groups = [picture.group for picture in pictures]
    return fit_dermoscopy(photos, data.folds, np.stack(embeddings), groups)


def _provenance(rows: Sequence[Row], recipe: Recipe, command: str) -> dict[str, Any]:
    labels = Counter(row.label for row in rows)
    groups = {label: len({r.group for r in rows if r.label == label}) for label in recipe.labels}
    return {
        "command": command,
        "recipe": recipe.model_dump(mode="json"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "photos": {label: labels[label] for label in recipe.labels},
        "groups": groups,
        "sources": dict(Counter(row.source for row in rows)),
        "licences": source_licences(rows),
        "manifest_digest": manifest_digest(rows),
        "versions": {
            "python": platform.python_version(),
            "calcinosis": package_version(),
            **{name: version(name) for name in ("torch", "timm", "scikit-learn")},
        },
    }
