"""Damaged files through the page or the command line: each must end in a finding or in a typed error.

    python benchmarks/fuzz_photos.py --files 20000 --way page
    python benchmarks/fuzz_photos.py --files 20000 --way folder
    python benchmarks/fuzz_photos.py --files 20000 --way manifest

Drawn pictures in files of every kind are damaged (`damage.py`) and given to the demo as the page in a browser
does, to `calcinosis predict FOLDER --json`, or to `calcinosis predict --manifest`. Prints what came of them, the
slowest, how many megabytes the processes held in each tenth of the time, and what was left in the folder for
temporary files. Exits with 1 if a file had no end, or an unexpected one, or if something was left.
"""

import argparse
import html
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from calcinosis.benchmarks.damage import damaged_files
from calcinosis.benchmarks.visitor import Visitor, served
from calcinosis.common.cpu import map_in_order
from calcinosis.model.config import SHIPPED
from calcinosis.page.words import words

_SECONDS: Final = 0.5
"""Between two looks at how much memory the processes hold."""

_VISITORS: Final = 4
"""Who send files to the page at once."""


class Watch:
    """What a process and those it started hold in memory, until it is stopped.

    Attributes:
        megabytes: one figure each `_SECONDS`.
    """

    def __init__(self, process: int) -> None:
        import psutil

        self.megabytes: list[float] = []
        self._over = threading.Event()
        self._process = psutil.Process(process)
        self._gone = psutil.NoSuchProcess
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_SECONDS):
            try:
                all_of_them = [self._process, *self._process.children(recursive=True)]
                held = sum(process.memory_info().rss for process in all_of_them)
            except self._gone:
                continue
            self.megabytes.append(held / 1e6)

    def tenths(self) -> list[int]:
        """The median of each tenth of the time, without the decoders of HEIC that come and go."""
        self._over.set()
        self._thread.join()
        size = max(1, len(self.megabytes) // 10)
        starts = range(0, len(self.megabytes) - size + 1, size)
        return [round(statistics.median(self.megabytes[i : i + size])) for i in starts]


def end_of(answer: dict[str, Any]) -> str:
    """The outcome of a finding as JSON, or the code of the error."""
    return f"error: {answer['error']['code']}" if "error" in answer else str(answer["outcome"])


def end_shown(page: str) -> str:
    """The outcome of a finding as HTML, or the code of the error that it tells."""
    if "cc-problem" not in page:
        return page.partition("cc-finding cc-")[2].partition('"')[0]
    said = html.unescape(page.partition('cc-headline">')[2].partition("</p>")[0])
    known = words("en").table["errors"].items()
    start = 20  # characters before the first number that is filled in
    codes = [code for code, message in known if message[:start] == said[:start]]
    return f"error: {codes[0] if codes else 'unknown'}"


def fuzz(
    read: Callable[[bytes], str], files: Iterable[bytes], *, workers: int = 1
) -> tuple[Counter[str], float]:
    """What came of damaged files, by outcome or code of the error, and the seconds of the slowest."""

    def timed(file: bytes) -> tuple[str, float]:
        started = time.perf_counter()
        return read(file), time.perf_counter() - started

    ends: Counter[str] = Counter()
    slowest = 0.0
    for end, seconds in map_in_order(timed, files, workers=workers):
        ends[end] += 1
        slowest = max(slowest, seconds)
    return ends, slowest


def through_the_page(files: int, seed: int) -> tuple[Counter[str], list[str], list[int]]:
    """Ends, files left and memory, of a demo that a visitor sends damaged files to."""
    with served(SHIPPED) as server:
        watch, before, visitor = (
            Watch(server.process.pid or 0),
            server.files(),
            Visitor(server.address),
        )
        ends, slowest = fuzz(
            lambda file: end_shown(visitor.ask([file])),
            damaged_files(files, seed),
            workers=_VISITORS,
        )
        print(f"slowest: {slowest:.2f} s")
        return ends, sorted({*server.files()} - {*before}), watch.tenths()


def through_a_command(files: int, seed: int, way: str) -> tuple[Counter[str], list[str], list[int]]:
    """The same of `calcinosis predict`."""
    with tempfile.TemporaryDirectory() as place:
        root, temporary, out = (Path(place, name) for name in ("photos", "tmp", "out"))
        root.mkdir()
        temporary.mkdir()
        names = [f"{number:06}.jpg" for number in range(files)]
        for name, content in zip(names, damaged_files(files, seed), strict=True):
            (root / name).write_bytes(content)
        (root / "manifest.csv").write_text("\n".join(["file", *names]) + "\n")
        table = ("--manifest", root / "manifest.csv", "--root", root, "--out", out, "--workers", 1)
        asked = [str(part) for part in (table if way == "manifest" else (root, "--json"))]
        with Path(place, "said").open("w+") as said, Path(place, "errors").open("w+") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "calcinosis", "predict", *asked],
                stdout=said, stderr=errors, env={**os.environ, "TMPDIR": str(temporary)},
            )  # fmt: skip
            watch = Watch(process.pid)
            code = process.wait()
            errors.seek(0)
            if code not in (0, 1) or "Traceback" in (complaint := errors.read()):
                raise SystemExit(f"ended with {code}: {complaint[-2000:]}")
            said.seek(0)
            ends = Counter(_ends_in_table(out) if way == "manifest" else _ends_in_lines(said))
        return ends, [path.name for path in temporary.rglob("*")], watch.tenths()


def _ends_in_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield end_of(json.loads(line))


def _ends_in_table(folder: Path) -> Iterator[str]:
    from pyarrow import parquet

    for row in parquet.read_table(folder, columns=["outcome", "error_code"]).to_pylist():
        yield row["outcome"] or f"error: {row['error_code']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=("page", "folder", "manifest"), default="page")
    given = parser.parse_args()
    if given.way == "page":
        ends, left, memory = through_the_page(given.files, given.seed)
    else:
        ends, left, memory = through_a_command(given.files, given.seed, given.way)
    for end, count in ends.most_common():
        print(f"{count:6}  {end}")
    print("memory in MB, by tenths of the time:", *memory)
    print(f"temporary files left: {len(left)}", *left)
    bad = [
        end for end in ends if end.removeprefix("error: ") in ("unexpected", "unknown", "crashed")
    ]
    sys.exit(1 if bad or left or ends.total() != given.files else 0)


if __name__ == "__main__":
    main()
