"""A computation is done once for what it depends on, and again when that changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calcinosis.common.cache import Arrays, cached_arrays


def counted(value: float) -> tuple[Callable[[], Arrays], list[float]]:
    """A computation, and how often it was done."""
    times: list[float] = []

    def compute() -> Arrays:
        times.append(value)
        return {"values": np.full((2, 3), value, dtype=np.float32), "empty": np.zeros((0, 4))}

    return compute, times


def test_the_same_key_is_computed_once(tmp_path: Path) -> None:
    compute, times = counted(1.0)
    path = tmp_path / "below" / "kept.safetensors"
    first = cached_arrays(path, {"seed": 1, "files": ["a", "b"]}, compute)
    again = cached_arrays(path, {"files": ["a", "b"], "seed": 1}, compute)
    assert len(times) == 1
    assert first.keys() == again.keys() == {"values", "empty"}
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == again[name].dtype


def test_another_key_is_computed_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    cached_arrays(path, {"seed": 1}, counted(1.0)[0])
    assert cached_arrays(path, {"seed": 2}, counted(2.0)[0])["values"][0, 0] == 2
    assert cached_arrays(path, {"seed": 2}, counted(3.0)[0])["values"][0, 0] == 2


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.safetensors"
    path.write_bytes(content)
    assert cached_arrays(path, {}, counted(4.0)[0])["values"][0, 0] == 4
    assert cached_arrays(path, {}, counted(5.0)[0])["values"][0, 0] == 4


def test_a_view_of_an_array_is_kept_as_it_reads(tmp_path: Path) -> None:
    """Safetensors writes memory as it lies: a transposed array would come back shuffled."""
    turned = np.arange(6).reshape(2, 3).T
    path = tmp_path / "kept.safetensors"
    for _ in range(2):
        np.testing.assert_array_equal(cached_arrays(path, {}, lambda: {"a": turned})["a"], turned)


def test_a_key_that_says_nothing_lasting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        cached_arrays(tmp_path / "kept", {"when": object()}, counted(1.0)[0])
