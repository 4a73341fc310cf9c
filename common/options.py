"""Options that several commands share, as one frozen object instead of flags handed on one by one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How `train` and `crossval` run, and what they measure beside the cross-validation.

    Attributes:
        out: folder of the run's results, as they may be uploaded.
        cache: folder for what is computed once, whatever the run; `cache` in `work` unless given.
        resume: go on with a run that was stopped.
        device: `cpu` or `cuda`.
        precision: `bf16`, `float32` or `auto`, which is what is faster on the device.
        repeats: how often photographs are cross-validated, each time with folds of another seed.
        watermark: with a source's watermark pasted onto photographs, and hidden.
        leave_source_out: on each source, and on the `other` of each, after training without it.
        leave_site_out: on each body site of each condition, after training without it.
        learning_curve: after training on fewer patients of the conditions.
        ood: on conditions left out, and on pictures that show no skin.
        off_topic: a CSV of further such pictures below the photographs' folder: file, reason.
        outside: a manifest, beside its photographs, of further ones that show no lesion or are no clinical
            photographs, such as ordinary skin and dermoscopy; asked about by `source`. Those whose `source_label`
            or `source` is `dermoscopy` also teach what is refused as such.
        facts: a TOML file of what the card says and nobody can compute; see `training/report/facts.toml`.
        command: how the run is made again, as its card says it.
    """

    out: Path
    cache: Path | None = None
    resume: bool = False
    device: str = "cpu"
    precision: str = "auto"
    repeats: int = 1
    watermark: bool = True
    leave_source_out: bool = False
    leave_site_out: bool = False
    learning_curve: bool = False
    ood: bool = False
    off_topic: Path | None = None
    outside: Path | None = None
    facts: Path | None = None
    command: str = ""

    @property
    def work(self) -> Path:
        """The folder for what a stopped run goes on from: beside that of its results, which may be uploaded whole."""
        out = self.out.resolve()  # such as "." has no name
        return out.with_name(f"{out.name}.work")

    @property
    def cache_dir(self) -> Path:
        """The folder for what is computed once."""
        return self.cache or self.work / "cache"
