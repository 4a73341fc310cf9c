"""What a browser or a program sends, checked before anything is made of it."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from PIL import Image

from calcinosis.common.errors import PhotoError
from calcinosis.model.photo import MAX_BYTES, open_photo
from calcinosis.page.sections import MOST_PHOTOS
from calcinosis.page.words import languages


def language_of(value: Any) -> str:
    """The language asked for, or English."""
    return value if isinstance(value, str) and value in languages() else "en"


def accepted_language(header: str) -> str:
    """The first language of an `Accept-Language` header that there are words in, or English."""
    wanted = (part.split(";")[0].strip()[:2].lower() for part in header.split(","))
    return next((code for code in wanted if code in languages()), "en")


def open_photos(values: Any) -> list[Image.Image]:
    """Photos from base64 strings or data URIs.

    Raises:
        PhotoError: `no_photo`, `too_many`, or as `open_photo` does.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise PhotoError("no_photo", "no photo was given; give one as base64")
    if len(values) > MOST_PHOTOS:
        raise PhotoError("too_many", f"at most {MOST_PHOTOS} photos are read together")
    return [open_photo(_decode(value), name=f"photo {n}") for n, value in enumerate(values, 1)]


def _decode(value: Any) -> bytes:
    if not isinstance(value, str):
        raise PhotoError("not_an_image", "is not a photo; give the bytes of its file as base64")
    if len(value) > MAX_BYTES * 4 // 3 + 200:
        raise PhotoError("too_large", f"is larger than {MAX_BYTES // 1024**2} MiB")
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise PhotoError("not_an_image", "is not base64 of a photo's file") from None
