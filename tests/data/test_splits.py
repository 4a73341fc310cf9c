"""Folds: nothing that belongs together is split, and every fold gets its share of the rare labels."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from calcinosis.common.errors import ManifestError
from calcinosis.data.croissant import POOL
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.data.splits import assign_folds, check_folds, join_groups, leave_one_source_out

LABELS = ("calcinosis_cutis", "gouty_tophus", "milium", "other")
KIND = {"other": "lookalike"}


def a_row(i, label="other", source="a", group="", **more):
    return Row(f"{i}.jpg", label, source, group or f"g{i}", kind=KIND.get(label, "target"), **more)


@st.composite
def data_sets(draw, fewest=5, most=20):
    """Rows in which each group has one label; sizes, sources and shared bytes vary."""
    rows = []
    for label in draw(st.sets(st.sampled_from(LABELS), min_size=1)):
        for _ in range(draw(st.integers(fewest, most))):
            group = f"{label}-{len(rows)}"
            source = draw(st.sampled_from("abc"))
            rows += [
                a_row(len(rows) + k, label, source, group) for k in range(draw(st.integers(1, 3)))
            ]
    return draw(st.permutations(rows))


def together(rows):
    """A slow, obvious search for the rows that must share a fold: spread marks until none moves."""
    mark = list(range(len(rows)))
    moved = True
    while moved:
        moved = False
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                same = a.group == b.group or (a.sha256 and a.sha256 == b.sha256)
                if same and mark[i] < mark[j]:
                    mark[j] = mark[i]
                    moved = True
    return mark


@given(data_sets(), st.integers(2, 5), st.integers(0, 3))
def test_labels_are_even_over_folds(rows, folds, seed):
    split = assign_folds(rows, folds, seed)
    check_folds(split)
    assert [replace(row, fold=None) for row in split] == rows
    for label in {row.label for row in rows}:
        groups = [
            len({row.group for row in split if row.label == label and row.fold == fold})
            for fold in range(folds)
        ]
        assert max(groups) - min(groups) <= 1


@given(
    st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from(["", *(f"{i:064x}" for i in range(12))])),
        min_size=10,
        max_size=40,
    )
)
def test_groups_and_equal_files_never_cross_a_fold(drawn):
    rows = [a_row(i, group=f"g{g}", sha256=sha) for i, (g, sha) in enumerate(drawn)]
    mark = together(rows)
    assume(len(set(mark)) >= 5)
    split = assign_folds(rows)
    check_folds(split)
    fold_of_mark = {}
    for row, m in zip(split, mark, strict=True):
        assert fold_of_mark.setdefault(m, row.fold) == row.fold


@given(data_sets(), st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, rng):
    other_order = rng.sample(rows, len(rows))
    a = {row.file: row.fold for row in assign_folds(rows)}
    b = {row.file: row.fold for row in assign_folds(other_order)}
    assert a == b


@given(data_sets(), data_sets(fewest=1, most=4))
def test_added_rows_move_no_old_one(rows, added):
    old = assign_folds(rows)
    joins_an_old_group = replace(a_row("joins", rows[0].label), group=rows[0].group)
    labels = {row.label for row in rows}
    new = [
        replace(row, file=f"new/{row.file}", group=f"new {row.group}")
        for row in added
        if row.label in labels
    ]
    grown = assign_folds([*old, *new, joins_an_old_group])
    assert grown[: len(old)] == old
    assert grown[-1].fold == old[0].fold
    check_folds(grown)


def test_fifteen_rare_groups_make_three_a_fold_and_sources_spread():
    rows = [a_row(i, "calcinosis_cutis") for i in range(15)]
    rows += [a_row(100 + i, "milium", "ab"[i < 10]) for i in range(40)]
    rows += [a_row(1000 + i) for i in range(4000)]
    split = assign_folds(rows)
    count = Counter((row.label, row.source, row.fold) for row in split)
    for fold in range(5):
        assert count["calcinosis_cutis", "a", fold] == 3
        assert count["milium", "b", fold] == 2
        assert count["milium", "a", fold] == 6
        assert count["other", "a", fold] == 800


def test_large_groups_are_set_against_small_ones():
    sizes = [9, 7, 5, 3, 1, 1, 3, 5, 7, 9]
    rows = [a_row(f"{g}-{k}", group=f"g{g}") for g, size in enumerate(sizes) for k in range(size)]
    per_fold = Counter(row.fold for row in assign_folds(rows))
    assert set(per_fold.values()) == {10}


def test_another_seed_gives_another_split():
    rows = [a_row(i) for i in range(50)]
    assert assign_folds(rows, seed=0) == assign_folds(rows, seed=0)
    assert assign_folds(rows, seed=0) != assign_folds(rows, seed=1)


def test_that_folds_are_kept_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = assign_folds([a_row(i) for i in range(30)], folds=3)
    assert not caplog.messages
    assert assign_folds(rows, folds=10, seed=7) == rows
    (said,) = caplog.messages
    assert "every photo has a fold already and keeps it" in said


def test_too_few_groups_names_the_label():
    rows = [a_row(i) for i in range(9)] + [
        a_row(i, "milium", group=f"m{i % 4}") for i in range(10, 20)
    ]
    with pytest.raises(ManifestError, match="'milium' has 4 groups") as caught:
        assign_folds(rows)
    assert caught.value.code == "too_few_groups"
    assign_folds(rows, folds=4)


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_one_fold_is_no_split(folds):
    with pytest.raises(ManifestError, match="too few"):
        assign_folds([a_row(i) for i in range(9)], folds=folds)


def test_old_folds_that_contradict_each_other_are_refused():
    rows = [a_row(i) for i in range(10)]
    tied = [*rows, a_row("x", group="g", fold=0), a_row("y", group="g", fold=1)]
    with pytest.raises(ManifestError, match=r"x\.jpg.*y\.jpg") as caught:
        assign_folds(tied)
    assert caught.value.code == "group_crosses_folds"
    with pytest.raises(ManifestError, match="fold 7"):
        assign_folds([*rows, a_row("x", fold=7)])


def test_the_check_finds_what_crosses_and_what_is_unassigned():
    good = [a_row(i, fold=i % 5) for i in range(10)]
    check_folds(good)
    sha = "0" * 64
    with pytest.raises(ManifestError, match="2 groups lie in more than one fold"):
        check_folds(
            [
                *good,
                a_row("a", group="g1", fold=2),
                a_row("b", fold=0, sha256=sha),
                a_row("c", fold=1, sha256=sha),
            ]
        )
    with pytest.raises(ManifestError, match=r"1 of 11 rows have no fold, among them x\.jpg"):
        check_folds([*good, a_row("x")])


def test_leaving_a_source_out_holds_out_the_whole_source():
    rows = [a_row(i, source="abc"[i % 3]) for i in range(30)]
    split = leave_one_source_out(rows)
    assert all(row.fold == "abc".index(row.source) for row in split)
    check_folds(split)
    with pytest.raises(ManifestError, match="come from a"):
        leave_one_source_out([a_row(1), a_row(2)])


def test_a_group_over_two_sources_stays_together_when_one_is_left_out():
    rows = [a_row(i, source="ab"[i % 2]) for i in range(10)]
    rows += [a_row(f"s{i}", source=source, group="shared") for i, source in enumerate("bba")]
    split = leave_one_source_out(rows)
    assert {row.fold for row in split if row.group == "shared"} == {1}
    check_folds(split)


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 17)), max_size=12), st.randoms())
def test_joined_groups_follow_every_chain_of_pairs(pairs, rng):
    rows = [a_row(i, group=f"g{i // 2:02d}") for i in range(15)]
    named = [(f"{a}.jpg", f"{b}.jpg") for a, b in pairs]
    joined = join_groups(rows, named)
    linked = [{row.group} for row in rows]
    for a, b in pairs:  # a file of no row stands for itself
        linked.append({rows[a].group, rows[b].group if b < 15 else f"~{b}"})
    for row, new in zip(rows, joined, strict=True):
        chain = {row.group}
        for _ in rows:
            chain |= set().union(*(link for link in linked if link & chain))
        assert new == replace(row, group=min(chain))
    assert join_groups(rows, rng.sample(named, len(named))) == joined


def test_a_photo_that_was_left_out_ties_its_copies_to_its_patient(caplog):
    whole = [a_row(0, group="a"), a_row(1, group="a"), a_row(2, group="b"), a_row(3, group="c")]
    pairs = [("1.jpg", "2.jpg")]
    kept = [whole[0], *whole[2:]]
    assert [row.group for row in join_groups(kept, pairs, whole)] == ["a", "a", "c"]
    named = [row.group for row in join_groups(whole[2:], [*pairs, ("1.jpg", "3.jpg")], whole)]
    assert named == ["b", "b"]  # by what is there
    assert not caplog.messages
    join_groups(kept, pairs)
    assert "1, such as 1.jpg" in caplog.text


def test_the_pool_splits_with_three_or_four_calcinosis_groups_a_fold():
    rows = [replace(row, fold=None) for row in read_manifest(POOL, labels=LABELS)]
    split = assign_folds(rows[::-1])
    for fold in range(5):
        groups = {
            row.group for row in split if row.fold == fold and row.label == "calcinosis_cutis"
        }
        assert len(groups) in (3, 4)
