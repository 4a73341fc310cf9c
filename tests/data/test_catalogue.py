"""A researcher can trust what the catalogue promises."""

import pytest

from calcinosis.common.errors import DataError
from calcinosis.data.catalogue import find_set, list_sets, shown
from calcinosis.data.croissant import POOL
from calcinosis.data.sources import ADAPTERS
from calcinosis.data.table import Table


def test_every_set_that_the_catalogue_says_can_be_built_has_an_adapter() -> None:
    assert {entry.name for entry in list_sets() if entry.build} == set(ADAPTERS)


def test_names_are_unique_and_every_entry_says_on_what_terms() -> None:
    entries = list_sets()
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.licence
        assert entry.conditions
        assert entry.citation
        assert entry.how


def test_the_sets_that_matter_are_there() -> None:
    tumours = {"isic", "pad_ufes_20", "ddi"}
    conditions = {"fitzpatrick17k", "fitzpatrick17k_c", "scin", "dermnet_nz", "sd198", "passion"}
    assert {entry.name for entry in list_sets()} == tumours | conditions | {"mst_e", "own"}


def test_what_nobody_verified_is_shown_as_unknown_and_never_as_none() -> None:
    assert shown(find_set("scin").holds.milium) == "unknown"
    assert shown(find_set("pad_ufes_20").holds.milium) == "0"


def test_only_open_sets_are_fetched() -> None:
    assert all(entry.access == "open" for entry in list_sets() if entry.fetch)


def test_an_unknown_set_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(DataError, match="fitzpatrick17k") as caught:
        find_set("fitzpatrick")
    assert caught.value.code == "unknown_set"


def test_a_set_has_one_name_in_the_list_in_manifests_and_in_cards() -> None:
    with Table(POOL, needs=("source",)) as table:
        sources = {line["source"] for line in table.dicts()}
    named = {entry.name for entry in list_sets()}
    assert sources - named <= {
        "goutpal",
        "web_milia",
        "atlas",
    }  # which are no public sets of their own
    assert find_set("dermnet") is find_set("dermnet_nz")  # the name that it had earlier
    assert set(ADAPTERS) == {entry.name for entry in list_sets() if entry.build}
