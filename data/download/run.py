"""Fetch a public set: in parallel, to be taken up again after any interruption, with its terms beside it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO

from calcinosis.common.errors import DataError
from calcinosis.data.catalogue import PublicSet, find_set
from calcinosis.data.download.fetch import (
    PARTIAL_SUFFIX,
    Download,
    Fetcher,
    FetchPolicy,
    PermanentError,
    check_md5,
    check_photo,
    digest,
    place_below,
)
from calcinosis.data.download.remote_files import FileList, RemoteFile, sources_for
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

JOURNAL = ".download.jsonl"
LOCK = ".download.lock"
KINDS = ("target", "lookalike", "distant", "")

_KEPT_FREE = 64 * 1024 * 1024
_AHEAD = 4
_OWN_COLUMNS = ("file", "url", "status", "bytes", "sha256", "licence", "attribution", "kind")


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    `status` is `done`, `dead` (asking again will not help) or `failed` (it may, another time).
    `code` and `detail` say why, for the latter two.
    """

    file: str
    url: str
    status: str
    code: str = ""
    detail: str = ""
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Summary:
    """A finished run: how many files are there, how many of them new, and what was lost."""

    folder: Path
    done: int
    fetched: int
    lost: tuple[Outcome, ...]
    terms: tuple[str, ...]

    @property
    def dead(self) -> int:
        return sum(outcome.status == "dead" for outcome in self.lost)

    @property
    def failed(self) -> int:
        return len(self.lost) - self.dead

    def reasons(self) -> dict[str, int]:
        """Lost files by reason, the most frequent first."""
        return dict(Counter(outcome.code for outcome in self.lost).most_common())


def download(
    set_name: str,
    to: Path,
    *,
    limit: int = 0,
    kinds: Sequence[str] = KINDS,
    search: str = "",
    retry_dead: bool = False,
    manners: FetchPolicy | None = None,
    contact: str = "",
    allowed: frozenset[str] = frozenset(),
    show_progress: bool = True,
) -> Summary:
    """Fetch a set into a folder. Started again, it goes on where it was, whatever stopped it.

    A photo stands under its own name only when it is whole and was checked; until then it is a
    hidden partial file. Beside the photos go `metadata.csv`, `attribution.txt`, `licenses/` and
    `dead_links.csv`.

    Args:
        set_name: a set of the catalogue that can be fetched.
        to: the folder.
        limit: at most so many photos; 0 for all.
        kinds: only photos that curation gives one of these kinds; "" stands for those it drops.
        search: see `calcinosis.data.download.remote_files.sources_for`.
        retry_dead: ask again for links that were found dead before.
        manners: how hard to ask.
        contact: an address for a server's owner to write to, put into the User-Agent.
        allowed: hosts that may have a private address.
        show_progress: a bar on standard error.

    Raises:
        DataError: `unknown_set`, `cannot_fetch`, `usage`, `in_use` when another run writes to the
            folder, `disk_full`, `cannot_write`, `table_lost` when a set's own table cannot be
            had, `unexpected_answer`.
        KeyboardInterrupt: after everything that arrived was written down.
    """
    entry = find_set(set_name)
    plan = sources_for(set_name, search=search)
    fetcher = Fetcher(manners or FetchPolicy(), allowed=allowed, contact=contact)
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            "cannot_write", f"cannot be made ({error.strerror})", name=str(to)
        ) from None
    with _alone_in(to), _Journal(to) as journal:
        _sweep(to)
        try:
            _fetch_tables(plan, to, fetcher)
            items = list(_unique(_chosen(plan.photos(to, fetcher), kinds, limit)))
            _check_disk(items, journal, plan, to)
            run = _Run(plan, to, fetcher, journal, retry_dead)
            try:
                run.fetch(items, show_progress)
            finally:
                _write_records(entry, items, run.outcomes, to)
        except PermanentError as lost:
            raise DataError(
                "table_lost", f"the set's list cannot be had ({lost.detail})", name=set_name
            ) from None
        finally:
            fetcher.close()
    ends = [run.outcomes[item.file] for item in items]
    return Summary(
        folder=to,
        done=sum(end.status == "done" for end in ends),
        fetched=run.fetched,
        lost=tuple(end for end in ends if end.status != "done"),
        terms=entry.terms,
    )


