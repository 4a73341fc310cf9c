"""`calcinosis export` and `calcinosis bench`: a checkpoint as ONNX, and how quick it is."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from calcinosis.cli.errors import handle_errors, print_note
from calcinosis.cli.options import CheckpointOption, both_or_neither


@handle_errors("export", "export")
def export(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; for onnx alone.")
    ] = None,
    checkpoint: CheckpointOption = None,
    file_format: Annotated[
        Literal["onnx", "graph"],
        typer.Option(
            "--format",
            help="onnx: one file with everything in it; graph: the layers alone, into the checkpoint's "
            "folder, so that it answers without PyTorch.",
        ),
    ] = "onnx",
) -> None:
    """Write a checkpoint as ONNX, compared with PyTorch; `predict --checkpoint` reads it."""
    if (file_format == "onnx") != (out is not None):
        raise typer.BadParameter("--out names the file of --format onnx, and goes with it alone")
    from calcinosis.model.config import GRAPH, SHIPPED
    from calcinosis.model.export import export_onnx, write_graph

    folder = checkpoint or SHIPPED
    if out:
        export_onnx(folder, out)
    else:
        write_graph(folder)
    print_note(f"wrote {out or folder / GRAPH}; ONNX Runtime answers as PyTorch does")


@handle_errors("bench", "bench")
def bench(
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; pictures are drawn unless given.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV that names them.")] = None,
    count: Annotated[int, typer.Option(min=4, help="How many photos.")] = 40,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is read.")] = 3,
    starts: Annotated[int, typer.Option(min=1, help="How many cold starts.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures as JSON.")] = None,
) -> None:
    """Measure how long a finding takes, beside the network alone and other ways to run it."""
    both_or_neither(photos, manifest)
    for module in ("timm", "torch"):  # what all is measured beside; missing, it is missed at once
        if find_spec(module) is None:  # not imported: its memory would count as a cold start's peak
            raise ModuleNotFoundError(name=module)
    from calcinosis.benchmarks.speed import main as measure

    measure(photos, manifest, count=count, repeats=repeats, starts=starts, out=out)
