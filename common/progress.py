"""Progress bars, on the error stream, so that figures can be piped."""

import os
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from rich import progress
from rich.console import Console

Item = TypeVar("Item")

_CONSOLE: Final = Console(stderr=True)


def track(items: Iterable[Item], what: str, *, total: int, done: int = 0) -> Iterator[Item]:
    """Hand the items on, under a bar that says what is being done and how long it will take.

    Args:
        total: how many there are, with those that were done before.
        done: how many were done before.
    """
    # Where nobody looks there is no bar; of several processes, one shows it.
    if not _CONSOLE.is_terminal or os.environ.get("RANK", "0") != "0":
        yield from items
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=_CONSOLE, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)