def _fetch_tables(plan: FileList, to: Path, fetcher: Fetcher) -> None:
    for table in plan.tables:
        place = place_below(to, table.file)
        if not place.is_file():
            fetcher.save(table.url, place, photo=False)


def _chosen(items: Iterable[RemoteFile], kinds: Sequence[str], limit: int) -> Iterator[RemoteFile]:
    wanted = (item for item in items if item.kind in kinds)
    return islice(wanted, limit or None)


def _check_disk(items: list[RemoteFile], journal: _Journal, plan: FileList, to: Path) -> None:
    missing = [item for item in items if not journal.has(item, to)]
    needed = sum(item.bytes or plan.usual_bytes for item in missing) + _KEPT_FREE
    free = shutil.disk_usage(to).free
    if needed > free:
        raise DataError(
            "disk_full",
            f"{len(missing):,} photos take about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; make room, or take fewer with a limit or by kind",
            name=str(to),
        )


class _Run:
    """One pass over the items; `outcomes` holds what is known so far, by file."""

    def __init__(
        self, plan: FileList, to: Path, fetcher: Fetcher, journal: _Journal, retry_dead: bool
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.fetched = 0
        self._lost = 0
        self._plan = plan
        self._to = to
        self._fetcher = fetcher
        self._journal = journal
        self._retry_dead = retry_dead

    def fetch(self, items: list[RemoteFile], show_progress: bool) -> None:
        """Fetch what is not there yet.

        Raises:
            DataError: when the disk fails; KeyboardInterrupt: when the user stops.
        """
        connections = self._fetcher.manners.connections
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[lost]} lost"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not show_progress,
        )
        with progress, ThreadPoolExecutor(connections) as pool:
            task = progress.add_task("photos", total=len(items), lost=0)
            waiting: set[Future[tuple[Outcome, bool]]] = set()
            try:
                for item in items:
                    waiting.add(pool.submit(self._one, item))
                    if len(waiting) >= connections * _AHEAD:
                        waiting = self._collect(waiting, progress, task)
                while waiting:
                    waiting = self._collect(waiting, progress, task)
            except BaseException:
                self._fetcher.stop.set()
                pool.shutdown(cancel_futures=True)
                for future in waiting:  # some arrived while the rest was called off
                    if not future.cancelled() and future.exception() is None:
                        self._note(*future.result())
                raise

    def _collect(
        self, waiting: set[Future[tuple[Outcome, bool]]], progress: Progress, task: TaskID
    ) -> set[Future[tuple[Outcome, bool]]]:
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            self._note(*future.result())
        progress.update(task, completed=len(self.outcomes), lost=self._lost)
        return waiting

    def _note(self, outcome: Outcome, is_new: bool) -> None:
        if outcome.file in self.outcomes:
            return
        self.outcomes[outcome.file] = outcome
        self.fetched += is_new
        self._lost += outcome.status != "done"
        self._journal.write(outcome)

    def _one(self, item: RemoteFile) -> tuple[Outcome, bool]:
        """What becomes of one file, and whether it was fetched now."""
        known = self._journal.known(item)
        if known is not None:
            if known.status == "done" and self._journal.has(item, self._to):
                return known, False
            if known.status == "dead" and not self._retry_dead:
                return known, False
        try:
            if not item.url:
                raise PermanentError("no_link", "the set gives no link", lasting=True)
            place = place_below(self._to, item.file)
            there = _already_there(item, place)
            if there is not None:
                return _done(item, there), False
            checks = (check_md5(item.md5),) if item.md5 else ()
            got = self._fetcher.save(item.url, place, checks=checks, robots=self._plan.robots)
            return _done(item, got), True
        except PermanentError as lost:
            status = "dead" if lost.lasting else "failed"
            return Outcome(item.file, item.url, status, lost.code, lost.detail), False


def _already_there(item: RemoteFile, place: Path) -> Download | None:
    """A photo that arrived just before a run was killed is there and not yet written down."""
    if not place.is_file():
        return None
    got = digest(place)
    try:
        if item.md5:
            check_md5(item.md5)(got)
        check_photo(place)
    except PermanentError:
        return None
    return got


def _done(item: RemoteFile, got: Download) -> Outcome:
    return Outcome(item.file, item.url, "done", bytes=got.bytes, sha256=got.sha256)


