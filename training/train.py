"""Training: cross-validate the recipe, fit it on every photo, and write the checkpoint."""

import datetime
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from calcinosis.common.files import atomic_write, disk_full_error, write_json
from calcinosis.data.manifest import Row
from calcinosis.model.checkpoint import save_checkpoint
from calcinosis.model.config import CheckpointConfig
from calcinosis.model.labels import joined
from calcinosis.model.ood import OODDetector
from calcinosis.training.crossval import cross_validate
from calcinosis.training.evaluate.calibrate import fit_calibrator, fit_ood_detector
from calcinosis.training.evaluate.frequencies import count_frequencies
from calcinosis.training.evaluate.out_of_fold import oof_predictions
from calcinosis.training.fit.base_learners import Fitted, fit, fold_into_network
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.finetune import Report
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.recipe import Recipe
from calcinosis.training.report.card import write_card
from calcinosis.training.report.facts import FILE, read_facts
from calcinosis.training.report.licence import source_licences, source_terms, weights_licence
from calcinosis.training.robustness.ood import evaluate_ood, read_off_topic
from calcinosis.training.run_dir import manifest_digest

FAMILIAR: Final = 0.99
"""Share of held-out photos that count as familiar."""


def train(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    out: Path,
    *,
    cache: Path,
    resume: bool,
    report: Report,
    command: str,
    hardware: Device | None = None,
    watermark: bool = True,
    leave_source_out: bool = False,
    learning_curve: bool = False,
    foreign: bool = False,
    off_topic: Path | None = None,
    facts: Path | None = None,
) -> CheckpointConfig:
    """Train a checkpoint on a manifest's rows and measure it.

    The recipe is first cross-validated: that gives the figures, and the held-out logits that the
    checkpoint's calibration and prediction sets are fitted on (as scikit-learn's
    `CalibratedClassifierCV` does with `ensemble=False`). Then it is fitted on every photo.

    Args:
        out: gets the checkpoint, its card, `metrics.json` and `predictions.csv`.
        command: what the card names as the way to make this checkpoint.
        foreign: ask about conditions that were left out, and about pictures that show no skin, too.
        off_topic: a CSV of further such pictures below `root`, with the columns file and reason.
        facts: what the card says of the photographs and nobody can compute, as
            `training/report/facts.toml` has it; kept beside the checkpoint.

    The other arguments are those of `cross_validate`.

    Raises:
        TrainingError: `other_run`, if `out` holds a run of another recipe or of other photos;
            `bad_facts`.
    """
    stated = read_facts(facts or out / FILE)
    study, logits, metrics = cross_validate(
        rows,
        root,
        recipe,
        out,
        cache=cache,
        resume=resume,
        report=report,
        hardware=hardware,
        watermark=watermark,
        leave_source_out=leave_source_out,
        learning_curve=learning_curve,
    )
    report("the checkpoint: learning from every photograph")
    everything = np.arange(len(study.rows))
    with disk_full_error(out):
        fitted = fit(study, everything, out / "work" / "final", resume=resume, report=report)
    readout = fit_calibrator(
        logits,
        study.targets.labels,
        [row.group for row in study.rows],
        recipe.coverages,
        joined(recipe.labels),
    )
    made = _provenance(study.rows, recipe, command) | {"start_weights": study.backbone.licence}
    if facts and study.hardware.writes:
        atomic_write(out / FILE, facts.read_bytes())
    network = fold_into_network(fitted, readout.blend, study)
    config = CheckpointConfig(
        name=recipe.name,
        labels=recipe.labels,
        backbone=recipe.backbone,
        frozen_stages=recipe.frozen_stages,
        two_branch=network.pretrained_branch is not None,
        multi_scale=network.multi_scale,
        flip_tta=network.flip_tta,
        preprocessing=study.preprocessing,
        calibration=readout.calibration,
        conformal=readout.conformal,
        frequencies=count_frequencies(oof_predictions(study, logits), recipe.stated_prior),
        ood=_familiarity(fitted, study),
        prior=recipe.stated_prior,
        licence=weights_licence(source_terms(made, stated)),
        training=made,
    )
    if study.hardware.writes:
        with disk_full_error(out):
            save_checkpoint(out, network, config)
    study.hardware.wait()
    if foreign:
        pictures = read_off_topic(off_topic, root) if off_topic else {}
        metrics["out_of_distribution"] = evaluate_ood(
            study, logits, out, out / "work", pictures, resume=resume, report=report
        )
    if study.hardware.writes:
        with disk_full_error(out):
            if foreign:
                write_json(out / "metrics.json", metrics)
            write_card(out)
    return config


def _familiarity(fitted: Fitted, study: PreparedData) -> OODDetector | None:
    """What tells photos from other pictures: of the start weights, where the network keeps them."""
    if fitted.tuned is not None and not fitted.heads:
        return None
    embeddings = study.features[:, : study.backbone.channels]
    return fit_ood_detector(embeddings, study.folds, FAMILIAR)


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
            **{name: version(name) for name in ("calcinosis", "torch", "timm", "scikit-learn")},
        },
    }
