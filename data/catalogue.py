"""Which public sets there are, what they hold of the three conditions, and on what terms."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from calcinosis.common.errors import DataError

CATALOGUE_FILE = Path(__file__).with_name("catalogue.toml")
UNKNOWN = "unknown"
ALIASES = {"dermnet": "dermnet_nz"}
"""Earlier names of sets."""


class Holds(BaseModel):
    """Photos of each condition after this project's curation; None where nobody has verified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calcinosis_cutis: int | None = None
    gouty_tophus: int | None = None
    milium: int | None = None


class PublicSet(BaseModel):
    """One set: what it holds, on what terms, and what this project can do with it.

    `licence_url` is empty where the text has no place of its own; `fetch` says whether
    `calcinosis data download` can get it, `build` whether `calcinosis data build` reads it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    images: int | None = None
    patients: int | None = None
    holds: Holds
    lookalikes: str
    remarks: str
    licence: str
    licence_url: str = ""
    conditions: str
    citation: str
    access: Literal["open", "request", "permission", "own"]
    how: str
    fetch: bool
    build: bool
    url: str
    terms: tuple[str, ...]


@cache
def list_sets() -> list[PublicSet]:
    """Every set of the catalogue, in its order."""
    table = tomllib.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))
    return [PublicSet.model_validate(entry) for entry in table["set"]]


def find_set(name: str) -> PublicSet:
    """The set of this name.

    Raises:
        DataError: code `unknown_set`, naming the sets that there are.
    """
    for entry in list_sets():
        if entry.name == ALIASES.get(name, name):
            return entry
    names = ", ".join(entry.name for entry in list_sets())
    raise DataError("unknown_set", f"there is no such set; there are {names}", name=name)


def shown(number: int | None) -> str:
    """A count for people: with separators, or the word unknown.

    >>> shown(16577), shown(None)
    ('16,577', 'unknown')
    """
    return UNKNOWN if number is None else f"{number:,}"
