"""The command line: `calcinosis`. It parses, calls, prints; the rooms do the work."""

import atexit
import gc
import logging
import os
import sys
from typing import Annotated, Final

import typer

from calcinosis.cli import data, demo, doctor, export, predict, train
from calcinosis.cli.errors import visible
from calcinosis.common.progress import is_rank_zero

app: Final = typer.Typer(
    help="Tell calcinosis cutis from its look-alikes in photographs, for education and research. "
    "Not a medical device: only a clinician can tell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(predict.predict)
app.command()(demo.demo)
app.add_typer(data.sets, name="data", no_args_is_help=True)
for _command in (
    data.audit,
    data.split,
    train.crossval,
    train.train,
    train.evaluate,
    export.export,
    export.bench,
    doctor.doctor,
):
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from calcinosis.common.version import package_version

        print(package_version())
        raise typer.Exit


@app.callback()
def _set_up(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    log_to_stderr()


class _VisibleFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        return visible(super().formatMessage(record))


def log_to_stderr() -> None:
    """Let what the rooms log be read on the error stream; of several processes, one speaks."""
    log = logging.getLogger("calcinosis")
    for handler in log.handlers.copy():
        log.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_VisibleFormatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO if is_rank_zero() else logging.ERROR)
    log.propagate = False


def main() -> None:
    """Run the command line."""
    # Plugins of other packages have no part here, and to look for them in all that is installed takes half as long
    # as to read a photo.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is left at the end is the system's to take back; to go through it first takes time.
    atexit.register(gc.freeze)
    app()


if __name__ == "__main__":
    main()
