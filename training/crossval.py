"""Cross-validation: each photo is judged by a network that saw no photo of its group."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calcinosis.common.files import disk_full_error, write_json
from calcinosis.data.manifest import Row, check_files
from calcinosis.data.splits import assign_folds, leave_one_source_out
from calcinosis.training.evaluate.calibrate import check_coverage
from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.evaluate.out_of_fold import (
    fold_calibrators,
    oof_logits,
    oof_predictions,
)
from calcinosis.training.evaluate.predictions import Predictions, write_predictions
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.finetune import Report
from calcinosis.training.fit.log import tensorboard_is_installed
from calcinosis.training.fit.prepare import Floats, PreparedData, prepare
from calcinosis.training.recipe import Recipe
from calcinosis.training.report.sections import write_report
from calcinosis.training.robustness.learning_curve import evaluate_with_fewer_patients
from calcinosis.training.robustness.source_shift import (
    evaluate_left_out_sources,
    evaluate_watermark,
)
from calcinosis.training.run_dir import lock_run_dir


def write_results(predictions: Predictions, metrics: dict[str, Any], out: Path) -> None:
    """Write `predictions.csv`, `metrics.json` and `report.html` to a folder."""
    write_predictions(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    write_report(metrics, predictions, out / "report.html")


def _check_coverage(rows: Sequence[Row], recipe: Recipe) -> None:
    if isinstance(recipe.coverage, dict):
        known = all(row.fold is not None for row in rows)
        folded = rows if known else assign_folds(rows)
        check_coverage(
            [row.label for row in folded],
            [row.group for row in folded],
            [row.fold or 0 for row in folded],
            recipe.coverage,
        )


def cross_validate(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    out: Path,
    *,
    cache: Path,
    resume: bool,
    report: Report,
    hardware: Device | None = None,
    watermark: bool = True,
    leave_source_out: bool = False,
    learning_curve: bool = False,
) -> tuple[PreparedData, Floats, dict[str, Any]]:
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
        learning_curve: judge what learnt from fewer patients of the conditions, too.

    Returns:
        The study, the held-out logits (rows, parts, labels) and the metrics.

    Raises:
        TrainingError: `too_few_patients`, if the photos do not support the recipe's coverage; `other_run`, if `out`
            holds a run of another recipe or of other photos; `disk_full`; `diverged`.
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    hardware = hardware or Device()
    check_files(rows, root)
    _check_coverage(rows, recipe)
    if leave_source_out:
        leave_one_source_out(rows)  # refuses a single source before any work
    with disk_full_error(out):
        work = out / "work"
        if hardware.writes:
            lock_run_dir(out, recipe, rows, resume=resume)
        hardware.wait()
        if recipe.method == "finetune" and not tensorboard_is_installed():
            report("no TensorBoard files, only log.csv: run pip install 'calcinosis[tensorboard]'")
        study = prepare(rows, root, recipe, cache, report, hardware)
        logits = oof_logits(study, work, resume=resume, report=report)
        predictions = oof_predictions(study, logits)
        metrics = compute_metrics(predictions, prior=recipe.stated_prior)
        if watermark:
            readouts = fold_calibrators(study, logits)
            metrics["watermark"] = evaluate_watermark(
                study, root, cache, work, predictions, readouts, resume=resume, report=report
            )
        if leave_source_out:
            metrics["leave_one_source_out"] = evaluate_left_out_sources(
                study, work, logits, resume=resume, report=report
            )
        if learning_curve:
            metrics["learning_curve"] = evaluate_with_fewer_patients(
                study, work, logits, resume=resume, report=report
            )
        if hardware.writes:
            write_results(predictions, metrics, out)
    return study, logits, metrics
