"""Where on the body: what was seen by eye, and for the rest a guess from the condition's name.

`python -m calcinosis.data.body_sites data/curated/pool.csv` fills the columns `body_site` and `body_site_basis`
of a manifest: `eye` where somebody looked, `name` where the condition's name says the site, `usual` where the
condition sits there as a rule. How often the two guesses are right stands in `curated/body_site_rules.toml`.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from calcinosis.data.manifest import OTHER, Row, read_manifest, write_manifest
from calcinosis.data.table import Table

CURATED: Final = Path(__file__).parent / "curated"
BASIS: Final = "body_site_basis"


def fill_body_sites(rows: Iterable[Row]) -> list[Row]:
    """The rows with the body site that was seen, or else guessed, and on what basis.

    What was seen goes before a guess; only photographs of `other` are guessed at. A row that already
    has a site keeps it.
    """
    with Table(CURATED / "body_site.csv", needs=("file", "body_site", "basis")) as table:
        seen = {line["file"]: (line["body_site"], line["basis"]) for line in table.dicts()}
    rules = tomllib.loads((CURATED / "body_site_rules.toml").read_text(encoding="utf-8"))["rule"]

    def site_of(row: Row) -> tuple[str, str]:
        if row.file in seen:
            return seen[row.file]
        for rule in rules if row.label == OTHER else ():
            if re.search(rule["pattern"], row.source_label.lower()):
                return rule["site"], rule["from"]
        return "", ""

    filled = []
    for row in rows:
        site, basis = site_of(row)
        if not row.body_site or row.body_site == site:
            row = replace(row, body_site=site, extra={**row.extra, BASIS: basis})
        filled.append(row)
    return filled


if __name__ == "__main__":
    for manifest in map(Path, sys.argv[1:]):
        with Table(manifest, needs=("label",)) as table:
            labels = sorted({line["label"] for line in table.dicts()})
        write_manifest(fill_body_sites(read_manifest(manifest, labels=labels)), manifest)
