"""The audit as a page to look through: one file, without scripts, that needs nothing from anywhere."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from calcinosis.data.audit.scan import ScannedPhoto

THUMBNAIL_SIDE: Final = 160
SHOWN_OF_A_KIND: Final = 60


def page(
    summary: Mapping[str, Any],
    suspicions: Mapping[str, Sequence[Any]],
    by_file: Mapping[str, ScannedPhoto],
    explanations: Mapping[str, str],
) -> str:
    """The page's HTML, with thumbnails of the first suspicions of every kind inside it.

    Args:
        summary: what `audit.json` holds.
        suspicions: by kind, ranked; each with `file`, `other_file`, `score` and `detail`.
        by_file: of the readable photos.
        explanations: what each kind means and what to do about it.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def thumbnail(file: str) -> str:
        photo = by_file.get(file)
        return _thumbnail(photo.thumbnail) if photo is not None else ""

    return environment.get_template("page.html").render(
        summary=summary,
        kinds=[
            (kind, explanations[kind], found[:SHOWN_OF_A_KIND], len(found))
            for kind, found in suspicions.items()
        ],
        thumbnail=thumbnail,
    )


def _thumbnail(content: bytes) -> str:
    """A smaller copy of a JPEG as a data URL."""
    with Image.open(io.BytesIO(content)) as photo:
        photo.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
