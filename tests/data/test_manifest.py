"""Manifests as people really write them: read right, or refused with the row, the column and a cure."""

import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcinosis.common.errors import ManifestError
from calcinosis.data.croissant import POOL
from calcinosis.data.locating import check_files, resolve
from calcinosis.data.manifest import (
    Row,
    leave_out,
    read_manifest,
    write_manifest,
)
from calcinosis.data.manifest_index import index_manifest

LABELS = ("calcinosis_cutis", "gouty_tophus", "milium", "other")
HEADER = "file,label,source,group\n"


@pytest.fixture
def manifest(tmp_path):
    def write(content, name="manifest.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, **changes):
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, labels=changes.get("labels", LABELS))
    assert str(path) in str(caught.value)
    return caught.value


def test_a_plain_manifest_gives_its_rows(manifest):
    path = manifest(HEADER + "a.jpg,milium,clinic,p1\nsub/b.jpg,other,clinic,p2\n")
    first, second = read_manifest(path, labels=LABELS)
    assert first == Row("a.jpg", "milium", "clinic", "p1", kind="target")
    assert second == Row("sub/b.jpg", "other", "clinic", "p2", kind="")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheet_dialects_read_alike(manifest, delimiter, mark, newline):
    lines = [
        ["label", "file", "group", "source", "note"],
        ["milium", "a b/ü.jpg", "p1", "clinic", '"two\nlines, and; more\tof it"'],
        ["", "", "", "", ""],
        ["other", "c.jpg", "p2", "clinic", ""],
    ]
    path = manifest(mark + newline.join(delimiter.join(line) for line in lines) + newline)
    rows = read_manifest(path, labels=LABELS)
    assert [(row.file, row.label, row.group) for row in rows] == [
        ("a b/ü.jpg", "milium", "p1"),
        ("c.jpg", "other", "p2"),
    ]
    assert rows[0].extra["note"] == "two\nlines, and; more\tof it"


def test_the_row_named_is_the_row_of_the_spreadsheet(manifest):
    path = manifest(
        'file,label,source,group,note\na.jpg,milium,clinic,p1,"a\nnote"\nb.jpg,milum,clinic,p2,\n'
    )
    fault = refused(path)
    assert fault.code == "unknown_label"
    assert "row 3 (line 4)" in str(fault)
    assert "column label" in str(fault)
    assert "milium" in str(fault)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("", "empty_manifest", "header"),
        ("\ufeff", "empty_manifest", "header"),
        (HEADER, "empty_manifest", "no rows"),
        ("file,label,group\na.jpg,milium,p1\n", "missing_column", "'source'"),
        ("a.jpg,milium,clinic,p1\n", "missing_column", "row 1"),
        ("file,label,source,group,label\n", "duplicate_column", "'label' twice"),
        (HEADER + "a.jpg,milium,clinic\n", "wrong_number_of_columns", "row 2"),
        (HEADER + "a,b.jpg,milium,clinic,p1\n", "wrong_number_of_columns", "row 2"),
        (HEADER + "a.jpg,milium,clinic,\n", "empty_value", "column group"),
        (HEADER + "a.jpg,rash,clinic,p1\n", "unknown_label", "'rash'"),
        (HEADER + "/a.jpg,milium,clinic,p1\n", "outside_root", "absolute"),
        (HEADER + "C:/a.jpg,milium,clinic,p1\n", "outside_root", "absolute"),
        (HEADER + "x\\a.jpg,milium,clinic,p1\n", "outside_root", "backslash"),
        (HEADER + "x/../../a.jpg,milium,clinic,p1\n", "outside_root", "column file"),
        (HEADER + "a\0.jpg,milium,clinic,p1\n", "outside_root", "NUL"),
        (HEADER + '"a.jpg,milium,clinic,p1\n', "not_csv", "never closed"),
        (b"\xff\xfef\0i\0l\0e\0", "not_utf8", "CSV UTF-8"),
        (
            HEADER + "a.jpg,milium,clinic,p1\nx/../a.jpg,other,clinic,p2\n",
            "duplicate_file",
            "row 2",
        ),
        ("file,label,source,group,fold\na.jpg,milium,c,p,two\n", "not_a_fold", "column fold"),
        ("file,label,source,group,fold\na.jpg,milium,c,p,-1\n", "not_a_fold", "'-1'"),
        ("file,label,source,group,kind\na.jpg,milium,c,p,near\n", "unknown_kind", "lookalike"),
        ("file,label,source,group,kind\na.jpg,other,c,p,target\n", "kind_against_label", "kind"),
        ("file,label,source,group,sha256\na.jpg,other,c,p,12\n", "not_a_digest", "64"),
        ("file,label,source,group,body_site\na.jpg,other,c,p,nose\n", "unknown_body_site", "face"),
    ],
)
def test_a_fault_is_named_with_its_place_and_cure(manifest, content, code, says):
    fault = refused(manifest(content))
    assert fault.code == code
    assert says in str(fault)


