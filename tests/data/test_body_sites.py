"""Body sites: what was seen goes before a guess, and both say which they are."""

import tomllib

from calcinosis.data.body_sites import BASIS, CURATED, fill_body_sites
from calcinosis.data.manifest import BODY_SITES, Row
from calcinosis.data.table import Table


def test_what_was_seen_goes_before_a_guess_and_a_guess_is_named_as_one() -> None:
    with Table(CURATED / "body_site.csv", needs=("file", "body_site")) as table:
        seen = next(line for line in table.dicts() if line["body_site"] == "ear")
    rows = [
        Row(seen["file"], "other", "atlas", "1", source_label="tinea pedis"),
        Row("a.jpg", "other", "clinic", "2", source_label="Tinea pedis"),
        Row("b.jpg", "other", "clinic", "3", source_label="rosacea"),
        Row("c.jpg", "other", "clinic", "4", source_label="lichen planus"),
        Row("d.jpg", "milium", "clinic", "5", source_label="eyelid milium"),
        Row("e.jpg", "other", "clinic", "6", source_label="rosacea", body_site="trunk"),
    ]
    filled = fill_body_sites(rows)
    assert [(row.body_site, row.extra.get(BASIS, "")) for row in filled] == [
        ("ear", "eye"),
        ("acral_foot", "name"),
        ("face", "usual"),
        ("", ""),
        ("", ""),  # nobody looked, and a condition's own site is never guessed
        ("trunk", ""),
    ]
    assert fill_body_sites(filled) == filled


def test_the_lists_use_the_words_of_a_manifest() -> None:
    rules = tomllib.loads((CURATED / "body_site_rules.toml").read_text(encoding="utf-8"))
    assert set(rules["sites"]) == set(BODY_SITES)
    assert {rule["site"] for rule in rules["rule"]} <= set(BODY_SITES)
    with Table(CURATED / "body_site.csv", needs=("file", "body_site")) as table:
        assert {line["body_site"] for line in table.dicts()} <= {"", *BODY_SITES}
