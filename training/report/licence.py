"""On what terms weights may be used: those of the photographs that they were learnt from."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from calcinosis.data.catalogue import list_sets
from calcinosis.data.manifest import Row
from calcinosis.training.report.facts import Facts

_NON_COMMERCIAL: Final = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)


class Terms(NamedTuple):
    """The terms of one source: its name, photos, licence, and what else it asks."""

    source: str
    photos: int
    licence: str
    conditions: str


def source_licences(rows: Sequence[Row]) -> dict[str, list[str]]:
    """For each source the licences that the manifest names, in alphabetical order."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.source, set()).add(row.licence)
    return {source: sorted(licences - {""}) for source, licences in sorted(found.items())}


def source_terms(training: Mapping[str, Any], facts: Facts) -> list[Terms]:
    """The terms of each source, from the manifest, else the catalogue, else the facts.

    Args:
        training: `training` of a checkpoint's `config.json`.
        facts: those beside the checkpoint.
    """
    catalogue = {entry.name: entry for entry in list_sets() if entry.access != "own"}
    terms = []
    for source, photos in sorted(training["sources"].items()):
        entry = catalogue.get(source)
        named = ", ".join(training.get("licences", {}).get(source, []))
        licence = named or (entry.licence if entry else "") or facts.licences.get(source, "")
        conditions = "ask whoever holds the photographs"
        if entry:
            conditions = f'{entry.conditions}. Attribution: "{entry.title}"'
        terms.append(Terms(source, photos, licence or "not stated", conditions))
    return terms


def weights_licence(terms: Sequence[Terms]) -> str:
    """What the weights are stamped with, as the photographs' licences ask.

    One source that forbids commerce forbids it to the weights, and one whose licence nobody states is
    named: whoever passes the weights on must know it.
    """
    licences = sorted({term.licence for term in terms} - {"not stated"})
    unstated = [term.source for term in terms if term.licence == "not stated"]
    closed = any("no open licence" in licence for licence in licences)
    use = "any use that the photographs' licences allow"
    if closed or any(_NON_COMMERCIAL.search(licence) for licence in licences):
        use = "research and education only, non-commercial, as the photographs' terms ask"
    named = f" ({'; '.join(licences)})" if licences else ""
    if not unstated:
        return use + named
    return f"{use}{named}; no licence is stated for the photographs of {', '.join(unstated)}"


def is_non_commercial(licence: str) -> bool:
    """Whether a licence, or the stamp of `weights_licence`, forbids commerce."""
    return bool(_NON_COMMERCIAL.search(licence))