def _unique(items: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
    """Each file once: the first item that asks for it. Disks that ignore case count as well."""
    seen: set[str] = set()
    for item in items:
        if item.file.casefold() not in seen:
            seen.add(item.file.casefold())
            yield item


# ---- what is written beside the photos --------------------------------------------------------


class _Journal:
    """What became of each file, appended line by line, so that a kill loses one line at most."""

    def __init__(self, to: Path) -> None:
        self._path = to / JOURNAL
        self._known: dict[tuple[str, str], Outcome] = {}
        self._stream: IO[str] | None = None

    def __enter__(self) -> _Journal:
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        for line in text.splitlines():
            outcome = _outcome(line)
            if outcome is not None:
                self._known[outcome.file, _lasting_part(outcome.url)] = outcome
        self._stream = self._path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):
            self._stream.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def known(self, item: RemoteFile) -> Outcome | None:
        return self._known.get((item.file, _lasting_part(item.url)))

    def has(self, item: RemoteFile, to: Path) -> bool:
        """Whether the file is there as it was written down."""
        known = self.known(item)
        if known is None or known.status != "done":
            return False
        place = to / item.file
        return place.is_file() and place.stat().st_size == known.bytes

    def write(self, outcome: Outcome) -> None:
        key = (outcome.file, _lasting_part(outcome.url))
        if self._known.get(key) == outcome or self._stream is None:
            return
        self._known[key] = outcome
        self._stream.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
        self._stream.flush()


def _lasting_part(url: str) -> str:
    """A link without the signature of a signed link, which changes with every listing."""
    return url.split("?", 1)[0] if "X-Amz-Signature=" in url or "Signature=" in url else url


def _outcome(line: str) -> Outcome | None:
    try:
        return Outcome(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _write_records(
    entry: PublicSet, items: list[RemoteFile], outcomes: Mapping[str, Outcome], to: Path
) -> None:
    further = list(dict.fromkeys(name for item in items for name in item.columns))
    further = [name for name in further if name not in _OWN_COLUMNS]
    rows: list[list[object]] = []
    lost: list[list[object]] = []
    for item in items:
        end = outcomes.get(item.file)
        if end is None:
            continue
        if end.status == "done":
            own = [item.file, item.url, end.status, end.bytes, end.sha256]
            terms = [item.licence, item.attribution, item.kind]
            rows.append([*own, *terms, *(item.columns.get(name, "") for name in further)])
        else:
            lost.append([item.file, item.url, end.status, end.code, end.detail])
    _write_csv(to / "metadata.csv", [*_OWN_COLUMNS, *further], rows)
    _write_csv(to / "dead_links.csv", ["file", "url", "status", "code", "detail"], lost)
    _write_text(to / "attribution.txt", _attribution(entry, items))
    folder = to / "licenses"
    folder.mkdir(exist_ok=True)
    for name, address in sorted({(i.licence, i.licence_url) for i in items if i.licence}):
        place = folder / f"{re.sub(r'[^A-Za-z0-9 .-]', '', name)}.txt"
        if not place.exists():
            _write_text(place, f"{name}\n{address}\n\nFor {entry.title}: {entry.conditions}.\n")


def _attribution(entry: PublicSet, items: list[RemoteFile]) -> str:
    owners = sorted({item.attribution for item in items if item.attribution})
    lines = [
        f"{entry.title}, {entry.url}",
        f"Licence: {entry.licence}. {entry.conditions[:1].upper()}{entry.conditions[1:]}.",
        f"Cite: {entry.citation}.",
        *(f"Terms of the sites: {address}" for address in entry.terms),
        f"Fetched on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        "Pictures by:",
        *owners,
    ]
    return "\n".join(lines) + "\n"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
    partial.replace(path)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _sweep(to: Path) -> None:
    """Remove the partial files that a killed run left."""
    for folder, _, names in os.walk(to, followlinks=False):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL_SUFFIX):
                Path(folder, name).unlink(missing_ok=True)


@contextmanager
def _alone_in(to: Path) -> Iterator[None]:
    """Hold the folder for one run. The system lets go of the lock when a run is killed."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are then not noticed
        yield
        return
    with (to / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(
                "in_use", "another download is writing here; wait for it, or stop it", name=str(to)
            ) from None
        yield
