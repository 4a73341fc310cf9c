"""Cores are counted as a container may use them."""

import math
import threading
import time
from pathlib import Path

import pytest

from calcinosis.common import cpu


def test_a_containers_quota_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path / "none")
    free = cpu.available_cores()
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path)
    for text, cores in (
        ("max 100000\n", free),
        ("50000 100000\n", 1),
        ("150000 100000\n", min(free, math.ceil(1.5))),
        ("99900000 100000\n", free),
        ("", free),
        ("1 0", free),
    ):
        (tmp_path / "cpu.max").write_text(text)
        assert cpu.available_cores() == cores


def test_the_older_cgroups_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("20000\n")
    assert cpu.available_cores() == 1
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu.available_cores() >= 1


def test_two_functions_return_side_by_side() -> None:
    met = threading.Barrier(2, timeout=20)  # which one alone would wait at in vain
    assert cpu.side_by_side(lambda: (met.wait(), "a")[1], lambda: (met.wait(), "b")[1]) == (
        "a",
        "b",
    )


@pytest.mark.parametrize("place", [0, 1])
def test_what_either_raises_is_raised(place: int) -> None:
    both = [lambda: 1, lambda: 1]
    both[place] = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        cpu.side_by_side(*both)


def test_where_no_thread_is_started_both_are_called_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert cpu.side_by_side(lambda: "a", lambda: "b") == ("a", "b")


def test_items_are_begun_in_their_order_and_not_far_ahead() -> None:
    begun: list[int] = []

    def note(item: int) -> int:
        begun.append(item)
        return -item

    made = cpu.map_in_order(note, iter(range(100)), workers=1, ahead=5)
    assert next(made) == 0
    time.sleep(0.05)
    assert len(begun) <= 6
    assert list(made) == [-item for item in range(1, 100)]
    assert begun == list(range(100))
