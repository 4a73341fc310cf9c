"""Each set's own files become the rows that a researcher expects: label, group, skin tone, licence."""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from calcinosis.cli.main import app
from calcinosis.common.errors import DataError
from calcinosis.data.curation import LABELS
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.data.sources import BuildResult, build, write_build
from calcinosis.data.sources.building import PhotoIndex
from calcinosis.data.sources.scin import parse_weights
from calcinosis.data.sources.tables import read_table

# Eight rows of the real table (Groh et al. 2021, CC BY-NC-SA 3.0).
FITZPATRICK17K_ROWS = Path(__file__).with_name("fitzpatrick17k_rows.csv")

Draw = Callable[..., None]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    def make(*names: str) -> None:
        for name in names:
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (hash(name) % 256, 90, 90)).save(place)

    return make


def by_file(result: BuildResult) -> dict[str, Row]:
    return {Path(row.file).name: row for row in result.rows}


# ---- Fitzpatrick17k ---------------------------------------------------------------------------


@pytest.fixture
def fitzpatrick17k(tmp_path: Path, draw: Draw) -> Path:
    shutil.copy(FITZPATRICK17K_ROWS, tmp_path / "fitzpatrick17k.csv")
    with FITZPATRICK17K_ROWS.open(newline="") as stream:
        names = [row["md5hash"] for row in csv.DictReader(stream)]
    draw(*(f"images/{name}.jpg" for name in names[:-1]))
    return tmp_path


def test_fitzpatrick17k_follows_the_folder_where_the_label_is_wrong(fitzpatrick17k: Path) -> None:
    result = build("fitzpatrick17k", fitzpatrick17k)
    said = [
        (row.source_label, row.extra.get("folder", ""), row.label, row.kind) for row in result.rows
    ]
    assert said == [
        ("calcinosis cutis", "calcinosis_cutis", "calcinosis_cutis", "target"),
        ("calcinosis cutis", "calcified_nodule_dermatomyositis", "calcinosis_cutis", "target"),
        ("milia", "miliaria", "other", "distant"),
        ("milia", "boil", "other", "distant"),
        ("milia", "", "milium", "target"),
        ("xanthomas", "anthrax", "other", "distant"),
        ("dermatomyositis", "dermatophytie", "other", "distant"),
    ]
    assert result.rows[0].skin_tone == "fitzpatrick:1"
    assert result.rows[0].licence == "CC BY-NC-SA 3.0"
    assert result.rows[0].url.startswith("https://")
    assert len({row.group for row in result.rows}) == 7


def test_fitzpatrick17k_lists_what_is_not_there(fitzpatrick17k: Path) -> None:
    (missing,) = build("fitzpatrick17k", fitzpatrick17k).missing
    assert missing.source_label == "syringoma"
    assert missing.file.endswith(".jpg")


def test_fitzpatrick17k_drops_what_an_expert_found_wrong(fitzpatrick17k: Path) -> None:
    table = fitzpatrick17k / "fitzpatrick17k.csv"
    text = table.read_text().replace(
        "non-neoplastic,,https", "non-neoplastic,3 Wrongly labelled,https", 1
    )
    table.write_text(text)
    result = build("fitzpatrick17k", fitzpatrick17k)
    (dropped,) = result.dropped
    assert dropped.source_label == "calcinosis cutis"
    assert "dermatologist" in dropped.reason


def test_the_cleaned_list_keeps_the_same_rules(tmp_path: Path, draw: Draw) -> None:
    name = "SimThresh_T_A2_T_0.99_0.70_FC_T_KeepOne_Out_T_OutThresh_None_0FST_F.csv"
    (tmp_path / name).write_text(
        "filepath,md5hash,fitzpatrick,label,qc,url\n"
        "m/x.jpg,aa11,4,milia,,https://www.dermaamin.com/site/images/clinical-pic/m/miliaria/miliaria2.jpg\n"
    )
    draw("images/aa11.jpg")
    (row,) = build("fitzpatrick17k_c", tmp_path).rows
    assert (row.label, row.kind, row.skin_tone) == ("other", "distant", "fitzpatrick:4")
    assert row.source == "fitzpatrick17k_c"


