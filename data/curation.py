"""From a name at a source to a label of ours, read from data/taxonomy.toml alone."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rapidfuzz.distance import OSA

from calcinosis.common.errors import DataError
from calcinosis.data.manifest import KINDS

TAXONOMY_FILE = Path(__file__).with_name("taxonomy.toml")
MARKS_FILE = TAXONOMY_FILE.parent / "curated" / "marks.toml"
SAME_DISEASE_FILE = TAXONOMY_FILE.parent / "curated" / "same_disease.toml"
LABELS = ("calcinosis_cutis", "gouty_tophus", "milium", "other")

# Spellings that differ between the two sides of the Atlantic, applied to whole texts.
_SPELLINGS = (("ae", "e"), ("oe", "e"), ("our", "or"), ("ph", "f"))
# Plural endings of the field's Latin and Greek; everything else only loses its s.
_PLURALS = (("oses", "osis"), ("nevi", "nevus"), ("tophi", "tophus"), ("milia", "milium"))
_KEEPS_ITS_S = ("ss", "us", "is")


@dataclass(frozen=True)
class Decision:
    """What becomes of a photo: its label and kind, or dropped, and why.

    `label` is empty when the photo is dropped. `rule` says which line decided:
    "condition", "rule", "mismatch", "watch word", "weights", "quality", "no label" or "default", and of a
    folder of one's own "label" or "no label's name".
    """

    label: str
    kind: str
    reason: str
    rule: str

    @property
    def dropped(self) -> bool:
        return not self.label


@lru_cache(maxsize=16_384)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, in a form in which two spellings of it are equal.

    >>> words("Epidermoid_Cysts(face)12")
    ('epidermoid', 'cyst', 'face')
    >>> words("naevus") == words("Nevi")
    True
    """
    text = "".join(c for c in _decomposed(name) if not unicodedata.combining(c))
    text = re.sub(r"['’]s\b|_s\b", "s", text)
    text = _respell(text)
    found = (re.sub(r"^\d+|\d+$", "", word) for word in re.split(r"[^a-z0-9]+", text))
    return tuple(_singular(word) for word in found if word)


def _decomposed(name: str) -> str:
    """A name in small letters, its accents as characters of their own."""
    return unicodedata.normalize("NFKD", unquote(name)).casefold()


def _singular(word: str) -> str:
    for plural, singular in _PLURALS:
        plural = _respell(plural)
        if word.endswith(plural):
            return word[: -len(plural)] + _respell(singular)
    if len(word) > 3 and word.endswith("s") and not word.endswith(_KEEPS_ITS_S):
        return word[:-1]
    return word


def disease_key(name: str) -> str:
    """What the names of one disease have in common, whatever the source and its spelling.

    Spellings are known of names in the letters a to z alone. Where digits or other letters tell diseases apart, as in
    `C43` or `Меланома`, names are one only if they have the same words.

    >>> disease_key("Congenital nevus") == disease_key("Melanocytic naevi")
    True
    >>> disease_key("Type 1 reaction") == disease_key("Type 2 reaction")
    False
    """
    text = _decomposed(name)
    if any(c.isalnum() and not "a" <= c <= "z" for c in text):
        # Vowels of Hindi or Thai are marks to Unicode, and part of a word.
        kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
        return " ".join(sorted("".join(kept).split()))
    known = _same_disease().get(" ".join(words(name)), name)
    return " ".join(sorted(words(known)))


@cache
def printed_marks() -> dict[str, tuple[float, float, float, float]]:
    """Where some sources print their mark onto every photo, by eye: see data/curated/marks.toml."""
    table = tomllib.loads(MARKS_FILE.read_text(encoding="utf-8"))
    return {source: (box[0], box[1], box[2], box[3]) for source, box in table.items()}


@cache
def _same_disease() -> dict[str, str]:
    table = tomllib.loads(SAME_DISEASE_FILE.read_text(encoding="utf-8"))
    return {" ".join(words(name)): other for name, other in table.items()}


def _respell(text: str) -> str:
    for old, new in _SPELLINGS:
        text = text.replace(old, new)
    return text


def url_folder(url: str) -> str:
    """The last folder in a link's path, or "" where the link names none.

    >>> url_folder("https://atlas.example/pic/m/miliaria/miliaria20.jpg")
    'miliaria'
    >>> url_folder("https://atlas.example/img?imageId=4351")
    ''
    """
    parts = [part for part in unquote(urlsplit(url).path).split("/") if part]
    return parts[-2] if len(parts) > 1 else ""


