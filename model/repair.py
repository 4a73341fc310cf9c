"""What Pillow refuses though every pixel is there: bulky metadata in a PNG, a JPEG without its end mark."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
JPEG: Final = b"\xff\xd8\xff"

_END_MARK: Final = b"\xff\xd9"
_DROPPED: Final = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_MAX_PROFILE: Final = 8 * 1024**2  # bytes; printers' profiles with large tables have 2 or 3 million


def without_metadata(png: bytes) -> tuple[bytes, bytes]:
    """A PNG without its text and its colour profile, and that profile; empty where it has none to use.

    Pillow takes no text and no profile above a million bytes, for fear of what unpacks to gigabytes.
    """
    kept, profile = [PNG], b""
    for kind, chunk in _chunks(png):
        if kind not in _DROPPED:
            kept.append(chunk)
        elif kind == b"iCCP":
            profile = _unpacked_profile(chunk[8:-4])
    return b"".join(kept), profile


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and whole of each chunk (PNG, third edition, section 5.3), the last one as long as it is."""
    place = len(PNG)
    while place + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        yield kind, png[place : place + length + 12]
        place += length + 12


def _unpacked_profile(body: bytes) -> bytes:
    """The profile in an iCCP chunk: a name, a zero, the method, and the packed profile."""
    _, _, packed = body.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def with_end_mark(jpeg: bytes) -> tuple[bytes, bytes] | None:
    """Two JPEGs with an end mark, where that is absent; if all pixels are there, both show the same.

    Before the mark the second one has bytes that mean nothing. A decoder that is through with its pixels passes
    over them; one that still lacks some takes them for pixels, and shows something else.
    """
    if jpeg.endswith(_END_MARK):
        return None
    whole = jpeg.rstrip(b"\xff")
    return whole + _END_MARK, whole + b"\x5a\xa3" * 512 + _END_MARK
