"""Visitors side by side: what one of them sends, and what becomes of it, costs the others nothing."""

import base64
import json
import os
import shlex
import signal
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx
import pytest

from calcinosis.model import heic
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from tests.drawings import draw, encode

pytestmark = pytest.mark.slow

PATIENCE: Final = 60  # seconds
A_HEIC: Final = b"\0\0\0\x18ftypheic" + bytes(50)


def ask(address: str, content: bytes) -> dict[str, Any]:
    """What the endpoint answers, asked as a program without Gradio's client would."""
    sent = {"data": [base64.b64encode(content).decode(), "en"]}
    with httpx.Client(base_url=f"{address}/gradio_api/call/finding_v1", timeout=PATIENCE) as web:
        event = web.post("/", json=sent).json()["event_id"]
        answer: dict[str, Any] = json.loads(web.get(f"/{event}").text.rpartition("data: ")[2])[0]
        return answer


def good_photos() -> list[bytes]:
    return [encode(draw(label, seed, (320, 300))) for seed in range(2) for label in LABELS]


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that names the process decoding a HEIC photo, which goes on until somebody ends it."""
    named = tmp_path / "process"
    stand_in = tmp_path / "python"
    name = shlex.quote(str(named))
    stand_in.write_text(
        "#!/bin/sh\necho ready\n"  # as the worker says once it can decode
        f"echo $$ > {name}.new\nmv {name}.new {name}\nexec sleep 60\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setattr(heic, "can_decode", lambda: True)
    yield named
    if named.exists():
        os.kill(int(named.read_text()), signal.SIGKILL)


def started(named: Path) -> int:
    """The process that a file names, once it does."""
    deadline = time.monotonic() + PATIENCE
    while not named.exists():
        assert time.monotonic() < deadline, "no decoder was started"
        time.sleep(0.01)
    return int(named.read_text())


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for a decoder is a shell script")
def test_a_decoder_that_is_killed_costs_its_own_visitor_an_error_and_the_others_nothing(
    address: str, reader: Predictor, decoder: Path
) -> None:
    photos = good_photos()
    with ThreadPoolExecutor() as visitors:
        victim = visitors.submit(ask, address, A_HEIC)
        process = started(decoder)
        findings = list(visitors.map(lambda photo: ask(address, photo), photos))
        assert not victim.done()
        decoder.unlink()
        os.kill(process, signal.SIGKILL)
        answer = victim.result(PATIENCE)
    assert findings == [reader.read(photo).as_json() for photo in photos]
    assert answer["error"]["code"] == "damaged"
    assert ask(address, photos[0]) == findings[0]


def test_poisoned_files_amid_others_are_typed_errors_and_the_others_get_their_findings(
    address: str, reader: Predictor
) -> None:
    poisoned = {
        "too_large": bomb(),
        "damaged": encode(draw("milium", size=(320, 300)), "JPEG")[:2000],
        "empty": b"",
        "not_an_image": b"\0" * 100_000,
    }
    photos = good_photos()
    with ThreadPoolExecutor(16) as visitors:
        bad = {code: visitors.submit(ask, address, file) for code, file in poisoned.items()}
        findings = list(visitors.map(lambda photo: ask(address, photo), photos))
        answers = {code: answer.result(PATIENCE) for code, answer in bad.items()}
    assert findings == [reader.read(photo).as_json() for photo in photos]
    assert {code: answer["error"]["code"] for code, answer in answers.items()} == {
        code: code for code in poisoned
    }
