"""The comparison with baselines: what is said of whom, from answers that a test made up."""

import csv
import json
import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psutil", reason="the comparison needs the extra bench")

from calcinosis.benchmarks.baselines import compare, table
from calcinosis.benchmarks.baselines.splits import (
    Split,
    external_split,
    fold_split,
    inner_splits,
)
from calcinosis.benchmarks.baselines.task import Task
from calcinosis.benchmarks.baselines.watch import watch
from calcinosis.data.manifest import Row, write_manifest
from calcinosis.data.splits import assign_folds
from calcinosis.model.labels import LABELS
from calcinosis.training.evaluate.predictions import make_predictions, write_predictions
from tests.training.drawn_sets import draw_set

COVERAGE = (0.8,) * len(LABELS)


def task(folder: Path, test: list[str]) -> Task:
    return Task([], test, list(LABELS), folder / "none", 1.0, folder / "answer.csv")


def test_an_answer_is_whole_or_refused(tmp_path: Path) -> None:
    asked = task(tmp_path, ["a.jpg", "b.jpg"])
    for wrong in ([[1, 0, 0, 0]], [[1, 0, 0], [1, 0, 0]], [[1, 0, 0, 0], [float("nan"), 1, 0, 0]]):
        with pytest.raises(ValueError, match="answer"):
            asked.answer(wrong)
    assert not asked.out.exists()
    asked.answer([[2, 1, 1, 0], [0, 0, 0, 1]])
    with asked.out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(rows[0][label]) for label in LABELS] == [0.5, 0.25, 0.25, 0]


def test_the_table_compares_on_the_same_photos_and_names_who_gave_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = assign_folds(draw_set(tmp_path, of_each=9), folds=3)
    out = tmp_path / "out"
    # One that is always right, but says so more quietly for the conditions than for the rest.
    for name, sure in (("timm", 0.9), ("fastai", 0.4)):
        for fold in (0, 1):
            folder = out / name / f"fold-{fold}"
            folder.mkdir(parents=True)
            tests = [row for row in rows if row.fold == fold]
            asked = Task([], [r.file for r in tests], list(LABELS), out, 1.0, folder / "answer.csv")
            shares = [
                [sure if label == r.label else (1 - sure) / 3 for label in LABELS] for r in tests
            ]
            asked.answer(shares)
            (folder / "ran.json").write_text(
                json.dumps(
                    {
                        "minutes": 2 + fold,
                        "minutes_by_the_clock": 4,
                        "peak_memory_mb": 100 * fold,
                        "load_average": 1,
                    }
                )
            )
            (folder / "epochs.txt").write_text("3\n")
    (out / "huggingface" / "fold-0").mkdir(parents=True)
    (out / "huggingface" / "fold-0" / "log.txt").write_text("began\nIt was too slow\n\n")
    names = ["timm", "fastai", "huggingface", "autogluon"]
    folds = [fold_split(rows, fold) for fold in (0, 1)]
    table.write_table(out, folds, [], {}, names, 2.0, COVERAGE)
    told = json.loads((out / "table.json").read_text())["baselines"]
    for name in ("timm", "fastai"):
        assert told[name]["at_equal_chances"]["balanced_accuracy"]["value"] == 1
        assert told[name]["minutes_a_fold"] == 2.5
        assert told[name]["peak_memory_mb"] == 100
        assert (out / name / "predictions.csv").exists()
    assert told["huggingface"]["failed"] == "It was too slow"
    assert told["autogluon"]["failed"] == "was not run"
    text = (out / "table.md").read_text()
    assert "gave no answer: It was too slow" in text
    assert "| 3 | 2.5 | 4.0 | 1 | 100 |" in text  # epochs, minutes, by the clock, load, megabytes
    # With this project's own predictions beside them, each baseline gets a difference with its interval.
    ours = out / table.OURS / "run"
    ours.mkdir(parents=True)
    (ours / "predictions.csv").write_bytes((out / "timm" / "predictions.csv").read_bytes())
    table.write_table(out, folds, [], {}, [table.OURS, "fastai"], 2.0, COVERAGE)
    lead = json.loads((out / "table.json").read_text())["baselines"]["fastai"][
        "calcinosis_minus_this"
    ]
    assert lead["balanced_accuracy"]["value"] == 0
    assert set(lead["balanced_accuracy"]) >= {"value", "low", "high", "n"}


