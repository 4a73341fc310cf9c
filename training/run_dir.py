"""The folder of a run: whose it is, so that two runs are never mixed and none runs twice at once."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from calcinosis.common.errors import TrainingError
from calcinosis.common.files import disk_full_error, write_json
from calcinosis.common.options import RunOptions
from calcinosis.data.locating import stamp_of
from calcinosis.data.manifest import Row
from calcinosis.training.fit.device import Device
from calcinosis.training.recipe import Recipe


@contextmanager
def lock_run_dir(
    options: RunOptions, recipe: Recipe, rows: Sequence[Row], root: Path, device: Device
) -> Iterator[None]:
    """Make a folder this run's own while it runs; its state is kept in `options.work`.

    All that lies there afterwards is of this recipe and these photos in this order, and may be gone on
    from: what a fold keeps are arrays of bare numbers, a row each. The lock goes with the process that
    holds it, however that ends.

    Args:
        options: name the folder.
        recipe: what is made.
        rows: the photos, each with the fold that it will have.
        root: the folder that their files lie below.
        device: whose main process takes the folder.

    Raises:
        TrainingError: `already_running` where another process is at it; `other_run`; `not_resumed` if
            this run is there and nobody asked to go on; `disk_full`, while it is held; `mounted` where the
            folder is a disk's own, so that what is gone on from would lie on another.
    """
    if options.out.is_mount():
        raise TrainingError(
            "mounted",
            f"is where a disk is mounted, and {options.work.name} beside it would lie on another one; "
            f"name a folder in it, such as {options.out / 'run'}",
            name=str(options.out),
        )
    with disk_full_error(options.out, "go on with --resume"):
        options.work.mkdir(parents=True, exist_ok=True)
        options.out.mkdir(exist_ok=True)
        TemporaryFile(dir=options.out).close()  # better refused now than after hours
        lock = FileLock(options.work / "lock", timeout=0)
        if device.is_main:
            _acquire(lock, options)
        try:
            if device.is_main:
                _claim(options, recipe, rows, root)
            device.wait()
            yield
        finally:
            lock.release()


def _acquire(lock: FileLock, options: RunOptions) -> None:
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            "already_running",
            "another process is at this run; wait for it to end, or choose another --out",
            name=str(options.out),
        ) from None


def _claim(options: RunOptions, recipe: Recipe, rows: Sequence[Row], root: Path) -> None:
    run = {
        "recipe": recipe.model_dump(mode="json"),
        "photos": manifest_digest(rows),
        "files": _digest([stamp_of(root, row.file) for row in rows]),
    }
    note = options.work / "run.json"
    if note.exists():
        if json.loads(note.read_text(encoding="utf-8")) != run:
            raise TrainingError(
                "other_run",
                "holds a run of another recipe, of other photos, or of these before they were changed, "
                "divided anew or put into another order; choose another --out, or remove it",
                name=str(options.work),
            )
        if not options.resume:
            raise TrainingError(
                "not_resumed",
                "holds this very run; go on with --resume, choose another --out, or remove it",
                name=str(options.work),
            )
    write_json(note, run)


def manifest_digest(rows: Sequence[Row]) -> str:
    """A digest of what a training depends on in a manifest, whatever the order of its rows."""
    return _digest(
        sorted(
            [r.file, r.label, r.source, r.group, r.kind, r.source_label, r.body_site, r.fold]
            for r in rows
        )
    )


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
