"""How far a long run is: a bar where somebody looks, lines in the log where nobody does."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:  # rich takes long to load, and most commands have no use for it
    from rich.console import Console

Item = TypeVar("Item")

LOG_EVERY: Final = 30.0
"""Seconds between two lines of the log."""

_log: Final = logging.getLogger(__name__)


def is_rank_zero() -> bool:
    """Whether this process is the one that speaks, of several that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def track(
    items: Iterable[Item], what: str, *, total: int, done: int = 0, size: int = 1
) -> Iterator[Item]:
    """Hand the items on and say, on the error stream, how far they are.

    On a terminal that is a bar; elsewhere a line through `logging`, at level INFO, with count, rate and
    time left: after the first item that is finished `LOG_EVERY` seconds after the line before it.

    Args:
        what: is being done, for the bar's label: "Reading the photographs".
        total: how many there are, with those that were done before.
        done: how many were done before.
        size: how many an item stands for, such as a batch of photographs; the last may hold fewer.
    """
    from rich.console import Console

    if not is_rank_zero():
        yield from items
    elif (console := Console(stderr=True)).is_terminal:
        yield from _with_bar(console, items, what, total, done, size)
    else:
        yield from _with_lines(items, what, total, done, size)


def _with_bar(
    console: "Console", items: Iterable[Item], what: str, total: int, done: int, size: int
) -> Iterator[Item]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task, size)


def _with_lines(
    items: Iterable[Item], what: str, total: int, done: int, size: int
) -> Iterator[Item]:
    began = said = time.monotonic()
    for finished, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= LOG_EVERY:
            said = now
            count = finished * size
            _log.info(
                "%s", progress_line(what, min(done + count, total), total, count / (now - began))
            )


def progress_line(what: str, done: int, total: int, rate: float) -> str:
    """How far something is, in words.

    Args:
        rate: of the items, a second.

    Examples:
        >>> progress_line("Reading the photographs", 320, 4436, 12.34)
        'Reading the photographs: 320 of 4,436 (7 %), 12.3 a second, 5 min 34 s left'
    """
    minutes, seconds = divmod(round(max(total - done, 0) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    share = 100 * done // max(total, 1)
    return f"{what}: {done:,} of {total:,} ({share} %), {rate:.3g} a second, {left} left"
