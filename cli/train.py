"""`calcinosis crossval`, `train` and `evaluate`: a model is made and measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from calcinosis.cli.errors import handle_errors, print_line, print_note
from calcinosis.cli.options import (
    CacheOption,
    CheckpointOption,
    ConfigOption,
    DeviceOption,
    LearningCurveOption,
    LeaveSiteOutOption,
    LeaveSourceOutOption,
    ManifestOption,
    OutFolder,
    PrecisionOption,
    RepeatsOption,
    ResumeOption,
    RootOption,
    RunFolder,
    WatermarkOption,
    checked_rows,
    reproduce_command,
    run_options,
)


@handle_errors("train", "train")
def train(
    context: typer.Context,
    manifest: ManifestOption,
    root: RootOption,
    config: ConfigOption,
    out: RunFolder,
    resume: ResumeOption = False,
    cache: CacheOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    repeats: RepeatsOption = 1,
    watermark: WatermarkOption = True,
    leave_source_out: LeaveSourceOutOption = False,
    leave_site_out: LeaveSiteOutOption = False,
    learning_curve: LearningCurveOption = False,
    ood: Annotated[
        bool,
        typer.Option("--ood", help="Evaluate conditions it never learnt, and no photos, too."),
    ] = False,
    off_topic: Annotated[
        Path | None,
        typer.Option(help="With --ood: CSV of file and reason of more that is no photo."),
    ] = None,
    outside: Annotated[
        Path | None,
        typer.Option(
            help="With --ood: manifest, beside its photos, of what is asked about by source, such as ordinary skin. "
            "With or without, those whose source label or source is dermoscopy teach what is refused as such."
        ),
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option(help="TOML of what the card says and nobody can compute; see docs/own.md."),
    ] = None,
) -> None:
    """Cross-validate a recipe, fit it on every photo, and write a checkpoint with its card."""
    from calcinosis.common.memory import keep_large_blocks
    from calcinosis.training.fit.device import Device
    from calcinosis.training.recipe import load_recipe
    from calcinosis.training.train import train as run

    keep_large_blocks()
    recipe, hardware = load_recipe(config), Device(device, precision)
    rows = checked_rows(manifest, root, recipe.labels)
    options = run_options(context, reproduce_command(context, hardware.processes))
    run(rows, root, recipe, options, hardware)
    if hardware.is_main:
        _write_graph(out)
        _write_reference(out)
        print_note(f"checkpoint, card and figures are in {out}; {options.work} may be deleted")


def _write_graph(checkpoint: Path) -> None:
    """Let a new checkpoint answer without PyTorch; without its graph it answers as well, but later."""
    from calcinosis.common.errors import CheckpointError
    from calcinosis.model.export import write_graph

    try:
        write_graph(checkpoint)
    except CheckpointError as error:
        print_note(f"without a graph, PyTorch will answer: {error}")


def _write_reference(checkpoint: Path) -> None:
    """Let other machines compare what the new checkpoint gives there with what it gives here."""
    from calcinosis.cli.doctor import drawn_pictures
    from calcinosis.model.doctor import renew
    from calcinosis.model.predictor import Predictor

    renew(Predictor(checkpoint), drawn_pictures())


@handle_errors("crossval", "train")
def crossval(
    context: typer.Context,
    manifest: ManifestOption,
    root: RootOption,
    config: ConfigOption,
    out: RunFolder,
    resume: ResumeOption = False,
    cache: CacheOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    repeats: RepeatsOption = 1,
    watermark: WatermarkOption = True,
    leave_source_out: LeaveSourceOutOption = False,
    leave_site_out: LeaveSiteOutOption = False,
    learning_curve: LearningCurveOption = False,
) -> None:
    """Cross-validate a recipe: every photo is predicted by a network that saw none of its group."""
    from calcinosis.common.memory import keep_large_blocks
    from calcinosis.training.crossval import cross_validate
    from calcinosis.training.fit.device import Device
    from calcinosis.training.recipe import load_recipe

    keep_large_blocks()
    recipe, hardware = load_recipe(config), Device(device, precision)
    rows = checked_rows(manifest, root, recipe.labels)
    validated = cross_validate(rows, root, recipe, run_options(context), hardware)
    if hardware.is_main:
        _print_metrics(validated.metrics)


@handle_errors("evaluate", "train")
def evaluate(
    manifest: ManifestOption,
    root: RootOption,
    out: OutFolder,
    checkpoint: CheckpointOption = None,
) -> None:
    """Measure a checkpoint on photographs that it did not learn from."""
    from calcinosis.model.config import SHIPPED, load_config
    from calcinosis.training.evaluation import evaluate as run

    folder = checkpoint or SHIPPED
    rows = checked_rows(manifest, root, load_config(folder).labels)
    metrics = run(rows, root, folder, out)
    print_note(
        f"asked about {len(rows):,} photos, {metrics['n']:,} answered; the report is in {out}"
    )
    _print_metrics(metrics)


def _print_metrics(metrics: dict[str, Any]) -> None:
    """Print the figures of the whole table; those of its subgroups are in metrics.json."""
    subgroups = [name for name in metrics if name.startswith(("by_", "leave_", "repeated"))]
    for name, figure in _estimates({k: v for k, v in metrics.items() if k not in subgroups}):
        shown = "not measured" if figure["value"] is None else f"{figure['value']:.3f}"
        known = figure["low"] is not None
        interval = f"{figure['low']:.3f} to {figure['high']:.3f}" if known else ""
        print_line(f"{name:42} {shown:>12}   {interval:16} n = {figure['n']}")


def _estimates(metrics: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in metrics.items():
        if isinstance(value, dict) and "value" in value:
            yield above + name, value
        elif isinstance(value, dict) and not name.startswith("by_"):
            yield from _estimates(value, f"{above}{name}.")
