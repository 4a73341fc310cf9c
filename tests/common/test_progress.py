"""A long run says how far it is, on a terminal and in a log."""

import logging

import pytest

from calcinosis.common import progress
from calcinosis.common.progress import progress_line, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(clock: list[float], seconds_each: float, count: int, done: int = 0) -> list[int]:
    seen = []
    for item in track(range(count), "Reading", total=done + count, done=done):
        clock[0] += seconds_each
        seen.append(item)
    return seen


def test_a_log_gets_a_line_every_thirty_seconds(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="calcinosis"):
        assert run(clock, 10.0, 7, done=3) == list(range(7))
    assert caplog.messages == [
        "Reading: 6 of 10 (60 %), 0.1 a second, 0 min 40 s left",
        "Reading: 9 of 10 (90 %), 0.1 a second, 0 min 10 s left",
    ]


def test_an_item_may_stand_for_many(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="calcinosis"):
        for _ in track(range(3), "Reading", total=40, size=16):
            clock[0] += 32.0
    assert caplog.messages == [
        "Reading: 16 of 40 (40 %), 0.5 a second, 0 min 48 s left",
        "Reading: 32 of 40 (80 %), 0.5 a second, 0 min 16 s left",
        "Reading: 40 of 40 (100 %), 0.5 a second, 0 min 0 s left",
    ]


def test_what_is_quick_says_nothing(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="calcinosis"):
        run(clock, 0.1, 100)
    assert not caplog.messages


def test_of_several_processes_the_first_speaks(
    clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with caplog.at_level(logging.INFO, logger="calcinosis"):
        assert run(clock, 60.0, 3) == [0, 1, 2]
    assert not caplog.messages


def test_the_time_left_is_in_words() -> None:
    assert progress_line("Reading", 1000, 46000, 5.0).endswith("5 a second, 2 h 30 min left")
    assert progress_line("Reading", 5, 5, 5.0).endswith("(100 %), 5 a second, 0 min 0 s left")
