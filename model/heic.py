"""Decoding HEIC, in which iPhones save photos, in a process of its own.

The decoders behind it (libheif, libde265) are C++ in which files have again and again been found to write
where they should not: CVE-2026-84383, for one. So they never see the memory in which others' photos are
read: a file that crashes them, or keeps them busy, ends their process and nothing else. This bounds
accidents; it is no sandbox.

The plug-in, pillow-heif, is not installed with the project: its wheels hold x265, whose licence is GPLv2,
beside both decoders, whose licence is LGPLv3. `pip install 'calcinosis[heic]'` is for who can accept that.
"""

import importlib.util
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from PIL import Image

BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"mif1")
"""How a HEIC photo calls itself (ISO/IEC 23008-12); AVIF, videos and sequences do so otherwise."""

MAX_SECONDS: Final = 30
# Bytes of address space. A drawn photo of 12 megapixels took 0.42 GB, with an alpha channel 0.51 GB, and
# hardly any photo 0.32 GB: VmPeak of the process at its end, on Linux with pillow-heif 1.8.1.
_MAX_MEMORY: Final = 2 * 1024**3
_KEPT: Final = ("PATH", "SYSTEMROOT", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_SIZE: Final = struct.Struct(">II")

_TOO_LARGE: Final = 3  # what the process ends with


class HeicError(Exception):
    """A HEIC file that cannot be decoded."""


class HeicTooLargeError(HeicError):
    """A HEIC file of more pixels than allowed."""


def is_heic(content: bytes) -> bool:
    """Whether a file says that it is a HEIC photo."""
    return content[4:8] == b"ftyp" and content[8:12] in BRANDS


def can_decode() -> bool:
    """Whether the plug-in is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def decode(content: bytes, *, max_pixels: int) -> Image.Image:
    """The photo in a HEIC file: upright, RGB, in sRGB, without metadata; of several, the primary one.

    Raises:
        HeicTooLargeError: if it has more than `max_pixels`.
        HeicError: if it cannot be decoded, or not in `MAX_SECONDS`.
    """
    command = [sys.executable, "-P", "-m", __name__, str(max_pixels)]
    # It finds what this process finds, wherever that lies, and gets none of the server's secrets.
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and no word of the file
            command,
            input=content,
            capture_output=True,
            timeout=MAX_SECONDS,
            env=kept | {"OPENBLAS_NUM_THREADS": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HeicError(str(error)) from None
    if done.returncode == _TOO_LARGE:
        raise HeicTooLargeError
    head, pixels = done.stdout[: _SIZE.size], memoryview(done.stdout)[_SIZE.size :]
    size = _SIZE.unpack(head) if len(head) == _SIZE.size else (0, 0)
    if done.returncode != 0 or not pixels or len(pixels) != 3 * size[0] * size[1]:
        raise HeicError(f"the decoder ended with {done.returncode}")
    return Image.frombytes("RGB", size, pixels)


def _main() -> None:
    """What runs in the process of its own: a file comes in, its pixels go out."""
    _bound_memory()
    from calcinosis.model.photo import as_photo
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("HEIF",)) as picture:
        if picture.width * picture.height > int(sys.argv[1]):
            sys.exit(_TOO_LARGE)
        picture.load()
        photo = as_photo(picture)
    sys.stdout.buffer.write(_SIZE.pack(*photo.size))
    sys.stdout.buffer.write(photo.tobytes())


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bound; the time is bounded there too
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _main()
