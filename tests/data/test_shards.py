"""Photos inside tar shards and Parquet files: read as from a folder, and no more trusted."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from calcinosis.common.errors import DataError, ManifestError
from calcinosis.data import shards
from calcinosis.data.locating import check_files, open_source, path_of, resolve, stamp_of
from calcinosis.data.manifest import Row
from calcinosis.data.shards import open_shard

CONTENT = {"a.jpg": b"first", "sub/é.jpg": b"second", "c.jpg": b"third"}


def write_tar(path: Path, members: dict[str, bytes] = CONTENT, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_special(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def write_parquet(path: Path, layout: str = "content", group: int = 2) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra scale")
    parquet = pytest.importorskip("pyarrow.parquet")

    names, contents = list(CONTENT), list(CONTENT.values())
    columns = {
        "content": {"file": names, "content": contents},
        "bytes": {"path": names, "bytes": contents, "label": [1, 2, 3]},
        "image": {"image": [{"bytes": b, "path": n} for n, b in zip(names, contents, strict=True)]},
    }[layout]
    parquet.write_table(arrow.table(columns), path, row_group_size=group)
    return path


def code_of(read: object, *arguments: object) -> str:
    assert callable(read)
    with pytest.raises(DataError) as caught:
        read(*arguments)
    assert caught.value.message
    return caught.value.code


def test_a_tar_gives_every_photo_under_its_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {"./a.jpg": b"first", "sub/e\u0301.jpg": b"second"})
    assert open_source(tmp_path, "train-0.tar/a.jpg") == b"first"
    assert open_source(tmp_path, "train-0.tar/sub/é.jpg") == b"second"
    assert path_of(tmp_path, "train-0.tar/a.jpg") == (tmp_path / "train-0.tar").resolve()
    before = stamp_of(tmp_path, "train-0.tar/a.jpg")
    os.utime(tmp_path / "train-0.tar", (0, 0))
    assert stamp_of(tmp_path, "train-0.tar/a.jpg") != before


def test_what_wants_files_says_that_it_takes_no_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {"a.jpg": b"first"})
    with pytest.raises(ManifestError, match="unpack the shard") as caught:
        resolve(tmp_path, Row("train-0.tar/a.jpg", "other", "clinic", "p1"))
    assert caught.value.code == "in_shard"


@pytest.mark.parametrize("layout", ["content", "bytes", "image"])
def test_so_does_a_parquet_file(layout: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "part.parquet", layout)
    for name, content in reversed(CONTENT.items()):
        assert open_source(tmp_path, f"part.parquet/{name}") == content


def test_a_folder_may_be_called_as_a_shard_is(tmp_path: Path) -> None:
    (tmp_path / "old.tar").mkdir()
    (tmp_path / "old.tar" / "a.jpg").write_bytes(b"first")
    assert open_source(tmp_path, "old.tar/a.jpg") == (tmp_path / "old.tar" / "a.jpg").resolve()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar")
    assert code_of(open_source, tmp_path, "s.tar/absent.jpg") == "missing_photo"
    assert code_of(open_source, tmp_path, "absent.tar/a.jpg") == "missing_photo"
    rows = [Row(f"s.tar/{name}", "other", "s", name) for name in ("a.jpg", "no-1.jpg", "no-2.jpg")]
    check_files(rows[:1], tmp_path)
    with pytest.raises(ManifestError, match="2 of the 3"):
        check_files(rows, tmp_path)


@pytest.mark.parametrize(
    "file", ["../s.tar/a.jpg", "s.tar/../../a.jpg", "s.tar/../a.jpg", "/s.tar/a.jpg", "s.tar/\0"]
)
def test_a_name_cannot_leave_the_root_nor_the_shard(file: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_tar(tmp_path / "s.tar")
    write_tar(root / "s.tar", {"../a.jpg": b"outside"})
    assert code_of(open_source, root, file) == "outside_root"


def test_a_shard_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "s.tar").symlink_to(write_tar(tmp_path / "elsewhere.tar"))
    assert code_of(open_source, root, "s.tar/a.jpg") == "outside_root"


def test_members_that_are_no_plain_files_are_not_followed(tmp_path: Path) -> None:
    write_special(
        tmp_path / "s.tar",
        special("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.jpg", tarfile.LNKTYPE, "link.jpg"),
        special("pipe.jpg", tarfile.FIFOTYPE),
        special("device.jpg", tarfile.CHRTYPE),
    )
    for name in ("link", "hard", "pipe", "device"):
        assert code_of(open_source, tmp_path, f"s.tar/{name}.jpg") == "unsafe_member"


def test_two_members_of_one_name_are_not_chosen_between(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"a.jpg": b"one", "./a.jpg": b"two"})
    assert code_of(open_source, tmp_path, "s.tar/a.jpg") == "unsafe_member"


def test_a_shard_that_is_compressed_cut_or_no_tar_is_said_to_be_damaged(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", {"a.jpg": b"x" * 4000, "b.jpg": b"y"}).read_bytes()
    write_tar(tmp_path / "packed.tar", mode="w:gz")
    (tmp_path / "cut.tar").write_bytes(whole[:2000])
    (tmp_path / "text.tar").write_text("no tar")
    (tmp_path / "empty.tar").touch()
    broken = bytearray(whole)
    broken[512 + 4096 + 150] ^= 1  # in the checksum of the second header
    (tmp_path / "broken.tar").write_bytes(broken)
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("packed.tar", "cut.tar", "text.tar", "empty.tar", "broken.tar"):
        assert code_of(open_source, tmp_path, f"{name}/a.jpg") == "damaged_shard", name
    pytest.importorskip("pyarrow", reason="needs the extra scale")
    assert code_of(open_source, tmp_path, "text.parquet/a.jpg") == "damaged_shard"


def test_a_header_that_claims_gigabytes_is_not_believed(tmp_path: Path) -> None:
    claims = special("long", tarfile.XHDTYPE)
    claims.size = 8 * 1024**3
    with (tmp_path / "s.tar").open("wb") as file:
        file.write(claims.tobuf(tarfile.GNU_FORMAT))
        file.truncate(9 * 1024**3)  # a file with a hole: no space is used
    assert code_of(open_source, tmp_path, "s.tar/a.jpg") == "damaged_shard"


def test_a_shard_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MOST_MEMBERS", 2)
    write_tar(tmp_path / "s.tar")
    assert code_of(open_source, tmp_path, "s.tar/a.jpg") == "too_many_members"
    write_parquet(tmp_path / "s.parquet")
    assert code_of(open_source, tmp_path, "s.parquet/a.jpg") == "too_many_members"


def test_a_huge_member_is_read_only_as_far_as_is_needed_to_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MOST_BYTES", 3)
    write_tar(tmp_path / "s.tar")
    assert open_source(tmp_path, "s.tar/a.jpg") == b"fir"


def test_a_row_group_too_large_to_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "s.parquet")
    monkeypatch.setattr(shards, "MOST_GROUP_BYTES", 10)
    assert code_of(open_source, tmp_path, "s.parquet/a.jpg") == "too_large"


def test_a_shard_that_changed_is_indexed_anew(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"a.jpg": b"old"})
    assert open_shard(path).read("a.jpg") == b"old"
    write_tar(path, {"b.jpg": b"newer", "a.jpg": b"x" * 11000})
    assert open_shard(path).read("b.jpg") == b"newer"
    assert open_shard(path).read("a.jpg") == b"x" * 11000