# ---- SCIN -------------------------------------------------------------------------------------

SCIN_CASES = """case_id,age_group,fitzpatrick_skin_type,image_1_path,image_2_path,image_3_path,image_1_shot_type
-101,AGE_30_TO_39,FST2,dataset/images/-7.png,dataset/images/8.png,,CLOSE_UP
102,,NONE_SELECTED,dataset/images/9.png,,,AT_DISTANCE
103,,FST4,dataset/images/10.png,,,
104,,FST5,dataset/images/11.png,,,
"""
SCIN_LABELS = """case_id,dermatologist_fitzpatrick_skin_type_label_1,dermatologist_fitzpatrick_skin_type_label_2,dermatologist_fitzpatrick_skin_type_label_3,monk_skin_tone_label_us,monk_skin_tone_label_india,weighted_skin_condition_label
-101,FST3,FST6,FST4,4,5,"{'Milia': 0.75, 'Acne': 0.25}"
102,,,,7.0,,"{'Eczema': 0.8, 'Calcinosis cutis': 0.2}"
103,FST5,,,,,"{'Cyst': 1.0}"
104,,,,,,
"""


@pytest.fixture
def scin(tmp_path: Path, draw: Draw) -> Path:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/scin_cases.csv").write_text(SCIN_CASES)
    (tmp_path / "dataset/scin_labels.csv").write_text(SCIN_LABELS)
    draw(*(f"dataset/images/{number}.png" for number in (-7, 8, 9, 10, 11)))
    return tmp_path


def test_scin_photos_of_one_case_are_one_group_with_both_scales(scin: Path) -> None:
    rows = by_file(build("scin", scin))
    assert rows["-7.png"].group == rows["8.png"].group == "scin:-101"
    assert rows["-7.png"].label == "milium"
    assert rows["-7.png"].skin_tone == "fitzpatrick:4"  # the middle one of three estimates
    assert rows["-7.png"].extra["skin_tone_self"] == "fitzpatrick:2"
    assert rows["-7.png"].extra["skin_tone_monk_us"] == "monk:4"
    assert (rows["10.png"].label, rows["10.png"].kind) == ("other", "lookalike")


def test_scin_cases_in_doubt_or_without_a_label_are_dropped_with_the_reason(scin: Path) -> None:
    reasons = {Path(photo.file).name: photo.reason for photo in build("scin", scin).dropped}
    assert "Calcinosis cutis" in reasons["9.png"]
    assert "no condition" in reasons["11.png"]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "{'a': 'b'}",
        "__import__('os')",
        "{'a': -1}",
        "{'a': 1e999}",
        "(" * 9_000,
        "x" * 11_000,
    ],
)
def test_a_weighted_label_that_is_something_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(DataError, match="weighted_skin_condition_label") as caught:
        parse_weights(text, "case 1")
    assert caught.value.code == "weighted_label"


# ---- ISIC, PAD-UFES-20, DDI -------------------------------------------------------------------


def test_isic_groups_by_patient_and_leaves_dermoscopy_out(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "metadata.csv").write_text(
        "isic_id,attribution,copyright_license,diagnosis_1,diagnosis_2,diagnosis_3,image_type,lesion_id,patient_id,fitzpatrick_skin_type\n"
        "ISIC_1,A clinic,CC-0,Benign,Benign cysts,Milium,clinical: close-up,IL_1,IP_1,III\n"
        "ISIC_2,A clinic,CC-BY,Benign,Cysts,Milium,dermoscopic,IL_1,IP_1,III\n"
        "ISIC_3,A clinic,CC-BY-NC,Benign,,,clinical: overview,IL_2,,\n"
        "ISIC_4,A clinic,CC-BY-NC,Malignant,x,Basal cell carcinoma,clinical: overview,IL_3,,VI\n"
        "ISIC_5,A clinic,CC-BY-NC,Malignant,x,Basal cell carcinoma,clinical: overview,IL_3,,\n"
    )
    draw(*(f"ISIC_{n}.JPG" for n in range(1, 6)))
    result = build("isic", tmp_path)
    rows = by_file(result)
    assert set(rows) == {"ISIC_1.JPG", "ISIC_4.JPG", "ISIC_5.JPG"}
    assert (rows["ISIC_1.JPG"].label, rows["ISIC_1.JPG"].skin_tone) == ("milium", "fitzpatrick:3")
    assert rows["ISIC_1.JPG"].group == "isic:IP_1"
    assert rows["ISIC_4.JPG"].group == rows["ISIC_5.JPG"].group == "isic:IL_3"
    assert rows["ISIC_4.JPG"].licence == "CC BY-NC 4.0"
    reasons = {photo.file: photo.reason for photo in result.dropped}
    assert "dermoscopy" in reasons["ISIC_2.JPG"]
    assert "may be a milium" in reasons["ISIC_3.JPG"]


