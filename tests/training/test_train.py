"""Training from drawn photos to a checkpoint: it learns, it resumes, it says what went wrong."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from calcinosis.common.cpu import map_in_order
from calcinosis.common.errors import TrainingError
from calcinosis.common.options import RunOptions
from calcinosis.data.manifest import Row
from calcinosis.model.checkpoint import load_checkpoint
from calcinosis.model.config import load_config
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.training import evaluation as evaluate_module
from calcinosis.training import train as train_module
from calcinosis.training.crossval import CrossValidation, cross_validate, run_cross_validation
from calcinosis.training.evaluate.calibrate import BY_FOLD
from calcinosis.training.evaluate.predictions import NO_FOLD, read_predictions
from calcinosis.training.evaluation import evaluate
from calcinosis.training.fit.checkpointing import State
from calcinosis.training.fit.features import compute_features
from calcinosis.training.recalibrate import with_sets
from calcinosis.training.recipe import Recipe
from calcinosis.training.train import train
from tests.drawings import draw
from tests.training.drawn_sets import draw_set, tiny_recipe
from tests.training.drawn_sets import train_quietly as run


def test_held_out_photos_are_told_apart(trained: tuple[Path, list[Row], Path]) -> None:
    _, rows, out = trained
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["balanced_accuracy"]["value"] >= 0.85
    assert metrics["three_way_balanced_accuracy"]["n"] == 36
    predictions = read_predictions(out / "predictions.csv")
    assert predictions.file == tuple(row.file for row in rows)
    assert set(predictions.fold.tolist()) == {0, 1, 2, 3, 4}


def test_skin_tones_are_estimated_for_the_subgroups(trained: tuple[Path, list[Row], Path]) -> None:
    _, _, out = trained
    metrics = json.loads((out / "metrics.json").read_text())
    tones = metrics["by_skin_tone"]
    assert tones
    assert all(name.startswith("ita_estimate:") for name in tones)
    predictions = read_predictions(out / "predictions.csv")
    assert sum(block["n"] for block in tones.values()) == sum(map(bool, predictions.skin_tone))


def test_without_a_watermark_the_figures_say_so(trained: tuple[Path, list[Row], Path]) -> None:
    metrics = json.loads((trained[2] / "metrics.json").read_text())
    for way in ("pasted", "masked"):
        figure = metrics["watermark"][way]["mean_change"]
        assert figure["value"] is None
        assert figure["reason"] == "no recurring mark was found in the photos of any source"
    assert "no recurring mark" in (trained[2] / "README.md").read_text()


def test_the_checkpoint_reads_new_drawings(trained: tuple[Path, list[Row], Path]) -> None:
    reader = Predictor(trained[2])
    for label in ("calcinosis_cutis", "gouty_tophus", "milium", "other"):
        finding = reader.read(draw(label, seed=99))
        assert max(finding.probabilities, key=lambda name: finding.probabilities[name]) == label


def test_serving_prepares_a_photo_as_training_did(
    trained: tuple[Path, list[Row], Path], tmp_path: Path
) -> None:
    """Evaluating the training photos gives what the run's own checkpoint says of them."""
    root, rows, out = trained
    evaluate([replace(row, fold=n) for n, row in enumerate(rows[:6])], root, out, tmp_path)
    evaluated = read_predictions(tmp_path / "predictions.csv")
    assert evaluated.file == tuple(row.file for row in rows[:6])  # asked is answered
    report = (tmp_path / "report.html").read_text()
    assert "<html" in report
    assert (evaluated.fold == NO_FOLD).all()
    assert "had not seen its patient" not in report  # nobody knows that of a checkpoint
    evaluate(rows[3:6], root, out, tmp_path / "fewer")
    fewer = read_predictions(tmp_path / "fewer" / "predictions.csv")
    assert (fewer.probabilities == evaluated.probabilities[3:]).all()  # whoever the neighbours are
    reader = Predictor(out)
    for i, row in enumerate(rows[:6]):
        finding = reader.read(root / row.file)
        assert evaluated.probabilities[i] == pytest.approx(
            list(finding.probabilities.values()), abs=1e-5
        )


