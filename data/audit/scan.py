"""The one pass over the photos: each is opened once, and little of it is kept."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calcinosis.common.cpu import map_in_order
from calcinosis.common.files import file_digest
from calcinosis.common.progress import track
from calcinosis.data.locating import resolve
from calcinosis.data.manifest import Row

OpenPhoto = Callable[[Path], Image.Image]
Embed = Callable[[Sequence[Image.Image]], np.ndarray]

THUMBNAIL_SIDE: Final = 256
BLUR_SIDE: Final = 16
DIHEDRAL: Final = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)
"""The ways to lay a photo over itself by quarter turns and mirrors; the first leaves it as it is."""

_BATCH: Final = 8  # at 16 the network held 0.9 GB more, and was no quicker
_THUMBNAIL_QUALITY: Final = 92
_HASH_SOURCE_SIDE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class ScannedPhoto:
    """What is kept of a photo.

    Attributes:
        row: the number of its row in the manifest.
        width, height: in pixels.
        digest: SHA-256 of the file, in hexadecimal.
        hashes: 8 × 64 bits, the perceptual hash of the photo in each of `DIHEDRAL`.
        thumbnail: a JPEG with a long side of at most 256 pixels.
        embedding: of the backbone, of length 1.
    """

    row: int
    width: int
    height: int
    digest: str
    hashes: NDArray[np.bool_]
    thumbnail: bytes
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no photo, and why."""

    row: int
    reason: str


def scan(
    rows: Sequence[Row],
    root: Path,
    *,
    open_photo: OpenPhoto,
    embed: Embed,
    workers: int = 2,
) -> tuple[list[ScannedPhoto], list[Unreadable]]:
    """Open every photo once and keep what the audit needs of it.

    Args:
        rows: the photos.
        root: the folder that they lie below.
        open_photo: opens a file as an upright RGB picture; whatever it raises makes the file
            unreadable.
        embed: maps n pictures to n × d numbers.
        workers: threads that open files while the backbone works.

    Returns:
        The readable photos and the others, each in the order of the rows.

    Raises:
        ManifestError: when a listed file is not there, or lies in a shard.
    """
    scanned: list[ScannedPhoto] = []
    unreadable: list[Unreadable] = []
    batch: list[_Opened] = []

    def finish() -> None:
        if batch:
            vectors = np.asarray(embed([photo for photo, _ in batch]), dtype=np.float32)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            scanned.extend(
                replace(kept, embedding=vector)
                for (_, kept), vector in zip(batch, vectors, strict=True)
            )
            batch.clear()

    places = [(number, resolve(root, row)) for number, row in enumerate(rows)]
    # The next few are opened while the backbone works on the last ones.
    opened = map_in_order(partial(_open, open_photo), places, workers=workers, ahead=_BATCH)
    for item in track(opened, "Reading the photographs", total=len(rows)):
        if isinstance(item, Unreadable):
            unreadable.append(item)
            continue
        batch.append(item)
        if len(batch) == _BATCH:
            finish()
    finish()
    return scanned, unreadable


_Opened = tuple[Image.Image, ScannedPhoto]


def _open(open_photo: OpenPhoto, place: tuple[int, Path]) -> _Opened | Unreadable:
    number, path = place
    try:
        photo = open_photo(path)
        thumbnail = photo.copy()
        thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, 2.0)
        stream = io.BytesIO()
        thumbnail.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
        return photo, ScannedPhoto(
            row=number,
            width=photo.width,
            height=photo.height,
            digest=file_digest(path),
            hashes=perceptual_hashes(thumbnail),
            thumbnail=stream.getvalue(),
            embedding=np.empty(0, np.float32),  # which comes a batch at a time
        )
    except Exception as error:  # whatever a decoder raises, the file is no photo and the rest go on
        return Unreadable(number, str(getattr(error, "message", error)) or type(error).__name__)


def perceptual_hashes(photo: Image.Image) -> NDArray[np.bool_]:
    """8 × 64 bits: the DCT hash (imagehash's `phash`) of a photo in each of `DIHEDRAL`."""
    side = (_HASH_SOURCE_SIDE, _HASH_SOURCE_SIDE)
    small = photo.convert("L").resize(side, Image.Resampling.BOX)
    turned = (small if turn is None else small.transpose(turn) for turn in DIHEDRAL)
    return np.stack([imagehash.phash(picture).hash.reshape(-1) for picture in turned])


def small_pictures(
    photos: Sequence[ScannedPhoto], size: tuple[int, int] | None = None, mode: str = "RGB"
) -> Iterator[NDArray[np.uint8]]:
    """The thumbnails, one after another: height × width (× 3 for RGB), of one `size` if given."""
    for photo in photos:
        with Image.open(io.BytesIO(photo.thumbnail)) as thumbnail:
            picture = thumbnail.convert(mode)
            if size is not None:
                picture = picture.resize(size, Image.Resampling.BOX)
            yield np.asarray(picture)


class GreyPictures(Sequence[NDArray[np.uint8]]):
    """The thumbnails in grey, height × width, each decoded when it is asked for."""

    def __init__(self, photos: Sequence[ScannedPhoto]) -> None:
        self._photos = photos

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, number: Any) -> Any:
        return next(small_pictures([self._photos[number]], mode="L"))