_Rule = tuple[set[str] | None, Decision]


class Taxonomy:
    """The table of what names mean, ready to be asked.

    Raises `DataError` (code `taxonomy`) when the table contradicts itself or names a label or
    kind that does not exist.
    """

    def __init__(self, table: Mapping[str, Any], where: str = "taxonomy") -> None:
        self._where = where
        self._default = _decision(table["default"], "default", where)
        self._watch = tuple(_respell(word.casefold()) for word in table.get("watch_words", ()))
        self._by_name: dict[frozenset[str], Decision] = {}
        for entry in table.get("condition", ()):
            self._add(entry["names"], _decision(entry, "condition", where))
        self._rules: defaultdict[tuple[str, frozenset[str]], list[_Rule]] = defaultdict(list)
        for entry in table.get("rule", ()):
            folders = (
                {" ".join(words(name)) for name in entry["folder"]} if "folder" in entry else None
            )
            rule = (folders, _decision(entry, "rule", where))
            self._rules[entry["set"], frozenset(words(entry["source_label"]))].append(rule)
        self._quality = [
            (line["set"], line["column"], line["value"], line["reason"])
            for line in table.get("quality", ())
        ]
        self.minimum_target_weight = table.get("weighted", {}).get("minimum_target_weight", 0.5)
        agreement = table.get("agreement", {})
        self._generic = {w for name in agreement.get("generic", ()) for w in words(name)}
        self._synonyms = [
            [frozenset(words(name)) for name in group] for group in agreement.get("synonyms", ())
        ]
        self._malignant = {
            frozenset(words(name)) for name in table.get("dangerous", {}).get("malignant", ())
        }

    @classmethod
    def load(cls, path: Path = TAXONOMY_FILE) -> Taxonomy:
        """Read a table; see `Taxonomy` for what is raised."""
        return cls(tomllib.loads(path.read_text(encoding="utf-8")), str(path.name))

    def _add(self, names: Iterable[str], decision: Decision) -> None:
        for name in {frozenset(words(name)) for name in names}:
            if name in self._by_name:
                raise DataError(
                    "taxonomy",
                    f"{self._where}: “{' '.join(sorted(name))}” stands in two conditions; "
                    "a name can mean one thing only",
                )
            self._by_name[name] = decision

    def names(self, source_label: str) -> bool:
        """Whether the table names this condition, rather than leaving it to the default."""
        return frozenset(words(source_label)) in self._by_name

    def decide(self, source_label: str, *, set_name: str = "", folder: str = "") -> Decision:
        """What becomes of a photo that its source calls `source_label`.

        `folder` is the folder its link names, if any. A set's own rule wins; then a label that
        its folder contradicts is decided by the folder, and dropped when either of the two
        says it is one of the three conditions; then the condition's line; then the default.
        """
        if not words(source_label):
            return Decision("", "", "the source names no condition", "no label")
        own = self._own_rule(source_label, set_name, folder)
        if own is not None:
            return own
        by_label = self._by_condition(source_label)
        if folder and self.agrees(source_label, folder) is False:
            return self._contradicted(source_label, folder, by_label)
        return by_label

    def _own_rule(self, source_label: str, set_name: str, folder: str) -> Decision | None:
        place = " ".join(words(folder))
        for folders, decision in self._rules.get((set_name, frozenset(words(source_label))), ()):
            if folders is None or place in folders:
                return decision
        return None

    def _by_condition(self, name: str) -> Decision:
        found = self._by_name.get(frozenset(words(name)))
        if found is not None:
            return found
        for word in words(name):
            if word.startswith(self._watch):
                return Decision(
                    "",
                    "",
                    f"“{name}” sounds like one of the three conditions ({word}) but is not in "
                    "the table; add a line for it to the taxonomy",
                    "watch word",
                )
        return self._default

    def _contradicted(self, source_label: str, folder: str, by_label: Decision) -> Decision:
        by_folder = self._by_condition(folder)
        said = f"labelled “{source_label}”, but its link names the folder “{folder}”"
        either_is_target = any(d.kind == "target" or d.dropped for d in (by_label, by_folder))
        if either_is_target:
            reason = f"{said}: one of the two says it is one of the three, and nobody can tell"
            return Decision("", "", reason, "mismatch")
        return Decision(by_folder.label, by_folder.kind, f"{said}: taken as that", "mismatch")

    def decide_weighted(self, weights: Mapping[str, float], *, set_name: str = "") -> Decision:
        """What becomes of a photo whose annotators named several conditions with weights.

        The heaviest decides. One of the three conditions needs `minimum_target_weight` of the
        sum; a photo where one is named, but not so clearly, is dropped: it is no sure positive
        and no safe negative.
        """
        total = sum(weights.values())
        if not weights or total <= 0:
            return Decision("", "", "the annotators named no condition", "weights")
        # Ties go by name, so that the order of a dictionary in a file decides nothing.
        ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
        leading, weight = ranked[0]
        decision = self.decide(leading, set_name=set_name)
        share = weight / total
        if decision.kind == "target" and share >= self.minimum_target_weight:
            return decision
        for name, other in ranked:
            named = self.decide(name, set_name=set_name)
            if named.kind == "target" or named.dropped:
                reason = (
                    f"“{name}” has {other / total:.0%} of the annotators' weight, less than the "
                    f"{self.minimum_target_weight:.0%} it takes: not a sure positive, not a safe "
                    "negative"
                )
                return named if named.dropped else Decision("", "", reason, "weights")
        return decision

    def is_malignant(self, source_label: str) -> bool:
        """Whether a name at a source means a cancer."""
        return frozenset(words(source_label)) in self._malignant

    def quality(self, set_name: str, columns: Mapping[str, str]) -> Decision | None:
        """A decision to drop a row for what its own quality column says, or None."""
        for name, column, value, reason in self._quality:
            if name == set_name and columns.get(column, "").strip() == value:
                return Decision("", "", reason, "quality")
        return None

    def agrees(self, source_label: str, folder: str) -> bool | None:
        """Whether a label and the folder in its link can mean the same; None where no folder is.

        They agree when the table holds both under one condition or one group of synonyms, or
        when they share a word that says something (a slip of the pen is forgiven in words of
        six letters or more). A name made only of words that say little agrees on two of them, or
        on the one it has. “Non” on one side only is a contradiction whatever else is shared.
        """
        label_words, folder_words = frozenset(words(source_label)), frozenset(words(folder))
        if not folder_words:
            return None
        found = self._by_name.get(label_words)
        if label_words == folder_words:
            return True
        if found is not None and self._by_name.get(folder_words) is found:
            return True
        if ("non" in label_words) != ("non" in folder_words):
            return False
        if any(_held(group, label_words, folder_words) for group in self._synonyms):
            return True
        telling = label_words - self._generic
        if telling:
            return _shared(telling, folder_words - self._generic) >= 1
        return _shared(label_words, folder_words) >= min(2, len(label_words))


