"""Asking what a recipe made again: with the watermark pasted or hidden, and without one source's photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from calcinosis.data.splits import leave_one_source_out
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import Calibrator, fit_calibrator
from calcinosis.training.evaluate.predictions import Predictions, make_predictions
from calcinosis.training.fit.base_learners import fit, part_logits
from calcinosis.training.fit.finetune import Integers, Report
from calcinosis.training.fit.prepare import Floats, PreparedData, kept_logits
from calcinosis.training.fit.watermark_augment import WAYS, changed_feature_maps, photos_to_change
from calcinosis.training.robustness import counterfactual as effects
from calcinosis.training.robustness.watermark import Watermark, kept_watermark


def evaluate_watermark(
    study: PreparedData,
    root: Path,
    cache: Path,
    work: Path,
    predictions: Predictions,
    readouts: Mapping[int, Calibrator],
    *,
    resume: bool,
    report: Report,
) -> dict[str, Any]:
    """How far probabilities move when the mark that most photos bear is pasted or hidden.

    Each changed photo is judged by the parts and the readout of the fold that held it out.

    Returns:
        `pasted`, over the photos that bear no mark, and `masked`, over those that bear it. Each has the
        figures of `effects.watermark_effect` for the first label, the same for every label in
        `by_label`, and in `photos` which photos they are. Without a mark the figures say why.
    """
    report("looking for a watermark that recurs in the photos of a source")
    with study.hardware.main_process_first():
        found = kept_watermark(study.rows, root, cache)
    effect = {}
    for way in WAYS:
        if isinstance(found, str):
            effect[way] = _not_measured(found)
            continue
        numbers = photos_to_change(len(study.rows), found, way)
        if not len(numbers):
            effect[way] = _not_measured("every photo bears a mark already")
            continue
        report(f"watermark of {found.source}: {way} for {len(numbers)} photographs")
        logits = _changed_logits(
            study, root, cache, work, found, way, numbers, resume=resume, report=report
        )
        after = np.zeros((len(numbers), len(study.recipe.labels)))
        for fold, readout in readouts.items():
            own = study.folds[numbers] == fold
            after[own], _ = readout.read(logits[own], study.recipe.stated_prior)
        effect[way] = _effect(predictions.where(numbers), after) | {
            "photos": f"those that bear the mark of {found.source}"
            if way == "masked"
            else f"those that bear no mark, given that of {found.source}"
        }
    return effect


def _effect(before: Predictions, after: Floats) -> dict[str, Any]:
    by_label = {
        label: effects.watermark_effect(
            np.clip(before.probabilities[:, i], 0, 1), np.clip(after[:, i], 0, 1), before.group
        )
        for i, label in enumerate(before.labels)
    }
    first = before.labels[0]
    return {**by_label[first], "label": first, "by_label": by_label}


def _not_measured(reason: str) -> dict[str, Any]:
    figure = {"value": None, "low": None, "high": None, "n": 0, "reason": reason}
    return {"mean_change": figure, "mean_absolute_change": figure}


def _changed_logits(
    study: PreparedData,
    root: Path,
    cache: Path,
    work: Path,
    watermark: Watermark,
    way: str,
    numbers: Integers,
    *,
    resume: bool,
    report: Report,
) -> Floats:
    """Logits (n, parts, labels) of the changed photos with these numbers (n,)."""
    changed = changed_feature_maps(
        study.rows,
        root,
        cache,
        watermark,
        way,
        numbers,
        study.start,
        study.preprocessing,
        study.hardware,
    )
    parts: dict[int, Floats] = {}
    for fold in np.unique(study.folds[numbers]):
        at, place = np.flatnonzero(study.folds[numbers] == fold), work / f"fold-{fold}"

        def ask(fold: int = fold, at: Integers = at, place: Path = place) -> Floats:
            learnt = np.flatnonzero(study.folds != fold)
            fitted = fit(study, learnt, place, resume=True, report=report)
            return part_logits(fitted, study, changed, at)

        path = place / f"{way}.safetensors"
        parts[fold] = kept_logits(path, ask, study.hardware, resume=resume)
    logits = np.zeros((len(numbers), *next(iter(parts.values())).shape[1:]))
    for fold, part in parts.items():
        logits[study.folds[numbers] == fold] = part
    return logits


def evaluate_left_out_sources(
    study: PreparedData, work: Path, logits: Floats, *, resume: bool, report: Report
) -> dict[str, Any]:
    """How the recipe does on each source when it learns from the others alone.

    A label that no other source holds is not learnt, and gets no probability. StackingWeights, calibration and
    prediction sets are fitted on the ordinary cross-validation's held-out logits (rows, parts,
    labels) of the photos that were learnt from: no photo of the left-out source is among them, though
    those folds had learnt from some of that source.

    Returns:
        For each source the block of `effects.leave_one_source_out`.
    """
    folded = np.array([row.fold for row in leave_one_source_out(study.rows)])
    tables = {}
    for number, source in enumerate(sorted({row.source for row in study.rows})):
        held_out, learnt = np.flatnonzero(folded == number), np.flatnonzero(folded != number)
        report(f"without {source}: learning from {len(learnt)} photographs of other sources")
        probabilities, members = _judge_without(
            study,
            work / f"without-{number}",
            logits,
            held_out,
            learnt,
            resume=resume,
            report=report,
        )
        rows = [study.rows[n] for n in held_out]
        tables[source] = make_predictions(rows, study.recipe.labels, probabilities, members)
    return effects.leave_one_source_out(tables, prior=study.recipe.stated_prior)


def _judge_without(
    study: PreparedData,
    folder: Path,
    logits: Floats,
    held_out: Integers,
    learnt: Integers,
    *,
    resume: bool,
    report: Report,
) -> tuple[Floats, np.ndarray]:
    """Probabilities and prediction sets (held out, labels) after learning from other photos."""
    labels = study.targets.labels[learnt]
    known = np.unique(labels)
    probabilities = np.zeros((len(held_out), len(study.recipe.labels)))
    members = np.zeros(probabilities.shape, dtype=bool)
    if len(known) == 1:  # who has learnt one label alone answers nothing else
        probabilities[:, known], members[:, known] = 1, True
        return probabilities, members

    def ask() -> Floats:
        fitted = fit(study, learnt, folder, resume=resume, report=report)
        return part_logits(fitted, study, study.activations, held_out)

    asked = kept_logits(folder / "logits.safetensors", ask, study.hardware, resume=resume)
    own = logits[learnt][:, :, known]
    names = [study.recipe.labels[label] for label in known]
    readout = fit_calibrator(
        own,
        np.searchsorted(known, labels),
        [study.rows[row].group for row in learnt],
        [study.recipe.coverages[label] for label in known],
        joined(names),
    )
    prior = _among(study.recipe.stated_prior, known)
    probabilities[:, known], members[:, known] = readout.read(asked[:, :, known], prior)
    return probabilities, members


def _among(prior: Sequence[float], known: Integers) -> tuple[float, ...]:
    parts = np.asarray(prior)[known]
    even = np.full(len(known), 1 / len(known))
    return tuple((parts / parts.sum() if parts.sum() > 0 else even).tolist())
