"""Computations that are kept on disk: arrays beside the key that they were computed for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from calcinosis.common.files import atomic_write

Arrays = dict[str, NDArray[Any]]

_KEY: Final = "key"


def cached_arrays(
    path: Path, key: Mapping[str, Any], compute: Callable[[], Mapping[str, NDArray[Any]]]
) -> Arrays:
    """Arrays by name, from a file where it holds those of this key; computed, and kept there, otherwise.

    Args:
        path: a safetensors file, written whole or not at all.
        key: all that the arrays depend on, as it goes into JSON; it is kept in the file's metadata and
            compared whole, so a changed setting never meets an old result. A file that is damaged, or of
            another key, is replaced.
        compute: makes the arrays.

    Raises:
        TypeError: if the key does not go into JSON.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "squares.safetensors"
        >>> cached_arrays(path, {"count": 3}, lambda: {"squares": np.arange(3) ** 2})["squares"]
        array([0, 1, 4])
        >>> cached_arrays(path, {"count": 3}, lambda: {})["squares"]  # from the file
        array([0, 1, 4])
        >>> folder.cleanup()
    """
    stamp = json.dumps(key, sort_keys=True)
    kept = _read(path, stamp)
    if kept is not None:
        return kept
    arrays = {name: np.ascontiguousarray(array) for name, array in compute().items()}
    atomic_write(path, save(arrays, metadata={_KEY: stamp}))
    return arrays


def _read(path: Path, stamp: str) -> Arrays | None:
    """The arrays in a file of this key; None where there is no such file."""
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get(_KEY) != stamp:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError):
        return None
