"""Cross-validation: each photo is judged by a network that saw no photo of its group."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.manifest import Row, check_files
from data.splits import leave_one_source_out
from training.errors import TrainingError
from training.fit import Integers, Report
from training.hardware import Hardware
from training.log import tensorboard_is_installed
from training.metrics import compute_metrics
from training.parts import fit, part_logits
from training.predictions import Predictions, write_predictions
from training.recipe import Recipe
from training.report import write_report
from training.robustness import judge_left_out_sources, judge_watermark
from training.runs import claim_folder
from training.storage import naming_a_full_disk, write_json
from training.study import (
    Floats,
    Readout,
    Study,
    fit_readout,
    kept_logits,
    make_predictions,
    prepare,
)


def held_out_logits(study: Study, work: Path, *, resume: bool, report: Report) -> Floats:
    """Logits (rows, parts, labels) of every photo, from the fold that held it out."""
    folds = study.folds
    parts = {}
    for fold in np.unique(folds):
        folder, learnt = work / f"fold-{fold}", np.flatnonzero(folds != fold)
        held_out = np.flatnonzero(folds == fold)

        def ask(
            folder: Path = folder, learnt: Integers = learnt, held_out: Integers = held_out
        ) -> Floats:
            report(f"{folder.name}: learning from {len(learnt)} photographs")
            fitted = fit(study, learnt, folder, resume=resume, report=report)
            return part_logits(fitted, study, study.activations, held_out)

        parts[fold] = kept_logits(folder / "logits.safetensors", ask, study.hardware, resume=resume)
    logits = np.full((len(folds), *next(iter(parts.values())).shape[1:]), np.nan)
    for fold, part in parts.items():
        logits[folds == fold] = part
    if not np.isfinite(logits).all():
        raise TrainingError("diverged", "a held-out photo has no finite logits", name=str(work))
    return logits


def fold_readouts(study: Study, logits: Floats) -> dict[int, Readout]:
    """The readout of each fold's photos, fitted on the held-out logits of the other folds.

    So no photo has a say in how its own probabilities or its own prediction set are made.
    """
    folds = study.folds
    return {
        int(fold): fit_readout(
            logits[folds != fold], study.targets.labels[folds != fold], study.recipe.coverage
        )
        for fold in np.unique(folds)
    }


def cross_predictions(study: Study, logits: Floats) -> Predictions:
    """The predictions table of held-out logits (rows, parts, labels), read out fold by fold."""
    probabilities = np.zeros((len(study.rows), len(study.recipe.labels)))
    members = np.zeros(probabilities.shape, dtype=bool)
    for fold, readout in fold_readouts(study, logits).items():
        own = study.folds == fold
        probabilities[own], members[own] = readout.read(logits[own], study.recipe.stated_prior)
    return make_predictions(study.rows, study.recipe.labels, probabilities, members)


def write_results(predictions: Predictions, metrics: dict[str, Any], out: Path) -> None:
    """Write `predictions.csv`, `metrics.json` and `report.html` to a folder."""
    write_predictions(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    write_report(metrics, predictions, out / "report.html")


def cross_validate(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    out: Path,
    *,
    cache: Path,
    resume: bool,
    report: Report,
    hardware: Hardware | None = None,
    watermark: bool = True,
    leave_source_out: bool = False,
) -> tuple[Study, Floats, dict[str, Any]]:
    """Cross-validate a recipe on a manifest's rows.

    Writes `predictions.csv`, `metrics.json` and `report.html`. Working state goes to `out/work`.

    Args:
        rows: the photos; folds and skin tones are filled in where the manifest has none.
        root: the folder that their files lie below.
        recipe: what is judged.
        out: gets the results.
        cache: for what is computed once.
        resume: go on with a run that was stopped.
        report: is told what is being done.
        hardware: to compute on; this process alone on the CPU unless given.
        watermark: judge photos with a source's watermark pasted onto them and hidden, too.
        leave_source_out: judge each source by what learnt from the others alone, too.

    Returns:
        The study, the held-out logits (rows, parts, labels) and the metrics.

    Raises:
        TrainingError: `other_run`, if `out` holds a run of another recipe or of other photos;
            `disk_full`; `diverged`.
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    hardware = hardware or Hardware()
    check_files(rows, root)
    if leave_source_out:
        leave_one_source_out(rows)  # refuses a single source before any work
    with naming_a_full_disk(out):
        work = out / "work"
        if hardware.writes:
            claim_folder(out, recipe, rows, resume=resume)
        hardware.wait()
        if recipe.method == "finetune" and not tensorboard_is_installed():
            report("no TensorBoard files, only log.csv: run pip install 'calcinosis[tensorboard]'")
        study = prepare(rows, root, recipe, cache, report, hardware)
        logits = held_out_logits(study, work, resume=resume, report=report)
        predictions = cross_predictions(study, logits)
        metrics = compute_metrics(predictions, prior=recipe.stated_prior)
        if watermark:
            readouts = fold_readouts(study, logits)
            metrics["watermark"] = judge_watermark(
                study, root, cache, work, predictions, readouts, resume=resume, report=report
            )
        if leave_source_out:
            metrics["leave_one_source_out"] = judge_left_out_sources(
                study, work, logits, resume=resume, report=report
            )
        if hardware.writes:
            write_results(predictions, metrics, out)
    return study, logits, metrics
