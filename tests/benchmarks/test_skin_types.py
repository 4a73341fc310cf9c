"""Estimated skin tones beside stated types, on pictures that a test drew."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calcinosis.benchmarks import skin_types
from calcinosis.data.manifest import Row, write_manifest

COLOURS = {"light": (215, 175, 145), "brown": (140, 100, 75)}


def test_a_type_that_a_resample_lacks_is_left_out_of_its_mean() -> None:
    stated = np.array([1] * 20 + [6])
    groups = [f"{n}" for n in range(21)]
    share = skin_types._share(np.ones(21, dtype=bool), stated, groups)
    assert share == "100.0% (100.0% to 100.0%)"
    hit = np.arange(21) == 20
    assert skin_types._share(hit, stated, groups) == "50.0% (0.0% to 50.0%)"


def test_photographs_in_a_shard_are_estimated_as_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    with tarfile.open(tmp_path / "set.tar", "w") as shard:
        for n, (colour, stated) in enumerate((("light", 2), ("brown", 5), ("brown", 2))):
            name = f"{n}.png"
            Image.new("RGB", (64, 48), COLOURS[colour]).save(tmp_path / name)
            if n:
                shard.add(tmp_path / name, name)
                (tmp_path / name).unlink()
            file = f"set.tar/{name}" if n else name
            rows.append(Row(file, "other", "drawn", str(n), skin_tone=f"fitzpatrick:{stated}"))
    write_manifest(rows, tmp_path / "manifest.csv")
    given = ["--manifest", str(tmp_path / "manifest.csv"), "--root", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["skin_types", *given])
    skin_types.main()
    told = capsys.readouterr().out
    assert "3 photographs state a type, 3 get an estimate" in told
    assert "the same             75.0%" in told  # all of type 5, half of type 2
    assert "darker than stated   25.0%" in told