def test_a_folder_and_a_missing_manifest(tmp_path):
    assert refused(tmp_path).code == "folder"
    assert refused(tmp_path / "none.csv").code == "missing_manifest"


def test_two_spellings_of_one_accent_are_one_file(manifest):
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    path = manifest(HEADER + f"{composed},milium,c,p1\n{decomposed},milium,c,p2\n")
    assert refused(path).code == "duplicate_file"


def test_folds_that_pandas_made_fractional(manifest):
    path = manifest("file,label,source,group,fold\na.jpg,milium,c,p,3.0\nb.jpg,milium,c,q,\n")
    assert [row.fold for row in read_manifest(path, labels=LABELS)] == [3, None]


def test_body_sites_and_licences_are_known_columns(manifest, tmp_path):
    path = manifest(
        "file,label,source,group,body_site,licence\na.jpg,milium,c,p,face,CC0\nb.jpg,other,c,q,,\n"
    )
    rows = read_manifest(path, labels=LABELS)
    assert [(row.body_site, row.licence) for row in rows] == [("face", "CC0"), ("", "")]
    write_manifest(rows, tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv", labels=LABELS) == rows


DRESSES = {
    "a Mac's line ends": lambda text: text.replace("\n", "\r"),
    "spaces around values": lambda text: text.replace(",", " , ").replace("\n", " \n"),
    "empty columns behind": lambda text: text.replace("\n", ",,\n"),
    "an index of pandas": lambda text: "," + text.rstrip().replace("\n", "\n0,") + "\n",
    "blank rows": lambda text: "\n,,\n" + text.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_what_spreadsheets_add_changes_nothing(manifest, dress):
    text = HEADER + "a 1.jpg,milium,clinic,p1\nsub/b.jpg,other,clinic,p2\n"
    plain, dressed = manifest(text, "plain.csv"), manifest(DRESSES[dress](text))
    assert read_manifest(dressed, labels=LABELS) == read_manifest(plain, labels=LABELS)
    index = index_manifest(dressed, rows_per_chunk=1)  # what reads manifests of any length
    assert [list(index.files(chunk)) for chunk in index.chunks] == [["a 1.jpg"], ["sub/b.jpg"]]


def test_a_number_as_group_is_one_patient_however_a_table_spells_it(manifest):
    rows = (
        "a.jpg,milium,c,3\nb.jpg,milium,c,3.0\nc.jpg,other,c,own:patient 4.0\nd.jpg,other,c,v1.0\n"
    )
    found = read_manifest(manifest(HEADER + rows), labels=LABELS)
    assert [row.group for row in found] == ["3", "3", "own:patient 4", "v1.0"]
    fault = refused(manifest(HEADER + "a.jpg,milium,c,03\nb.jpg,milium,c,3.0\n"))
    assert fault.code == "ambiguous_group"
    assert "row 3" in str(fault)
    assert "'3' and '03'" in str(fault)


@pytest.mark.parametrize("group", ["#N/A", "2.02401E+11", "2,02401e+11", "nan", "own:#REF!"])
def test_what_a_spreadsheet_leaves_of_an_identifier_is_no_patient(manifest, group):
    fault = refused(manifest(HEADER.replace(",", ";") + f"a.jpg;milium;c;{group}\n"))
    assert fault.code == "not_a_group"
    assert group in str(fault)


def test_a_hundred_thousand_rows_take_seconds(manifest):
    path = manifest(HEADER + "".join(f"d/{i}.jpg,other,clinic,p{i}\n" for i in range(100_000)))
    start = time.process_time()
    rows = read_manifest(path, labels=LABELS)
    assert len(rows) == 100_000
    assert rows[-1].file == "d/99999.jpg"
    assert time.process_time() - start < 10


text = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), max_size=12)
name = text.filter(lambda s: s.strip() and s not in (".", "..") and "/" not in s and ":" not in s)


