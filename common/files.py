"""What a training writes: whole or not at all, and with a plain word when the disk is full."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from calcinosis.common.errors import TrainingError
from safetensors import SafetensorError
from safetensors.torch import save

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_full_error(folder: Path) -> Iterator[None]:
    """Say in one line that the disk is full.

    Raises:
        TrainingError: `disk_full`, in place of what the writer of some file said.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors writes in Rust and keeps the number in its text alone.
        numbers = [f"os error {number}" in str(error) for number in _FULL]
        if getattr(error, "errno", None) not in _FULL and not any(numbers):
            raise
        raise TrainingError(
            "disk_full",
            "no space is left on the disk; free some and go on with --resume: what was finished is kept",
            name=str(folder),
        ) from None


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; the one that was there stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # half a file would only take up space
        raise


def write_json(path: Path, content: Any) -> None:
    """The same for what goes into JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    atomic_write(path, text.encode())


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """The same for tensors, in safetensors."""
    atomic_write(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