def test_the_thresholds_that_a_run_keeps_give_its_sets_again(
    trained: tuple[Path, list[Row], Path],
) -> None:
    _, _, out = trained
    config, table = load_config(out), read_predictions(out / "predictions.csv")
    by_fold = json.loads((out / "metrics.json").read_text())["conformal"][BY_FOLD]
    again = with_sets(table, config, config.conformal.coverage, by_fold)
    assert (table.prediction_set == again.prediction_set).all()
    assert table.outcome == again.outcome


def test_cached_features_equal_the_network_on_the_plain_view(
    trained: tuple[Path, list[Row], Path], tmp_path: Path
) -> None:
    root, rows, _ = trained
    options = RunOptions(out=tmp_path, cache=tmp_path / "cache")
    validated = cross_validate(rows, root, tiny_recipe(method="probe"), options)
    data = validated.data
    photo = data.preprocessing(open_photo(root / rows[3].file))
    with torch.no_grad():
        direct = data.network.pooled_features(
            data.network.trainable(data.network.frozen(photo[None]))
        )
    # The frozen stages may compute in bfloat16.
    features = compute_features(data.network, data.maps, data.device)
    assert features[3:4] == pytest.approx(direct.numpy(), abs=0.1)
    assert np.isfinite(validated.logits).all()


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    trained: tuple[Path, list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rows, whole = trained
    saved = State.save
    saves = []

    def stop_at_the_third(state: State, epoch: int) -> None:
        saved(state, epoch)
        saves.append(epoch)
        if len(saves) == 3:  # in the middle of the second fold
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "save", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(rows, root, tiny_recipe(), tmp_path)
    monkeypatch.setattr(State, "save", saved)
    run(rows, root, tiny_recipe(), tmp_path, resume=True)
    first, second = (load_file(out / "model.safetensors") for out in (whole, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "metrics.json").read_text() == (whole / "metrics.json").read_text()


def test_a_full_disk_does_not_point_to_an_option_that_evaluate_lacks(
    trained: tuple[Path, list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rows, out = trained

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("write_results", "read_skin_tones"):
        monkeypatch.setattr(evaluate_module, name, full)
        with pytest.raises(TrainingError, match="give the same command again") as caught:
            evaluate(rows[:4], root, out, tmp_path)
        assert caught.value.code == "disk_full"


def test_a_photo_without_an_answer_is_named(
    trained: tuple[Path, list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rows, out = trained

    def short(function: Any, asked: list[Row], *, workers: int) -> Iterator[Any]:
        """Answers of which the last four never come."""
        return map_in_order(function, asked[:-4], workers=workers)

    monkeypatch.setattr(evaluate_module, "map_in_order", short)
    with pytest.raises(TrainingError, match="20 photos were asked about and 16 answered") as caught:
        evaluate(rows[:20], root, out, tmp_path)
    assert caught.value.name == rows[16].file
    assert not (tmp_path / "metrics.json").exists()


def test_a_folder_that_is_a_disk_s_own_is_refused(
    trained: tuple[Path, list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the run goes on from would lie beside it, in a container that is thrown away."""
    root, rows, _ = trained
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(TrainingError, match="name a folder in it") as caught:
        run(rows, root, tiny_recipe(), tmp_path)
    assert caught.value.code == "mounted"
    assert not list(tmp_path.iterdir())


def test_runs_are_never_mixed(trained: tuple[Path, list[Row], Path]) -> None:
    root, rows, out = trained
    with pytest.raises(TrainingError) as caught:
        run(rows, root, tiny_recipe(), out)
    assert caught.value.code == "not_resumed"
    with pytest.raises(TrainingError) as caught:
        run(rows, root, tiny_recipe(epochs=3), out, resume=True)
    assert caught.value.code == "other_run"


@pytest.mark.parametrize("changed", [{"source": "another"}, {"body_site": "ear"}])
def test_a_run_of_other_sources_or_sites_is_another(
    trained: tuple[Path, list[Row], Path], changed: dict[str, Any]
) -> None:
    root, rows, out = trained
    others = [replace(rows[0], **changed), *rows[1:]]
    with pytest.raises(TrainingError) as caught:
        run(others, root, tiny_recipe(), out, resume=True)
    assert caught.value.code == "other_run"


def test_a_run_of_the_same_photos_in_another_order_or_other_folds_is_another(
    trained: tuple[Path, list[Row], Path],
) -> None:
    """What a fold keeps is an array of bare numbers: read in another order, it would be of other photos."""
    root, rows, out = trained
    copies = [replace(row, sha256="0" * 64) if row in (rows[0], rows[-1]) else row for row in rows]
    for others in (rows[::-1], copies):  # copies share a fold
        with pytest.raises(TrainingError, match="another order") as caught:
            run(others, root, tiny_recipe(), out, resume=True)
        assert caught.value.code == "other_run"


def test_a_run_of_photos_that_were_changed_is_another(
    trained: tuple[Path, list[Row], Path],
) -> None:
    root, rows, out = trained
    photo = root / rows[0].file
    was = photo.stat()
    os.utime(photo, ns=(was.st_atime_ns, was.st_mtime_ns + 1_000_000_000))
    try:
        with pytest.raises(TrainingError, match="before they were changed") as caught:
            run(rows, root, tiny_recipe(), out, resume=True)
    finally:
        os.utime(photo, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert caught.value.code == "other_run"


def test_facts_that_are_not_there_are_missed_before_the_training(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=5)
    options = RunOptions(out=tmp_path / "run", facts=tmp_path / "fcats.toml")
    with pytest.raises(TrainingError, match=r"fcats\.toml") as caught:
        train(rows, tmp_path, tiny_recipe(), options)
    assert caught.value.code == "bad_facts"
    assert not options.out.exists()


def test_a_checkout_that_is_not_installed_knows_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name == "calcinosis":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(train_module, "version", version)
    versions = train_module._provenance([], tiny_recipe(), "")["versions"]
    assert versions["calcinosis"].count(".") == 2


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=5)
    (tmp_path / rows[4].file).write_bytes(b"not a picture at all")
    with pytest.raises(TrainingError, match=rows[4].file):
        run(rows, tmp_path, tiny_recipe(), tmp_path / "run")


def test_a_loss_that_is_not_a_number_stops_the_run(
    trained: tuple[Path, list[Row], Path], tmp_path: Path
) -> None:
    root, rows, _ = trained
    with pytest.raises(TrainingError) as caught:
        run(rows, root, tiny_recipe(learning_rate=1e30, head_learning_rate=1e30), tmp_path)
    assert caught.value.code == "diverged"


def test_the_checkpoint_says_how_it_was_made(trained: tuple[Path, list[Row], Path]) -> None:
    _, config = load_checkpoint(trained[2])
    assert config.training["command"] == "calcinosis train"
    assert config.training["photos"] == dict.fromkeys(config.labels, 12)
    assert Recipe.model_validate(config.training["recipe"]) == tiny_recipe()


def test_a_finding_counts_all_rounds_of_cross_validation(
    trained: tuple[Path, list[Row], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rows, out = trained
    shutil.copytree(out, tmp_path / "run")
    shutil.copytree(out.with_name(out.name + ".work"), tmp_path / "run.work")

    def twice(*given: Any) -> CrossValidation:
        validated = run_cross_validation(*given)
        return replace(validated, rounds=validated.rounds * 2)

    monkeypatch.setattr(train_module, "run_cross_validation", twice)
    run(rows, root, tiny_recipe(), tmp_path / "run", resume=True)
    before, after = (load_config(folder).frequencies for folder in (out, tmp_path / "run"))
    assert before is not None
    assert after is not None
    assert [row.photos for row in after.rows] == [2 * row.photos for row in before.rows]
    assert {row.rounds for row in after.rows} == {2}
