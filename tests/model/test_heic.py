"""HEIC, where its plug-in is installed: as every other photo, and in a process whose end harms nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calcinosis.common.errors import PhotoError
from calcinosis.model import heic, photo
from calcinosis.model.photo import open_photo
from tests.drawings import draw, encode

needs_plugin = pytest.mark.skipif(
    not heic.can_decode(), reason="pillow-heif is not installed; see model/heic.py"
)
DRAWN = draw("milium")


def as_heic(picture: Image.Image, **options: object) -> bytes:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return encode(picture, "HEIF", quality=90, **options)


def refusal(content: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        open_photo(content)
    return caught.value


def test_without_the_plugin_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "can_decode", lambda: False)
    error = refusal(b"\0\0\0\x18ftypheic" + bytes(50))
    assert error.code == "unsupported_format"
    assert "HEIC" in error.message
    assert "calcinosis[heic]" in error.message


@pytest.mark.parametrize("brand", [b"avif", b"avis", b"isom", b"msf1", b"hevc"])
def test_what_only_looks_like_it_is_not_opened(brand: bytes) -> None:
    assert refusal(b"\0\0\0\x18ftyp" + brand + bytes(50)).code == "unsupported_format"


@needs_plugin
def test_a_photo_keeps_its_colours_stands_upright_and_loses_its_metadata() -> None:
    held = DRAWN.copy()
    exif = held.getexif()
    exif[0x0112] = 6
    exif[0x010F] = "PhoneMaker"
    held.info["exif"] = exif.tobytes()
    content = as_heic(held)
    assert b"PhoneMaker" in content
    found = open_photo(content)
    assert found.mode == "RGB"
    assert not found.info
    assert not found.getexif()
    upright = np.asarray(DRAWN.rotate(-90, expand=True), dtype=int)
    assert np.asarray(found).shape == upright.shape
    assert np.abs(np.asarray(found, dtype=int) - upright).mean() < 6


@needs_plugin
def test_transparent_parts_are_white_and_of_several_the_primary_is_read() -> None:
    clear = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    assert np.asarray(open_photo(as_heic(clear))).min() > 245
    first, second = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (96, 96), "blue")
    several = as_heic(first, save_all=True, append_images=[second], primary_index=1)
    assert open_photo(several).size == (96, 96)


@needs_plugin
def test_the_cap_is_asked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "MAX_PIXELS", DRAWN.width * DRAWN.height - 1)
    assert refusal(as_heic(DRAWN)).code == "too_large"


@needs_plugin
def test_damaged_files_are_damaged() -> None:
    whole = as_heic(DRAWN)
    for share in (0.01, 0.2, 0.5):
        assert refusal(whole[: max(16, int(share * len(whole)))]).code == "damaged"
    assert refusal(b"\0\0\0\x18ftypheic" + bytes(50)).code == "damaged"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for a decoder is a shell script")
@pytest.mark.parametrize(
    "ends",
    [
        "kill -SEGV $$",
        "kill -KILL $$",
        "exit 0",
        "printf 12345678",
        "sleep 60",
        """echo '{"mode": "RGB", "size": [9, 9], "profile": 0}'; printf 12345678""",
        """echo '{"mode": "RGB", "size": [-1, -1], "profile": 0}'; printf 123""",
        """echo '{"mode": "P", "size": [1, 1], "profile": 0}'; printf 1""",
        """echo '[]'; printf 1""",
    ],
)
def test_a_decoder_that_crashes_hangs_or_lies_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\ncat > /dev/null\nexec 2> /dev/null\necho ready\n{ends}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(heic, "can_decode", lambda: True)
    monkeypatch.setattr(heic, "MAX_SECONDS", 1)
    assert refusal(b"\0\0\0\x18ftypheic" + bytes(50)).code == "damaged"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for a decoder is a shell script")
@pytest.mark.parametrize("ends", ["exit 127", "echo no such library >&2; exit 1", "kill -KILL $$"])
def test_a_decoder_that_does_not_start_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\ncat > /dev/null\n{ends}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(heic, "can_decode", lambda: True)
    for executable in (broken, tmp_path / "absent"):
        monkeypatch.setattr(sys, "executable", str(executable))
        error = refusal(b"\0\0\0\x18ftypheic" + bytes(50))
        assert error.code == "unsupported_format"
        assert "does not start" in error.message


def test_a_general_brand_is_read_by_what_else_the_file_says() -> None:
    def general(*compatible: bytes) -> bytes:
        size = (16 + 4 * len(compatible)).to_bytes(4, "big")
        return size + b"ftypmif1\0\0\0\0" + b"".join(compatible) + bytes(50)

    assert heic.is_heic(general())
    assert heic.is_heic(general(b"mif1", b"heic"))
    assert not heic.is_heic(general(b"avif", b"mif1", b"miaf"))
    assert "AVIF" in refusal(general(b"avif", b"mif1", b"miaf")).message


@needs_plugin
def test_files_where_the_program_was_started_shadow_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    assert open_photo(as_heic(DRAWN)).size == DRAWN.size


@needs_plugin
def test_the_decoder_finds_what_this_process_does_and_gets_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {}

    def run(command: list[str], **settings: object) -> None:
        given.update(settings)
        raise OSError

    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/where/libpython/is")
    monkeypatch.setattr(sys, "path", [*sys.path, "/where/the/plug-in/is"])
    monkeypatch.setattr(heic.subprocess, "run", run)
    with pytest.raises(heic.HeicError):
        heic.decode(b"", max_pixels=1)
    assert "secret" not in str(given["env"])
    assert given["env"]["LD_LIBRARY_PATH"] == "/where/libpython/is"
    assert "/where/the/plug-in/is" in given["env"]["PYTHONPATH"].split(os.pathsep)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bound")
def test_a_decoder_that_never_ends_ends_although_nobody_waits_for_it() -> None:
    program = "import heic_worker as w; w._MAX_SECONDS = 1; w._set_bounds()\nwhile True: pass"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(heic.__file__).parent, timeout=60)  # noqa: S603 - our own interpreter
    assert done.returncode in (-signal.SIGKILL, -signal.SIGXCPU)
