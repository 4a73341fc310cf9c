"""Damaged files: drawn pictures in every kind of file that someone may send, and what may be wrong with one."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from PIL import Image

from calcinosis.data.synthetic import draw
from calcinosis.model import heic, repair
from calcinosis.model.photo import MAX_PIXELS

Damage = Callable[[bytes, random.Random], bytes]

_HUGE: Final = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff")
_MOST: Final = 64  # bytes that are cut out or put in at one place
_LONG: Final = 512  # bytes that are doubled
_BOMBS: Final = (
    0.005  # share of files that would fill the memory; the largest that is allowed is slow
)
_HEIC: Final = 0.03  # share of HEIC files, each of which starts a process
_CHUNKS: Final = tuple(
    b"eXIf iCCP zTXt iTXt tEXt acTL fcTL fdAT gAMA cHRM sRGB pHYs tRNS PLTE".split()
)
_ON_PURPOSE: Final = 0.3  # share of files that are wrong in a way that somebody thought of


def damaged_files(count: int, seed: int) -> Iterator[bytes]:
    """So many damaged files, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - the same files for the same seed
    whole, slow = whole_files(), heic_files()
    for _ in range(count):
        kind = chance.random()
        if kind < _BOMBS:
            yield bomb(chance)
            continue
        some = slow if slow and kind < _BOMBS + _HEIC else whole
        file = chance.choice(some)
        if chance.random() < _ON_PURPOSE:
            how = chance.choice((declare, nest, spliced_with(chance.choice(whole))))
            file = how(file, chance)
            if chance.choice((True, False)):
                yield file
                continue
        yield mutate(file, chance)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def whole_files() -> list[bytes]:
    """Sound files of every kind that someone may send, but for those that a plug-in reads."""
    photo, small = draw("milium", size=(320, 300)), draw("gouty_tophus", size=(160, 140))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    return [
        encode(photo, "JPEG", quality=85, exif=exif),
        encode(photo, "JPEG", quality=85, progressive=True),
        encode(photo.convert("CMYK"), "JPEG"),
        encode(small, "MPO", save_all=True, append_images=[small]),
        encode(photo, "PNG", exif=exif),
        encode(small.convert("P"), "PNG", transparency=0),
        encode(small.convert("LA"), "PNG"),
        encode(small.convert("I;16"), "PNG"),
        encode(photo, "WEBP", quality=80, exif=exif),
        encode(small, "WEBP", lossless=True),
        encode(small, "GIF"),
        encode(small, "TIFF", compression="tiff_lzw"),
        encode(small, "BMP"),
        encode(small, "AVIF"),
        encode(small, "JPEG2000"),
        b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(400),
    ]


def heic_files() -> list[bytes]:
    """Sound HEIC files, where the plug-in is installed; each is decoded in a process of its own."""
    if not heic.can_decode():
        return []
    from pillow_heif import register_heif_opener

    register_heif_opener()
    photo = draw("milium", size=(320, 300))
    photo.info["exif"] = Image.Exif().tobytes()
    return [encode(photo, "HEIF", quality=60), encode(photo.convert("RGBA"), "HEIF", quality=60)]


