"""Fetch a public set: in parallel, to be taken up again after any interruption, with its terms beside it."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from calcinosis.common.errors import DataError
from calcinosis.common.files import PARTIAL_SUFFIX, atomic_write
from calcinosis.common.progress import track
from calcinosis.data.catalogue import PublicSet, find_set
from calcinosis.data.download.errors import DownloadError, PermanentError
from calcinosis.data.download.fetch import (
    Download,
    Fetcher,
    FetchPolicy,
    check_file,
    path_below,
)
from calcinosis.data.download.remote_files import FileList, RemoteFile, sources_for
from calcinosis.data.table import write_errors, write_table

JOURNAL = ".download.jsonl"
LOCK = ".download.lock"
KINDS = ("target", "lookalike", "distant", "")

_KEPT_FREE = 64 * 1024 * 1024
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
    policy: FetchPolicy | None = None,
    contact: str = "",
    allowed: frozenset[str] = frozenset(),
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
        policy: how hard to ask.
        contact: an address for a server's owner to write to, put into the User-Agent.
        allowed: hosts that may have a private address.

    Raises:
        DataError: `unknown_set`, `cannot_fetch`, `usage`, `in_use` when another run writes to the
            folder, `disk_full`, `cannot_write`, `table_lost` when a set's own table cannot be
            had, `unexpected_answer`.
        KeyboardInterrupt: after everything that arrived was written down.
    """
    entry = find_set(set_name)
    sources = sources_for(set_name, search=search)
    with write_errors(to):
        to.mkdir(parents=True, exist_ok=True)
    fetcher = Fetcher(policy or FetchPolicy(), allowed=allowed, contact=contact)
    try:
        with _alone_in(to), _Journal(to) as journal:
            chosen = _list_files(sources, to, fetcher, kinds, limit)
            _check_disk(chosen, journal, sources, to)
            run = _Run(to, fetcher, journal, robots=sources.robots, retry_dead=retry_dead)
            try:
                run.fetch(chosen)
            finally:
                _write_records(entry, chosen, run.outcomes, to)
    except DownloadError as lost:
        raise DataError(
            "table_lost", f"the set's list cannot be had ({lost.detail})", name=set_name
        ) from None
    finally:
        fetcher.close()
    outcomes = [run.outcomes[file.file] for file in chosen]
    lost_files = tuple(outcome for outcome in outcomes if outcome.status != "done")
    return Summary(to, len(outcomes) - len(lost_files), run.fetched, lost_files, entry.terms)


def _list_files(
    sources: FileList, to: Path, fetcher: Fetcher, kinds: Sequence[str], limit: int
) -> list[RemoteFile]:
    """The photos that are asked for, once the set's tables, which name them, are in the folder."""
    for partial in to.rglob(f".*{PARTIAL_SUFFIX}"):  # left by a run that was killed
        partial.unlink(missing_ok=True)
    for table in sources.tables:
        path = path_below(to, table.file)
        if not path.is_file():
            fetcher.save(table.url, path, photo=False)
    files = _unique(file for file in sources.photos(to, fetcher) if file.kind in kinds)
    return list(islice(files, limit or None))


