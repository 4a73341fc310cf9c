"""The teacher: asked once, kept, and never another than the one that was measured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calcinosis.common.errors import TrainingError
from calcinosis.model.photo import open_photo
from calcinosis.training.fit import teacher
from calcinosis.training.fit.finetune import silently
from calcinosis.training.fit.prepare import prepare
from calcinosis.training.recipe import Recipe

from tests.training.drawn_sets import draw_set


class Session:
    """Stands in for ONNX Runtime: the mean of each channel, and how often it was asked."""

    def __init__(self, patience: int = 1000) -> None:
        self.asked, self.patience = 0, patience

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if self.asked == self.patience:
            raise KeyboardInterrupt
        self.asked += 1
        assert names == ["image_embeds"]
        assert inputs["pixel_values"].shape == (1, 3, 224, 224)
        means = inputs["pixel_values"].mean(axis=(2, 3))
        return [np.tile(means, (1, 171))[:, :512].astype(np.float32)]


def test_embeddings_are_of_length_one_and_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, session = draw_set(tmp_path)[:7], Session()
    monkeypatch.setattr(teacher, "_open_teacher", lambda: session)
    first = teacher.embed_photos(rows, tmp_path, tmp_path / "cache")
    second = teacher.embed_photos(rows, tmp_path, tmp_path / "cache")
    assert first.shape == (7, 512)
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(7), abs=1e-5)
    assert np.array_equal(first, second)
    assert session.asked == 7


def test_an_interrupted_teacher_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw_set(tmp_path)[:7]
    monkeypatch.setattr(teacher, "_STEP", 2)
    tired, fresh = Session(patience=5), Session()
    monkeypatch.setattr(teacher, "_open_teacher", lambda: tired)
    with pytest.raises(KeyboardInterrupt):
        teacher.embed_photos(rows, tmp_path, tmp_path / "cache")
    monkeypatch.setattr(teacher, "_open_teacher", lambda: fresh)
    found = teacher.embed_photos(rows, tmp_path, tmp_path / "cache")
    assert fresh.asked == 3  # four were kept
    inputs = np.asarray(teacher._PREPROCESSING(open_photo(tmp_path / rows[1].file)))
    means = np.tile(inputs.mean(axis=(1, 2)), 171)[:512]
    assert found[1] == pytest.approx(means / np.linalg.norm(means), abs=1e-5)


def test_a_missing_teacher_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install --no-deps") as caught:
        teacher._open_teacher()
    assert caught.value.code == "no_teacher"


def test_a_missing_teacher_is_noticed_before_photos_are_read_for_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, cache = draw_set(tmp_path), tmp_path / "cache"
    recipe = Recipe(name="taught", method="probe", heads=("distilled",), pretrained=False)
    monkeypatch.setattr(teacher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install --no-deps"):
        prepare(rows, tmp_path, recipe, cache, silently)
    assert not list(cache.glob("*"))


def test_another_network_is_not_taken_for_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / teacher._FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    found: Any = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(teacher.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(TrainingError, match="not the teacher that was measured"):
        teacher._open_teacher()
