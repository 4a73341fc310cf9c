"""What the quiz asks: cases in words that the page brings, and labelled photographs of the user's own."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from calcinosis.common.errors import PhotoError
from calcinosis.model.heatmap import overlay, seen
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.page import drawings
from calcinosis.page.render import as_picture
from calcinosis.page.words import words


class Deck(Protocol):
    """Questions by number, each with its true label."""

    @property
    def truths(self) -> Sequence[str]:
        """The label of each question."""
        ...

    def question(self, index: int, language: str) -> dict[str, Any]:
        """What is shown of a question; PhotoError where it cannot be shown."""
        ...

    def answer(self, index: int, language: str) -> dict[str, Any]:
        """What is told once it was answered: `sentences`, `why`, `sources` and `tool`, its labels."""
        ...


@cache
def vignettes() -> Mapping[str, dict[str, Any]]:
    """The cases in words by name."""
    text = Path(__file__).with_name("vignettes.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


class Vignettes:
    """Cases in words, with a drawing; they need no photograph and no network."""

    def __init__(self) -> None:
        self.names = tuple(vignettes())
        self.truths = tuple(case["label"] for case in vignettes().values())

    def question(self, index: int, language: str) -> dict[str, Any]:
        say = words(language)
        case = vignettes()[self.names[index]]
        described = say(
            "drawings.bump",
            scene=say(f"drawings.scenes.{case['scene']}"),
            lesion=say(f"drawings.lesions.{case['lesion']}"),
        )
        drawing = drawings.bump(case["scene"], case["lesion"], described)
        return {"drawing": drawing, "story": say(f"quiz.vignettes.{self.names[index]}.story")}

    def answer(self, index: int, language: str) -> dict[str, Any]:
        say = words(language)
        name = self.names[index]
        return {
            "truth": say("quiz.truth_text", label=say.label(self.truths[index])),
            "why": say(f"quiz.vignettes.{name}.answer"),
            "sources": vignettes()[name]["sources"],
            "tool": [],
        }


class Photographs:
    """Labelled photographs of the user's own; the tool is asked once the reader has answered."""

    def __init__(self, photographs: Sequence[tuple[Path, str]], reader: Predictor) -> None:
        self.files = [file for file, _ in photographs]
        self.truths = [label for _, label in photographs]
        self.reader = reader

    def question(self, index: int, language: str) -> dict[str, Any]:
        return {"photo": as_picture(open_photo(self.files[index]))}

    def answer(self, index: int, language: str) -> dict[str, Any]:
        say = words(language, self.reader.config.labels)
        photo = open_photo(self.files[index])
        finding = self.reader.in_language(language).read(photo)
        label = self.truths[index]
        told = {
            "truth": say("quiz.source", label=say.label(label)),
            "why": say.settle(label),
            "sources": [],
            "tool": [] if finding.problem else list(finding.prediction_set),
            "headline": finding.headline,
        }
        if heat_map := finding.heat_map:
            told["photo"] = as_picture(seen(photo, heat_map))
            told["heat_map"] = as_picture(overlay(photo, heat_map))
            told["heat_label"] = say.label(heat_map.label)
        return told


def can_be_shown(deck: Deck, index: int, language: str) -> dict[str, Any] | None:
    """A question, or None where its photograph cannot be opened."""
    try:
        return deck.question(index, language)
    except PhotoError:
        return None