def _held(group: Iterable[frozenset[str]], *names: frozenset[str]) -> bool:
    phrases = list(group)
    return all(any(phrase <= name for phrase in phrases) for name in names)


def _shared(left: Iterable[str], right: Iterable[str]) -> int:
    others = list(right)
    return sum(any(_same_word(a, b) for b in others) for a in left)


def _same_word(left: str, right: str) -> bool:
    """Equal, or one slip of the pen apart in a word of six letters or more, two in one of twelve.

    A slip is a letter added, left out, changed or swapped with its neighbour.
    """
    if left == right:
        return True
    shortest = min(len(left), len(right))
    allowed = 2 if shortest >= 12 else 1 if shortest >= 6 else 0
    return allowed > 0 and OSA.distance(left, right, score_cutoff=allowed) <= allowed


def _decision(entry: Mapping[str, str], rule: str, where: str) -> Decision:
    label, kind, reason = entry["label"], entry.get("kind", ""), entry["reason"]
    sound = (not label and not kind) or (
        label in LABELS and kind in KINDS and (kind == "target") == (label != "other")
    )
    if not sound or not reason:
        raise DataError(
            "taxonomy",
            f"{where}: label “{label}” with kind “{kind}” and reason “{reason}” cannot be; a "
            "target is one of the three, look-alikes and distant ones are “other”, and each line "
            "gives its reason",
        )
    return Decision(label, kind, reason, rule)


@cache
def default_taxonomy() -> Taxonomy:
    """The table that ships with the project, read once."""
    return Taxonomy.load()


def is_malignant(source_label: str) -> bool:
    """Whether a name at a source means a cancer, by the table that ships with the project."""
    return default_taxonomy().is_malignant(source_label)
