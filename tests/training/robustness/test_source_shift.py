"""The watermark's effect, and what is left out: a source, a source's `other`, a body site."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcinosis.common.errors import ManifestError
from calcinosis.common.options import RunOptions
from calcinosis.data.manifest import Row
from calcinosis.data.splits import assign_folds
from calcinosis.model.labels import LABELS
from calcinosis.training.crossval import check_rows, cross_validate
from calcinosis.training.evaluate import out_of_fold
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.prepare import prepare_data
from calcinosis.training.robustness import watermark as robustness_watermark
from tests.data.drawing import stamped
from tests.drawings import draw
from tests.training.drawn_sets import draw_set, tiny_recipe

SIZE = (320, 240)


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """All of `book` bears a mark, and calcinosis comes from there alone; `clinic` bears none."""
    root, rows = tmp_path_factory.mktemp("photos"), []
    for label in LABELS:
        for n in range(12):
            marked = label == "calcinosis_cutis" or n % 2 == 0
            photo = draw(label, n, SIZE)
            file = f"{label}-{n}.png"
            (stamped(photo) if marked else photo).save(root / file)
            kind = "target" if label != "other" else "lookalike"
            source = "book" if marked else "clinic"
            site = ("hand", "foot", "face", "")[n % 4] if label == "milium" else ""
            rows.append(
                Row(file, label, source, file, source_label=label, kind=kind, body_site=site)
            )
    return root, rows


def judge(
    confounded: tuple[Path, list[Row]], out: Path, *, resume: bool = False, **settings: Any
) -> dict[str, Any]:
    root, rows = confounded
    recipe = tiny_recipe(**settings)
    options = RunOptions(
        out=out, cache=root / "cache", resume=resume, leave_source_out=True, leave_site_out=True,
        repeats=2,
    )  # fmt: skip
    metrics = cross_validate(rows, root, recipe, options).metrics
    assert json.loads((out / "metrics.json").read_text()) == metrics
    return metrics


@pytest.fixture(scope="module")
def judged(
    confounded: tuple[Path, list[Row]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("run")
    return judge(confounded, out, epochs=1), out


def test_the_watermark_s_pull_is_measured_on_the_photos_it_changes(
    judged: tuple[dict[str, Any], Path],
) -> None:
    pasted, masked = (judged[0]["watermark"][way] for way in ("pasted", "masked"))
    assert pasted["mean_change"]["n"] == 18  # of clinic
    assert masked["mean_change"]["n"] == 30  # of book
    assert pasted["photos"] == "those on which no mark was found, given that of book"
    assert pasted["label"] == "calcinosis_cutis"
    assert list(pasted["by_label"]) == list(LABELS)
    assert pasted["by_label"]["calcinosis_cutis"]["mean_change"] == pasted["mean_change"]
    assert masked["mean_absolute_change"]["value"] > 0
    changes = [effect["mean_change"]["value"] for effect in masked["by_label"].values()]
    assert sum(changes) == pytest.approx(0, abs=1e-9)  # what one label loses the others gain


def test_a_label_of_one_source_is_not_learnt_without_it(
    judged: tuple[dict[str, Any], Path],
) -> None:
    blocks = judged[0]["leave_source_out"]
    assert blocks["book"]["not_learnt"] == {"calcinosis_cutis": 12}
    assert blocks["clinic"]["not_learnt"] == {}
    assert blocks["book"]["sensitivity"]["milium"]["n"] == 6
    assert blocks["clinic"]["balanced_accuracy"]["n"] == 18
    assert blocks["clinic"]["three_way_balanced_accuracy"]["value"] is None


def test_a_run_that_goes_on_asks_nothing_twice(
    judged: tuple[dict[str, Any], Path],
    confounded: tuple[Path, list[Row]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, out = judged
    for module in (out_of_fold, robustness_watermark):
        monkeypatch.setattr(module, "fit", None)
    assert judge(confounded, out, resume=True, epochs=1) == metrics


def test_a_head_that_saw_photos_without_their_mark_is_moved_less(
    confounded: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    """Half the photos bear the mark, all of calcinosis among them: what it is worth is unlearnt."""
    changes = {}
    for avoid_marks in (False, True):
        out = tmp_path / str(avoid_marks)
        metrics = judge(confounded, out, method="probe", multi_scale=True, avoid_marks=avoid_marks)
        changes[avoid_marks] = metrics["watermark"]["masked"]["mean_absolute_change"]["value"]
    assert changes[True] < changes[False]


def test_photos_that_bear_a_mark_are_read_without_it_too(
    confounded: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    root, rows = confounded
    recipe = tiny_recipe(method="probe", avoid_marks=True)
    data = prepare_data(assign_folds(rows), root, recipe, root / "cache", Device())
    assert data.unmarked is not None
    marked = [n for n, row in enumerate(rows) if row.source == "book"]
    assert sorted(data.unmarked.rows) == marked
    different = np.abs(data.unmarked.values - data.maps.values[marked]).max(axis=(1, 2, 3))
    assert (different > 0.01).all()


def test_a_probe_learns_without_a_source_too(
    confounded: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    blocks = judge(confounded, tmp_path, method="probe")["leave_source_out"]
    assert blocks["book"]["not_learnt"] == {"calcinosis_cutis": 12}


def test_no_probability_goes_to_what_was_not_learnt(
    judged: tuple[dict[str, Any], Path], confounded: tuple[Path, list[Row]]
) -> None:
    assert judged[0]["leave_source_out"]["book"]["confusion"]["milium"]["calcinosis_cutis"] == 0


def test_the_other_of_a_source_is_left_out_alone(judged: tuple[dict[str, Any], Path]) -> None:
    blocks = judged[0]["leave_other_out"]
    assert set(blocks) == {"book", "clinic"}
    for (
        block
    ) in blocks.values():  # 6 of `other`, and the conditions of both sources to rank above it
        assert block["label_counts"] == dict.fromkeys(LABELS[:-1], 12) | {"other": 6}
        assert block["auroc"]["gouty_tophus"]["n"] == 42


def test_each_site_of_a_condition_is_left_out(judged: tuple[dict[str, Any], Path]) -> None:
    blocks = judged[0]["leave_site_out"]
    assert blocks["calcinosis_cutis"] == blocks["gouty_tophus"] == {}
    assert set(blocks["milium"]) == {"hand", "foot", "face"}  # none where nobody said
    for block in blocks["milium"].values():
        assert (block["left_out"], block["groups_left_out"]) == (3, 3)
        assert block["auroc"]["milium"]["positives"] == 3
        assert block["label_counts"]["other"] == 12


def test_a_repeated_figure_is_the_mean_over_seeds_of_folds(
    judged: tuple[dict[str, Any], Path],
) -> None:
    metrics, _ = judged
    repeated = metrics["repeated"]
    assert repeated["repeats"] == 2
    for label in LABELS:
        told, first = repeated["auroc"].get(label), metrics["auroc"].get(label)
        if told is None:
            continue
        assert told["lowest"] <= told["value"] <= told["highest"]
        assert told["value"] == pytest.approx((told["lowest"] + told["highest"]) / 2)
        assert first["value"] in (told["lowest"], told["highest"])


def test_without_body_sites_none_can_be_left_out(tmp_path: Path) -> None:
    rows = [replace(row, source=str(n % 2)) for n, row in enumerate(draw_set(tmp_path, of_each=5))]
    with pytest.raises(ManifestError, match="body_site"):
        judge((tmp_path, rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "left_out", "code", "says"),
    [
        (
            {"source": "negatives"},
            True,
            "too_few_labels",
            "without the source clinic and fold 0, only other",
        ),
        ({"source": "negatives"}, False, "", ""),
        ({"fold": 1}, False, "too_few_labels", "without fold 0, only other"),
        ({"fold": 0}, False, "too_few_folds", "split"),
    ],
)
def test_photos_that_leave_one_label_to_learn_from_are_refused(
    tmp_path: Path, changes: dict[str, Any], left_out: bool, code: str, says: str
) -> None:
    """Conditions of one clinic and `other` alone elsewhere; conditions in one fold; all in one fold."""
    rows = [replace(row, source="clinic") for row in draw_set(tmp_path, of_each=5)]
    if "fold" in changes:
        rows = [replace(row, fold=0) for row in rows]
    rows = [replace(row, **changes) if row.label == "other" else row for row in rows]
    options = RunOptions(out=tmp_path / "run", leave_source_out=left_out)
    if not code:
        check_rows(rows, tmp_path, tiny_recipe(), options)
        return
    with pytest.raises(ManifestError, match=says) as caught:
        check_rows(rows, tmp_path, tiny_recipe(), options)
    assert caught.value.code == code


def test_photos_that_cannot_be_divided_anew_are_refused_before_the_first_round(
    tmp_path: Path,
) -> None:
    """A manifest's own five folds may have one without milia; those of `repeats` may not."""
    rows = assign_folds(draw_set(tmp_path, of_each=5))
    rows = [row for row in rows if row.label != "milium" or row.fold]
    check_rows(rows, tmp_path, tiny_recipe(), RunOptions(out=tmp_path / "run"))
    with pytest.raises(ManifestError, match=r"anew.*'milium' has 4 groups") as caught:
        check_rows(rows, tmp_path, tiny_recipe(), RunOptions(out=tmp_path / "run", repeats=2))
    assert caught.value.code == "too_few_groups"


def test_a_single_source_cannot_be_left_out(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=5)
    with pytest.raises(ManifestError, match="two sources"):
        judge((tmp_path, rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()
