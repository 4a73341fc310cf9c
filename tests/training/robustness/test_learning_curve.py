"""The learning curve: fewer patients of the conditions, all other photos, each point made as the last one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcinosis.common.options import RunOptions
from calcinosis.model.labels import LABELS
from calcinosis.training.crossval import cross_validate
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.robustness.learning_curve import REPEATS, SHARES, some_groups
from tests.training.drawn_sets import draw_set, tiny_recipe


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, dict[str, Any], Path]:
    root, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("run")
    rows = draw_set(root)
    recipe = tiny_recipe(method="probe")
    options = RunOptions(out=out, cache=root / "cache", watermark=False, learning_curve=True)
    validated = cross_validate(rows, root, recipe, options)
    return validated.data, validated.metrics, out


def test_a_point_for_each_share_and_one_for_all(
    judged: tuple[PreparedData, dict[str, Any], Path],
) -> None:
    _, metrics, out = judged
    curve = metrics["learning_curve"]
    assert [point["share"] for point in curve] == [*SHARES, 1.0]
    assert [point["repeats"] for point in curve] == [REPEATS] * len(SHARES) + [1]
    for name in LABELS[:-1]:
        counts = [point["groups"][name] for point in curve]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]
        for point in curve:
            found = point["auroc"][name]
            assert 0 <= found["lowest"] <= found["mean"] <= found["highest"] <= 1
    assert json.loads((out / "metrics.json").read_text())["learning_curve"] == curve
    assert "Would more patients help?" in (out / "report.html").read_text()


def test_the_last_point_is_the_cross_validation_itself(
    judged: tuple[PreparedData, dict[str, Any], Path],
) -> None:
    _, metrics, _ = judged
    for name in LABELS[:-1]:
        figure = find_figure(metrics, f"auroc.{name}")
        assert figure is not None
        last = metrics["learning_curve"][-1]["auroc"][name]
        assert last["mean"] == pytest.approx(figure["value"], abs=1e-9)


def test_groups_stay_whole_and_every_fold_keeps_every_label(
    judged: tuple[PreparedData, dict[str, Any], Path],
) -> None:
    data, _, _ = judged
    labels, groups = data.labels, data.groups
    kept = some_groups(data, 0.5, seed=3)
    for group in np.unique(groups):
        assert len(set(kept[groups == group])) == 1
    assert kept[labels == len(LABELS) - 1].all()
    for fold in np.unique(data.folds):
        for label in np.unique(labels[data.folds == fold]):
            assert kept[(data.folds == fold) & (labels == label)].any()
    assert kept.sum() < len(kept)
    assert (kept == some_groups(data, 0.5, seed=3)).all()
    assert (kept != some_groups(data, 0.5, seed=4)).any()
