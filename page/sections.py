"""The parts of the page as HTML, in the words of `words/`; every value is escaped."""

import json
from typing import Any, Final

from calcinosis.model.labels import LABELS, conditions
from calcinosis.model.photo import KINDS, MAX_BYTES, MAX_PIXELS
from calcinosis.model.quality import MIN_SIDE
from calcinosis.model.words import all_sources
from calcinosis.page import drawings
from calcinosis.page.render import FOLDER, render
from calcinosis.page.words import languages, words

MOST_PHOTOS: Final = 5
"""How many photos of one lesion are read together."""

_SCRIPTS: Final = {"finding": "prior", "cases": "prior"}
_ACCEPTED: Final = "image/jpeg,image/png,image/webp,image/heic,image/heif"


def style() -> str:
    """The page's style sheet."""
    return (FOLDER / "static" / "page.css").read_text(encoding="utf-8")


def script(section: str) -> str | None:
    """The script of a section, if it has one."""
    file = FOLDER / "static" / f"{_SCRIPTS.get(section, section)}.js"
    return file.read_text(encoding="utf-8") if file.exists() else None


def header(language: str, labels: tuple[str, ...] = LABELS) -> str:
    """What this is, and first of all what it is not."""
    names = [(code, words(code)("language")) for code in languages()]
    return render("header", language, say=words(language, labels), languages=names)


def frame(language: str, labels: tuple[str, ...] = LABELS) -> str:
    """Where a photo is chosen and framed."""
    say = words(language)
    problems = {code: problem_text(code, language, "%s") for code in say.table["errors"]}
    kinds = [(at, magic.decode("latin-1"), kind) for at, magic, kind in KINDS]
    limits = {"most": MOST_PHOTOS, "megabytes": MAX_BYTES // 1024**2, "least": MIN_SIDE}
    strings = {**problems, **say.table["frame"], **limits, "kinds": kinds}
    return render(
        "frame", language, strings=json.dumps(strings), accept=_ACCEPTED, cases=labels == LABELS
    )


def learn(language: str, labels: tuple[str, ...] = LABELS) -> str:
    """Red flags, the comparison and the sources: shown whatever the finding.

    Conditions that nothing is known of are not compared; without any other there is no comparison.
    """
    say = words(language, labels)
    known = [label for label in conditions(labels) if label in say.table["labels"]]
    drawn = _drawings(language) if labels == LABELS else None
    return render("learn", language, say=say, conditions=known, drawings=drawn)


def _drawings(language: str) -> dict[str, Any]:
    say = words(language)
    named = conditions(LABELS)
    return {
        "sections": {
            label: drawings.section(
                label,
                f"{say('drawings.section')}, {say.label(label)}: {say(f'drawings.sections.{label}')}",
            )
            for label in named
        },
        "signs": {label: drawings.sign(label) for label in named},
        "map": drawings.body_map(say("drawings.map")),
    }


def sources(language: str) -> str:
    """Where the statements of the page come from, by the numbers that stand behind them."""
    return render("sources", language, sources=all_sources().values())


def problem(code: str, language: str, kind: str = "") -> str:
    """Why there is no finding, kindly and without a place on the server."""
    return render("problem", language, message=problem_text(code, language, kind))


def problem_text(code: str, language: str, kind: str = "") -> str:
    """What went wrong, by the code of the error and the kind of a file that is not read."""
    say = words(language)
    known = code if code in say.table["errors"] else "unexpected"
    return say(
        f"errors.{known}",
        megabytes=MAX_BYTES // 1024**2,
        megapixels=MAX_PIXELS // 10**6,
        most=MOST_PHOTOS,
        kind=kind,
    )
