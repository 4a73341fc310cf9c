"""Skin tones are filled in where nobody gave one, from the photos, and only once."""

from dataclasses import replace
from pathlib import Path

import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.data.manifest import Row
from calcinosis.training.robustness import skin_tone as tones
from calcinosis.training.robustness.skin_tone import PREFIX, read_skin_tones
from tests.training.drawn_sets import draw_set
from tests.training.robustness.test_skin_tone import drawn_skin


@pytest.fixture
def skins(tmp_path: Path) -> list[Row]:
    """Three photos: drawn brown and light skin, and one whose tone the manifest gives."""
    rows = []
    for name in ("brown", "light", "given"):
        drawn_skin("tan" if name == "given" else name).save(tmp_path / f"{name}.png")
        rows.append(Row(f"{name}.png", "other", "drawn", name))
    return [*rows[:2], replace(rows[2], skin_tone="fitzpatrick 4")]


def test_a_missing_tone_is_estimated_and_a_given_one_stays(
    skins: list[Row], tmp_path: Path
) -> None:
    filled = read_skin_tones(skins, tmp_path, tmp_path / "kept.json")
    assert [row.skin_tone for row in filled] == [
        f"{PREFIX}brown",
        f"{PREFIX}light",
        "fitzpatrick 4",
    ]
    assert [replace(row, skin_tone="") for row in filled[:2]] == skins[:2]


def test_what_was_estimated_is_kept_until_the_photo_changes(
    skins: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "cache" / "kept.json"
    first = read_skin_tones(skins, tmp_path, kept)
    (tmp_path / "light.png").unlink()
    drawn_skin("dark").save(tmp_path / "light.png")
    monkeypatch.setattr(tones, "_BATCH", 1)
    seen = []
    monkeypatch.setattr(tones, "estimate_tone", lambda photo: seen.append(photo) or "again")
    again = read_skin_tones(skins, tmp_path, kept, workers=0)
    assert len(seen) == 1
    assert [row.skin_tone for row in again] == [first[0].skin_tone, "again", "fitzpatrick 4"]


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = draw_set(tmp_path, of_each=1)
    (tmp_path / rows[3].file).write_bytes(b"no picture")
    monkeypatch.setattr(tones, "_BATCH", 1)
    monkeypatch.setattr(tones, "_NOTED_EVERY", 1)
    with pytest.raises(TrainingError, match=rows[3].file):
        read_skin_tones(rows, tmp_path, tmp_path / "kept.json", workers=0)
    assert (tmp_path / "kept.json").read_text().count(".jpg") == 3
