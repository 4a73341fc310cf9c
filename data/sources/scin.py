"""SCIN, photographs donated by people who searched the web (Ward et al. 2024, arXiv 2402.18545)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from calcinosis.common.errors import DataError
from calcinosis.data.sources.building import (
    BuildResult,
    Candidate,
    PhotoIndex,
    curate,
    fitzpatrick,
    monk,
)
from calcinosis.data.sources.tables import find_table, read_table

CASES = "scin_cases.csv"
LABELS = "scin_labels.csv"
LICENCE = "SCIN Data Use License"
URL = "https://storage.googleapis.com/dx-scin-public-data/"

_LONGEST_LABEL = 10_000
_NOTES = (
    "photos of one case share a group; 15 pictures stand in the set under several cases (42 "
    "times in all, as its authors say): the audit finds them",
    "skin_tone is the dermatologists' estimate (the middle one), else what the person said",
)


def build(root: Path) -> BuildResult:
    """Manifest rows from `scin_cases.csv`, `scin_labels.csv` and the photos that they name.

    Raises:
        DataError: when a table is absent or faulty, or a label is no dictionary of weights.
    """
    cases = read_table(find_table(root, CASES), needs=("case_id", "image_1_path"))
    table = find_table(root, LABELS)
    labels = {
        row["case_id"]: row
        for row in read_table(table, needs=("case_id", "weighted_skin_condition_label"))
    }
    return curate(_candidates(cases, labels, PhotoIndex(root), table), "scin", notes=_NOTES)


def _candidates(
    cases: list[dict[str, str]],
    labels: dict[str, dict[str, str]],
    photos: PhotoIndex,
    table: Path,
) -> Iterator[Candidate]:
    for case in cases:
        said = labels.get(case["case_id"], {})
        weights = parse_weights(
            said.get("weighted_skin_condition_label", ""),
            f"{table}, case {case['case_id']}",
        )
        leading = max(weights, key=lambda name: (weights[name], name)) if weights else ""
        for number in (1, 2, 3):
            path = case.get(f"image_{number}_path", "")
            if not path:
                continue
            yield Candidate(
                file=photos.find(path.removeprefix("dataset/")),
                expected=path,
                source_label=leading,
                group=case["case_id"],
                weights=weights,
                skin_tone=_skin_tone(case, said),
                licence=LICENCE,
                url=URL + path,
                extra=_extra(case, said, number),
            )


def parse_weights(text: str, where: str = "") -> dict[str, float]:
    """A weighted label such as "{'Eczema': 0.69, 'Psoriasis': 0.31}" as a dictionary.

    Raises:
        DataError: code `weighted_label`, when it is anything else.
    """
    if not text.strip():
        return {}
    fault = DataError(
        "weighted_label",
        "column weighted_skin_condition_label is not a dictionary of condition to weight",
        name=where,
    )
    if len(text) > _LONGEST_LABEL:
        raise fault
    try:
        parsed = ast.literal_eval(text)
        weights = {str(name): float(weight) for name, weight in parsed.items()}
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        raise fault from None
    if not all(0 <= weight < float("inf") for weight in weights.values()):
        raise fault
    return weights


def _skin_tone(case: dict[str, str], said: dict[str, str]) -> str:
    columns = [f"dermatologist_fitzpatrick_skin_type_label_{number}" for number in (1, 2, 3)]
    estimates = sorted(tone for column in columns if (tone := fitzpatrick(said.get(column, ""))))
    if estimates:
        return estimates[(len(estimates) - 1) // 2]
    return fitzpatrick(case.get("fitzpatrick_skin_type", ""))


def _extra(case: dict[str, str], said: dict[str, str], number: int) -> dict[str, str]:
    india, us = (monk(said.get(f"monk_skin_tone_label_{place}", "")) for place in ("india", "us"))
    return {
        "skin_tone_self": fitzpatrick(case.get("fitzpatrick_skin_type", "")),
        "skin_tone_monk_india": india,
        "skin_tone_monk_us": us,
        "age_group": case.get("age_group", ""),
        "shot": case.get(f"image_{number}_shot_type", ""),
        "weights": said.get("weighted_skin_condition_label", ""),
    }
