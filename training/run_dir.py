"""The folder of a run: whose it is, so that two runs are never mixed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from calcinosis.common.errors import TrainingError
from calcinosis.common.files import write_json
from calcinosis.data.manifest import Row
from calcinosis.training.recipe import Recipe


def lock_run_dir(out: Path, recipe: Recipe, rows: Sequence[Row], *, resume: bool) -> None:
    """Make a folder this run's own; its state is kept in `work` there.

    Raises:
        TrainingError: `other_run`, or `not_resumed` if a run is there and nobody asked to go on.
    """
    run = {"recipe": recipe.model_dump(mode="json"), "photos": manifest_digest(rows)}
    note = out / "work" / "run.json"
    if note.exists():
        if json.loads(note.read_text(encoding="utf-8")) != run:
            raise TrainingError(
                "other_run",
                "holds a run of another recipe or of other photos; choose another --out",
                name=str(out),
            )
        if not resume:
            raise TrainingError(
                "not_resumed",
                "holds this very run; go on with --resume, or choose another --out",
                name=str(out),
            )
    write_json(note, run)


def manifest_digest(rows: Sequence[Row]) -> str:
    """A digest of what a training depends on in a manifest, whatever the order of its rows."""
    facts = sorted([r.file, r.label, r.group, r.kind, r.source_label, r.fold] for r in rows)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
