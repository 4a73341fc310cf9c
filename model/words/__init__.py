"""What the reader of a photo is told: one table of strings per language."""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

_TABLES: Final = Path(__file__).parent


class Words:
    """The strings of one language, with the small joins that sentences need."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def __call__(self, key: str, **values: str | int) -> str:
        """The string at a dotted key, with its places filled in; KeyError if there is none."""
        node: Any = self.table
        for part in key.split("."):
            node = node[part]
        return str(node).format(**values)

    def label(self, label: str) -> str:
        """The label as it stands in a sentence: `gouty_tophus` gives `gouty tophus`."""
        known = self.table["labels"].get(label)
        return known["name"] if known else label.replace("_", " ")

    def gloss(self, label: str) -> str:
        """What the label means, in a few words; empty for a label of the user's own."""
        known = self.table["labels"].get(label)
        return str(known["gloss"]) if known else ""

    def settle(self, label: str) -> str:
        """What would settle whether it is this label; general for a label of the user's own."""
        known = self.table["labels"].get(label)
        return known["settle"] if known else self("unknown_label.settle", label=self.label(label))

    def mimic(self, label: str) -> str:
        """What looks the same as this label in a photograph, and the test that tells; may be empty."""
        known = self.table["labels"].get(label)
        return str(known.get("mimic", "")) if known else ""

    def sources(self, names: Sequence[str]) -> list[dict[str, str]]:
        """The sources of a statement, by their names in `sources.toml`: number, text and address of each."""
        known = all_sources()
        numbers = {name: str(number) for number, name in enumerate(known, 1)}
        return [{"number": numbers[name], **known[name]} for name in names]

    def sources_of(self, label: str) -> list[dict[str, str]]:
        """The sources of what would settle whether it is this label."""
        known = self.table["labels"].get(label)
        return self.sources(known["sources"]) if known else []

    def listing(self, labels: Sequence[str], join: str = "and") -> str:
        """The labels as an enumeration: `milium, gouty tophus and something else`."""
        names = [self.label(label) for label in labels]
        if len(names) < 2:
            return "".join(names)
        return f"{', '.join(names[:-1])} {self.table[join]} {names[-1]}"


def languages() -> tuple[str, ...]:
    """The codes of the languages there are tables for, English first."""
    codes = sorted(path.stem for path in _TABLES.glob("*.toml"))
    return ("en", *(code for code in codes if code != "en"))


@cache
def all_sources() -> dict[str, dict[str, str]]:
    """The text and the address of every source by its name, in the order of their numbers."""
    return tomllib.loads((_TABLES.parent / "sources.toml").read_text(encoding="utf-8"))


@cache
def words(language: str = "en") -> Words:
    """The strings of a language, by its code; a ValueError names the codes there are."""
    if language not in languages():
        raise ValueError(f"no words in {language!r}; there are: {', '.join(languages())}")
    return Words(tomllib.loads((_TABLES / f"{language}.toml").read_text(encoding="utf-8")))