def test_pad_ufes_20_groups_by_patient_over_its_three_folders(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "metadata.csv").write_text(
        "patient_id,lesion_id,fitspatrick,diagnostic,img_id,biopsed\n"
        "PAT_8,15,3.0,BCC,PAT_8_15_820.png,True\n"
        "PAT_8,16,,ACK,PAT_8_16_821.png,False\n"
        "PAT_9,17,1.0,NEV,PAT_9_17_822.png,True\n"
    )
    draw("imgs_part_1/PAT_8_15_820.png", "imgs_part_3/imgs_part_3/PAT_8_16_821.png")
    result = build("pad_ufes_20", tmp_path)
    assert {row.group for row in result.rows} == {"pad_ufes_20:PAT_8"}
    assert [row.skin_tone for row in result.rows] == ["fitzpatrick:3", ""]
    assert {(row.label, row.kind) for row in result.rows} == {("other", "distant")}
    assert [photo.file for photo in result.missing] == ["PAT_9_17_822.png"]


def test_ddi_keeps_its_bands_of_skin_tone(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "ddi_metadata.csv").write_text(
        ",DDI_ID,DDI_file,skin_tone,malignant,disease\n"
        "0,1,000001.png,56,True,melanoma-in-situ\n"
        "1,2,000002.png,12,False,epidermal-cyst\n"
    )
    draw("000001.png", "000002.png")
    rows = by_file(build("ddi", tmp_path))
    assert rows["000001.png"].skin_tone == "fitzpatrick:5-6"
    assert rows["000002.png"].kind == "lookalike"


# ---- folders ----------------------------------------------------------------------------------


def test_dermnet_s_picture_under_two_conditions_is_one_group(tmp_path: Path, draw: Draw) -> None:
    draw(
        "Calcinosis cutis/limb-12__WatermarkedWyJXYXRlcm1hcmtlZCJd.jpg",
        "connective/Systemic sclerosis/limb-12.jpg",
        "Milium/7.jpg",
        "Gout/7.jpg",
    )
    rows = build("dermnet_nz", tmp_path).rows
    groups = {row.source_label: row.group for row in rows}
    assert groups["Calcinosis cutis"] == groups["Systemic sclerosis"]
    assert groups["Milium"] != groups["Gout"]
    assert {row.source_label: row.label for row in rows} == {
        "Calcinosis cutis": "calcinosis_cutis",
        "Systemic sclerosis": "other",
        "Milium": "milium",
        "Gout": "gouty_tophus",
    }
    assert {row.licence for row in rows} == {"CC BY-NC-ND 3.0 NZ"}
    assert build("dermnet", tmp_path).rows == rows  # the set's earlier name


def test_sd198_is_read_with_or_without_its_outer_folder(tmp_path: Path, draw: Draw) -> None:
    draw("images/Milia/031522VB.jpg", "images/Sebaceous_Gland_Hyperplasia/1.jpg")
    rows = {row.source_label: row for row in build("sd198", tmp_path).rows}
    inner = {row.source_label: row for row in build("sd198", tmp_path / "images").rows}
    assert rows["Milia"].label == inner["Milia"].label == "milium"
    assert rows["Sebaceous_Gland_Hyperplasia"].kind == "lookalike"


