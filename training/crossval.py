"""Cross-validation: each photo is judged by a network that saw no photo of its group."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calcinosis.common.errors import ManifestError
from calcinosis.common.files import write_json
from calcinosis.common.options import RunOptions
from calcinosis.data.locating import check_files
from calcinosis.data.manifest import OTHER, Row
from calcinosis.data.splits import assign_folds, check_folds, leave_one_source_out
from calcinosis.model.conformal import patients_needed
from calcinosis.training.evaluate.calibrate import BY_FOLD, check_coverage, fewest_patients
from calcinosis.training.evaluate.metrics.compute import compute_metrics, compute_repeated
from calcinosis.training.evaluate.out_of_fold import (
    calibrated_predictions,
    fold_calibrators,
    oof_logits,
    oof_predictions,
    thresholds_by_fold,
)
from calcinosis.training.evaluate.predictions import Predictions, write_predictions
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.log import tensorboard_is_installed
from calcinosis.training.fit.prepare import PreparedData, prepare_data
from calcinosis.training.recipe import Recipe
from calcinosis.training.report.sections import write_report
from calcinosis.training.robustness.learning_curve import evaluate_with_fewer_patients
from calcinosis.training.robustness.site_shift import check_body_sites, evaluate_left_out_sites
from calcinosis.training.robustness.skin_tone import read_skin_tones
from calcinosis.training.robustness.source_shift import (
    evaluate_left_out_others,
    evaluate_left_out_sources,
)
from calcinosis.training.robustness.watermark import evaluate_watermark
from calcinosis.training.run_dir import lock_run_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validating a recipe gave.

    Attributes:
        data: the recipe with its photographs.
        logits: (rows, labels), out of fold.
        predictions: the table of these, calibrated fold by fold.
        rounds: the same of each round of cross-validation, of which `predictions` is the first.
        metrics: as `metrics.json` holds them.
    """

    data: PreparedData
    logits: Floats
    predictions: Predictions
    rounds: tuple[Predictions, ...]
    metrics: dict[str, Any]


def cross_validate(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    options: RunOptions,
    device: Device | None = None,
) -> CrossValidation:
    """Cross-validate a recipe on a manifest's rows.

    Writes `predictions.csv`, `metrics.json` and `report.html` to `options.out`.

    Args:
        rows: the photos; folds and skin tones are filled in where the manifest has none.
        root: the folder that their files lie below.
        recipe: what is evaluated.
        options: where to, and what is measured besides.
        device: to compute on; as `options` say unless given.

    Raises:
        TrainingError: `already_running`, `other_run` or `not_resumed`, of the folder `options.work`;
            `too_few_patients`; `unreadable_photos`; `disk_full`; `diverged`.
        ManifestError, BackboneError: naming the file and the cure.
    """
    device = device or Device(options.device, options.precision)
    folded = check_rows(rows, root, recipe, options)
    with lock_run_dir(options, recipe, folded, root, device):
        return run_cross_validation(folded, root, recipe, options, device)


def check_rows(rows: Sequence[Row], root: Path, recipe: Recipe, options: RunOptions) -> list[Row]:
    """Make sure, before any long work begins, that the photos are there, and what has to be known of them.

    Returns:
        The rows with the manifest's folds, or with new ones where it lacks some.

    Raises:
        TrainingError: `too_few_patients`, if the photos do not support the recipe's coverage.
        ManifestError: naming the file and the cure; `too_few_folds` or `too_few_labels`, if a network would have
            nothing to tell apart; `too_few_groups`, if the photos cannot be divided anew for `repeats`.
    """
    check_files(rows, root)
    if options.leave_source_out:
        leave_one_source_out(rows)  # refuses a single source
    if options.leave_site_out:
        check_body_sites(rows)
    folded = list(rows) if all(row.fold is not None for row in rows) else assign_folds(rows)
    check_folds(folded)
    if options.repeats > 1:
        try:
            _divided_anew(folded, seed=1)
        except ManifestError as error:
            raise ManifestError(
                error.code, f"repeats divide the photos anew, and {error.message}"
            ) from None
    labels, groups = [row.label for row in folded], [row.group for row in folded]
    folds = [row.fold or 0 for row in folded]
    _check_labels_to_learn(folded, options.leave_source_out)
    if isinstance(recipe.coverage, dict):
        check_coverage(labels, groups, folds, recipe.coverage)
    for label, share in zip(recipe.labels, recipe.coverages, strict=True):
        fewest, needed = fewest_patients(label, labels, groups, folds), patients_needed(share)
        if fewest < needed:
            log.warning(
                "%s: a fold has %d calibration patients; a coverage of %g takes %d, so the label is in every set",
                *(label, fewest, share, needed),
            )
    return folded


