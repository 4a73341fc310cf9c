"""Opening a stranger's file as a photo: one safe way in, for the app, the command line and training.

A photo is opened once, oriented, in sRGB, and without metadata: no place, time, device, comment or
embedded thumbnail survives.
"""

import io
import stat
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from calcinosis.common.errors import PhotoError
from calcinosis.model import heic, repair

FORMATS: Final = ("JPEG", "PNG", "WEBP")
NO_END_MARK: Final = "calcinosis: no end mark"
"""What `Image.info` of an opened photo holds where its JPEG lacks its end mark, and nothing else."""

MAX_BYTES: Final = 30 * 1024 * 1024
MAX_PIXELS: Final = 40_000_000
_PIECE: Final = 2**16  # pixels

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each EXIF orientation upright."""

_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "CR3",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"msf1": "HEIC",
}
KINDS: Final = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"CR\x02", "CR2"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (128, b"DICM", "DICOM"),
    *((4, b"ftyp" + brand, kind) for brand, kind in _BRANDS.items()),
    (4, b"ftyp", "video"),
)
"""Where and how a file says that it is of a kind that is not read, and the kind, the same in every language."""

_CALLED: Final = {
    "AVIF": "an AVIF file",
    "CR2": "a raw photo of a camera (CR2)",
    "CR3": "a raw photo of a camera (CR3)",
    "HEIC": "a HEIC sequence",
    "PSD": "a Photoshop file (PSD)",
    "TIFF": "a TIFF file or a raw photo of a camera",
    "video": "a video",
}
"""What a kind is called where that is more than `a GIF file` says."""


def open_photo(source: str | Path | bytes, *, name: str | None = None) -> Image.Image:
    """Open a photo safely.

    Args:
        source: a path, or the bytes of a file.
        name: what to call the file in an error; the path itself unless given.

    Returns:
        An RGB picture of 8 bits a channel, upright, in sRGB, that carries no metadata.
        Transparent parts are laid over white.

    Raises:
        PhotoError: with the code `missing`, `folder`, `unreadable`, `empty`, `too_large`,
            `unsupported_format`, `not_an_image`, `animated` or `damaged`.
    """
    name = name if name is not None else ("the photo" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else _read(Path(source), name)
    if not content:
        raise PhotoError("empty", "the file is empty; export or copy the photo again", name=name)
    if len(content) > MAX_BYTES:
        raise _too_large(name)
    if heic.is_heic(content):
        return _open_heic(content, name)
    try:
        return _decode(content, name)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(content, name) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except Exception:  # a chunk of the wrong length lets Pillow raise anything, as struct.error
        return _repaired(content, name)


def _decode(content: bytes, name: str, profile: bytes = b"") -> Image.Image:
    """The photo in a file of one of `FORMATS`, with the colour profile that belongs to it if it lacks one.

    Raises:
        PhotoError: if it is larger than allowed, or animated.
        Exception: any that Pillow raises for a file that it cannot read.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise _too_large(name)
        # A phone's multi-picture JPEG (MPO) holds the photo first, then previews or a depth map.
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            raise PhotoError("animated", "is animated; save one frame as JPEG or PNG", name=name)
        picture.load()
        if profile:
            picture.info["icc_profile"] = profile
        return as_photo(picture)


def _repaired(content: bytes, name: str) -> Image.Image:
    """The photo in a file that Pillow refuses though every pixel of it is there."""
    try:
        if content.startswith(repair.PNG):
            bare, profile = repair.without_metadata(content)
            return _decode(bare, name, profile)
        if content.startswith(repair.JPEG) and (both := repair.with_end_mark(content)):
            first, second = (_decode(one, name) for one in both)
            if first.tobytes() == second.tobytes():
                first.info[NO_END_MARK] = True
                return first
    except PhotoError:
        raise
    except Exception:  # the same
        raise _damaged(name) from None
    raise _damaged(name)