def test_own_folders_tie_a_patient_over_two_conditions(tmp_path: Path, draw: Draw) -> None:
    draw(
        "calcinosis_cutis/patient 3/a.jpg",
        "other/patient 3/b.jpg",
        "milium/c.jpg",
        "gouty tophi/Zoë/d é.png",
        "unsorted.jpg",
    )
    (tmp_path / "milium/notes.txt").write_text("not a photo")
    result = build("own", tmp_path)
    rows = by_file(result)
    assert rows["a.jpg"].group == rows["b.jpg"].group
    assert rows["c.jpg"].group != rows["a.jpg"].group
    assert rows["d é.png"].label == "gouty_tophus"
    assert [photo.file for photo in result.dropped] == ["unsorted.jpg"]
    assert any("taken as one patient: patient 3 (2 labels)" in note for note in result.notes)


def test_own_patients_that_differ_by_a_number_s_spelling_are_one_or_refused(
    tmp_path: Path, draw: Draw
) -> None:
    draw("milium/3/a.jpg", "milium/3.0/b.jpg", "milium/patient 4/c.jpg", "other/d.jpg")
    rows = by_file(build("own", tmp_path))
    assert rows["a.jpg"].group == rows["b.jpg"].group == "own:patient 3"
    draw("other/03/e.jpg")
    with pytest.raises(DataError, match="only in how a number is spelt") as caught:
        build("own", tmp_path)
    assert caught.value.code == "ambiguous_group"
    assert "own:patient 03" in caught.value.message


def test_an_own_folder_that_is_named_after_nobody_is_no_patient(tmp_path: Path, draw: Draw) -> None:
    draw("milium/nan/a.jpg", "milium/Nancy/b.jpg", "other/c.jpg")
    with pytest.raises(DataError, match="the patient's own identifier") as caught:
        build("own", tmp_path)
    assert (caught.value.code, caught.value.name) == ("not_a_group", "milium/nan/a.jpg")
    draw("milium/nan/d.jpg", "other/NA/e.jpg")
    with pytest.raises(DataError) as caught:
        build("own", tmp_path)
    first, second = str(caught.value).splitlines()  # a line a folder
    assert (first.split(":")[0], second.split(":")[0]) == ("milium/nan/a.jpg", "other/NA/e.jpg")


def test_circles_of_links_and_links_to_elsewhere_do_no_harm(tmp_path: Path, draw: Draw) -> None:
    draw("set/milium/a.jpg", "elsewhere/b.jpg")
    root = tmp_path / "set"
    (root / "milium/circle").symlink_to(root)
    (root / "milium/itself.jpg").symlink_to(root / "milium/itself.jpg")
    (root / "milium/outside.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (root / "milium/inside.jpg").symlink_to(root / "milium/a.jpg")
    photos = PhotoIndex(root)
    assert photos.files == ["milium/a.jpg", "milium/inside.jpg"]
    assert [file for file, _ in photos.unread] == [
        "milium/circle",
        "milium/itself.jpg",
        "milium/outside.jpg",
    ]


def test_every_file_of_an_own_folder_is_listed_or_counted_with_a_reason(
    tmp_path: Path, draw: Draw
) -> None:
    draw("milium/a.jpg", "milium/@eaDir/thumb.jpg", ".trash/b.jpg")
    jpeg = (tmp_path / "milium/a.jpg").read_bytes()
    read = ("p.HEIC", "p.heif", "p.jfif", "p.JPE", "p.mpo", "really a photo.avif", "scan")
    unread = {"p.bmp": b"BM", "p.tif": b"II*\0", "p.avif": b"\0\0\0\x1cftypavif", "p.CR2": b"II*\0"}
    for name in read:
        (tmp_path / "milium" / name).write_bytes(jpeg)
    for name, content in unread.items():
        (tmp_path / "milium" / name).write_bytes(content)
    odd = {" lead.jpg": "space", "back\\slash.jpg": "backslash"}
    for name in odd:
        (tmp_path / name).write_bytes(jpeg)
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / "milium" / name).write_bytes(b"x")
    result = build("own", tmp_path)
    assert {Path(row.file).name for row in result.rows} == {"a.jpg", *read}
    reasons = {photo.file: photo.reason for photo in result.dropped}
    assert {Path(file).name for file in reasons} == {*unread, *odd}
    for name, said in {"milium/p.avif": "AVIF", "milium/p.tif": "TIFF", **odd}.items():
        assert said in reasons[name]
    (note,) = (note for note in result.notes if "passed over" in note)
    for said in ("5 files", "@eaDir 1", ".trash 1", "(.txt) 1", "system's own 2"):
        assert said in note
    assert any("calcinosis[heic]" in note for note in result.notes)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_no_photo_and_is_not_opened(tmp_path: Path, draw: Draw) -> None:
    draw("milium/a.jpg")
    for name in ("pipe.jpg", "pipe"):
        os.mkfifo(tmp_path / "milium" / name)
    result = build("own", tmp_path)
    assert [row.file for row in result.rows] == ["milium/a.jpg"]
    assert {Path(photo.file).name for photo in result.dropped} == {"pipe.jpg", "pipe"}
    assert all("no regular file" in photo.reason for photo in result.dropped)


