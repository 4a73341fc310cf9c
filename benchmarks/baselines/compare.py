"""Runs every baseline on the same photographs with the same budget of time, and writes one table.

    python -m calcinosis.benchmarks.baselines.compare --manifest data/curated/pool.csv --root photos --out runs/baselines \
        --minutes 8 --folds 0 1 2 3 4 --without atlas dermnet_nz:other

The table leads with what was left out: a source, or its `other`, that nothing was learnt from. Minutes are those of a
machine that does nothing else: processor time, divided by the number of cores. Started again it goes on where it was.
A baseline that fails, or is not installed, is named in the table with the last line it said. This project itself is
cross-validated once with `--recipe`, on all folds; its minutes are those of one fold.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from safetensors.torch import save_file

from calcinosis.benchmarks.baselines.splits import Split, external_split, fold_split, inner_splits
from calcinosis.benchmarks.baselines.table import BASELINES, OURS, write_table
from calcinosis.benchmarks.baselines.task import ARCHITECTURE
from calcinosis.benchmarks.baselines.watch import watch
from calcinosis.common.files import write_json
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.model.backbones import lite_weights
from calcinosis.model.labels import LABELS
from calcinosis.training.evaluate.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
)
from calcinosis.training.recipe import load_recipe

_LATE: Final = 2
"""A baseline is ended after so many times its budget, as a user would, and `_GRACE` minutes to begin."""
_GRACE: Final = 5


def main() -> None:
    given = _arguments()
    pythons = dict(pair.split("=", 1) for pair in given.python)
    rows = read_manifest(given.manifest, labels=LABELS)
    folds = [fold_split(rows, fold) for fold in given.folds]
    external = [external_split(rows, left_out) for left_out in given.without]
    inner = {split.name: inner_splits(split, given.folds) for split in external}
    given.out.mkdir(parents=True, exist_ok=True)
    weights = given.out / "start.safetensors"
    if not weights.exists():
        start = lite_weights(ARCHITECTURE.removeprefix("tf_"))
        save_file({name: value.contiguous() for name, value in start.items()}, weights)
    for name in given.only:
        if name == OURS and given.ours:
            take_over(given.ours, rows, given.out / OURS)
        elif name == OURS:
            cross_validate(given, rows, given.out / OURS)
        else:
            python = pythons.get(name, sys.executable)
            for split in [*folds, *external, *(fold for of in inner.values() for fold in of)]:
                folder = given.out / name / split.name
                run_baseline(name, python, split, given.root, weights, given.minutes, folder)
    coverage = load_recipe(given.recipe).coverages
    write_table(given.out, folds, external, inner, given.only, given.minutes, coverage)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--manifest", type=Path, required=True, help="with folds")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="for each fold of each baseline, of all cores"
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="SOURCE[:other]",
        help="learn from all but this, and answer for it; once more for each fold, to set thresholds",
    )
    parser.add_argument("--only", nargs="+", choices=[OURS, *BASELINES], default=[OURS, *BASELINES])
    parser.add_argument(
        "--recipe",
        type=Path,
        default=Path("training/configs/lite2.toml"),
        help="of this project; the coverage of the prediction sets is every baseline's",
    )
    parser.add_argument(
        "--ours",
        type=Path,
        help="predictions.csv of a crossval or train with the same folds, instead of running one; "
        "what it says of left-out sources is read from the metrics.json beside it",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="BASELINE=PATH",
        help="a baseline's own Python",
    )
    return parser.parse_args()


def cross_validate(given: argparse.Namespace, rows: Sequence[Row], out: Path) -> None:
    """This project, as its user would run it."""
    if (out / "ran.json").exists():
        read_with_folds(out / "run" / "predictions.csv", rows)
        return
    command = [
        sys.executable, "-m", "calcinosis", "crossval", "--manifest", str(given.manifest), "--root", str(given.root),
        "--config", str(given.recipe), "--out", str(out / "run"), "--no-watermark", "--resume",
        *(["--leave-source-out"] if given.without else []),
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    measured = watch(command, out / "log.txt", limit_minutes=None)
    folds = len({row.fold for row in read_manifest(given.manifest, labels=LABELS)})
    if measured["exit_code"] == 0 and not given.without:
        measured["minutes"] /= folds
        measured["minutes_by_the_clock"] /= folds
        write_json(out / "ran.json", measured)


def take_over(predictions: Path, rows: Sequence[Row], out: Path) -> None:
    """Let a cross-validation on the same folds speak for this project; nobody measured its minutes."""
    table = read_with_folds(predictions, rows)
    (out / "run").mkdir(parents=True, exist_ok=True)
    (out / "ran.json").unlink(missing_ok=True)
    write_predictions(table, out / "run" / "predictions.csv")
    metrics = predictions.with_name("metrics.json")
    if metrics.exists():
        (out / "run" / "metrics.json").write_bytes(metrics.read_bytes())


def read_with_folds(predictions: Path, rows: Sequence[Row]) -> Predictions:
    """The predictions of these photos.

    Raises:
        SystemExit: if they are of other photos, or of other folds.
    """
    table = read_predictions(predictions)
    if dict(zip(table.file, table.fold.tolist(), strict=True)) != {r.file: r.fold for r in rows}:
        raise SystemExit(f"{predictions}: its photos or their folds are not those of the manifest")
    return table


def run_baseline(
    name: str, python: str, split: Split, root: Path, weights: Path, minutes: float, folder: Path
) -> None:
    """Let a baseline learn from a split's photos and answer for the others, unless it has.

    Raises:
        SystemExit: if it has, and learnt from others.
    """
    top = root.resolve()
    train = [["path", "label"], *([str(top / row.file), row.label] for row in split.train)]
    test = [["path"], *([str(top / row.file)] for row in split.test)]
    if (folder / "answer.csv").exists() and (folder / "ran.json").exists():
        if (read_csv(folder / "train.csv"), read_csv(folder / "test.csv")) != (train, test):
            raise SystemExit(
                f"{folder}: {name} answered there with other photos, labels or --root; "
                "delete it, or choose another --out"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    script, *options = BASELINES[name]
    write_csv(folder / "train.csv", train)
    write_csv(folder / "test.csv", test)
    command = [
        python, "-m", f"calcinosis.benchmarks.baselines.{script}", "--train", str(folder / "train.csv"),
        "--test", str(folder / "test.csv"), "--labels", *LABELS, "--weights", str(weights),
        "--minutes", str(minutes), "--out", str(folder / "answer.csv"), *options,
    ]  # fmt: skip
    print(f"{name}, {split.name}", flush=True)
    measured = watch(command, folder / "log.txt", limit_minutes=_GRACE + minutes * _LATE)
    write_json(folder / "ran.json", measured)


def write_csv(path: Path, lines: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(lines)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


if __name__ == "__main__":
    main()
