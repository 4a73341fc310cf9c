"""The figures that the README and the documentation state, taken from the shipped checkpoint's own.

python docs/figures.py    # puts them into the README again, after a checkpoint was replaced
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from calcinosis.model.config import SHIPPED
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.report.figures import list_figures
from calcinosis.training.report.formatting import format_estimate, plain_name

README: Final = Path(__file__).parents[1] / "README.md"
BEGIN: Final = "<!-- figures: written by docs/figures.py -->"
END: Final = "<!-- end of figures -->"

_SUMMARY: Final = (
    ("auroc", "Ranks a photo of it above another one (AUROC)", False),
    ("sensitivity", "Named when present", True),
    ("specificity", "Not named when absent", True),
    ("conformal.coverage", "Kept in the list of what cannot be excluded", True),
)


def read_metrics(checkpoint: Path = SHIPPED) -> dict[str, Any]:
    """The figures of a checkpoint, from its `metrics.json`."""
    metrics: dict[str, Any] = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def summary(metrics: dict[str, Any]) -> str:
    """A column a condition, and below the table the figures of all labels together."""
    conditions = metrics["labels"][:-1]
    counts = metrics["label_counts"]
    head = [f"{plain_name(label)} ({counts[label]:,} photos)" for label in conditions]
    rows = [
        [
            words,
            *(_said(find_figure(metrics, f"{family}.{label}"), percent) for label in conditions),
        ]
        for family, words, percent in _SUMMARY
    ]
    three = _said(find_figure(metrics, "three_way_balanced_accuracy"), percent=True)
    every = _said(find_figure(metrics, "balanced_accuracy"), percent=True)
    return "\n".join(
        [
            table(["", *head], rows),
            "",
            f"Told apart rightly, each condition counting alike: {three} among the three, {every} with "
            f"something else as a fourth. {metrics['n']:,} photographs of {metrics['groups']:,} patients or "
            "pictures; in brackets the 95 % interval, over resampled patients.",
        ]
    )


def every_figure(metrics: dict[str, Any]) -> str:
    """Every figure that the card states, one a row, with its interval."""
    rows = [[row.title, row.text, f"{row.figure['n']:,}"] for row in list_figures(metrics)]
    return table(["Figure", "Value (95 % interval)", "Photos"], rows)


def _said(figure: dict[str, Any] | None, percent: bool) -> str:
    return format_estimate(figure, percent=percent)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(head), "|".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def with_figures(readme: str, metrics: dict[str, Any]) -> str:
    """The README's text with the summary between its two marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{summary(metrics)}\n{END}{after}"


if __name__ == "__main__":
    text = with_figures(README.read_text(encoding="utf-8"), read_metrics())
    README.write_text(text, encoding="utf-8")
