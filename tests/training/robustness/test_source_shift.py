"""The watermark's pull and a left-out source, measured on drawn photos."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calcinosis.common.errors import ManifestError
from calcinosis.data.manifest import Row
from calcinosis.model.labels import LABELS
from calcinosis.training.crossval import cross_validate
from calcinosis.training.fit.prepare import prepare
from calcinosis.training.robustness import source_shift as robustness

from tests.data.drawing import stamped
from tests.drawings import draw
from tests.training.drawn_sets import draw_set, quiet, tiny_recipe

SIZE = (320, 240)


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """All of `atlas` bears a mark, and calcinosis comes from there alone; `clinic` bears none."""
    root, rows = tmp_path_factory.mktemp("photos"), []
    for label in LABELS:
        for n in range(12):
            marked = label == "calcinosis_cutis" or n % 2 == 0
            photo = draw(label, n, SIZE)
            file = f"{label}-{n}.png"
            (stamped(photo) if marked else photo).save(root / file)
            kind = "target" if label != "other" else "lookalike"
            source = "atlas" if marked else "clinic"
            rows.append(Row(file, label, source, file, source_label=label, kind=kind))
    return root, rows


def judge(
    confounded: tuple[Path, list[Row]], out: Path, *, resume: bool = False, **settings: Any
) -> dict[str, Any]:
    root, rows = confounded
    recipe = tiny_recipe(**settings)
    _, _, metrics = cross_validate(
        rows, root, recipe, out, cache=root / "cache", resume=resume, report=quiet,
        leave_source_out=True,
    )  # fmt: skip
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
    assert masked["mean_change"]["n"] == 30  # of atlas
    assert pasted["photos"] == "those that bear no mark, given that of atlas"
    assert pasted["label"] == "calcinosis_cutis"
    assert list(pasted["by_label"]) == list(LABELS)
    assert pasted["by_label"]["calcinosis_cutis"]["mean_change"] == pasted["mean_change"]
    assert masked["mean_absolute_change"]["value"] > 0
    changes = [effect["mean_change"]["value"] for effect in masked["by_label"].values()]
    assert sum(changes) == pytest.approx(0, abs=1e-9)  # what one label loses the others gain


def test_a_label_of_one_source_is_not_learnt_without_it(
    judged: tuple[dict[str, Any], Path],
) -> None:
    blocks = judged[0]["leave_one_source_out"]
    assert blocks["atlas"]["not_learnt"] == {"calcinosis_cutis": 12}
    assert blocks["clinic"]["not_learnt"] == {}
    assert blocks["atlas"]["sensitivity"]["milium"]["n"] == 6
    assert blocks["clinic"]["balanced_accuracy"]["n"] == 18
    assert blocks["clinic"]["three_way_balanced_accuracy"]["value"] is None


def test_a_run_that_goes_on_asks_nothing_twice(
    judged: tuple[dict[str, Any], Path],
    confounded: tuple[Path, list[Row]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, out = judged
    monkeypatch.setattr(robustness, "fit", None)
    assert judge(confounded, out, resume=True, epochs=1) == metrics


def test_heads_that_saw_marks_change_are_moved_less(
    confounded: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    """Half the photos bear the mark, all of calcinosis among them: what it is worth is unlearnt."""
    root, rows = confounded
    marked = np.array([n for n, row in enumerate(rows) if row.source == "atlas"])
    unmarked = np.array([n for n, row in enumerate(rows) if row.source == "clinic"])
    changes = {}
    for watermark_augmentation in (False, True):
        metrics = judge(
            confounded,
            tmp_path / str(watermark_augmentation),
            method="probe",
            watermark_augmentation=watermark_augmentation,
        )
        changes[watermark_augmentation] = metrics["watermark"]["masked"]["mean_absolute_change"][
            "value"
        ]
    assert changes[True] < changes[False]
    recipe = tiny_recipe(method="probe", watermark_augmentation=True)
    study = prepare(rows, root, recipe, root / "cache", quiet)
    pasted, masked = study.changed
    assert sorted(pasted.numbers) == sorted(unmarked)
    assert sorted(masked.numbers) == sorted(marked)
    for one in study.changed:
        assert one.features.shape == (len(one.numbers), study.start.pretrained_width)
        assert np.abs(one.features - study.features[one.numbers]).max() > 0.01


def test_a_probe_learns_without_a_source_too(
    confounded: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    blocks = judge(confounded, tmp_path, method="probe")["leave_one_source_out"]
    assert blocks["atlas"]["not_learnt"] == {"calcinosis_cutis": 12}


def test_no_probability_goes_to_what_was_not_learnt(
    judged: tuple[dict[str, Any], Path], confounded: tuple[Path, list[Row]]
) -> None:
    assert (
        judged[0]["leave_one_source_out"]["atlas"]["confusion"]["milium"]["calcinosis_cutis"] == 0
    )
    assert np.isclose(robustness._among((0.1, 0.2, 0.3, 0.4), np.array([1, 2])), [0.4, 0.6]).all()


def test_a_single_source_cannot_be_left_out(tmp_path: Path) -> None:
    rows = draw_set(tmp_path, of_each=5)
    with pytest.raises(ManifestError, match="two sources"):
        judge((tmp_path, rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()
