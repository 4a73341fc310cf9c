"""What the page says beside a finding: one table of strings per language, joined to that of `model/words`."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from calcinosis.model.labels import LABELS
from calcinosis.model.words import Words, languages
from calcinosis.model.words import words as words_of_findings

__all__ = ["Words", "languages", "words"]

_TABLES: Final = Path(__file__).parent


@cache
def words(language: str = "en", labels: tuple[str, ...] = LABELS) -> Words:
    """The strings of a language, by its code; a ValueError names the codes there are.

    They stand in `en.toml` and, so that no file is too long to read, in any `en-….toml` beside it.
    What speaks of this project's conditions is said in general where the labels are somebody else's.
    """
    ours = words_of_findings(language).table
    files = [_TABLES / f"{language}.toml", *sorted(_TABLES.glob(f"{language}-*.toml"))]
    table: dict[str, Any] = {}
    for file in files:
        table |= tomllib.loads(file.read_text(encoding="utf-8"))
    if labels != LABELS:
        table = _replaced(table, table["own_labels"])
    return Words(_unbroken(ours | table))


def _unbroken(node: Any) -> Any:
    """The strings of a table with a number and its unit on one line."""
    if isinstance(node, dict):
        return {key: _unbroken(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unbroken(value) for value in node]
    return unbroken(node) if isinstance(node, str) else node


def unbroken(text: str) -> str:
    """A text in which no line ends between a number and its unit."""
    # The space stands first, as a search for it is quick in a long text, such as a picture in base64.
    return re.sub(r" (?<=[\d}] )(?=%|mm\b|cm\b|MB\b)", "\u00a0", text)


def _replaced(table: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    changed = {
        key: _replaced(table[key], value) if isinstance(value, dict) else value
        for key, value in by.items()
    }
    return table | changed
