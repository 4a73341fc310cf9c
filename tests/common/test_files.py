"""What is written is there whole or not at all."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from calcinosis.common.errors import TrainingError
from calcinosis.common.files import (
    atomic_create,
    atomic_path,
    atomic_write,
    disk_full_error,
    file_digest,
    write_json,
)


def test_half_a_file_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    atomic_write(path, b"first")
    whole = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        whole(self, content[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"second")
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() == b"first"


def test_what_a_library_left_half_written_is_removed_even_on_ctrl_c(tmp_path: Path) -> None:
    def stopped_half_way() -> None:
        with atomic_path(tmp_path / "below" / "table") as partial:
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_half_way()
    assert not list((tmp_path / "below").iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # it was the last to finish
    assert list(tmp_path.iterdir()) == [path]


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_new_file_is_never_seen_half_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[[Path, Path], None]
) -> None:
    path, write = tmp_path / "below" / "note", Path.write_bytes

    def killed(self: Path, content: bytes) -> int:
        write(self, content[:3])
        assert not path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", link)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            atomic_create(path, "first")
    atomic_create(path, "größer\n")
    with pytest.raises(FileExistsError):
        atomic_create(path, "second")
    assert path.read_bytes() == "größer\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_text_keeps_its_letters_and_its_line_ends(tmp_path: Path) -> None:
    atomic_write(tmp_path / "text", "größer\r\n")
    assert (tmp_path / "text").read_bytes() == "größer\r\n".encode()
    write_json(tmp_path / "json", {"größer": [1]})
    assert "größer" in (tmp_path / "json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8")) == {"größer": [1]}


def test_others_may_read_what_the_users_mask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_digest_is_the_one_of_the_whole_content(tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 5)  # more than one piece
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert file_digest(tmp_path / "file", "sha512") == hashlib.sha512(content).hexdigest()


def test_safetensors_own_words_for_a_full_disk_are_understood() -> None:
    with pytest.raises(TrainingError), disk_full_error(Path("run"), "go on"):
        raise SafetensorError("I/O error: No space left on device (os error 28)")


def test_another_error_of_the_disk_passes() -> None:
    with pytest.raises(PermissionError), disk_full_error(Path("run"), "go on"):
        raise PermissionError(errno.EACCES, "Permission denied")
