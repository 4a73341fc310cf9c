"""What `calcinosis predict` prints, and where: tables, CSV, folders, heat maps, strange names, closed pipes."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from calcinosis.cli.predict import _files
from calcinosis.model.labels import LABELS
from tests.cli.test_cli import run
from tests.drawings import draw, encode

ROOT = Path(__file__).parents[2]


def start(*arguments: object, cwd: Path, **environment: str) -> subprocess.Popen[bytes]:
    """`calcinosis` in a process of its own, whose output is bytes."""
    return subprocess.Popen(  # noqa: S603 (our own command, on drawn pictures)
        [sys.executable, "-m", "calcinosis", *(os.fspath(part) for part in arguments)],  # type: ignore[call-overload]
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a photo of each label, one of them deeper, and what is no photo."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for label in LABELS:
        draw(label).save(folder / ("deeper" if label == "other" else "") / f"{label}.png")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_text("no photo")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "thumb.jpg").write_text("no photo")
    return folder


def test_several_photos_are_a_line_each_and_a_summary(
    photos: Path, tiny_checkpoint_with_graph: Path
) -> None:
    code, out, err = run(
        "predict", photos, photos / "gone.png", "--checkpoint", tiny_checkpoint_with_graph
    )
    table, _, below = out.partition("\n\n")
    header, *lines = table.splitlines()
    *remarks, summary, advice = below.splitlines()
    assert code == 1
    assert header.split()[0] == "outcome"
    assert len(lines) == len(LABELS)
    for label in LABELS:
        (line,) = (line for line in lines if line.endswith(f"{label}.png"))
        assert f"{label} " in line
        assert "%" in line
    assert summary.startswith("5 photos: ")
    assert "1 could not be read" in summary
    assert "Only a clinician" in advice
    for key in ("before anyone looked", "skin cancer", "See a clinician soon"):
        assert sum(key in remark for remark in remarks) == 1
    assert "rough illustration" not in below
    assert "1 of .txt" in err
    assert "gone.png" in err
    given = ("predict", photos, "--checkpoint", tiny_checkpoint_with_graph, "--context", "gout")
    assert "rough illustration" in run(*given)[1]


def test_a_folder_is_all_photos_below_it(photos: Path, tiny_checkpoint_with_graph: Path) -> None:
    code, out, err = run("predict", photos, "--json", "--checkpoint", tiny_checkpoint_with_graph)
    files = [Path(json.loads(line)["file"]) for line in out.splitlines()]
    assert code == 0
    assert sorted(file.stem for file in files) == sorted(LABELS)
    assert files == sorted(files)
    assert "passed over" in err


def test_what_is_hidden_in_a_folder_is_read_only_where_it_is_named(tmp_path: Path) -> None:
    for name in ("a.jpg", "@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg", ".trash/2024/old.jpg", "set/.b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(_files([tmp_path])) == [tmp_path / "a.jpg"]
    assert list(_files([tmp_path / ".trash"])) == [tmp_path / ".trash/2024/old.jpg"]
    assert list(_files([tmp_path / "@eaDir"])) == [tmp_path / "@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg"]


def test_csv_has_a_row_for_every_photo(photos: Path, tiny_checkpoint_with_graph: Path) -> None:
    (photos / "cut, off.png").write_bytes(encode(draw("other"))[:400])
    given = (photos, "--checkpoint", tiny_checkpoint_with_graph)
    code, out, _ = run("predict", *given, "--format", "csv")
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(out))}
    assert code == 1
    assert rows.pop("cut, off.png")["error"] == "damaged"
    found = [
        json.loads(line) for line in run("predict", *given, "--format", "json")[1].splitlines()
    ]
    for finding in (finding for finding in found if "outcome" in finding):
        row = rows.pop(Path(finding["file"]).name)
        assert row["outcome"] == finding["outcome"]
        assert row["prediction_set"].split("|") == finding["prediction_set"]
        assert {label: float(row[f"p_{label}"]) for label in LABELS} == finding["probabilities"]
        assert row["advice"] == finding["advice"]
        assert row["error"] == ""
    assert not rows


def test_a_finding_in_spanish(photos: Path, tiny_checkpoint_with_graph: Path) -> None:
    given = ("predict", photos / "milium.png", "--checkpoint", tiny_checkpoint_with_graph, "--json")
    spanish = json.loads(run(*given, "--language", "es")[1])
    english = json.loads(run(*given)[1])
    assert spanish["advice"] != english["advice"]
    assert spanish["probabilities"] == english["probabilities"]


def test_a_table_in_spanish(photos: Path, tiny_checkpoint_with_graph: Path) -> None:
    given = ("predict", photos, photos / "gone.png", "--checkpoint", tiny_checkpoint_with_graph)
    code, out, _ = run(*given, "--language", "ES")
    header, *_, summary, advice = out.splitlines()
    assert code == 1
    assert header.split()[0] == "resultado"
    assert summary.startswith("5 fotos: ")
    assert "1 sin poder leerse" in summary
    assert "Solo un profesional sanitario" in advice
    for english in ("outcome", "cannot", "suggestive", "uncertain", "scope", "clinician"):
        assert english not in out


@pytest.mark.skipif(os.name == "nt", reason="names of these characters are not Windows'")
def test_a_name_steers_no_terminal(photos: Path, tiny_checkpoint_with_graph: Path) -> None:
    name = "a\nb\x1b[31m\r\x9b.png"
    draw("milium").save(photos / name)
    (photos / "gone\n\x1b.png").write_bytes(b"no picture")
    given = ("predict", photos, "--checkpoint", tiny_checkpoint_with_graph)
    _, out, err = run(*given)
    assert sum(line.endswith(r"a\nb\x1b[31m\r\x9b.png") for line in out.splitlines()) == 1
    assert r"gone\n\x1b.png" in err
    assert not set("\x1b\x9b\r") & set(out + err)
    _, alone, _ = run("predict", photos / name, *given[2:])
    assert alone.splitlines()[0].endswith(r"a\nb\x1b[31m\r\x9b.png")
    found = [json.loads(line)["file"] for line in run(*given, "--json")[1].split("\n") if line]
    assert str(photos / name) in found
    table = io.StringIO(run(*given, "--format", "csv")[1], newline="")
    assert str(photos / name) in {row["file"] for row in csv.DictReader(table)}


@pytest.mark.skipif(os.name == "nt", reason="there is no shell that closes an output so")
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_a_closed_output_ends_it_quietly(
    form: str, photos: Path, tiny_checkpoint_with_graph: Path
) -> None:
    given = ("predict", "milium.png", "--format", form, "--checkpoint", tiny_checkpoint_with_graph)
    ended = subprocess.run(  # noqa: S603 (our own command, on a drawn picture)
        ["/bin/sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "calcinosis", *map(str, given)],
        cwd=photos,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("name", "form"), [("h.png", "PNG"), ("h.JPG", "JPEG"), ("h.webp", "WEBP")]
)
def test_a_heat_map_is_what_its_name_says(
    name: str, form: str, photos: Path, tiny_checkpoint_with_graph: Path
) -> None:
    out = photos / name
    photo = photos / "milium.png"
    assert (
        run("predict", photo, "--checkpoint", tiny_checkpoint_with_graph, "--heatmap", out)[0] == 0
    )
    with Image.open(out) as picture:
        assert picture.format == form


def test_a_heat_map_that_there_is_not_is_said_not_to_be_written(
    tmp_path: Path, tiny_checkpoint_with_graph: Path
) -> None:
    photo, out = tmp_path / "dot.png", tmp_path / "heat.png"
    Image.new("RGB", (1, 1)).save(photo)
    code, _, err = run(
        "predict", photo, "--checkpoint", tiny_checkpoint_with_graph, "--heatmap", out
    )
    assert code == 0
    assert "heat.png was not written" in err
    assert not out.exists()


@pytest.mark.parametrize("by", ["its name", "another spelling", "a link"])
def test_a_heat_map_never_takes_the_place_of_its_photo(by: str, photos: Path) -> None:
    photo = photos / "milium.png"
    content, link = photo.read_bytes(), photos / "link.png"
    link.symlink_to(photo)
    out = {"its name": photo, "a link": link}.get(by, photos / "deeper" / ".." / "milium.png")
    assert run("predict", photo, "--heatmap", out)[0] == 2
    assert run("predict", out, "--heatmap", photo)[0] == 2
    assert photo.read_bytes() == content
    assert link.is_symlink()


def test_a_table_never_takes_the_place_of_what_it_is_made_from(photos: Path) -> None:
    rows = "file,label,source,group\nmilium.png,milium,own,1\n"
    manifest, left_out = photos / "m.csv", photos / "left_out.csv"
    manifest.write_text(rows)
    left_out.write_text("file,reason\n")
    again = photos / "deeper" / ".." / "m.csv"
    assert run("split", "--manifest", manifest, "--out", again)[0] == 2
    given = ("split", "--manifest", manifest, "--exclude", left_out)
    assert run(*given, "--out", left_out)[0] == 2
    photo = photos / "milium.png"
    content = photo.read_bytes()
    assert run("data", "build", "own", "--root", photos, "--out", photo)[0] == 2
    assert manifest.read_text() == rows
    assert left_out.read_text() == "file,reason\n"
    assert photo.read_bytes() == content


def test_a_photo_that_is_left_out_still_ties_its_copy_to_its_patient(photos: Path) -> None:
    lines = [("1.jpg", "ann"), ("2.jpg", "ann"), ("3.jpg", "bob"), ("4.jpg", "cyd")]
    rows = "".join(f"{file},milium,own,{group}\n" for file, group in lines)
    (photos / "m.csv").write_text(f"file,label,source,group\n{rows}")
    (photos / "audit.csv").write_text("kind,file,other_file\nexact_duplicate,2.jpg,3.jpg\n")
    (photos / "x.csv").write_text("file,reason\n2.jpg,a copy of 3.jpg\n")
    given = {"manifest": "m.csv", "audit": "audit.csv", "exclude": "x.csv", "out": "split.csv"}
    options = [part for name, file in given.items() for part in (f"--{name}", photos / file)]
    assert run("split", *options, "--folds", "2")[0] == 0
    with (photos / "split.csv").open(newline="") as stream:
        fold_of = {row["group"]: row["fold"] for row in csv.DictReader(stream)}
    assert fold_of.keys() == {"ann", "cyd"}
    assert len(set(fold_of.values())) == 2


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--manifest", "m.csv", "--root", ".", "--out", "o", "--format", "csv"), "--format"),
        (("--manifest", "m.csv", "--root", ".", "--out", "o", "--json"), "--json"),
        (("--manifest", "m.csv", "--root", ".", "--out", "o", "--heatmap", "h.png"), "--heatmap"),
        (("--manifest", "m.csv", "--root", ".", "--out", "o", "a.jpg"), "a photo"),
        (("--manifest", "m.csv", "--out", "o"), "--root"),
        (("a.jpg", "--json", "--format", "csv"), "--json and --format csv"),
    ],
)
def test_options_that_do_not_go_together_are_named(given: tuple[str, ...], named: str) -> None:
    code, _, err = run("predict", *given)
    assert code == 2
    assert named in " ".join(err.replace("│", " ").split())


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_names_that_no_console_can_print_lose_no_photo(
    form: str, tmp_path: Path, tiny_checkpoint_with_graph: Path
) -> None:
    names: list[Any] = [b"a.png", b"b\xf3.png", "c 😀 é.png".encode(), b"d\xf3.png", b"e.png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(encode(draw("milium")))
    (tmp_path / os.fsdecode(names[3])).write_bytes(b"no picture")
    given = ("predict", *names, "--format", form, "--checkpoint", tiny_checkpoint_with_graph)
    for encoding in ("utf-8", "cp1252"):
        out, err = start(*given, cwd=tmp_path, PYTHONIOENCODING=encoding).communicate()
        said = out.decode(encoding)
        assert b"Traceback" not in err
        if form == "json":
            files = [os.fsencode(json.loads(line)["file"]) for line in said.splitlines()]
            assert files == names
        elif form == "csv":
            assert len(list(csv.DictReader(io.StringIO(said)))) == len(names)
        else:
            assert "5 photos" in said
            assert "1 could not be read" in said


@pytest.mark.skipif(os.name == "nt", reason="there is no head")
def test_a_reader_that_has_enough_ends_it_quietly(
    tmp_path: Path, tiny_checkpoint_with_graph: Path
) -> None:
    for number in range(40):
        draw("milium").save(tmp_path / f"{number}.png")
    process = start(
        "predict", ".", "--json", "--checkpoint", tiny_checkpoint_with_graph, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_both_flags_for_help_work_everywhere(flag: str) -> None:
    for words in ((), ("predict",), ("data",), ("data", "list")):
        code, out, _ = run(*words, flag)
        assert (code, "Usage:" in out) == (0, True)


def test_the_version_and_the_completion() -> None:
    code, out, _ = run("--version")
    assert (code, len(out.split("."))) == (0, 3)
    assert "--install-completion" in run("--help")[1]


def test_a_port_that_is_taken_names_the_option(tiny_checkpoint_with_graph: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("demo", "--port", port, "--checkpoint", tiny_checkpoint_with_graph)
    assert code == 1
    assert f"port {port}" in err
    assert "--port" in err


@pytest.mark.slow
def test_as_process_one_of_a_container_the_demo_ends_when_told_to(
    tmp_path: Path, tiny_checkpoint_with_graph: Path
) -> None:
    unshare = shutil.which("unshare")
    alone = [unshare or "", "--fork", "--pid", "--mount-proc", "--kill-child"]
    if not unshare or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("no process can be made the first of its own here")
    demo = [sys.executable, "-u", "-m", "calcinosis", "demo", "--port", "0"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        [*alone, *demo, "--checkpoint", str(tiny_checkpoint_with_graph)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "The demo is at" in process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(30) is not None
    finally:
        process.kill()
