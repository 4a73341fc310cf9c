"""Filling templates: every value is escaped, and a picture travels inside the page."""

import base64
import io
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from calcinosis.page.words import unbroken, words

FOLDER: Final = Path(__file__).parent
_SHOWN_SIDE: Final = 480  # pixels, of the pictures that a finding shows

_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # What a finding says in the words of `model/words` keeps numbers and units together, too.
    finalize=lambda value: unbroken(value) if type(value) is str else value,
)


def render(template: str, language: str, **values: object) -> str:
    """A template in a language."""
    said = {"say": words(language), "language": language, **values}
    return _templates.get_template(f"{template}.html").render(said)


def as_picture(image: Image.Image) -> str:
    """A picture as a data URI, so that no file of it is written; made small, and without metadata."""
    small = image.copy()
    small.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return as_data_uri("image/jpeg", buffer.getvalue())


def as_data_uri(kind: str, content: bytes | str) -> str:
    """Bytes, or a text, as a data URI."""
    content = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
