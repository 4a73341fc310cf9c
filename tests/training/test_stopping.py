"""A run that is killed, interrupted or out of disk goes on and ends as if nothing had happened."""

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calcinosis.common.errors import ManifestError, TrainingError
from calcinosis.common.options import RunOptions
from calcinosis.data.manifest import Row
from calcinosis.data.splits import assign_folds
from calcinosis.training.crossval import cross_validate
from calcinosis.training.fit import checkpointing as state_module
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.log import read_log
from calcinosis.training.recipe import Recipe
from calcinosis.training.run_dir import lock_run_dir
from tests.training.commands import draw_task, run, start
from tests.training.drawn_sets import draw_set, tiny_recipe

pytestmark = pytest.mark.slow

PATIENCE = 120.0  # seconds, for a machine with much else to do

UPLOADED = frozenset(
    ["LICENSE", "README.md", "applied_model_card.xml", "config.json", "graph.onnx", "metrics.json",
     "model.safetensors", "predictions.csv", "reference.json", "report.html"]
)  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return draw_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def undisturbed(task: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    code, said = run("train", *task, "--out", out)
    assert code == 0, said
    return out


def work_of(out: Path) -> Path:
    """Where a run keeps what it goes on from."""
    return RunOptions(out=out).work


def test_a_run_leaves_in_its_folder_what_may_be_uploaded(undisturbed: Path) -> None:
    """The states of training and the photographs' features lie beside it."""
    assert {path.name for path in undisturbed.iterdir()} == UPLOADED
    assert {"run.json", "fold-0", "final"} <= {path.name for path in work_of(undisturbed).iterdir()}


def stop_in_the_second_fold(out: Path, command: str, task: tuple[str, ...], how: int) -> str:
    """Start a run, and stop it by a signal in the second fold's second epoch; gives what it said."""
    process = start(command, *task, "--out", out)
    log = work_of(out) / "fold-1" / "log.csv"
    until = time.monotonic() + PATIENCE
    while not read_log(log):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.1)
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert not (work_of(out) / "fold-1" / "logits.safetensors").exists()
    return said