def _unique(files: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
    """Each file once: the first one that asks for its name. Disks that ignore case count as well."""
    seen: set[str] = set()
    for file in files:
        if file.file.casefold() not in seen:
            seen.add(file.file.casefold())
            yield file


def _check_disk(files: list[RemoteFile], journal: _Journal, sources: FileList, to: Path) -> None:
    missing = [file for file in files if not journal.has(file)]
    needed = sum(file.bytes or sources.usual_bytes for file in missing) + _KEPT_FREE
    free = shutil.disk_usage(to).free
    if needed > free:
        raise DataError(
            "disk_full",
            f"{len(missing):,} photos take about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; make room, or take fewer with a limit or by kind",
            name=str(to),
        )


class _Run:
    """One pass over the files; `outcomes` holds what is known so far, by file."""

    def __init__(
        self, to: Path, fetcher: Fetcher, journal: _Journal, *, robots: bool, retry_dead: bool
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.fetched = 0
        self._to, self._fetcher, self._journal = to, fetcher, journal
        self._robots, self._retry_dead = robots, retry_dead

    def fetch(self, files: list[RemoteFile]) -> None:
        """Fetch what is not there yet.

        Raises:
            DataError: when the disk fails; KeyboardInterrupt: when the user stops.
        """
        with ThreadPoolExecutor(self._fetcher.policy.connections) as pool:
            try:
                futures = [pool.submit(self._fetch_one, file) for file in files]
                for future in track(as_completed(futures), "Fetching photos", total=len(files)):
                    self.fetched += future.result()
            except BaseException:
                self._fetcher.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch_one(self, file: RemoteFile) -> bool:
        """Whether a file was fetched now; what became of it is noted."""
        known, is_new = self._journal.known(file), False
        dead = known is not None and known.status == "dead" and not self._retry_dead
        if known is not None and (dead or self._journal.has(file)):
            outcome = known
        else:
            try:
                got, is_new = self._get(file)
                outcome = Outcome(file.file, file.url, "done", bytes=got.bytes, sha256=got.sha256)
            except DownloadError as lost:
                status = "dead" if isinstance(lost, PermanentError) else "failed"
                outcome = Outcome(file.file, file.url, status, lost.code, lost.detail)
        self.outcomes[file.file] = outcome
        self._journal.write(outcome)
        return is_new

    def _get(self, file: RemoteFile) -> tuple[Download, bool]:
        """The file on disk, and whether it was fetched now."""
        if not file.url:
            raise PermanentError("no_link", "the set gives no link")
        path = path_below(self._to, file.file)
        if path.is_file():  # it arrived just before a run was killed, or was changed since
            try:
                return check_file(path, md5=file.md5), False
            except DownloadError:
                pass
        return self._fetcher.save(file.url, path, md5=file.md5, robots=self._robots), True


# ---- what is written beside the photos --------------------------------------------------------


class _Journal:
    """What became of each file, appended line by line, so that a kill loses one line at most."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._known: dict[tuple[str, str], Outcome] = {}
        self._lock = threading.Lock()
        self._stream: IO[str]

    def __enter__(self) -> _Journal:
        path = self._to / JOURNAL
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for line in text.splitlines():
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError):  # torn by a kill
                continue
            self._known[outcome.file, _lasting_part(outcome.url)] = outcome
        self._stream = path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):
            self._stream.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def known(self, file: RemoteFile) -> Outcome | None:
        return self._known.get((file.file, _lasting_part(file.url)))

    def has(self, file: RemoteFile) -> bool:
        """Whether the file is there as it was written down."""
        known = self.known(file)
        if known is None or known.status != "done":
            return False
        path = self._to / file.file
        return path.is_file() and path.stat().st_size == known.bytes

    def write(self, outcome: Outcome) -> None:
        key = (outcome.file, _lasting_part(outcome.url))
        with self._lock:
            if self._known.get(key) != outcome:
                self._known[key] = outcome
                self._stream.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
                self._stream.flush()


def _lasting_part(url: str) -> str:
    """A link without the signature of a signed link, which changes with every listing."""
    return url.split("?", 1)[0] if "Signature=" in url else url


def _write_records(
    entry: PublicSet, files: list[RemoteFile], outcomes: Mapping[str, Outcome], to: Path
) -> None:
    further = list(dict.fromkeys(name for file in files for name in file.columns))
    further = [name for name in further if name not in _OWN_COLUMNS]
    rows: list[list[object]] = []
    lost: list[list[object]] = []
    for file in files:
        end = outcomes.get(file.file)
        if end is not None and end.status == "done":
            own = [file.file, file.url, end.status, end.bytes, end.sha256]
            terms = [file.licence, file.attribution, file.kind]
            rows.append([*own, *terms, *(file.columns.get(name, "") for name in further)])
        elif end is not None:
            lost.append([file.file, file.url, end.status, end.code, end.detail])
    with write_errors(to):
        write_table(to / "metadata.csv", [*_OWN_COLUMNS, *further], rows)
        write_table(to / "dead_links.csv", ["file", "url", "status", "code", "detail"], lost)
        atomic_write(to / "attribution.txt", _attribution(entry, files))
        for name, address in sorted({(f.licence, f.licence_url) for f in files if f.licence}):
            path = to / "licenses" / f"{re.sub(r'[^A-Za-z0-9 .-]', '', name)}.txt"
            if not path.exists():
                text = f"{name}\n{address}\n\nFor {entry.title}: {entry.conditions}.\n"
                atomic_write(path, text)


def _attribution(entry: PublicSet, files: list[RemoteFile]) -> str:
    lines = [
        f"{entry.title}, {entry.url}",
        f"Licence: {entry.licence}. {entry.conditions[:1].upper()}{entry.conditions[1:]}.",
        f"Cite: {entry.citation}.",
        *(f"Terms of the sites: {address}" for address in entry.terms),
        f"Fetched on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        "Pictures by:",
        *sorted({file.attribution for file in files if file.attribution}),
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _alone_in(to: Path) -> Iterator[None]:
    """Hold the folder for one run. The system lets go of the lock when a run is killed."""
    try:
        with FileLock(to / LOCK, timeout=0):
            yield
    except Timeout:
        raise DataError(
            "in_use", "another download is writing here; wait for it, or stop it", name=str(to)
        ) from None
