"""Decoding HEIC, in which iPhones save photos, in a process of its own.

The decoders behind it (libheif, libde265) are C++ in which files have again and again been found to write
where they should not: CVE-2026-84383, for one. So they never see the memory in which others' photos are
read: a file that crashes them, or keeps them busy, ends their process and nothing else. This bounds
accidents; it is no sandbox.

The plug-in, pillow-heif, is not installed with the project: its wheels hold x265, whose licence is GPLv2,
beside both decoders, whose licence is LGPLv3. `pip install 'calcinosis[heic]'` is for who can accept that.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from PIL import Image

from calcinosis.model.heic_worker import READY, TOO_LARGE

MAX_SECONDS: Final = 30

_CODED_HEVC: Final = {b"heic", b"heix", b"heim", b"heis"}
_CODED_AV1: Final = {b"avif", b"avis"}
_GENERAL: Final = b"mif1"
_MODES: Final = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}  # and their bytes a pixel
_WORKER: Final = Path(__file__).with_name("heic_worker.py")
_KEPT: Final = ("PATH", "SYSTEMROOT", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What the process needs of the environment to start; it gets none of the server's secrets."""


class HeicError(Exception):
    """A HEIC file that cannot be decoded."""


class HeicTooLargeError(HeicError):
    """A HEIC file of more pixels than allowed."""


class HeicNotStartedError(HeicError):
    """The process that decodes, or the plug-in in it, did not start: the file may be sound."""


def brands(content: bytes) -> set[bytes]:
    """What a file of the ISO base media format (ISO/IEC 14496-12) calls itself; empty for another file."""
    if content[4:8] != b"ftyp":
        return set()
    compatible = content[16 : min(int.from_bytes(content[:4], "big"), 1024)]
    return {content[8:12], *(compatible[i : i + 4] for i in range(0, len(compatible), 4))}


def is_heic(content: bytes) -> bool:
    """Whether a file says that it is a HEIC photo (ISO/IEC 23008-12); AVIF and videos say otherwise."""
    named, major = brands(content), content[8:12]
    if major == _GENERAL:
        return bool(named & _CODED_HEVC) or not named & _CODED_AV1
    return bool(named) and major in _CODED_HEVC


def can_decode() -> bool:
    """Whether the plug-in is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def decode(content: bytes, *, max_pixels: int) -> Image.Image:
    """The picture in a HEIC file, upright, with its colour profile; of several, the primary one.

    Raises:
        HeicTooLargeError: if it has more than `max_pixels`.
        HeicNotStartedError: if the decoder does not start.
        HeicError: if the file cannot be decoded, or not in `MAX_SECONDS`.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # It finds what this process finds, wherever that lies; -P, lest it find the files beside the worker.
    kept["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and no word of the file
            [sys.executable, "-P", str(_WORKER), str(max_pixels)],
            input=content,
            capture_output=True,
            timeout=MAX_SECONDS,
            env=kept | {"OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise HeicError(str(error)) from None
    except OSError as error:
        raise HeicNotStartedError(str(error)) from None
    if not done.stdout.startswith(READY):
        raise HeicNotStartedError(done.stderr.decode(errors="replace").strip()[-200:])
    if done.returncode == TOO_LARGE:
        raise HeicTooLargeError
    if done.returncode != 0:
        raise HeicError(f"the decoder ended with {done.returncode}")
    return _picture(done.stdout[len(READY) :])


def _picture(output: bytes) -> Image.Image:
    """The picture that a worker wrote; nothing that it says of it is believed unchecked."""
    line, _, rest = output.partition(b"\n")
    try:
        head: Any = json.loads(line)
        mode, (width, height), length = head["mode"], head["size"], head["profile"]
        pixels = memoryview(rest)[length:]
        if not pixels or len(pixels) != _MODES[mode] * width * height:
            raise HeicError("the decoder wrote too little or too much")
        picture = Image.frombytes(mode, (width, height), pixels)
    except (ValueError, TypeError, LookupError) as error:
        raise HeicError(f"the decoder wrote no picture: {error}") from None
    if length:
        picture.info["icc_profile"] = rest[:length]
    return picture
