"""A run: every photo of a manifest, read once, whatever happens in between."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from calcinosis.bulk.reading import Job, Record
from calcinosis.bulk.table import (
    FINISHED,
    check_claim,
    digest_of,
    failed_in,
    make_claim,
    pyarrow,
    write_part,
)
from calcinosis.bulk.worker_pool import Task, WorkerPool
from calcinosis.common.errors import BulkError
from calcinosis.common.files import atomic_write, disk_full_error
from calcinosis.data.manifest_index import Chunk, ManifestIndex, index_manifest

ROWS_A_PART: Final = 1000
"""What is read again, at most, after everything was killed: a minute's work of two cores."""
_ROWS_A_TASK: Final = 16


@dataclass
class Run:
    """A run with what of it is still to be done.

    Attributes:
        index: the manifest.
        job: what every worker has to know.
        out: the folder of the table.
        depends_on: what its findings depend on, as the folder notes it.
        left: the chunks still to be read.
        done: rows that were read before.
        failed: rows without a finding, so far.
    """

    index: ManifestIndex
    job: Job
    out: Path
    depends_on: dict[str, Any]
    left: list[Chunk]
    done: int
    failed: int

    def read(self, *, workers: int) -> Generator[int, None, None]:
        """Read what is left in processes of this machine; says of each bunch of photos how many there were.

        Raises:
            CheckpointError: if the checkpoint cannot be loaded.
            ValueError: if the prior, the context or the language is not usable.
            ManifestError: `changed_manifest`.
            BulkError: `other_run`, `damaged_note`, `workers_end`, `rows_lost` or `disk_full`.
        """
        with disk_full_error(self.out, "give the same command again", BulkError):
            if self.left:
                with WorkerPool(self.job, workers=workers) as pool:
                    self.claim()
                    yield from self.read_with(pool)
            self.finish()

    def read_with(self, pool: WorkerPool) -> Generator[int, None, None]:
        """Read what is left with a pool and write each part when its last photo was read."""
        chunks = iter(self.left)
        chunk = next(chunks, None)
        records: list[Record] = []
        for some in pool.read(self._tasks()):
            records += some
            if chunk and len(records) == chunk.rows:
                self.failed += write_part(self.out, chunk, records, pool.labels)
                records, chunk = [], next(chunks, None)
            yield len(some)

    def claim(self) -> None:
        """Make the folder this run's own.

        Raises:
            BulkError: `other_run`, if another run was quicker; `damaged_note`.
        """
        make_claim(self.out, self.depends_on)

    def finish(self) -> None:
        """Note that every part is there."""
        atomic_write(self.out / FINISHED, b"")

    def _tasks(self) -> Iterator[Task]:
        for chunk in self.left:
            files = self.index.files(chunk)
            for start in range(0, len(files), _ROWS_A_TASK):
                yield chunk.first + start, files[start : start + _ROWS_A_TASK]

    def only(self, chunk: Chunk) -> "Run":
        """The same for one chunk alone, in another process."""
        return replace(self, left=[chunk], failed=0)


def open_run(
    manifest: Path,
    job: Job,
    out: Path,
    *,
    rows_a_part: int = ROWS_A_PART,
    retry_failed: bool = False,
) -> Run:
    """A new run, or the one that `out` holds; nothing is written before a worker could begin.

    Args:
        manifest: any length; only its column `file` is needed.
        job: where the photos are and what is asked about them.
        out: a folder that gets the table.
        rows_a_part: rows of each of its files.
        retry_failed: read the parts again in which a photo got no finding.

    Raises:
        ManifestError: naming the line to mend.
        BulkError: `other_run`, if `out` holds something else; `missing_root`; `damaged_note` or `damaged_part`.
        ModuleNotFoundError: where the extra `scale` is missing.
        OSError: if there is no such checkpoint.
    """
    pyarrow()
    if not job.root.is_dir():
        raise BulkError(
            "missing_root", "is no folder; name the folder that holds the photos", str(job.root)
        )
    index = index_manifest(manifest, rows_per_chunk=rows_a_part)
    depends_on = {
        "manifest": index.digest,
        "root": str(job.root.resolve()),
        "rows": index.rows,
        "rows_a_part": rows_a_part,
        "checkpoint": digest_of(job.checkpoint),
        "prior": None if job.prior is None else list(job.prior),
        "context": list(job.context),
        "language": job.language,
    }
    check_claim(out, depends_on)
    failed = {chunk: failed_in(out, chunk) for chunk in index.chunks}
    left = [chunk for chunk, n in failed.items() if n is None or (retry_failed and n)]
    done = index.rows - sum(chunk.rows for chunk in left)
    kept = sum(failed[chunk] or 0 for chunk in {*index.chunks}.difference(left))
    return Run(index, job, out, depends_on, left, done, kept)