@given(
    st.lists(
        st.tuples(
            name, st.sampled_from(LABELS), name, name, text, st.none() | st.integers(0, 9), text
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: unicodedata.normalize("NFC", row[0].strip()),
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, values):
    rows = [
        Row(
            file.strip(),
            label,
            source.strip(),
            f"patient {group.strip()}!",  # neither a number nor the name of nobody
            kind="target" if label != "other" else "lookalike",
            licence=licence.strip(),
            fold=fold,
            extra={"note": note.strip()},
        )
        for file, label, source, group, licence, fold, note in values
    ]
    path = tmp_path_factory.mktemp("round") / "manifest.csv"
    write_manifest(rows, path)
    assert read_manifest(path, labels=LABELS) == rows


def test_a_write_that_fails_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest([Row("a.jpg", "milium", "c", "p")], path)
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="not UTF-8"):
        write_manifest([Row("\ud800.jpg", "milium", "c", "p")], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="file"):
        write_manifest([Row("a.jpg", "milium", "c", "p")], tmp_path / "file" / "manifest.csv")


def test_what_is_left_out_is_named_and_nothing_else_goes(tmp_path):
    rows = [row("a.jpg"), row("é.jpg"), row("c.jpg")]
    path = tmp_path / "excluded.csv"
    path.write_text("file;reason\n" + unicodedata.normalize("NFD", "é.jpg") + ";an X-ray\n")
    assert leave_out(rows, path) == [rows[0], rows[2]]
    for content, says in [
        ("file,reason\nb.jpg,an X-ray\n", "row 2.*no row of the manifest"),
        ("file,reason\na.jpg,\n", "row 2.*reason"),
        ("file\na.jpg\n", "lacks the column 'reason'"),
        ("", "is empty"),
    ]:
        path.write_text(content)
        with pytest.raises(ManifestError, match=says):
            leave_out(rows, path)


def row(file):
    return Row(file, "milium", "clinic", file)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "sub folder").mkdir(parents=True)
    (root / "sub folder" / "ü 1.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    return root


def test_a_photo_is_found_below_the_root(root):
    assert resolve(root, row("sub folder/ü 1.jpg")).read_bytes() == b"x"


def test_a_photo_is_found_under_the_other_spelling_of_its_accent(root):
    assert resolve(root, row(unicodedata.normalize("NFD", "sub folder/ü 1.jpg"))).is_file()


def test_links_may_point_within_the_root_only(root, tmp_path):
    (root / "inside.jpg").symlink_to(root / "sub folder" / "ü 1.jpg")
    (root / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "up").symlink_to(tmp_path)
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    assert resolve(root, row("inside.jpg")).name == "ü 1.jpg"
    for file, code in [
        ("outside.jpg", "outside_root"),
        ("up/secret.jpg", "outside_root"),
        ("../secret.jpg", "outside_root"),
        (str(tmp_path / "secret.jpg"), "outside_root"),
        ("loop.jpg", "unreachable_photo"),
        ("sub folder", "not_a_file"),
        ("sub folder/none.jpg", "missing_photo"),
        ("sub folder/ü 1.jpg/x", "missing_photo"),
    ]:
        with pytest.raises(ManifestError) as caught:
            resolve(root, row(file))
        assert caught.value.code == code, file
        assert file in str(caught.value)


def test_a_linked_root_is_followed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert resolve(tmp_path / "link", row("sub folder/ü 1.jpg")).is_file()


def test_absent_photos_are_counted_and_named_at_once(root):
    rows = [row("sub folder/ü 1.jpg"), *(row(f"none-{i}.jpg") for i in range(7))]
    with pytest.raises(ManifestError) as caught:
        check_files(rows, root)
    assert "7 of the 8" in str(caught.value)
    assert "none-0.jpg" in str(caught.value)
    assert "none-6.jpg" not in str(caught.value)
    check_files(rows[:1], root)
    with pytest.raises(ManifestError, match="no folder"):
        check_files(rows, root / "none")


def test_the_project_s_own_pool_reads(photos: Path):
    rows = read_manifest(photos / "photos.csv", labels=LABELS)
    check_files(rows, photos)
    listed = read_manifest(POOL, labels=LABELS)
    assert {row.file for row in listed} <= {row.file for row in rows}
