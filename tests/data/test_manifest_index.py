"""A manifest in chunks: the same rows as when it is read whole, in little memory."""

import csv
import tracemalloc
from pathlib import Path

import pytest

from calcinosis.common.errors import ManifestError
from calcinosis.data.manifest_index import index_manifest


def write(path: Path, files: list[str], delimiter: str = ",", bom: bool = False) -> Path:
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as stream:
        table = csv.writer(stream, delimiter=delimiter)
        table.writerow(["label", "file", "note"])
        for number, file in enumerate(files):
            table.writerow(["other", file, "two\nlines" if number % 3 else ""])
            if number % 5 == 0:
                stream.write("\r\n")  # blank rows are passed over
    return path


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 50])
@pytest.mark.parametrize(("delimiter", "bom"), [(",", False), (";", True), ("\t", False)])
def test_chunks_hold_every_row_once(rows: int, delimiter: str, bom: bool, tmp_path: Path) -> None:
    files = [f'é {i}, "{i}".jpg' for i in range(rows)]
    index = index_manifest(write(tmp_path / "m.csv", files, delimiter, bom), rows_per_chunk=7)
    assert index.rows == rows
    assert [file for chunk in index.chunks for file in index.files(chunk)] == files
    assert [chunk.first for chunk in index.chunks] == [*range(0, rows, 7)]
    assert [chunk.number for chunk in index.chunks] == [*range(len(index.chunks))]
    for chunk in reversed(index.chunks):  # each can be read alone
        assert list(index.files(chunk)) == files[chunk.first : chunk.first + chunk.rows]


def test_the_column_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file\na.jpg\na.jpg\n")
    index = index_manifest(tmp_path / "m.csv", rows_per_chunk=10)
    assert list(index.files(index.chunks[0])) == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "empty_manifest"),
        (b"name\na.jpg\n", "missing_column"),
        (b"file\n", "empty_manifest"),
        (b"file,label\na.jpg\n", "wrong_number_of_columns"),
        (b"file,label\n,other\n", "empty_value"),
        (b'file\n"a.jpg\n', "not_csv"),
        (b"file\n\xff.jpg\n", "not_utf8"),
        (b"file\n" + b"a" * 2_000_000, "not_csv"),
    ],
)
def test_a_fault_is_named(text: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(ManifestError, match=r"m\.csv") as caught:
        index_manifest(tmp_path / "m.csv", rows_per_chunk=10)
    assert caught.value.code == code


@pytest.mark.parametrize("now", ["file\na.jpg\nb.jpg\n", "file\na.jpg\nb.jpg\nx.jpg\nd.jpg\n"])
def test_a_manifest_that_changes_meanwhile_is_noticed(now: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("file\na.jpg\nb.jpg\nc.jpg\nd.jpg\n")
    index = index_manifest(path, rows_per_chunk=2)
    path.write_text(now)
    assert index.files(index.chunks[0]) == ["a.jpg", "b.jpg"]
    with pytest.raises(ManifestError, match=r"m\.csv") as caught:
        index.files(index.chunks[1])
    assert caught.value.code == "changed_manifest"


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.csv", "missing_manifest"), (tmp_path, "folder")):
        with pytest.raises(ManifestError) as caught:
            index_manifest(path, rows_per_chunk=10)
        assert caught.value.code == code


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        path.write_text("file\n" + "".join(f"folder/photo-{i:09}.jpg\n" for i in range(rows)))
        tracemalloc.start()
        index = index_manifest(path, rows_per_chunk=1000)
        assert sum(1 for chunk in index.chunks for _ in index.files(chunk)) == rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60_000) < peak(6_000) + 100_000  # 60,000 names alone would take 5 MB
