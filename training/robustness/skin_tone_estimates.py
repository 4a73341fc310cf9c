"""Skin tones where the manifest has none: estimated from each photo once, and kept."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from calcinosis.common.progress import track
from calcinosis.data.dataset import batches
from calcinosis.data.manifest import Row, open_source, path_of
from calcinosis.model.photo import open_photo
from calcinosis.training.robustness.skin_tone import estimate_tone
from torch.utils.data import Dataset

_BATCH: Final = 16
_NOTED_EVERY: Final = 20  # batches: half a minute's work at most is lost when a run is stopped


def estimate_skin_tones(
    rows: Sequence[Row], root: Path, kept: Path, *, workers: int = 1
) -> list[Row]:
    """The rows, with an estimate where the manifest gives no skin tone: see `calcinosis.training.robustness.skin_tone`.

    Args:
        rows: the photos; a tone that the manifest gives stays.
        root: the folder that their files lie below.
        kept: a JSON file that remembers the estimates from one run to the next, and what was done when
            a run was stopped.
        workers: processes that read.

    Raises:
        PhotoError, ManifestError: if a photo is absent or cannot be read.
    """
    known: dict[str, str] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    marks = {row.file: _mark(row, root) for row in rows if not row.skin_tone}
    unknown = [row for row in rows if not row.skin_tone and marks[row.file] not in known]
    if unknown:
        kept.parent.mkdir(parents=True, exist_ok=True)
        loader = batches(_Tones(unknown, root), batch_size=_BATCH, workers=workers)
        bar = track(loader, "Estimating skin tones", total=len(loader))
        for step, tones in enumerate(bar):
            asked = unknown[step * _BATCH : step * _BATCH + len(tones)]
            known |= {marks[row.file]: tone for row, tone in zip(asked, tones, strict=True)}
            if step % _NOTED_EVERY == _NOTED_EVERY - 1:
                _note(known, kept)
        _note(known, kept)
    return [
        row if row.skin_tone else replace(row, skin_tone=known[marks[row.file]]) for row in rows
    ]


def _mark(row: Row, root: Path) -> str:
    """What tells a photo from another of the same name, without reading it."""
    facts = path_of(root, row.file).stat()
    return f"{row.file} {facts.st_size} {facts.st_mtime_ns}"


def _note(known: dict[str, str], kept: Path) -> None:
    partial = kept.with_name(kept.name + ".partial")
    partial.write_text(json.dumps(known, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(kept)


class _Tones(Dataset[str]):
    """The estimate for each row; "" where too little skin is seen."""

    def __init__(self, rows: Sequence[Row], root: Path) -> None:
        self.rows, self.root = rows, root

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> str:
        row = self.rows[index]
        return estimate_tone(open_photo(open_source(self.root, row.file), name=row.file))
