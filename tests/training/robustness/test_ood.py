"""What was never learnt: conditions are held out whole, and every picture is asked about."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.common.options import RunOptions
from calcinosis.data.manifest import Row, read_manifest, write_manifest
from calcinosis.data.splits import assign_folds
from calcinosis.data.synthetic import draw_set
from calcinosis.model.config import load_config
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.finetune import disease_of
from calcinosis.training.fit.prepare import prepare_data
from calcinosis.training.robustness import ood
from calcinosis.training.robustness.ood import (
    _is_caught,
    _pictures,
    _without_conditions,
    evaluate_ood,
    read_off_topic,
    read_pictures,
)
from calcinosis.training.train import train
from tests.drawings import draw
from tests.training.drawn_sets import tiny_recipe

CONDITIONS = ("Eczema", "Psoriasis", "Lupus", "Scabies", "Warts", "Lipoma")


def draw_conditions(root: Path) -> list[Row]:
    """Drawings of every label, those of `other` of six conditions."""
    return [
        replace(row, source_label=CONDITIONS[n % 6] if row.label == "other" else row.label)
        for n, row in enumerate(draw_set(root, size=(320, 240)))
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, object]]:
    """A checkpoint of drawings, its folder of pictures, and its figures."""
    root, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("run")
    rows = draw_conditions(root)
    listed = root / "excluded.csv"
    listed.write_text(
        f"file,reason\n{rows[0].file},no clinical photograph of skin: food\n"
        f"{rows[1].file},the same file as another\n"
    )
    elsewhere = tmp_path_factory.mktemp("outside")
    outside = [
        replace(row, source="ordinary_skin")
        if row.label != "milium"
        else replace(
            row, source="archive", source_label="dermoscopy", label="other", kind="distant"
        )
        for row in draw_set(elsewhere, of_each=6)
    ]
    write_manifest(outside, elsewhere / "outside.csv")
    recipe = tiny_recipe(method="probe", frozen_stages=2)
    options = RunOptions(
        out=out, cache=root / "cache", watermark=False, ood=True, off_topic=listed,
        outside=elsewhere / "outside.csv",
    )  # fmt: skip
    train(rows, root, recipe, options)
    return root, out, json.loads((out / "metrics.json").read_text())


def test_every_kind_has_its_shares(trained: tuple[Path, Path, dict[str, dict]]) -> None:
    _, out, metrics = trained
    found = metrics["out_of_distribution"]
    assert set(found) == {
        "conditions it had learnt", "conditions it had never learnt", "pictures of other things",
        "ordinary skin", "dermoscopy", *_pictures(),
    }  # fmt: skip
    assert found["conditions it had never learnt"]["n"] == 12
    assert found["pictures of other things"]["n"] == 1
    assert found["ordinary skin"]["n"] == 18
    assert 0 <= found["ordinary skin"]["retake"] <= 18
    assert found["dermoscopy"]["n"] == 6
    for block in found.values():
        for figure in (block, block["caught"]):
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert 0 <= block["suggestive"] <= block["n"]
    card = (out / "README.md").read_text()
    assert "Other conditions, which it had never learnt: out of scope" in card
    assert load_config(out).ood is not None


def test_the_score_of_a_picture_is_what_the_network_gives_without_the_gates(
    trained: tuple[Path, Path, dict[str, dict]],
) -> None:
    reader = Predictor(trained[1])
    config, met = reader.config, set()
    for kind in _pictures().values():
        for picture in list(kind.values())[:3]:
            finding = reader.read(picture.open())
            met.add(finding.problem)
            inputs = config.preprocessing.array(picture.open())[None]
            answer = reader.backend.forward_with_cam(inputs)
            score = config.calibration.probabilities(answer.logits, config.prior)[0, -1]
            unfamiliar = reader.find_ood_issue(answer.embedding) is not None
            for threshold in (0.0, score - 1e-6, score + 1e-6, 1.0):
                expected = unfamiliar or score > threshold
                assert _is_caught(finding, reader, picture.open(), threshold) == expected
    assert len(met) > 1, "pictures that the gates refuse, and others"


def test_dermoscopy_teaches_what_is_refused_as_such(
    trained: tuple[Path, Path, dict[str, dict]],
) -> None:
    _, out, metrics = trained
    figures = metrics["dermoscopy"]
    assert figures["caught"]["n"] == 6
    assert figures["photos_refused"]["n"] == len(LABELS) * 12
    assert figures["conditions_refused"] <= figures["photos_refused"]["n"]
    config = load_config(out)
    assert config.dermoscopy is not None
    assert config.training["dermoscopy"] == 6
    assert "Dermoscopy, refused by its look" in (out / "README.md").read_text()


@pytest.mark.parametrize("names", [("", ""), ("Eczema", "Psoriasis")])
def test_an_other_without_names_or_of_two_in_every_group_is_not_held_out_whole(
    trained: tuple[Path, Path, dict[str, dict]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, str],
) -> None:
    root, out, _ = trained
    milia = [r for r in read_manifest(root / "manifest.csv", labels=LABELS) if r.label == "milium"]
    others = [r for r in read_manifest(root / "manifest.csv", labels=LABELS) if r.label == "other"]
    rows = [replace(row, source_label="") for row in milia] + [
        replace(row, source_label=names[n % 2], group=f"other-{n // 2}")
        for n, row in enumerate(others)
    ]
    recipe = tiny_recipe(method="probe", frozen_stages=2, labels=("milium", "other"))
    data = prepare_data(assign_folds(rows), root, recipe, root / "cache", Device())
    logits = np.random.default_rng(0).normal(size=(len(rows), 2))
    monkeypatch.setattr(ood, "_pictures", dict)  # they were asked about above
    assert set(evaluate_ood(data, logits, out, tmp_path, {})) == {"conditions it had learnt"}


def test_a_condition_is_held_out_whole(tmp_path: Path) -> None:
    rows = draw_conditions(tmp_path)
    others = [n for n, row in enumerate(rows) if row.label == "other"]
    rows[others[0]] = replace(rows[others[0]], group=rows[others[1]].group)  # two names, one group
    spelt_otherwise = others[2 + len(CONDITIONS)]
    rows[spelt_otherwise] = replace(
        rows[spelt_otherwise], source_label=rows[others[2]].source_label.rstrip("s").upper()
    )
    recipe = tiny_recipe(method="probe")
    data = prepare_data(assign_folds(rows), tmp_path, recipe, tmp_path / "cache", Device())
    unseen, counted = _without_conditions(data)
    assert len({row.source_label for row in rows if row.label == "other"}) == len(CONDITIONS) + 1
    names = np.array([disease_of(row) for row in rows])
    labels = np.array([LABELS.index(row.label) for row in rows])
    for name in np.unique(names[labels == 3]):
        assert len(set(unseen.folds[names == name])) == 1
    assert len(set(unseen.folds[labels == 3])) > 1
    assert (unseen.folds == data.folds)[labels < 3].all()
    assert set(np.flatnonzero(~counted)) == set(others[:2])


def test_all_photographs_from_outside_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=2)
    (tmp_path / rows[0].file).write_bytes(b"")
    (tmp_path / rows[3].file).unlink()
    write_manifest(rows, tmp_path / "outside.csv")
    options = RunOptions(out=tmp_path / "run", outside=tmp_path / "outside.csv")
    with pytest.raises(TrainingError, match="2 of 8 photos cannot be read") as caught:
        read_pictures(options, tmp_path, tiny_recipe())
    assert caught.value.code == "unreadable_photos"
    assert rows[0].file in caught.value.message
    assert rows[3].file in caught.value.message


def test_pictures_are_opened_again_when_they_are_asked_about(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=1)
    write_manifest(rows, tmp_path / "outside.csv")
    options = RunOptions(out=tmp_path / "run", outside=tmp_path / "outside.csv")
    (kind,) = read_pictures(options, tmp_path, tiny_recipe()).values()
    assert list(kind) == [row.file for row in rows]
    draw("milium", size=(50, 40)).save(tmp_path / rows[0].file)
    assert kind[rows[0].file].open().size == (50, 40)
    assert [picture.group for picture in kind.values()] == [row.group for row in rows]


def test_what_counts_as_dermoscopy_says_so_by_its_kind_or_its_source(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=1)
    named = [{"source_label": "Dermoscopy"}, {"source": "Dermoscopy"}, {"source": "my_skin"}, {}]
    rows = [replace(row, **changes) for row, changes in zip(rows, named, strict=True)]
    write_manifest(rows, tmp_path / "outside.csv")
    options = RunOptions(out=tmp_path / "run", outside=tmp_path / "outside.csv")
    found = read_pictures(options, tmp_path, tiny_recipe())
    assert list(found["dermoscopy"]) == [rows[0].file, rows[1].file]
    assert list(found["my skin"]) == [rows[2].file]


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name\nx.jpg\n")
    with pytest.raises(TrainingError, match="columns file and reason"):
        read_off_topic(tmp_path / "list.csv", tmp_path)
    (tmp_path / "list.csv").write_text("file,reason\nx.jpg\n")
    with pytest.raises(TrainingError, match="row 2") as caught:
        read_off_topic(tmp_path / "list.csv", tmp_path)
    assert caught.value.code == "bad_list"


def test_a_list_may_have_semicolons(tmp_path: Path) -> None:
    row = draw_set(tmp_path, of_each=1)[0]
    (tmp_path / "list.csv").write_text(f"file;reason\n{row.file};no clinical photograph: food\n")
    assert list(read_off_topic(tmp_path / "list.csv", tmp_path)) == [row.file]
