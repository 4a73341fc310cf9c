"""The parts of the page as HTML, in the words of `words/`; every value is escaped."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from calcinosis.model.config import CheckpointConfig
from calcinosis.model.finding import Finding
from calcinosis.model.heatmap import overlay, seen
from calcinosis.model.labels import LABELS, conditions
from calcinosis.model.photo import MAX_BYTES, MAX_PIXELS
from calcinosis.model.quality import MIN_SIDE
from calcinosis.model.words import all_sources
from calcinosis.page.validation_stats import Figure
from calcinosis.page.words import languages, words
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

FOLDER: Final = Path(__file__).parent
MOST_PHOTOS: Final = 5
"""How many photos of one lesion are read together."""

_ACCEPTED: Final = "image/jpeg,image/png,image/webp,image/heic,image/heif"
_SHOWN_SIDE: Final = 480  # pixels, of the pictures that a finding shows

_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def style() -> str:
    """The page's style sheet."""
    return (FOLDER / "static" / "page.css").read_text(encoding="utf-8")


def script(section: str) -> str | None:
    """The script of a section, if it has one."""
    file = FOLDER / "static" / f"{section}.js"
    return file.read_text(encoding="utf-8") if file.exists() else None


def header(language: str, labels: tuple[str, ...] = LABELS) -> str:
    """What this is, and first of all what it is not."""
    names = [(code, words(code)("language")) for code in languages()]
    return _render("header", language, say=words(language, labels), languages=names)


def frame(language: str) -> str:
    """Where a photo is chosen and framed."""
    say = words(language)
    problems = {code: problem_text(code, language) for code in say.table["errors"]}
    limits = {"most": MOST_PHOTOS, "megabytes": MAX_BYTES // 1024**2, "least": MIN_SIDE}
    strings = {**problems, **say.table["frame"], **limits}
    return _render("frame", language, strings=json.dumps(strings), accept=_ACCEPTED, cases=False)


def learn(language: str, labels: tuple[str, ...] = LABELS) -> str:
    """Red flags, the comparison and the sources: shown whatever the finding.

    Conditions that nothing is known of are not compared; without any other there is no comparison.
    """
    say = words(language, labels)
    known = [label for label in conditions(labels) if label in say.table["labels"]]
    return _render("learn", language, say=say, conditions=known)


def sources(language: str) -> str:
    """Where the statements of the page come from, by the numbers that stand behind them."""
    return _render("sources", language, sources=all_sources().values())


def quiz(
    language: str,
    *,
    photo: str = "",
    index: int = 0,
    labels: Sequence[str] = (),
    chosen: Sequence[str] = (),
    sentences: Sequence[str] = (),
) -> str:
    """A question about a photograph, and once it was answered, the comparison."""
    return _render(
        "quiz",
        language,
        photo=photo,
        index=index,
        labels=labels,
        chosen=chosen,
        sentences=sentences,
    )


def problem(code: str, language: str) -> str:
    """Why there is no finding, kindly and without a place on the server."""
    return _render("problem", language, message=problem_text(code, language))


def problem_text(code: str, language: str) -> str:
    """What went wrong, by the code of the error."""
    say = words(language)
    known = code if code in say.table["errors"] else "unexpected"
    return say(
        f"errors.{known}",
        megabytes=MAX_BYTES // 1024**2,
        megapixels=MAX_PIXELS // 10**6,
        most=MOST_PHOTOS,
    )


def finding(
    finding: Finding,
    photos: Sequence[Image.Image],
    config: CheckpointConfig,
    prior: Sequence[float],
    language: str,
    record: Mapping[str, Figure] = MappingProxyType({}),
) -> str:
    """A finding in the order in which it should be read: outcome, deferral, what settles it, figures."""
    say = words(language, config.labels)
    if finding.problem:
        advice = say(f"quality.{finding.problem}.advice")
        return _render("finding", language, finding=finding, advice=advice, pairs=[], beside=[])
    pairs = [
        {"photo": picture(seen(photo, heat_map)), "heat_map": picture(overlay(photo, heat_map))}
        for photo, heat_map in zip(photos, finding.heat_maps, strict=True)
        if heat_map
    ]
    today = datetime.now(UTC).date().isoformat()
    values = {
        "say": say,
        "finding": finding,
        "coverage": f"{min(config.conformal.coverage):.0%}",
        "unnamed": [label for label in config.labels if label not in finding.prediction_set],
        "record": _record(record, language),
        "chances": _chances(finding, config.labels, prior, language),
        "date": today,
    }
    return _render(
        "finding",
        language,
        advice="",
        beside=[],
        pairs=pairs,
        file_name=f"calcinosis-{today}.html",
        report=_data_uri("text/html", _render("report", language, pairs=[], **values)),
        report_with_photo=_data_uri(
            "text/html", _render("report", language, pairs=pairs, **values)
        ),
        **values,
    )


def _chances(
    finding: Finding, labels: Sequence[str], prior: Sequence[float], language: str
) -> list[dict[str, object]]:
    return [
        {
            "label": label,
            "before": round(before, 4),
            "before_text": _share(before, language),
            "after": round(finding.probabilities[label], 4),
            "after_text": _share(finding.probabilities[label], language),
        }
        for label, before in zip(labels, prior, strict=True)
    ]


def _record(record: Mapping[str, Figure], language: str) -> list[str]:
    say = words(language)
    return [
        say(
            "finding.record_line",
            label=say.label(label),
            count=round(figure.value * figure.n),
            total=figure.n,
            low=f"{figure.low:.0%}",
            high=f"{figure.high:.0%}",
        )
        for label, figure in record.items()
    ]


def picture(image: Image.Image) -> str:
    """A picture as a data URI, so that no file of it is written; made small, and without metadata."""
    small = image.copy()
    small.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return _data_uri("image/jpeg", buffer.getvalue())


def _data_uri(kind: str, content: bytes | str) -> str:
    content = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _share(probability: float, language: str) -> str:
    """A probability in whole percent; nothing is ever 0 % or 100 %."""
    say = words(language)
    if probability < 0.01:
        return say("finding.below", share="1\u00a0%")
    if probability > 0.99:
        return say("finding.above", share="99\u00a0%")
    return f"{round(100 * probability)}\u00a0%"


def _render(template: str, language: str, **values: object) -> str:
    said = {"say": words(language), "language": language, **values}
    return _templates.get_template(f"{template}.html").render(said)