def test_a_name_that_is_not_utf8_is_listed_in_letters_that_are(tmp_path: Path, draw: Draw) -> None:
    draw("other/a.jpg")
    try:
        shutil.copy(
            tmp_path / "other/a.jpg", os.fsdecode(os.fsencode(tmp_path) + b"/other/p\xf3.jpg")
        )
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    result = build("own", tmp_path)
    assert [row.file for row in result.rows] == ["other/a.jpg"]
    write_build(result, tmp_path / "own.csv")
    assert "other/p\\xf3.jpg" in (tmp_path / "own.dropped.csv").read_text(encoding="utf-8")


def test_a_folder_named_after_a_label_is_that_label(tmp_path: Path, draw: Draw) -> None:
    draw(*(f"{name}/1.jpg" for name in ("Melanoma", "psoriasis", "Grade-2", "milia", "wart")))
    labels = ("melanoma", "psoriasis", "grade_1", "grade_2", "milium", "other")
    rows = build("own", tmp_path, labels=labels).rows
    assert {row.source_label: (row.label, row.kind) for row in rows} == {
        "Melanoma": ("melanoma", "target"),
        "psoriasis": ("psoriasis", "target"),
        "Grade-2": ("grade_2", "target"),
        "milia": ("milium", "target"),  # as this project's own table reads the name
        "wart": ("other", "distant"),
    }
    (note,) = (note for note in build("own", tmp_path, labels=labels).notes if "none of" in note)
    assert "1 photos under 1 names" in note
    assert note.endswith("taken as other, distant: wart 1")
    write_build(build("own", tmp_path, labels=labels), tmp_path / "own.csv")
    assert len(read_manifest(tmp_path / "own.csv", labels=labels)) == 5
    arguments = ["data", "build", "own", "--root", str(tmp_path), "--out", str(tmp_path / "c.csv")]
    ended = CliRunner().invoke(app, [*arguments, "--labels", ",".join(labels)])
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "own.csv").read_bytes()
    without_other = build("own", tmp_path, labels=labels[:-1])
    assert [photo.source_label for photo in without_other.dropped] == ["wart"]
    with pytest.raises(DataError, match="set own"):
        build("sd198", tmp_path, labels=labels)


# ---- what every adapter promises --------------------------------------------------------------


