"""Every language says everything, with the same places to fill; none of them ever diagnoses."""

import re
from collections.abc import Iterator
from string import Formatter
from typing import Any

import pytest

from calcinosis.model.labels import LABELS, conditions
from calcinosis.page.words import languages, words

ROW_LABELS = conditions(LABELS)
OTHERS = [code for code in languages() if code != "en"]

# "You have gout", "you do not have", "this is a tophus", "rules out", "negative", "harmless" …
DIAGNOSES = {
    "en": r"\byou (do not |don't )?(have|suffer)\b|\byour (disease|diagnosis)\b|\bruled out\b|\bis benign\b"
    r"|(?<!not always )\bharmless\b",
    "es": r"\b(usted|tú) (no )?(tiene|tienes|sufre)\b|\bsu (enfermedad|diagnóstico)\b|\bes benign[oa]\b"
    r"|(?<!no siempre son )\binofensiv[oa]s?\b",
}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a table with its dotted place."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, str(node)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name} | set(
        re.findall(r"%s", text)
    )


def citations(table: dict[str, Any]) -> list[tuple[str, str]]:
    """Which statement names which source, and where the sources are."""
    return [
        (place, text)
        for place, text in leaves(table)
        if (".sources" in place and not place.startswith(".sources")) or place.endswith(".url")
    ]


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_the_strings_of_english_and_fills_the_same_places(language: str) -> None:
    english = dict(leaves(words("en").table))
    translated = dict(leaves(words(language).table))
    assert translated.keys() == english.keys()
    differing = [
        key
        for key in english
        if key not in (".and", ".or") and places(english[key]) != places(translated[key])
    ]
    assert differing == []
    assert [key for key, text in translated.items() if not text.strip()] == []
    assert citations(words(language).table) == citations(words("en").table)


@pytest.mark.parametrize("language", languages())
def test_every_statement_to_learn_from_names_sources_that_have_an_address(language: str) -> None:
    say = words(language)
    table = say.table
    stated = [row["sources"][label] for row in table["compare"]["rows"] for label in ROW_LABELS]
    stated += [topic["sources"] for topic in table["learn"]["topics"]]
    stated += [table["labels"][label]["sources"] for label in ROW_LABELS]
    for names in stated:
        assert names
        for source in say.sources(names):
            assert source["url"].startswith("https://")
            assert source["text"]
    assert say.sources_of("pilar_cyst") == []


@pytest.mark.parametrize("language", languages())
def test_no_string_diagnoses_or_rules_out(language: str) -> None:
    for key, text in leaves(words(language).table):
        assert not re.search(DIAGNOSES[language], text, re.IGNORECASE), (key, text)


@pytest.mark.parametrize("language", languages())
def test_every_label_has_a_name_a_meaning_and_what_settles_it(language: str) -> None:
    say = words(language)
    for label in LABELS:
        assert say.label(label)
        assert say.gloss(label)
        assert say.settle(label)


def test_a_label_of_the_users_own_is_spoken_of_too() -> None:
    say = words()
    assert say.label("pilar_cyst") == "pilar cyst"
    assert "pilar cyst" in say.settle("pilar_cyst")
    assert say.gloss("pilar_cyst") == ""


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no words in 'xx'.*en, es"):
        words("xx")