def _check_labels_to_learn(rows: Sequence[Row], leave_source_out: bool) -> None:
    """Make sure that whatever is held out, two labels are left to learn from."""
    folds = sorted({row.fold or 0 for row in rows})
    if len(folds) < 2:
        raise ManifestError(
            "too_few_folds",
            "all photos are in one fold, and none is left to learn from; split them anew, after emptying "
            "the column fold",
        )
    left = {"": rows}
    for source in sorted({row.source for row in rows}) if leave_source_out else ():
        left[f"the source {source}"] = [row for row in rows if row.source != source]
        others = [row for row in rows if row.source != source or row.label != OTHER]
        if any(row.label == OTHER for row in others):
            left[f"the other of {source}"] = others
    for what, kept in left.items():
        for fold in folds:
            labels = sorted({row.label for row in kept if row.fold != fold})
            if len(labels) < 2:
                away = f"{what} and fold {fold}" if what else f"fold {fold}"
                cure = "leave out --leave-source-out, or add" if what else "split them anew, or add"
                raise ManifestError(
                    "too_few_labels",
                    f"without {away}, only {labels[0] if labels else 'nothing'} is left to learn from; {cure} "
                    "photos of other labels",
                )


def run_cross_validation(
    rows: Sequence[Row], root: Path, recipe: Recipe, options: RunOptions, device: Device
) -> CrossValidation:
    """What `cross_validate` does with the rows of `check_rows`, in a folder that is this run's own."""
    work = options.work
    if recipe.method == "finetune" and not tensorboard_is_installed():
        log.info("no TensorBoard files, only log.csv: run pip install 'calcinosis[tensorboard]'")
    with device.main_process_first():
        rows = read_skin_tones(rows, root, options.cache_dir / "skin_tones.json")
    data = prepare_data(rows, root, recipe, options.cache_dir, device)

    logits = oof_logits(data, work)
    calibrators = fold_calibrators(data, logits)
    predictions = calibrated_predictions(data, logits, calibrators)
    metrics = compute_metrics(predictions, prior=recipe.normalised_prior)
    metrics["conformal"][BY_FOLD] = thresholds_by_fold(calibrators, len(recipe.labels))
    rounds = (predictions, *_repeated(data, work, options.repeats))
    if len(rounds) > 1:
        metrics["repeated"] = compute_repeated(rounds, prior=recipe.normalised_prior)
    if options.watermark:
        metrics["watermark"] = evaluate_watermark(data, work, predictions, calibrators)
    if options.leave_source_out:
        metrics["leave_source_out"] = evaluate_left_out_sources(data, work)
        metrics["leave_other_out"] = evaluate_left_out_others(data, work)
    if options.leave_site_out:
        metrics["leave_site_out"] = evaluate_left_out_sites(data, work)
    if options.learning_curve:
        metrics["learning_curve"] = evaluate_with_fewer_patients(data, work, logits)
    if device.is_main:
        write_results(predictions, metrics, options.out)
    return CrossValidation(data, logits, predictions, rounds, metrics)


def _repeated(data: PreparedData, work: Path, repeats: int) -> list[Predictions]:
    """The predictions of further cross-validations, each with folds of another seed."""
    tables = []
    for seed in range(1, repeats):
        log.info("cross-validation %d of %d", seed + 1, repeats)
        again = replace(data, rows=_divided_anew(data.rows, seed))
        tables.append(oof_predictions(again, oof_logits(again, work / f"repeat-{seed}")))
    return tables


def _divided_anew(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows with as many folds as they have, of another seed."""
    folds = len({row.fold for row in rows})
    return assign_folds([replace(row, fold=None) for row in rows], folds, seed)


def write_results(predictions: Predictions, metrics: dict[str, Any], out: Path) -> None:
    """Write `predictions.csv`, `metrics.json` and `report.html` to a folder."""
    write_predictions(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    write_report(metrics, predictions, out / "report.html")
