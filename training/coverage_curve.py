"""What the coverage of the background costs and buys: how often a named condition is there, and how many are named.

    python -m calcinosis.training.coverage_curve model/weights

prints the table of `docs/numbers.md` from a checkpoint's out-of-fold predictions. Each coverage sets a threshold per
fold on the patients of the other folds; the conditions' thresholds stay. The best coverage is then chosen anew for
each fold on the other folds alone (inner folds), by right namings minus wrong ones.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from calcinosis.model.config import CheckpointConfig, load_config
from calcinosis.model.conformal import Conformal, patients_needed
from calcinosis.model.labels import joined
from calcinosis.training.evaluate.calibrate import BY_FOLD, patient_scores, threshold_at
from calcinosis.training.evaluate.frequencies import reference_probabilities
from calcinosis.training.evaluate.metrics.registry import Sample
from calcinosis.training.evaluate.metrics.suggestive import malignant
from calcinosis.training.evaluate.predictions import Predictions, read_predictions
from calcinosis.training.report.formatting import markdown_table

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

COVERAGES: Final = (0.90, 0.95, 0.98, 0.99, 0.995, 0.997, 0.998)


class Point(NamedTuple):
    """What one coverage of the background gives; counts are of photos.

    Attributes:
        named: of each condition set that is named alone, how many photos are and how many of them show it.
        right, wrong: photos that show a condition and are named so, and background photos that are named one.
        share_named: of the conditions' photos, those that are named rightly.
        cancers: photos of cancers that are named a condition.
        out_of_scope: of the background's photos, those of which nothing else remains.
        size: mean number of labels in a set.
    """

    named: dict[str, tuple[int, int]]
    right: int
    wrong: int
    share_named: float
    cancers: int
    out_of_scope: float
    size: float


class Curve:
    """A checkpoint's out-of-fold predictions, ready to be asked what another coverage would have given."""

    def __init__(self, folder: Path) -> None:
        self.config: CheckpointConfig = load_config(folder)
        self.predictions: Predictions = read_predictions(folder / "predictions.csv")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        self.thresholds: dict[str, list[float]] = metrics["conformal"][BY_FOLD]
        self.reference = reference_probabilities(self.predictions, self.config.prior)
        sample = Sample(self.predictions, np.ones((len(self.predictions), 1)))
        self.cancers = malignant(sample)

    def sets(self, coverage: float, fold: int, calibration: Mask) -> NDArray[np.bool_]:
        """Membership of the sets of a fold's photos, with the background's threshold from other photos."""
        table, background = self.predictions, self.predictions.background
        scores = patient_scores(
            self.reference[:, background], calibration & (table.label == background), table.group
        )
        conformal = Conformal(
            coverage=(coverage,) * len(self.config.labels),
            thresholds=(*self.thresholds[str(fold)][:-1], threshold_at(scores, coverage)),
            joined=joined(self.config.labels),
        )
        return conformal.prediction_sets(self.reference[table.fold == fold])

    def point(self, members: NDArray[np.bool_], rows: Mask) -> Point:
        """What the sets of some photos come to."""
        table, labels = self.predictions, self.config.labels
        label = table.label[rows]
        named: dict[str, tuple[int, int]] = {}
        right = np.zeros(len(label), dtype=bool)
        alone = ~members[:, -1]
        single = members.sum(axis=1) == 1
        for kind in np.unique(members[alone], axis=0):
            is_pair = any(kind[[a, b]].all() and kind.sum() == 2 for a, b in joined(labels))
            if kind.sum() > 1 and not is_pair:
                continue
            called = (members == kind).all(axis=1)
            shows = called & np.isin(label, np.flatnonzero(kind))
            name = " or ".join(labels[index] for index in np.flatnonzero(kind))
            named[name] = (int(called.sum()), int(shows.sum()))
            right |= shows
        conditions = label != table.background
        return Point(
            named=named,
            right=int(right.sum()),
            wrong=int((alone & ~conditions).sum()),
            share_named=float(right.sum() / max(conditions.sum(), 1)),
            cancers=int((alone & self.cancers[rows]).sum()),
            out_of_scope=float((single & members[:, -1])[~conditions].mean()),
            size=float(members.sum(axis=1).mean()),
        )

    def measure(self, coverage: float) -> Point:
        """What a coverage gives over all folds, each calibrated on the others."""
        table = self.predictions
        members = np.zeros(self.reference.shape, dtype=bool)
        for fold in np.unique(table.fold).tolist():
            members[table.fold == fold] = self.sets(coverage, fold, table.fold != fold)
        return self.point(members, np.ones(len(table), dtype=bool))

    def choose(self, coverages: Sequence[float], weight: float) -> dict[int, float]:
        """For each fold the coverage that is best on the others: right namings minus weighted wrong ones.

        The background's threshold of each inner fold is set on those that are neither it nor the outer one. The
        conditions' thresholds stay the run's, which the outer fold's patients had a part in, whatever the coverage.
        """
        folds = np.unique(self.predictions.fold).tolist()
        chosen = {}
        for outer in folds:
            gains = []
            for coverage in coverages:
                gain = 0.0
                for inner in (fold for fold in folds if fold != outer):
                    calibration = ~np.isin(self.predictions.fold, (outer, inner))
                    found = self.point(
                        self.sets(coverage, inner, calibration), self.predictions.fold == inner
                    )
                    gain += found.right - weight * found.wrong
                gains.append(gain)
            chosen[outer] = coverages[int(np.argmax(gains))]
        return chosen


def curve_table(curve: Curve) -> str:
    """The curve as a table in Markdown."""
    points = {coverage: curve.measure(coverage) for coverage in COVERAGES}
    names = sorted({name for point in points.values() for name in point.named}, key=len)
    head = [
        "coverage of `other`",
        "patients it takes",
        *(f"right of those called {name.replace('_', ' ')}" for name in names),
        "conditions' photos named rightly",
        "`other` left out",
        "skin cancers left out",
        "`other` called none of them",
        "labels in a set",
    ]
    total = int((curve.predictions.label == curve.predictions.background).sum())
    rows = []
    for coverage, point in points.items():
        shown = (point.named.get(name, (0, 0)) for name in names)
        rows.append(
            [
                f"{100 * coverage:.3g} %",
                str(patients_needed(coverage)),
                *(f"{right} of {called}" for called, right in shown),
                f"{100 * point.share_named:.0f} %",
                f"{point.wrong} of {total:,}",
                f"{point.cancers} of {int(curve.cancers.sum())}",
                f"{100 * point.out_of_scope:.1f} %",
                f"{point.size:.2f}",
            ]
        )
    return markdown_table(head, rows)


def main(
    folder: Annotated[Path, typer.Argument(help="the checkpoint's folder")],
    weight: Annotated[float, typer.Option(help="how many right namings a wrong one undoes")] = 1.0,
) -> None:
    """Print what other coverages of the background would have given."""
    curve = Curve(folder)
    typer.echo(curve_table(curve))
    for fold, coverage in curve.choose(COVERAGES, weight).items():
        typer.echo(f"best for fold {fold}, chosen on the others: {100 * coverage:.3g} %")


if __name__ == "__main__":
    typer.run(main)