def _open_heic(content: bytes, name: str) -> Image.Image:
    if not heic.can_decode():
        cure = "save it as JPEG, PNG or WebP, or install calcinosis[heic]"
        message = f"is a HEIC file; {cure}"
        raise PhotoError("unsupported_format", message, name=name, kind="HEIC")
    try:
        return as_photo(heic.decode(content, max_pixels=MAX_PIXELS))
    except heic.HeicTooLargeError:
        raise _too_large(name) from None
    except heic.HeicNotStartedError:
        cure = "save it as JPEG, PNG or WebP, or install calcinosis[heic] anew"
        message = f"is a HEIC file, and the plug-in for these does not start; {cure}"
        raise PhotoError("unsupported_format", message, name=name, kind="HEIC") from None
    except heic.HeicError:
        raise _damaged(name) from None


def _read(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            raise PhotoError("folder", "is a folder; name the photos in it", name=name)
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe, which could be waited for without end
            raise PhotoError("unreadable", "is no regular file; name the photo itself", name=name)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PhotoError("missing", "there is no such file; check the name", name=name) from None
    except (OSError, ValueError):
        raise PhotoError(
            "unreadable", "the file cannot be read; check its name and permissions", name=name
        ) from None


def _too_large(name: str) -> PhotoError:
    return PhotoError(
        "too_large",
        f"is larger than {MAX_BYTES // 1024**2} MiB or {MAX_PIXELS // 10**6} megapixels; "
        "crop it to the lesion or save it smaller",
        name=name,
    )


def _damaged(name: str) -> PhotoError:
    return PhotoError(
        "damaged", "the picture is damaged or cut short; export or copy it again", name=name
    )


def _unidentified(content: bytes, name: str) -> PhotoError:
    if content.startswith((repair.JPEG, repair.PNG)) or (
        content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    ):
        return _damaged(name)
    if kind := _kind(content):
        message = f"is {_CALLED.get(kind, f'a {kind} file')}; save it as JPEG, PNG or WebP"
        return PhotoError("unsupported_format", message, name=name, kind=kind)
    return PhotoError(
        "not_an_image", "is not a picture; give a photo as JPEG, PNG or WebP", name=name
    )


def _kind(content: bytes) -> str:
    """The kind of a picture that is not read; empty where nothing is known."""
    named = heic.brands(content)
    if of_brand := next((kind for brand, kind in _BRANDS.items() if brand in named), ""):
        return of_brand
    return next((kind for at, magic, kind in KINDS if content.startswith(magic, at)), "")


def as_photo(picture: Image.Image) -> Image.Image:
    """What `open_photo` makes of a file, from a picture that is open already."""
    profile = picture.info.get("icc_profile")
    upright = _upright(picture)
    if upright.mode.startswith(("I", "F")):  # 16 bits of grey: Pillow would clip, not scale
        upright = Image.fromarray(_eight_bits(np.asarray(upright)))
        profile = None
    if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        transparent = upright.convert("RGBA")
        upright = Image.new("RGB", transparent.size, "white")
        upright.paste(transparent, mask=transparent.getchannel("A"))
    if profile:
        upright = _to_srgb(upright, profile)
    coloured = upright if upright.mode == "RGB" else upright.convert("RGB")
    fresh = coloured.copy()  # of its pixels; the file stays behind, and with it the metadata
    fresh.info = {}
    if picture.info.get(NO_END_MARK) is True:  # text of a PNG may have any key
        fresh.info[NO_END_MARK] = True
    return fresh


def _eight_bits(deep: np.ndarray) -> np.ndarray:
    """Grey of 16 bits as grey of 8, a piece at a time: as numbers with a fraction it takes eight bytes a pixel."""
    flat, grey = deep.reshape(-1), np.empty(deep.size, dtype=np.uint8)
    for start in range(0, deep.size, _PIECE):
        piece = slice(start, start + _PIECE)
        grey[piece] = (flat[piece] / 257).clip(0, 255).round()
    return grey.reshape(deep.shape)


def _upright(picture: Image.Image) -> Image.Image:
    """The picture as it was held; EXIF that cannot be read says nothing of it and stops nothing."""
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # any garbage may stand in EXIF, and Pillow parses it in many ways
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Apply an embedded colour profile; one that is broken or of another mode is left aside."""
    if picture.mode in ("1", "P"):
        picture = picture.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return converted if converted is not None else picture
