"""What each fold predicts for the photos that it held out, and how that is calibrated."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calcinosis.common.cache import cached_arrays
from calcinosis.common.errors import TrainingError
from calcinosis.model.labels import joined
from calcinosis.model.ood import OODDetector
from calcinosis.training.evaluate.calibrate import UNKNOWN, Calibrator, centre_of, fit_calibrator
from calcinosis.training.evaluate.predictions import Predictions, make_predictions
from calcinosis.training.fit.features import Integers
from calcinosis.training.fit.fitted import fit
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.prepare import PreparedData

log = logging.getLogger(__name__)

Mask = NDArray[np.bool_]


def oof_logits(data: PreparedData, work: Path, trained_on: Mask | None = None) -> Floats:
    """Logits (rows, labels) of every photo, from the fold that held it out.

    Args:
        data: the recipe with its photographs.
        work: folder for what is kept of each fold.
        trained_on: (rows,) which photos may be trained on, where not all may.
    """
    folds = data.folds
    allowed = np.ones(len(folds), dtype=bool) if trained_on is None else trained_on
    logits = np.full((len(folds), len(data.recipe.labels)), np.nan)
    for fold in np.unique(folds):
        folder = work / f"fold-{fold}"
        train = np.flatnonzero((folds != fold) & allowed)
        held_out = np.flatnonzero(folds == fold)

        def compute(
            folder: Path = folder, train: Integers = train, held_out: Integers = held_out
        ) -> Floats:
            log.info("%s: training on %d photographs", folder.name, len(train))
            return fit(data, train, folder).logits(held_out)

        key = {"photos": len(train)}
        logits[held_out] = kept_logits(folder / "logits.safetensors", key, compute, data)
    if not np.isfinite(logits).all():
        raise TrainingError("diverged", "a held-out photo has no finite logits", name=str(work))
    return logits


def oof_cosines(data: PreparedData, work: Path) -> Floats:
    """How like each photo (rows,) is to the centre of those of the other folds, to their network."""
    cosines = np.zeros(len(data.rows))
    for fold in np.unique(data.folds):
        train, held_out = data.folds != fold, data.folds == fold
        fitted = fit(data, np.flatnonzero(train), work / f"fold-{fold}")
        embeddings = fitted.features[:, : data.network.channels]
        centre = OODDetector(centre=centre_of(embeddings[train]), threshold=0.0)
        cosines[held_out] = centre.cosines(embeddings[held_out])
    return cosines


def kept_logits(
    path: Path, key: dict[str, int], compute: Callable[[], Floats], data: PreparedData
) -> Floats:
    """Logits from a file of this run; computed, by all processes together, where there is none yet."""
    known = path.exists()
    data.device.wait()  # before any process writes the file that the others look for
    found = {} if known else {"logits": compute()}
    with data.device.main_process_first():
        return cached_arrays(path, key, lambda: found or {"logits": compute()})["logits"]


@dataclass(frozen=True)
class FoldCalibrator:
    """The calibrator of a fold's photos, among the labels that were trained on.

    Attributes:
        known: their indices.
        calibrator: of these labels; None where there is one alone, which then is certain.
    """

    known: Integers
    calibrator: Calibrator | None

    def predict(self, logits: Floats, prior: Sequence[float]) -> tuple[Floats, Mask]:
        """Probabilities and membership of the prediction sets, both (n, labels); 0 for the other labels."""
        probabilities = np.zeros(logits.shape)
        members = np.zeros(logits.shape, dtype=bool)
        if self.calibrator is None:
            probabilities[:, self.known], members[:, self.known] = 1, True
        else:
            probabilities[:, self.known], members[:, self.known] = self.calibrator.predict(
                logits[:, self.known], [prior[label] for label in self.known]
            )
        return probabilities, members


def fold_calibrators(
    data: PreparedData, logits: Floats, trained_on: Mask | None = None
) -> dict[int, FoldCalibrator]:
    """The calibrator of each fold's photos, fitted on the out-of-fold logits of the other folds.

    So no photo has a say in how its own probabilities or its own prediction set are made.

    Args:
        data: the recipe with its photographs.
        logits: (rows, labels), out of fold.
        trained_on: (rows,) which photos have a say, where not all have.
    """
    allowed = np.ones(len(logits), dtype=bool) if trained_on is None else trained_on
    calibrators = {}
    for fold in np.unique(data.folds):
        rows = np.flatnonzero(allowed & (data.folds != fold))
        known, labels = np.unique(data.labels[rows], return_inverse=True)
        fitted = None
        if len(known) > 1:
            fitted = fit_calibrator(
                logits[np.ix_(rows, known)],
                labels,
                data.groups[rows].tolist(),
                [data.recipe.coverages[label] for label in known],
                joined([data.recipe.labels[label] for label in known]),
            )
        calibrators[int(fold)] = FoldCalibrator(known, fitted)
    return calibrators


def thresholds_by_fold(
    calibrators: dict[int, FoldCalibrator], labels: int
) -> dict[str, list[float]]:
    """The thresholds of each fold's sets over all labels, as `metrics.json` keeps them.

    That of a label which a fold did not know is `UNKNOWN`: it has a probability of 0 there, and is in no set.
    """
    thresholds = {}
    for fold, found in calibrators.items():
        row = np.full(labels, UNKNOWN)
        row[found.known] = found.calibrator.conformal.thresholds if found.calibrator else 0
        thresholds[str(fold)] = row.tolist()
    return thresholds


def oof_predictions(
    data: PreparedData, logits: Floats, trained_on: Mask | None = None
) -> Predictions:
    """The predictions table of out-of-fold logits (rows, labels), calibrated fold by fold.

    Args:
        data: the recipe with its photographs.
        logits: (rows, labels), out of fold.
        trained_on: (rows,) which photos were trained on, where not all were; a label that none of them
            has gets no probability.
    """
    return calibrated_predictions(data, logits, fold_calibrators(data, logits, trained_on))


def calibrated_predictions(
    data: PreparedData, logits: Floats, calibrators: dict[int, FoldCalibrator]
) -> Predictions:
    """What `oof_predictions` gives, where the calibrators are there already."""
    probabilities = np.zeros(logits.shape)
    members = np.zeros(logits.shape, dtype=bool)
    for fold, calibrator in calibrators.items():
        own = data.folds == fold
        probabilities[own], members[own] = calibrator.predict(
            logits[own], data.recipe.normalised_prior
        )
    return make_predictions(data.rows, data.recipe.labels, probabilities, members)


def predictions_without(data: PreparedData, left_out: Mask, work: Path) -> Predictions:
    """The predictions of all photos, from networks and calibrators that saw none of some of them.

    They are cross-validated as ever, with fewer photos to train on: whatever belongs to a left-out photo,
    its patient's others and its copies in another source, is in the same fold and so unseen as well.

    Args:
        data: the recipe with its photographs.
        left_out: (rows,) which photos are neither trained on nor calibrated on.
        work: folder for what is kept.
    """
    return oof_predictions(data, oof_logits(data, work, ~left_out), ~left_out)