def mutate(content: bytes, chance: random.Random) -> bytes:
    """A copy in which bytes are exchanged, cut out, put in, doubled or cut short."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        place = chance.randrange(max(1, len(damaged)))
        match chance.randrange(6):
            case 0:
                damaged[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del damaged[place : place + chance.randrange(1, _MOST)]
            case 2:
                damaged[place:place] = chance.randbytes(chance.randrange(1, _MOST))
            case 3:
                damaged[place : place + 4] = chance.choice(_HUGE)
            case 4:
                damaged[place:place] = damaged[place : place + chance.randrange(1, _LONG)]
            case _:
                del damaged[chance.randrange(len(damaged) + 1) :]
    return bytes(damaged)


def spliced_with(other: bytes) -> Damage:
    """The start of one file before the end of another."""

    def splice(content: bytes, chance: random.Random) -> bytes:
        start = chance.choice((8, 16, 64, chance.randrange(len(content))))
        return content[:start] + other[chance.choice((start, chance.randrange(len(other)))) :]

    return splice


def declare(content: bytes, chance: random.Random) -> bytes:
    """A copy that says it is far wider or higher than it is; in a PNG with a checksum that is right."""
    width, height = chance.choice(
        ((1, 2**31 - 1), (60_000, 60_000), (6_000, 6_000), (0, 0), (2**32 - 1, 2**32 - 1))
    )
    damaged = bytearray(content)
    if content.startswith(repair.PNG):
        damaged[16:24] = struct.pack(">II", width, height)
        damaged[29:33] = struct.pack(">I", zlib.crc32(bytes(damaged[12:29])))
    elif content.startswith(repair.JPEG):
        start = max(content.find(b"\xff\xc0\0"), content.find(b"\xff\xc2\0"))
        damaged[start + 5 : start + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif (place := content.find(b"ispe")) > 0:  # HEIC and AVIF
        damaged[place + 8 : place + 16] = struct.pack(">II", width, height)
    else:
        place = {b"RIFF": 24, b"GIF8": 6, b"BM": 18}.get(content[:4], 18)
        damaged[place : place + 4] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    return bytes(damaged)


def nest(content: bytes, chance: random.Random) -> bytes:
    """A copy with rubbish where metadata stands: EXIF that points at itself, profiles, text, files in files."""
    rubbish = chance.choice(
        (
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + bytes(4),
            b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + chance.randbytes(300),
            b"MPF\0II*\0\x08\0\0\0\xff\xff" + chance.randbytes(200),
            b"ICC_PROFILE\0\x01\x01" + chance.randbytes(200),
            b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta>" * 1000,
            content[:30_000],
        )
    )
    times = chance.choice((1, 1, 20))
    if content.startswith(repair.PNG):
        kind = chance.choice(_CHUNKS)
        packed = b"a\0\0" + zlib.compress(rubbish * times)
        body = chance.choice((rubbish[6:], packed, rubbish[: chance.randrange(6)]))
        place = chance.choice((33, -12))  # behind the header, or behind the pixels
        return content[:place] + chunk(kind, body) * times + content[place:]
    if content.startswith(repair.JPEG):
        mark = chance.choice((b"\xff\xe1", b"\xff\xe2", b"\xff\xed", b"\xff\xfe"))
        return (
            content[:2]
            + (mark + struct.pack(">H", len(rubbish) + 2) + rubbish) * times
            + content[2:]
        )
    if content.startswith(b"RIFF"):
        kind = chance.choice((b"EXIF", b"ICCP", b"XMP ", b"ANIM", b"ANMF"))
        return content + (kind + struct.pack("<I", len(rubbish)) + rubbish) * times
    place = chance.randrange(len(content))
    return content[:place] + rubbish * times + content[place:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(chance: random.Random) -> bytes:
    """A PNG of a few kilobytes that unpacks to the most that is allowed, or to more; or that its text does."""
    side = int(MAX_PIXELS**0.5)
    width, height, text = chance.choice(
        ((side, side, 0), (side + 1, side, 0), (60_000, 60_000, 0), (320, 300, 2**26))
    )
    rows = zlib.compress(bytes(min(height, side) * (width // 8 + 1)))
    head = struct.pack(">IIBBBBB", width, height, chance.choice((1, 8)), 0, 0, 0, 0)
    packed = chance.choice((b"zTXt", b"iCCP")), b"a\0\0" + zlib.compress(bytes(text))
    parts = ((b"IHDR", head), *([packed] if text else []), (b"IDAT", rows), (b"IEND", b""))
    return repair.PNG + b"".join(chunk(kind, body) for kind, body in parts)
