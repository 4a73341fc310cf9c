"""The table of findings: a folder of Parquet files, each whole or not there.

Pandas, Polars, DuckDB, Arrow and Spark read such a folder as one table. One file could not grow: the end of a
Parquet file is what says where everything in it is.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from calcinosis.bulk.reading import Record
from calcinosis.common.errors import BulkError
from calcinosis.common.files import PARTIAL_SUFFIX, atomic_create, atomic_path, file_digest
from calcinosis.data.manifest_index import Chunk

RUN: Final = "_run.json"
"""What the run depends on. Readers of tables pass over names that begin with an underscore."""
FINISHED: Final = "_SUCCESS"
_FAILED: Final = b"calcinosis.failed"


def pyarrow() -> Any:
    """The package that reads and writes Parquet; a ModuleNotFoundError where the extra `scale` is missing."""
    import pyarrow.parquet

    return pyarrow


def make_claim(out: Path, run: dict[str, Any]) -> None:
    """Note in a folder that it is this run's, unless one that began meanwhile did so first.

    Raises:
        BulkError: `other_run` or `damaged_note`.
    """
    try:
        atomic_create(out / RUN, json.dumps(run, indent=2) + "\n")
    except FileExistsError:
        check_claim(out, run)


def check_claim(out: Path, run: dict[str, Any]) -> None:
    """Make sure that a folder holds this run, or nothing.

    Raises:
        BulkError: `other_run`; `damaged_note`, if the note of whose folder it is cannot be read.
    """
    note = out / RUN
    if note.is_file():
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            raise BulkError(
                "damaged_note",
                "is damaged, so that nobody knows which run the findings beside it are of; remove its folder if no "
                "other run is at it, or choose another --out",
                name=str(note),
            ) from None
        if noted != run:
            raise BulkError(
                "other_run",
                "holds findings of another manifest, root, checkpoint, prior, context or language; "
                "choose another --out",
                name=str(out),
            )
    elif out.exists() and (
        not out.is_dir() or any(not _is_partial(path) for path in out.iterdir())
    ):
        raise BulkError(
            "other_run",
            "is there already and holds something else; choose another --out, for a folder",
            name=str(out),
        )


def _is_partial(path: Path) -> bool:
    """Whether this is a note that another run is writing now, or was killed as it did."""
    return path.name.startswith(f".{RUN}.") and path.name.endswith(PARTIAL_SUFFIX)


def part_path(out: Path, chunk: Chunk) -> Path:
    """Where the findings of a chunk belong."""
    return out / f"part-{chunk.number:07}.parquet"


def failed_in(out: Path, chunk: Chunk) -> int | None:
    """How many photos of a chunk got no finding; None where it is still to be read.

    Raises:
        BulkError: `damaged_part`.
    """
    path, arrow = part_path(out, chunk), pyarrow()
    if not path.exists():
        return None
    try:
        facts = arrow.parquet.read_metadata(path).metadata or {}
        return int(facts[_FAILED])
    except (arrow.ArrowInvalid, KeyError):
        raise BulkError(
            "damaged_part",
            "is damaged; delete it and give the same command again",
            name=str(path),
        ) from None


def write_part(out: Path, chunk: Chunk, records: Sequence[Record], labels: Sequence[str]) -> int:
    """Write the findings of a chunk whole or not at all; says how many photos got none.

    Raises:
        BulkError: `rows_lost`, if there is not one record a row, in order.
    """
    if [record["row"] for record in records] != [*range(chunk.first, chunk.first + chunk.rows)]:
        raise BulkError("rows_lost", "a row is missing or out of order", name=str(out))
    arrow = pyarrow()
    failed = sum("error_code" in record for record in records)
    schema = _schema(arrow, labels).with_metadata({_FAILED: str(failed).encode()})
    table = arrow.Table.from_pylist(list(records), schema=schema)
    with atomic_path(part_path(out, chunk)) as partial, partial.open("wb") as file:
        arrow.parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())  # a part that has its name is whole even after a power cut
    return failed


def _schema(arrow: Any, labels: Sequence[str]) -> Any:
    text, texts = arrow.string(), arrow.list_(arrow.string())
    return arrow.schema(
        [
            ("row", arrow.int64()),
            ("file", text),
            ("outcome", text),
            ("problem", text),
            *((f"p_{label}", arrow.float64()) for label in labels),
            ("prediction_set", texts),
            ("reasons", texts),
            ("advice", text),
            ("checkpoint", text),
            ("error_code", text),
            ("error_message", text),
        ]
    )


def digest_of(checkpoint: Path) -> str:
    """SHA-256 of what a checkpoint says with: its file, or its settings and weights."""
    digest = hashlib.sha256()
    names = ("config.json", "model.safetensors")
    for path in [checkpoint / name for name in names] if checkpoint.is_dir() else [checkpoint]:
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()
