"""How a command ends: a user's mistake in one line, an interruption and a closed pipe quietly."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import typer

from calcinosis.common.extras import extra_of, missing_extra

log: Final = logging.getLogger("calcinosis.cli")

_CONTROL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141


def handle_errors(command: str, extra: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command end in one line and the exit code 1 where its user can mend what went wrong.

    Args:
        command: its name, as a user types it.
        extra: what of the package's extras it needs beside the base.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            from calcinosis.common.errors import CalcinosisError

            try:
                function(*args, **kwargs)
            except ModuleNotFoundError as error:
                missing = extra_of(error.name or "", extra)
                if missing is None:
                    raise
                print_error(missing_extra(command, missing))
                raise typer.Exit(1) from None
            except CalcinosisError as error:
                print_error(str(error), "calcinosis")
                raise typer.Exit(1) from None
            except BrokenPipeError:
                close_pipe()
            except OSError as error:
                what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
                print_error(what, "calcinosis")
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                print_error("stopped; what was finished is kept", "calcinosis")
                raise typer.Exit(_INTERRUPTED) from None

        return guarded

    return decorate


def print_error(message: str, about: str = "") -> None:
    """Say what went wrong, in one line; brackets in it are text and no markup."""
    # Not before something went wrong: rich takes as long to load as a photo takes to read.
    from rich.console import Console
    from rich.markup import escape

    start = f"[red]{escape(visible(about))}:[/red] " if about else ""
    Console(stderr=True).print(start + escape(visible(message)), highlight=False, soft_wrap=True)


def print_note(line: str) -> None:
    """Say how a command goes on, on the error stream; of several processes, one speaks."""
    log.info("%s", line)


def visible(text: str) -> str:
    r"""The text with its control characters as escapes, so that a file's name cannot steer a terminal.

    >>> print(visible("a\nb\x1b[31m.jpg"))
    a\nb\x1b[31m.jpg
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_line(line: str) -> None:
    """Print a line for people at once, with escapes for what a console cannot or should not write."""
    print_exactly(visible(line))


def print_exactly(text: str) -> None:
    """Print text for programs at once; only what the console cannot write is escaped."""
    encoding = _encoding()
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def print_json(content: dict[str, Any]) -> None:
    """Print an object as one line; what the console cannot write is escaped as JSON does it."""
    line = json.dumps(content, ensure_ascii=False)
    try:
        line.encode(_encoding())
    except UnicodeEncodeError:
        line = json.dumps(content)
    print(line, flush=True)


def _encoding() -> str:
    """Of the output; where that was closed from the start there is none, and `print` does nothing."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def close_pipe() -> None:
    """End without a word: who read the output, as `head` does, has enough."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for what Python would still write at its end
    raise typer.Exit(_PIPE_CLOSED) from None
