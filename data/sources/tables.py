"""The tables that a set brings along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calcinosis.common.errors import DataError
from calcinosis.data.table import Table


def find_table(root: Path, *names: str) -> Path:
    """The first of these files that lies below the root, in its `dataset/` folder or beside it.

    Raises:
        DataError: code `missing_table`, saying what was looked for.
    """
    if not root.is_dir():
        raise DataError(
            "missing_root", "is no folder; name the folder that holds the set", name=str(root)
        )
    for place in (root, root / "dataset"):
        for name in names:
            for path in sorted(place.glob(name)):
                if path.is_file():
                    return path
    raise DataError(
        "missing_table",
        f"holds no {' or '.join(names)}; put the set's own table there",
        name=str(root),
    )


def read_table(path: Path, needs: Sequence[str]) -> list[dict[str, str]]:
    """All rows of a table by the names of their columns, as `Table` reads them.

    Raises:
        DataError: naming the file, the row (the header is row 1) and the column at fault.
    """
    with Table(path, needs) as table:
        return list(table.dicts())
