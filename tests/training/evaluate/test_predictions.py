"""The predictions table: what survives a file, and what is refused."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from calcinosis.training.evaluate.predictions import (
    NO_FOLD,
    TEXT_FIELDS,
    PredictionsError,
    read_predictions,
    write_predictions,
)
from tests.training.tables import drawn_table


def test_a_table_survives_its_file_exactly(tmp_path):
    table = drawn_table(digits=12)
    fold = table.fold.copy()
    fold[0] = NO_FOLD
    sets = table.prediction_set.copy()
    sets[1] = False
    table = replace(table, fold=fold, prediction_set=sets)
    path = tmp_path / "predictions.csv"
    write_predictions(table, path)
    again = read_predictions(path)
    assert again.labels == table.labels
    for name in TEXT_FIELDS:
        assert getattr(again, name) == getattr(table, name)
    for name in ("label", "fold", "probabilities", "prediction_set"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_write_that_fails_leaves_the_old_table_and_no_partial_one(tmp_path):
    table, path = drawn_table(), tmp_path / "predictions.csv"
    write_predictions(table, path)
    before = path.read_bytes()
    not_utf_8 = replace(table, source=("\udcff",) * len(table))
    with pytest.raises(UnicodeEncodeError):
        write_predictions(not_utf_8, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_columns_are_the_contract(tmp_path):
    table = drawn_table()
    empty = ("",) * len(table)
    write_predictions(replace(table, source_label=empty, skin_tone=empty), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as stream:
        header, first, *_ = csv.reader(stream)
    assert header == [
        *("file", "label", "group", "source", "kind", "fold"),
        *("p_calcinosis_cutis", "p_gouty_tophus", "p_milium", "p_other"),
        *("prediction_set", "outcome"),
    ]
    row = dict(zip(header, first, strict=True))
    assert row["label"] == "calcinosis_cutis"
    assert abs(sum(float(row[c]) for c in header if c.startswith("p_")) - 1) < 1e-6
    assert set(row["prediction_set"].split("|")) <= set(table.labels)


def test_rows_are_picked_together():
    table = drawn_table()
    rows = table.where(np.array([5, 2]))
    assert rows.file == (table.file[5], table.file[2])
    np.testing.assert_array_equal(rows.probabilities, table.probabilities[[5, 2]])
    assert len(table.where(table.label == 0)) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": ("a",)}, "`group` has 1 entries"),
        ({"probabilities": np.ones((166, 3)) / 3}, "shape"),
        ({"probabilities": np.full((166, 4), 0.3)}, "photos/0.jpg: its probabilities do not add"),
        ({"probabilities": np.full((166, 4), np.nan)}, "missing or outside"),
        ({"label": np.full(166, 4)}, "not an index"),
        ({"file": ("same.jpg",) * 166}, "same.jpg: is listed twice"),
        ({"labels": ("a", "a", "b", "c")}, "each once"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(PredictionsError, match=message):
        replace(drawn_table(), **change)


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("prediction_set,outcome", "prediction_sets,outcome", "lacks the column prediction_set"),
        ("photos/0.jpg,calcinosis_cutis", "photos/0.jpg,wart", "line 2: `wart` is none of"),
        ("photos/1.jpg,calcinosis_cutis,0-0,first,target,1,", "photos/1.jpg,calcinosis_cutis,0-0,first,target,1,x", "line 3: .* not a number"),
        ("file,", "name,", "lacks the column file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_line(tmp_path, find, put, message):
    path = tmp_path / "predictions.csv"
    write_predictions(drawn_table(), path)
    text = path.read_text()
    assert find in text
    path.write_text(text.replace(find, put, 1))
    with pytest.raises(PredictionsError, match=message):
        read_predictions(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(PredictionsError, match=r"nowhere\.csv: cannot be read"):
        read_predictions(tmp_path / "nowhere.csv")
