"""The options that several commands take, and what they mean together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from calcinosis.common.options import RunOptions
    from calcinosis.data.manifest import Row

ManifestOption = Annotated[Path, typer.Option("--manifest", help="CSV, one row a photo.")]
RootOption = Annotated[
    Path, typer.Option("--root", help="Folder that the manifest's files are in.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--out", help="Folder for the results; what --resume needs lies beside it, in OUT.work."
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Folder of a checkpoint; the shipped one unless given."),
]
ConfigOption = Annotated[Path, typer.Option("--config", help="Recipe, a TOML file.")]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", help="Label set of your own, with commas; other comes last."),
]
LabelledConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Recipe that names a label set of your own.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for what is computed once; OUT.work/cache unless given."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
DeviceOption = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--device", help="Where to compute; for several GPUs start it with torchrun."),
]
PrecisionOption = Annotated[
    Literal["auto", "bf16", "float32"],
    typer.Option(
        "--precision", help="bf16: mixed precision; float32: exact; auto: what is faster here."
    ),
]
WatermarkOption = Annotated[
    bool,
    typer.Option(
        help="Evaluate the photos with a source's watermark pasted and hidden, too; they are read twice more."
    ),
]
LeaveSourceOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-source-out",
        help="Evaluate each source, and its `other` alone, after learning from the rest.",
    ),
]
LeaveSiteOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-site-out",
        help="Evaluate each body site of a condition after learning from the others.",
    ),
]
RepeatsOption = Annotated[
    int,
    typer.Option(
        "--repeats", min=1, help="Cross-validate so often, with folds of another seed each time."
    ),
]
LearningCurveOption = Annotated[
    bool,
    typer.Option("--learning-curve", help="Evaluate what learns from fewer patients, too."),
]


def both_or_neither(photos: Path | None, manifest: Path | None) -> None:
    """Refuse a folder of photographs without its manifest, and a manifest without its folder."""
    if (photos is None) != (manifest is None):
        raise typer.BadParameter("give --photos and --manifest together")


def spare_inputs(option: str, out: Path, *inputs: Path | None) -> None:
    """Refuse to write over a file that is read, by whatever spelling or link it is named."""
    for path in inputs:
        try:
            if path is None or not out.samefile(path):
                continue
        except OSError:  # one is not there
            continue
        raise typer.BadParameter(f"{option} names a file that is read; give it another name")


def label_set(labels: str | None, config: Path | None) -> tuple[str, ...]:
    """The labels that a manifest may use: named one by one, or a recipe's, or this project's."""
    if labels and config:
        raise typer.BadParameter("give --labels or --config, not both")
    if config:
        from calcinosis.training.recipe import load_recipe

        return load_recipe(config).labels
    from calcinosis.model.labels import LABELS

    return tuple(labels.split(",")) if labels else LABELS


def checked_rows(manifest: Path, root: Path, labels: tuple[str, ...]) -> "list[Row]":
    """The rows of a manifest whose files are all there."""
    from calcinosis.data.locating import check_files
    from calcinosis.data.manifest import read_manifest

    rows = read_manifest(manifest, labels=labels)
    check_files(rows, root)
    return rows


def run_options(context: typer.Context, command: str = "") -> "RunOptions":
    """What was asked of a run, from the command's own options of the same names."""
    import dataclasses

    from calcinosis.common.options import RunOptions

    names = {field.name for field in dataclasses.fields(RunOptions)} & set(context.params)
    return RunOptions(command=command, **{name: context.params[name] for name in names})


def reproduce_command(context: typer.Context, processes: int = 1) -> str:
    """The command that was given, with each of its options that is not the usual one, as a card may state it.

    A place outside the working folder keeps its name only; what only says how a run goes on is left out.
    """
    import shlex

    words: list[str] = []
    for option in context.command.params:
        value: Any = context.params.get(option.name or "")
        if value == option.default or value is None or option.name in ("resume", "cache"):
            continue
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts)[0])
            continue
        if isinstance(value, Path) and value.is_absolute():
            value = value.name
        words += [option.opts[0], str(value)]
    several = ["torchrun", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    return shlex.join([*several, "calcinosis", str(context.info_name), *words])
