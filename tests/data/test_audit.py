"""A whole audit of a drawn data set with known faults: each is found, and written where people look."""

import csv
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data.audit import KINDS, audit, read_pairs
from calcinosis.data.manifest import Row
from calcinosis.data.splits import assign_folds, check_folds, join_groups
from tests.data.drawing import cropped, embed, saved, skin, stamped, x_ray

COUNT = 40


def open_photo(path):
    with Image.open(path) as picture:
        return picture.convert("RGB")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A root folder and rows: 40 photos of two sources, one of which has a logo, and some faults."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    pictures = {f"{i:02d}.jpg": stamped(skin(i)) if i % 2 else skin(i) for i in range(COUNT)}
    pictures["mirrored ü <b>.jpg"] = ImageOps.mirror(saved(pictures["05.jpg"], 60))
    pictures["cropped.jpg"] = cropped(pictures["08.jpg"], rng, 0.8)
    pictures["bones.jpg"] = x_ray(0)
    pictures["dot.jpg"] = skin(99, (60, 50))
    for name, picture in pictures.items():
        picture.save(root / name, quality=90)
    (root / "same.jpg").write_bytes((root / "10.jpg").read_bytes())
    (root / "note.jpg").write_text("no photo")
    rows = [
        Row(
            name,
            "milium" if i % 4 == 0 else "other",
            "atlas" if i % 2 and i < COUNT else "clinic",
            f"g{name}",
            skin_tone=f"fitzpatrick {1 + i % 6}",
        )
        for i, name in enumerate([*pictures, "same.jpg", "note.jpg"])
    ]
    return root, rows


@pytest.fixture(scope="module")
def done(drawn, tmp_path_factory):
    root, rows = drawn
    out = tmp_path_factory.mktemp("audit") / "new folder"
    result = audit(rows, root, out, open_photo=open_photo, embed=embed)
    with (out / "audit.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    return out, result, table


def of_kind(table, kind):
    return {(line["file"], line["other_file"]) for line in table if line["kind"] == kind}


def test_every_planted_fault_is_in_the_table(done):
    _, _, table = done
    assert list(table[0]) == ["kind", "file", "other_file", "score", "detail"]
    assert {line["kind"] for line in table} <= set(KINDS)
    assert of_kind(table, "unreadable") == {("note.jpg", "")}
    assert of_kind(table, "tiny") == {("dot.jpg", "")}
    assert of_kind(table, "exact_duplicate") == {("10.jpg", "same.jpg")}
    assert of_kind(table, "near_duplicate") == {
        ("05.jpg", "mirrored ü <b>.jpg"),
        ("08.jpg", "cropped.jpg"),
    }
    assert ("bones.jpg", "") in of_kind(table, "off_topic")
    marked = {file for file, _ in of_kind(table, "watermark")}
    assert {f"{i:02d}.jpg" for i in range(1, COUNT, 2)} == marked


def test_the_table_is_ranked(done):
    _, _, table = done
    order = [list(KINDS).index(line["kind"]) for line in table]
    assert order == sorted(order)
    for kind in KINDS:
        scores = [float(line["score"]) for line in table if line["kind"] == kind]
        assert scores == sorted(scores, reverse=True)


def test_what_a_copy_crosses_is_said(done):
    _, _, table = done
    detail = {line["other_file"]: line["detail"] for line in table}
    assert "group (g05.jpg / gmirrored ü <b>.jpg)" in detail["mirrored ü <b>.jpg"]
    assert "label (milium / other)" in detail["cropped.jpg"]
    assert "source (atlas / clinic)" in detail["mirrored ü <b>.jpg"]


def test_the_summary_counts_what_the_table_lists(done):
    out, result, table = done
    summary = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert summary == result.summary
    assert summary["photos"] == COUNT + 6
    assert summary["readable"] == COUNT + 5
    for kind in KINDS:
        assert summary["suspicions"][kind] == sum(line["kind"] == kind for line in table)
    assert summary["duplicates"]["crossing"]["label"] == 3
    assert sum(summary["counts"]["skin_tone"].values()) == COUNT + 6
    assert summary["confounding"]["mark_place"]["auroc"].keys() == {"milium", "other"}


def test_the_page_stands_alone_and_says_what_it_shows(done):
    out, _, _ = done
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|src=\"(?!data:)", page)
    assert "mirrored ü &lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert page.count("<img") == page.count('alt="')
    assert page.count("data:image/jpeg") > COUNT / 2
    assert sorted(path.name for path in out.iterdir()) == ["audit.csv", "audit.html", "audit.json"]


def test_a_split_after_the_audit_keeps_copies_together(drawn, done):
    _, rows = drawn
    out, result, _ = done
    assert set(read_pairs(out / "audit.csv")) == set(result.pairs)
    split = assign_folds(join_groups(rows, read_pairs(out / "audit.csv")))
    check_folds(split)
    fold = {row.file: row.fold for row in split}
    assert all(fold[first] == fold[second] for first, second in result.pairs)


def test_an_absent_photo_stops_the_audit_before_it_starts(drawn, tmp_path):
    root, rows = drawn
    with pytest.raises(ManifestError, match=r"gone\.jpg"):
        audit(
            [*rows, Row("gone.jpg", "other", "clinic", "x")],
            root,
            tmp_path / "out",
            open_photo=open_photo,
            embed=embed,
        )
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named_before_the_work(drawn, tmp_path):
    root, rows = drawn
    (tmp_path / "file").write_text("")

    def never(photos):
        raise AssertionError("the work began")

    with pytest.raises(DataError, match="file"):
        audit(rows, root, tmp_path / "file", open_photo=open_photo, embed=never)


def test_a_set_of_one_photo_or_of_none_that_opens(drawn, tmp_path):
    root, rows = drawn
    one = [row for row in rows if row.file == "00.jpg"]
    none = [row for row in rows if row.file == "note.jpg"]
    for chosen, readable in ((one, 1), (none, 0)):
        result = audit(chosen, root, tmp_path, open_photo=open_photo, embed=embed)
        assert result.summary["readable"] == readable


def test_a_file_that_changed_since_the_manifest_is_named(drawn, tmp_path):
    root, _ = drawn
    row = Row("00.jpg", "milium", "clinic", "g", sha256="0" * 64)
    result = audit([row], root, tmp_path, open_photo=open_photo, embed=embed)
    assert result.summary["changed_since_manifest"] == ["00.jpg"]


def test_no_audit_is_read_from_another_table(tmp_path):
    (tmp_path / "x.csv").write_text("file,label\na,b\n")
    with pytest.raises(DataError, match="needs kind, file, other_file"):
        read_pairs(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")


def test_a_photo_in_a_shard_is_refused_before_the_audit_makes_its_folder(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    row = Row("train.tar/a.jpg", "other", "clinic", "p1")
    with pytest.raises(ManifestError, match="unpack the shard"):
        audit([row], tmp_path, tmp_path / "out", open_photo=open_photo, embed=embed)
    assert not (tmp_path / "out").exists()