@pytest.mark.slow
def test_what_a_command_took_is_measured(tmp_path: Path) -> None:
    import sys

    program = "import time; held = bytearray(60_000_000); time.sleep(3); print('said')"
    took = watch([sys.executable, "-c", program], tmp_path / "log.txt", limit_minutes=2)
    assert took["exit_code"] == 0
    assert took["minutes"] < 0.05  # it slept
    assert took["minutes_by_the_clock"] > 0.05
    assert took["peak_memory_mb"] > 60
    assert (tmp_path / "log.txt").read_text() == "said\n"
    took = watch(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        tmp_path / "log.txt",
        limit_minutes=0.01,
    )
    assert took["exit_code"] != 0
    assert took["minutes_by_the_clock"] < 0.9
    took = watch(
        [sys.executable, "-c", "while True: pass"], tmp_path / "log.txt", limit_minutes=0.02
    )
    assert took["exit_code"] != 0
    assert 0 < took["minutes"] < 0.1


def test_every_baseline_has_a_script_and_its_lines_are_counted(tmp_path: Path) -> None:
    for name, (script, *_) in table.BASELINES.items():
        assert (table.HERE / f"{script}.py").exists()
        assert 10 < table.lines_of(name) < 90, name


def test_a_manifest_goes_in_and_every_fold_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = assign_folds(draw_set(tmp_path, of_each=9), folds=3)
    write_manifest(rows, tmp_path / "folds.csv")
    out, asked = tmp_path / "out", []
    out.mkdir()
    (out / "start.safetensors").touch()

    def answer(command: list[str], log: Path, *, limit_minutes: float | None) -> dict[str, float]:
        given = dict(zip(command[3::2], command[4::2], strict=False))
        asked.append(log.parent.name)
        with Path(given["--test"]).open(newline="") as stream:
            tests = [row["path"] for row in csv.DictReader(stream)]
        with Path(given["--train"]).open(newline="") as stream:
            assert not set(tests) & {row["path"] for row in csv.DictReader(stream)}
        task(log.parent, tests).answer([[0.25] * 4] * len(tests))
        return {
            "minutes": 1,
            "minutes_by_the_clock": 1,
            "peak_memory_mb": 1,
            "exit_code": 0,
            "load_average": 0,
        }

    monkeypatch.setattr(compare, "watch", answer)
    arguments = [
        "compare", "--manifest", str(tmp_path / "folds.csv"), "--root", str(tmp_path), "--out",
        str(out), "--folds", "0", "2", "--only", "timm",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    compare.main()
    compare.main()  # goes on where it was: with nothing
    assert asked == ["fold-0", "fold-2"]
    assert json.loads((out / "table.json").read_text())["folds"] == ["fold-0", "fold-2"]
    # Other labels, or other places, and the answers are those to another question.
    renamed = {"milium": "other", "other": "milium"}
    others = [replace(row, label=renamed.get(row.label, row.label), kind="") for row in rows]
    write_manifest(others, tmp_path / "others.csv")
    for option, value in (("--manifest", tmp_path / "others.csv"), ("--root", tmp_path / "moved")):
        monkeypatch.setattr("sys.argv", [*arguments, option, str(value)])
        with pytest.raises(SystemExit, match="answered there with other photos"):
            compare.main()
    assert asked == ["fold-0", "fold-2"]


@pytest.mark.parametrize(
    "answered", [["p/a/11.jpg", "p/a/2.jpg"], ["p/a/2.jpg", "p/a/1.jpg"], ["p/a/1.jpg"]]
)
def test_answers_for_other_photos_are_refused(tmp_path: Path, answered: list[str]) -> None:
    rows = [Row(f"{n}.jpg", "milium", "drawn", f"{n}") for n in (1, 2)]
    split = Split("fold-0", rows, rows)
    (tmp_path / "fold-0").mkdir()
    for paths in (["p/a/1.jpg", "p/a/2.jpg"], answered):
        asked = replace(task(tmp_path, paths), out=tmp_path / "fold-0" / "answer.csv")
        asked.answer([[0.25] * 4] * len(paths))
        if paths is answered:
            with pytest.raises(SystemExit, match="answers for other photos"):
                table.answer_of(tmp_path, split)
        else:
            assert table.answer_of(tmp_path, split) is not None


def test_features_of_a_photo_are_kept_until_it_changes(tmp_path: Path) -> None:
    photos, computed = [tmp_path / f"{n}.jpg" for n in (0, 1)], []
    for photo in photos:
        photo.write_bytes(b"first")
        os.utime(photo, (1, 1))

    def compute(paths: Sequence[str]) -> np.ndarray:
        computed.append([Path(path).name for path in paths])
        return np.full((len(paths), 2), len(computed))

    asked = replace(task(tmp_path, []), out=tmp_path / "a" / "fold-0" / "answer.csv")
    for size, time in ((b"first", 1), (b"first", 2), (b"second", 2)):
        photos[0].write_bytes(size)
        os.utime(photos[0], (time, time))
        found = asked.kept_features([str(photo) for photo in photos], compute)
        assert found[:, 0].tolist() == [len(computed), 1]
    assert computed == [["0.jpg", "1.jpg"], ["0.jpg"], ["0.jpg"]]


def test_what_was_left_out_gets_sets_fitted_on_the_folds_and_leads_the_table(
    tmp_path: Path,
) -> None:
    drawn = assign_folds(draw_set(tmp_path, of_each=20), folds=2)
    rows = [
        replace(row, source="far" if n % 2 else "near", group=str(n)) for n, row in enumerate(drawn)
    ]
    folds = [fold_split(rows, fold) for fold in (0, 1)]
    far, others = external_split(rows, "far"), external_split(rows, "far:other")
    assert {row.source for row in far.test} == {"far"}
    assert {row.source for row in far.train} == {"near"}
    assert {(row.source, row.label) for row in others.test} == {("far", "other")}
    assert len(others.train) + len(others.test) == len(rows)
    for wrong in ("nowhere", "far:milium"):
        with pytest.raises(SystemExit, match=wrong):
            external_split(rows, wrong)
    out = tmp_path / "out"
    # Held-out photos are told apart well; of the left-out source one `other` in two looks like a milium.
    inner = {split.name: inner_splits(split, (0, 1)) for split in (far, others)}
    for split in (far, others):
        for fold, held_out in enumerate(inner[split.name]):
            assert held_out.name == f"{split.name}-fold-{fold}"
            assert {row.fold for row in held_out.test} == {fold}
            learnt = [row.file for row in (*held_out.train, *held_out.test)]
            assert sorted(learnt) == sorted(row.file for row in split.train)
    known = [*folds, *inner[far.name], *inner[others.name]]
    for split, doubtful in (*((split, 0) for split in known), (far, 2), (others, 2)):
        folder = out / "timm" / split.name
        folder.mkdir(parents=True)
        asked = Task([], [r.file for r in split.test], list(LABELS), out, 1, folder / "answer.csv")
        chances, met = [], 0
        for row in split.test:
            met += row.label == "other"
            label = "milium" if doubtful and row.label == "other" and met % doubtful else row.label
            chances.append([0.7 if name == label else 0.1 for name in LABELS])
        asked.answer(chances)
    table.write_table(out, folds, [far, others], inner, ["timm", table.OURS], 2.0, COVERAGE)
    told = json.loads((out / "table.json").read_text())["baselines"]
    assert told["timm"]["external"]["without-far"]["suggestive.false_rate"]["value"] == 0.5
    assert told["timm"]["external"]["without-far"]["auroc.gouty_tophus"]["value"] == 1
    assert told["timm"]["external"]["without-far-other"]["suggestive.false_rate"]["value"] == 0.5
    assert told["timm"][table.NAMED]["value"] == 1
    assert told["timm"][table.NAMED]["n"] == 60
    assert told[table.OURS]["external"]["without-far"] is None
    # Where no other source shows a label, no threshold can be set for it.
    short = [replace(fold, test=fold.test[:0]) for fold in inner[far.name]]
    assert table.external_figures(out / "timm", far, short, COVERAGE) is None
    text = (out / "table.md").read_text()
    assert text.index("without-far:") < text.index("fold-0, fold-1")
    # This project's figures are those that its own run measured.
    figure = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 10}
    (out / table.OURS / "run").mkdir(parents=True)
    (out / table.OURS / "run" / "metrics.json").write_text(
        json.dumps({"leave_source_out": {"far": {"suggestive": {"false_rate": figure}}}})
    )
    table.write_table(out, folds, [far], inner, [table.OURS], 2.0, COVERAGE)
    assert "0.250 (0.100 to 0.400)" in (out / "table.md").read_text()


def test_a_cross_validation_of_these_folds_and_no_other_is_taken_over(tmp_path: Path) -> None:
    rows = assign_folds(draw_set(tmp_path, of_each=9), folds=3)
    chances = np.full((len(rows), len(LABELS)), 0.25)
    said = make_predictions(rows, LABELS, chances, np.ones(chances.shape, dtype=bool))
    write_predictions(said, tmp_path / "said.csv")
    compare.take_over(tmp_path / "said.csv", rows, tmp_path / "ours")
    moved = [replace(row, fold=(row.fold or 0) + 1) for row in rows]
    for others in (rows[1:], moved):
        with pytest.raises(SystemExit, match="folds"):
            compare.take_over(tmp_path / "said.csv", others, tmp_path / "theirs")
        (
            tmp_path / "ours" / "ran.json"
        ).touch()  # as after a run of its own, which is not made again
        with pytest.raises(SystemExit, match="folds"):
            compare.cross_validate(Namespace(), others, tmp_path / "ours")
    compare.cross_validate(Namespace(), rows, tmp_path / "ours")
    assert not (tmp_path / "theirs").exists()
    assert (tmp_path / "ours" / "run" / "predictions.csv").exists()
