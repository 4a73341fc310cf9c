"""The curated list and its card: consistent with each other, valid, and with no copy across folds."""

import csv
import json

import mlcroissant
import pytest

from calcinosis.data.croissant import CARD, POOL, describe
from calcinosis.data.manifest import leave_out, read_manifest
from calcinosis.data.splits import check_folds

LABELS = ("calcinosis_cutis", "gouty_tophus", "milium", "other")
EXCLUDED = POOL.with_name("excluded.csv")


def test_the_card_is_valid_croissant_and_reads_the_list():
    card = mlcroissant.Dataset(jsonld=CARD)
    assert not card.metadata.issues.errors
    records = list(card.records("photos"))
    with POOL.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(records) == len(lines)
    for record, line in list(zip(records, lines, strict=True))[::500]:
        for name, value in line.items():
            said = record[f"photos/{name}"]
            text = said.decode() if isinstance(said, bytes) else str(said)
            assert text == value or (value == "" and said is None)


def test_the_card_is_of_this_list():
    """If this fails, the list has changed: run `python -m calcinosis.data.croissant`."""
    assert json.loads(CARD.read_text(encoding="utf-8")) == describe()


def test_the_list_is_a_manifest_whose_folds_hold():
    rows = read_manifest(POOL, labels=LABELS)
    check_folds(rows)
    for fold in range(5):
        groups = {row.group for row in rows if row.fold == fold and row.label == "calcinosis_cutis"}
        assert len(groups) in (3, 4)


def test_what_is_excluded_is_in_the_pool_and_not_in_the_list(photos):
    pool = read_manifest(photos / "photos.csv", labels=LABELS)
    kept = leave_out(pool, EXCLUDED)
    labels = {row.file: row.label for row in kept}
    for row in read_manifest(POOL, labels=LABELS):
        assert labels.get(row.file) == row.label


@pytest.mark.parametrize("path", [POOL, EXCLUDED])
def test_the_lists_hold_names_only(path):
    assert path.stat().st_size < 1_000_000
    assert "base64" not in path.read_text(encoding="utf-8")