def test_a_killed_training_ends_with_the_same_weights(
    task: tuple[str, ...], undisturbed: Path, tmp_path: Path
) -> None:
    stop_in_the_second_fold(tmp_path, "train", task, signal.SIGKILL)
    code, said = run("train", *task, "--out", tmp_path, "--resume")
    assert code == 0, said
    for name in ("model.safetensors", "metrics.json", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()
    whole, resumed = (
        read_log(work_of(out) / "fold-1" / "log.csv") for out in (undisturbed, tmp_path)
    )
    assert [(e.epoch, e.loss, e.learning_rate) for e in resumed] == [
        (e.epoch, e.loss, e.learning_rate) for e in whole
    ]


def test_an_interrupted_cross_validation_goes_on(
    task: tuple[str, ...], undisturbed: Path, tmp_path: Path
) -> None:
    said = stop_in_the_second_fold(tmp_path, "crossval", task, signal.SIGINT)
    assert said.splitlines()[-1] == "calcinosis: stopped; what was finished is kept"
    assert "Traceback" not in said
    code, said = run("crossval", *task, "--out", tmp_path, "--resume")
    assert code == 0, said
    assert "fold-0: training" not in said  # that one was finished
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    root = tmp_path_factory.mktemp("photos")
    return root, assign_folds(draw_set(root, of_each=5), folds=2)


def judge(
    photos: tuple[Path, list[Row]], recipe: Recipe, out: Path, *, resume: bool = False
) -> None:
    root, rows = photos
    options = RunOptions(out=out, cache=root / "cache", resume=resume, watermark=False)
    cross_validate(rows, root, recipe, options)


def test_a_full_disk_is_named_and_the_last_good_state_is_kept(
    photos: tuple[Path, list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = state_module.write_tensors

    def full_at_the_second(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if path.name == "state-2.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, tensors)

    judge(photos, tiny_recipe(), tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "write_tensors", full_at_the_second)
        with pytest.raises(TrainingError, match="no space is left") as caught:
            judge(photos, tiny_recipe(), stopped)
    assert caught.value.code == "disk_full"
    assert "\n" not in str(caught.value)
    fold = work_of(stopped) / "fold-0"
    assert (fold / "state.json").read_text().count("state-1.safetensors") == 1
    assert load_file(fold / "state-1.safetensors")
    judge(photos, tiny_recipe(), stopped, resume=True)
    for name in ("metrics.json", "predictions.csv"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_room_for_the_feature_maps_is_taken_before_they_are_computed(
    photos: tuple[Path, list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TrainingError) as caught:
        judge(photos, tiny_recipe(seed=1), tmp_path)
    assert caught.value.code == "disk_full"


def test_a_missing_photo_is_named_before_anything_is_computed(
    photos: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    root, rows = photos
    absent = Row("absent.jpg", "milium", "drawn", "absent", kind="target", fold=0)
    with pytest.raises(ManifestError, match=r"absent\.jpg"):
        judge((root, [*rows, absent]), tiny_recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(
    photos: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        judge(photos, tiny_recipe(epochs=1, seed=seed), tmp_path / name)
    first, again, other = (
        (tmp_path / name / "predictions.csv").read_bytes() for name in ("first", "again", "other")
    )
    assert first == again
    assert first != other


def test_each_epoch_is_logged(photos: tuple[Path, list[Row]], tmp_path: Path) -> None:
    judge(photos, tiny_recipe(epochs=3), tmp_path)
    epochs = read_log(work_of(tmp_path) / "fold-1" / "log.csv")
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert epochs[2].loss < epochs[0].loss
    assert epochs[2].learning_rate < epochs[1].learning_rate < epochs[0].learning_rate
    assert all(epoch.seconds >= 0 for epoch in epochs)


def test_tensorboard_gets_its_files_where_it_is_installed(
    photos: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    judge(photos, tiny_recipe(), tmp_path)
    assert list((work_of(tmp_path) / "fold-0" / "tensorboard").glob("events.out.tfevents.*"))
    assert not [thread for thread in threading.enumerate() if "Writer" in type(thread).__name__]


def test_without_tensorboard_one_line_says_so(
    photos: tuple[Path, list[Row]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for module in ("calcinosis.training.fit.log", "calcinosis.training.crossval"):
        monkeypatch.setattr(f"{module}.tensorboard_is_installed", lambda: False)
    with caplog.at_level("INFO", logger="calcinosis"):
        judge(photos, tiny_recipe(), tmp_path)
    assert [line for line in caplog.messages if "TensorBoard" in line] == [
        "no TensorBoard files, only log.csv: run pip install 'calcinosis[tensorboard]'"
    ]
    assert not (work_of(tmp_path) / "fold-0" / "tensorboard").exists()


def test_a_second_run_beside_a_running_one_is_refused(
    photos: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    root, rows = photos
    options = RunOptions(out=tmp_path, cache=root / "cache", watermark=False)
    with lock_run_dir(options, tiny_recipe(), rows, root, Device()):
        for resume in (False, True):
            with pytest.raises(TrainingError, match="another process") as caught:
                judge(photos, tiny_recipe(), tmp_path, resume=resume)
            assert caught.value.code == "already_running"
    judge(photos, tiny_recipe(epochs=2), tmp_path, resume=True)


def test_all_photos_that_cannot_be_read_are_named_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    rows = assign_folds(draw_set(tmp_path, of_each=5), folds=2)
    for row in (rows[3], rows[11]):
        (tmp_path / row.file).write_bytes(b"no picture")
    with pytest.raises(TrainingError, match="2 of 20") as caught:
        judge((tmp_path, rows), tiny_recipe(), tmp_path / "run")
    assert caught.value.code == "unreadable_photos"
    assert rows[3].file in str(caught.value)
    assert rows[11].file in str(caught.value)
    assert not list((tmp_path / "cache").glob("*/feature_maps.npy"))
