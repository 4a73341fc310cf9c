"""Worked cases: hand-set probabilities and what the decision code makes of them, to learn from without a photo."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calcinosis.model.decision import decide, retake_finding
from calcinosis.model.finding import Finding, coverage_of
from calcinosis.model.labels import LABELS
from calcinosis.model.quality import MIN_SIDE, QualityIssue
from calcinosis.page import drawings
from calcinosis.page.findings import Reader, told
from calcinosis.page.render import render
from calcinosis.page.words import words

_EVEN = MappingProxyType({label: 1 / len(LABELS) for label in LABELS})


@cache
def worked_cases() -> Mapping[str, dict[str, Any]]:
    """The cases by name, in the order of the page."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


def finding_of(case: Mapping[str, Any], reader: Reader, language: str) -> Finding:
    """What is said where a photo gives a case's probabilities."""
    return decide(
        case["probabilities"],
        case["prediction_set"],
        prior=_EVEN,
        coverage=coverage_of(reader.config.conformal, LABELS),
        checkpoint=reader.config.name,
        frequencies=reader.config.frequencies,
        language=language,
    )


def refusal_of(case: Mapping[str, Any], reader: Reader, language: str) -> Finding:
    """What is said of a case's first photo, which cannot be used."""
    values = {"side": case["pixels"], "minimum": MIN_SIDE, "third": MIN_SIDE // 3}
    issue = QualityIssue(case["problem"], values)
    return retake_finding(issue, prior=_EVEN, checkpoint=reader.config.name, language=language)


def cases(reader: Reader, language: str) -> str:
    """The worked cases as a section of the page; empty where the labels are somebody else's."""
    if tuple(reader.config.labels) != LABELS:
        return ""
    assumed = Reader(reader.config, tuple(_EVEN.values()), reader.record)
    shown = []
    for name, case in worked_cases().items():
        told_of = [finding_of(case, reader, language)]
        if "problem" in case:
            told_of.insert(0, refusal_of(case, reader, language))
        shown.append(
            {
                "name": name,
                "drawing": _drawing(case, language),
                "told": [told(finding, assumed, language) for finding in told_of],
                "fill": case.get("fill", []),
                "sources": case["sources"],
            }
        )
    return render("cases", language, cases=shown)


def _drawing(case: Mapping[str, Any], language: str) -> str:
    say = words(language)
    described = say(
        "drawings.bump",
        scene=say(f"drawings.scenes.{case['scene']}"),
        lesion=say(f"drawings.lesions.{case['lesion']}"),
    )
    return drawings.bump(case["scene"], case["lesion"], described)
