"""The figures that the README and the documentation state, taken from the shipped checkpoint's own.

python -m docs.figures    # puts them into the README again, after a checkpoint was replaced
"""

import json
from pathlib import Path
from typing import Any, Final

from calcinosis.model.config import SHIPPED
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.report.figures import EXTERNAL, averaged, external_figures, list_figures
from calcinosis.training.report.formatting import format_estimate, markdown_table, plain_name

README: Final = Path(__file__).parents[1] / "README.md"
BEGIN: Final = "<!-- figures: written by docs/figures.py -->"
END: Final = "<!-- end of figures -->"

_SUMMARY: Final = (
    ("suggestive.precision", "Shows it, of the photos called suggestive of it", True),
    ("sensitivity", "Most probable label when present (sensitivity)", True),
    ("average_precision", "Average precision against all other photos", False),
    ("auroc", "AUROC against all other photos", False),
    ("conformal.coverage", "On its list when present (coverage of the prediction set)", True),
)


def read_metrics(checkpoint: Path = SHIPPED) -> dict[str, Any]:
    """The figures of a checkpoint, from its `metrics.json`."""
    metrics: dict[str, Any] = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def summary(metrics: dict[str, Any]) -> str:
    """The figures on left-out sources first, then a column per condition, then those of all labels together."""
    metrics = averaged(metrics)
    conditions = metrics["labels"][:-1]
    counts = metrics["label_counts"]
    head = [f"{plain_name(label)} ({counts[label]:,} photos)" for label in conditions]
    rows: list[list[str]] = []
    for family, words, percent in _SUMMARY:
        figures = [find_figure(metrics, f"{family}.{label}") for label in conditions]
        texts = [format_estimate(figure, percent=percent) for figure in figures]
        if family == "suggestive.precision":
            texts = [_of_named(figure) for figure in figures]
        # A row that says the same as one above it says nothing.
        if any(figures) and texts not in [row[1:] for row in rows]:
            rows.append([words, *texts])
    wrong = [
        f"{row.title}: {row.text} of {row.figure['n']:,}."
        for row in list_figures(metrics, ("suggestive.precision.deposit", *EXTERNAL[:2]))
        if row.figure["value"] is not None
    ]
    three, every = (
        format_estimate(find_figure(metrics, name), percent=True)
        for name in ("three_way_balanced_accuracy", "balanced_accuracy")
    )
    return "\n".join(
        [
            *external(metrics),
            f"Cross-validated on {metrics['n']:,} photographs of {metrics['groups']:,} patients or pictures of the "
            f"sources learnt from, no patient split (in brackets the 95 % interval, over patients){_repeats(metrics)}:",
            "",
            markdown_table(["", *head], rows),
            "",
            " ".join(
                [
                    *wrong,
                    f"Balanced accuracy: {three} among the conditions, {every} among all labels.",
                ]
            ),
        ]
    )


def _repeats(metrics: dict[str, Any]) -> str:
    repeats = metrics.get("repeats", 1)
    told = f"; each figure is the mean over {repeats} such rounds with other folds, *of* counts photos in the first"
    return told if repeats > 1 else ""


def _of_named(figure: dict[str, Any] | None) -> str:
    """A share of the photos that were called something, with their number."""
    if figure is not None and figure["n"] == 0:
        return "none is called so"
    text = format_estimate(figure, percent=True)
    return text if figure is None else f"{text} of {figure['n']}"


def external(metrics: dict[str, Any]) -> list[str]:
    """The table of what was left out of training and then predicted: a row a figure, a column for what was left out."""
    names = (*EXTERNAL[:4], "conformal.coverage")
    cells: dict[str, dict[str, str]] = {}
    for left_out, row in external_figures(metrics, names):
        of = f" of {row.figure['n']:,}" if "%" in row.text else ""
        cells.setdefault(row.title, {})[left_out] = row.text + of
    if not cells:
        return []
    columns = list(dict.fromkeys(left_out for row in cells.values() for left_out in row))
    rows = [
        [title, *(row.get(left_out, "–") for left_out in columns)] for title, row in cells.items()
    ]
    head = ["Left out of training:", *columns]
    return ["On what it had not learnt from:", "", markdown_table(head, rows), ""]


def every_figure(metrics: dict[str, Any]) -> str:
    """Every figure that the card states, one a row, with its interval."""
    rows = [
        [row.title, row.text, f"{row.figure['n']:,}"] for row in list_figures(averaged(metrics))
    ]
    return markdown_table(["Figure", "Value (95 % interval)", "Photos"], rows)


def with_figures(readme: str, metrics: dict[str, Any]) -> str:
    """The README's text with the summary between its two marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{summary(metrics)}\n{END}{after}"


if __name__ == "__main__":
    text = with_figures(README.read_text(encoding="utf-8"), read_metrics())
    README.write_text(text, encoding="utf-8")