def test_what_is_built_is_a_manifest_that_can_be_read(scin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "manifest.csv"
    result = build("scin", scin)
    written = write_build(result, out)
    assert {path.name for path in written} == {"manifest.csv", "manifest.dropped.csv"}
    rows = read_manifest(out, labels=LABELS)
    assert [row.file for row in rows] == [row.file for row in result.rows]
    assert rows[0].extra["curation"]
    again = write_build(replace(result, dropped=[]), out)
    assert again == [out]
    assert not written[1].exists()


def test_nothing_left_is_an_error_and_not_an_empty_manifest(tmp_path: Path) -> None:
    (tmp_path / "fitzpatrick17k.csv").write_text("md5hash,label,url\nabc,milia,\n")
    result = build("fitzpatrick17k", tmp_path)
    with pytest.raises(DataError, match="1 are not there"):
        write_build(result, tmp_path / "manifest.csv")
    assert not (tmp_path / "manifest.csv").exists()


def test_a_name_that_the_taxonomy_does_not_know_is_pointed_out(tmp_path: Path, draw: Draw) -> None:
    draw("Some new disease/1.jpg", "gouty arthritis/2.jpg")
    result = build("own", tmp_path)
    assert any("Some new disease 1" in note for note in result.notes)
    assert "taxonomy" in result.dropped[0].reason


def test_a_row_that_stands_twice_is_taken_once(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "fitzpatrick17k.csv").write_text("md5hash,label,url\nabc,psoriasis,\nabc,eczema,\n")
    draw("abc.jpg")
    result = build("fitzpatrick17k", tmp_path)
    assert [row.source_label for row in result.rows] == ["psoriasis"]
    assert any("already has" in note for note in result.notes)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fitzpatrick17k", "fitzpatrick17k.csv"),
        ("scin", "scin_cases.csv"),
        ("isic", "metadata.csv"),
        ("pad_ufes_20", "metadata.csv"),
        ("ddi", "ddi_metadata.csv"),
    ],
)
def test_a_missing_table_or_root_is_named(tmp_path: Path, name: str, file: str) -> None:
    with pytest.raises(DataError, match=file):
        build(name, tmp_path)
    with pytest.raises(DataError, match="no folder"):
        build(name, tmp_path / "nowhere")


# ---- tables as they come ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa,b\n1,2\n",
        "a;b\n1;2\n",
        "a\tb\r\n1\t2\r\n",
        '"a","b"\n\n"1"," 2 "\n\n',
        ",a,b\n0,1,2\n",
    ],
)
def test_a_table_is_read_in_any_common_dress(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_table(tmp_path / "t.csv", needs=("a", "b")) == [{"a": "1", "b": "2"}]


def test_a_quoted_line_break_stays_in_its_value(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"one\ntwo",2\n')
    assert read_table(tmp_path / "t.csv", needs=("a",)) == [{"a": "one\ntwo", "b": "2"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a,b\n1,2\n1,2,3\n", "row 3 has 3 columns"),
        (b"a,c\n1,2\n", "lacks the column 'b'"),
        (b'a,b\n"1,2\n', "row 2"),
        (b"", "empty"),
        (b"a,b\n\xff\xfe,2\n", "UTF-8"),
    ],
)
def test_a_broken_table_says_where(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataError, match=said) as caught:
        read_table(tmp_path / "t.csv", needs=("a", "b"))
    assert "t.csv" in str(caught.value)


def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    rows = "\n".join(
        f"{n:032x},3,psoriasis,,http://a.example/p/psoriasis/{n}.jpg" for n in range(100_000)
    )
    (tmp_path / "fitzpatrick17k.csv").write_text(
        f"md5hash,fitzpatrick_scale,label,qc,url\n{rows}\n"
    )
    result = build("fitzpatrick17k", tmp_path)
    assert len(result.missing) == 100_000


# ---- the real table ---------------------------------------------------------------------------


def test_the_real_table_builds(photos: Path, tmp_path: Path, draw: Draw) -> None:
    real = photos.parent / "metadata" / "fitzpatrick17k.csv"
    if not real.is_file():
        pytest.skip("fitzpatrick17k.csv is not beside the photo pool")
    shutil.copy(real, tmp_path)
    draw("images/ab02b84a847c6675775ecb9d04c75abd.jpg")
    result = build("fitzpatrick17k", tmp_path)
    assert [row.label for row in result.rows] == ["calcinosis_cutis"]
    assert len(result.rows) + len(result.missing) + len(result.dropped) == 16_577
    assert len(result.dropped) == 27  # by the experts' codes: 17 wrongly labelled, 10 other
