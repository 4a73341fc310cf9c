"""A run: every photo of a manifest, read once, whatever happens in between."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from calcinosis.bulk.reading import Job, Record
from calcinosis.bulk.table import (
    check_claim,
    claim,
    digest_of,
    failed_in,
    finish,
    pyarrow,
    write_part,
)
from calcinosis.bulk.worker_pool import Task, WorkerPool
from calcinosis.common.errors import BulkError
from calcinosis.data.manifest_index import Chunk, ManifestIndex, index_manifest

InferenceBackend = Literal["here", "ray"]

ROWS_A_PART: Final = 1000
"""What is read again, at most, after everything was killed: a minute's work of two cores."""
_ROWS_A_TASK: Final = 16


@dataclass
class Run:
    """A run with what of it is still to be done.

    Attributes:
        listing: the manifest.
        job: what every worker has to know.
        out: the folder of the table.
        depends_on: what its findings depend on, as the folder notes it.
        left: the slices still to be read.
        done: rows that were read before.
        failed: rows without a finding, so far.
    """

    listing: ManifestIndex
    job: Job
    out: Path
    depends_on: dict[str, Any]
    left: list[Chunk]
    done: int
    failed: int

    def read(
        self, *, workers: int, engine: InferenceBackend = "here"
    ) -> Generator[int, None, None]:
        """Read what is left; says of each bunch of photos how many there were.

        Raises:
            CheckpointError: if the checkpoint cannot be loaded.
            ValueError: if the prior is not usable.
            BulkError: `workers_end`, `rows_lost` or `not_installed`.
        """
        if engine == "ray":
            from calcinosis.bulk.on_ray import read_on_ray

            for rows, failed in read_on_ray(self, workers=workers):
                self.failed += failed
                yield rows
        elif self.left:
            with WorkerPool(self.job, workers=workers) as crew:
                claim(self.out, self.depends_on)
                yield from self.read_with(crew)
        finish(self.out)

    def read_with(self, crew: WorkerPool) -> Generator[int, None, None]:
        """Read what is left with a crew and write each part when its last photo was read."""
        slices = iter(self.left)
        piece = next(slices, None)
        records: list[Record] = []
        for some in crew.read(self._tasks()):
            records += some
            if piece and len(records) == piece.rows:
                self.failed += write_part(self.out, piece, records, crew.labels)
                records, piece = [], next(slices, None)
            yield len(some)

    def _tasks(self) -> Iterator[Task]:
        for piece in self.left:
            files: list[str] = []
            for row, file in enumerate(self.listing.files(piece), start=piece.first):
                files.append(file)
                if len(files) == _ROWS_A_TASK or row == piece.first + piece.rows - 1:
                    yield row - len(files) + 1, files
                    files = []

    def only(self, piece: Chunk) -> "Run":
        """The same for one slice alone, in another process."""
        return replace(self, left=[piece], failed=0)


def open_run(manifest: Path, job: Job, out: Path, *, rows_a_part: int = ROWS_A_PART) -> Run:
    """A new run, or the one that `out` holds; nothing is written before a worker could begin.

    Args:
        manifest: any length; only its column `file` is needed.
        job: where the photos are and what is asked about them.
        out: a folder that gets the table.
        rows_a_part: rows of each of its files.

    Raises:
        ManifestError: naming the line to mend.
        BulkError: `other_run`, if `out` holds something else; `missing_root`; `not_installed`.
        OSError: if there is no such checkpoint.
    """
    pyarrow()
    if not job.root.is_dir():
        raise BulkError(
            "missing_root", "is no folder; name the folder that holds the photos", str(job.root)
        )
    listing = index_manifest(manifest, rows_per_chunk=rows_a_part)
    depends_on = {
        "manifest": listing.digest,
        "rows": listing.rows,
        "rows_a_part": rows_a_part,
        "checkpoint": digest_of(job.checkpoint),
        "prior": None if job.prior is None else list(job.prior),
    }
    check_claim(out, depends_on)
    failed = {piece: failed_in(out, piece) for piece in listing.chunks}
    left = [piece for piece, number in failed.items() if number is None]
    done = listing.rows - sum(piece.rows for piece in left)
    return Run(listing, job, out, depends_on, left, done, sum(n for n in failed.values() if n))
