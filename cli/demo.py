"""`calcinosis demo`: the page in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from calcinosis.cli.errors import handle_errors
from calcinosis.cli.options import CheckpointOption, both_or_neither, checked_rows


@handle_errors("demo", "demo")
def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for a free one.")
    ] = 7860,
    checkpoint: CheckpointOption = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of labelled photographs of your own, for a quiz.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV that labels them, one row a photo.")
    ] = None,
) -> None:
    """Serve the page in a browser, on this machine alone."""
    both_or_neither(photos, manifest)
    from calcinosis.data.locating import resolve
    from calcinosis.model.config import SHIPPED, load_config
    from calcinosis.page.ports import asked_port, check_port

    folder = checkpoint or SHIPPED
    quiz = []
    if photos and manifest:
        rows = checked_rows(manifest, photos, load_config(folder).labels)
        quiz = [(resolve(photos, row), row.label) for row in rows]
    asked_port()  # Gradio reads it, whatever --port says
    check_port(port, "--port")
    from calcinosis.page.server import serve

    serve(port=port, checkpoint=folder, quiz=quiz)
