"""Options that several commands share, as one frozen object instead of flags written again for each."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run writes, how it goes on, and what it computes with.

    Attributes:
        out: folder of the run.
        cache: folder for what can be computed again; None for the one below `out`.
        resume: go on with a run that was stopped.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    out: Path
    cache: Path | None = None
    resume: bool = False
    device: str = "auto"
