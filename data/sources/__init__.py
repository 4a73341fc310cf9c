"""One adapter a set: from its own files below a folder to manifest rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from calcinosis.common.errors import DataError
from calcinosis.data.catalogue import ALIASES
from calcinosis.data.curation import LABELS
from calcinosis.data.sources import (
    ddi,
    dermnet_nz,
    fitzpatrick17k,
    folders,
    isic,
    pad_ufes_20,
    scin,
    sd198,
)
from calcinosis.data.sources.building import BuildResult, write_build

ADAPTERS: Mapping[str, Callable[[Path], BuildResult]] = MappingProxyType(
    {
        "fitzpatrick17k": fitzpatrick17k.build,
        "fitzpatrick17k_c": fitzpatrick17k.build_cleaned,
        "scin": scin.build,
        "dermnet_nz": dermnet_nz.build,
        "sd198": sd198.build,
        "ddi": ddi.build,
        "pad_ufes_20": pad_ufes_20.build,
        "isic": isic.build,
        "own": folders.build,
    }
)


def build(set_name: str, root: Path, *, labels: Sequence[str] = LABELS) -> BuildResult:
    """Manifest rows of a set whose files lie below a folder.

    Args:
        set_name: of the catalogue.
        root: the folder.
        labels: of the manifest; only the set `own` can have others than this project's.

    Raises:
        DataError: code `unknown_set` when there is no adapter, `usage` for labels that a set cannot have,
            else what the adapter raises.
    """
    set_name = ALIASES.get(set_name, set_name)
    if set_name == "own":
        return folders.build(root, labels)
    adapter = ADAPTERS.get(set_name)
    if adapter is None:
        raise DataError(
            "unknown_set",
            f"there is no adapter for this set; there is one for {', '.join(ADAPTERS)}",
            name=set_name,
        )
    if set(labels) != set(LABELS):
        raise DataError("usage", "labels of your own are for the set own", name=set_name)
    return adapter(root)


__all__ = ["ADAPTERS", "BuildResult", "build", "write_build"]
