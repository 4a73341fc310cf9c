"""A finding as HTML: what is read first, what is folded below it, and the page that one keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from PIL import Image

from calcinosis.model.config import CheckpointConfig
from calcinosis.model.context import GROUPS, known_contexts
from calcinosis.model.finding import Finding, Shown
from calcinosis.model.heatmap import overlay, seen
from calcinosis.model.labels import LABELS
from calcinosis.page.render import as_data_uri, as_picture, render
from calcinosis.page.validation_stats import Figure
from calcinosis.page.words import Words, words


@dataclass(frozen=True)
class Reader:
    """What a finding is told with, whatever the photo.

    Attributes:
        config: of the checkpoint.
        prior: the chances that were assumed.
        record: how often its prediction sets held the true label.
    """

    config: CheckpointConfig
    prior: Sequence[float]
    record: Mapping[str, Figure] = field(default_factory=lambda: MappingProxyType({}))


def finding(finding: Finding, photos: Sequence[Image.Image], reader: Reader, language: str) -> str:
    """A finding of photos: what is read first, and the rest folded in the order of use."""
    values = told(finding, reader, language)
    if finding.problem:
        return render("finding", language, pairs=[], **values)
    pairs = [
        {
            "photo": as_picture(seen(photo, heat_map)),
            "heat_map": as_picture(overlay(photo, heat_map)),
        }
        for photo, heat_map in zip(photos, finding.heat_maps, strict=True)
        if heat_map
    ]
    today = datetime.now(UTC).date().isoformat()
    values |= {"date": today, "file_name": f"calcinosis-{today}.html"}
    report, report_with_photo = (
        as_data_uri("text/html", render("report", language, pairs=shown, **values))
        for shown in ([], pairs)
    )
    reports = {"report": report, "report_with_photo": report_with_photo}
    return render("finding", language, pairs=pairs, **reports, **values)


def told(finding: Finding, reader: Reader, language: str) -> dict[str, Any]:
    """What the templates of a finding are filled with, but for pictures."""
    labels = reader.config.labels
    say = words(language, labels)
    frequency = finding.frequency_text
    return {
        "say": say,
        "finding": finding,
        "frequency": "" if finding.headline.startswith(frequency) else frequency,
        "unnamed": [label for label in labels if label not in finding.prediction_set],
        "coverage": [] if finding.problem else _coverage(finding, say),
        "record": _record(reader.record, say),
        "chances": _chances(finding, labels, reader.prior, say),
        "panel": json.dumps(_panel(finding, labels, reader.prior, say)),
        "contexts": _contexts(labels),
    }


def share(shown: Shown, say: Words) -> str:
    """A probability in whole percent, never bolder than it may be shown."""
    percent = f"{round(100 * shown.value)}\u00a0%"
    return say(f"finding.{shown.bound}", share=percent) if shown.bound else percent


def _chances(
    finding: Finding, labels: Sequence[str], prior: Sequence[float], say: Words
) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "before": round(before, 4),
            "before_text": share(Shown(before), say),
            "after": round(finding.probabilities[label], 4),
            "after_text": share(finding.shown.get(label, Shown(before)), say),
        }
        for label, before in zip(labels, prior, strict=True)
    ]


def _panel(
    finding: Finding, labels: Sequence[str], prior: Sequence[float], say: Words
) -> dict[str, Any]:
    """What the browser works Bayes' rule with."""
    coverage = finding.coverage
    return {
        "labels": [say.label(label) for label in labels],
        "before": list(prior),
        "after": [finding.probabilities[label] for label in labels],
        "few": [label not in coverage or coverage[label].few for label in labels],
        "below": say.table["finding"]["below"],
        "above": say.table["finding"]["above"],
        "now": f"{say.table['context']['now']} {say('reasons.context')}",
        "known": {
            name: {"group": known.group, "factors": [known.factors[label] for label in labels]}
            for name, known in known_contexts().items()
            if tuple(labels) == LABELS
        },
    }


def _contexts(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What may be known, by group; nothing for labels of somebody else's."""
    if tuple(labels) != LABELS:
        return {}
    table = known_contexts()
    return {
        group: {name: known for name, known in table.items() if known.group == group}
        for group in GROUPS
    }


def _coverage(finding: Finding, say: Words) -> list[str]:
    lines = []
    for label, told in finding.coverage.items():
        nominal = f"{100 * told.nominal:.3g}\u00a0%"
        line = say("finding.coverage_line", label=say.label(label), nominal=nominal)
        if told.lower is not None and told.patients is not None:
            lower = f"{100 * told.lower:.3g}\u00a0%"
            line += " " + say("finding.coverage_bound", lower=lower, patients=told.patients)
        elif told.unbounded:
            line += " " + say("finding.coverage_unbounded", patients=told.patients or 0)
        lines.append(line)
    return lines


def _record(record: Mapping[str, Figure], say: Words) -> list[str]:
    return [
        say(
            "finding.record_line",
            label=say.label(label),
            count=round(figure.value * figure.n),
            total=figure.n,
            low=f"{100 * figure.low:.3g}\u00a0%",
            high=f"{100 * figure.high:.3g}\u00a0%",
        )
        for label, figure in record.items()
    ]
