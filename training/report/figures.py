"""The figures that report and card list, with their titles."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from calcinosis.training.evaluate.metrics.compute import METRICS, listed_metrics
from calcinosis.training.evaluate.metrics.registry import Metric, metric_of
from calcinosis.training.report.formatting import format_estimate, plain_name

_FALSE_ALARMS: Final = ("suggestive.false_rate", "suggestive.false_rate_malignant")
EXTERNAL: Final = (
    *_FALSE_ALARMS,
    "suggestive.precision",
    "auroc",
    "sensitivity",
    "conformal.coverage",
)
"""What is listed of sources and sites that a recipe had not learnt from."""


class Listed(NamedTuple):
    """One figure as a row of a table.

    Attributes:
        name: dotted, with the label's name at its end where it has one.
        title: what it says, with the label in words.
        figure: `{"value", "low", "high", "n"}`.
        text: value and interval in words.
    """

    name: str
    title: str
    figure: dict[str, Any]
    text: str


def list_figures(metrics: dict[str, Any], names: Sequence[str] | None = None) -> Iterator[Listed]:
    """The figures with these names that were computed, in their order; all that are listed unless given.

    Titles and formats are the metrics' own. A name that ends in `*` stands for all figures of a metric,
    and so does a metric's name.
    """
    listed = [metric.name for metric in listed_metrics()]
    for name in listed if names is None else (name.removesuffix(".*") for name in names):
        metric = METRICS.get(name) or metric_of(name)
        if metric is None:
            raise KeyError(f"no metric is named {name}")
        for full, figure in _figures(metrics, name):
            label = full.removeprefix(metric.name).removeprefix(".")
            title = f"{metric.title}: {plain_name(label)}" if label else metric.title
            yield Listed(full, title, figure, _text(metric, figure))


def averaged(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics with each figure as its mean over repeated cross-validations, where there were several."""
    repeated: dict[str, Any] = metrics.get("repeated") or {}
    return metrics | repeated


def external_figures(
    metrics: dict[str, Any], names: Sequence[str] = EXTERNAL
) -> Iterator[tuple[str, Listed]]:
    """What was left out of training, and each figure on it that could be computed.

    Where a source's `other` alone was left out, only what was made of that, and how the conditions' photos, whose
    sources had been learnt, rank against it.
    """
    other = metrics["labels"][-1]
    of_other = (*_FALSE_ALARMS, f"sensitivity.{other}", f"conformal.coverage.{other}")
    for title, block, whole in _left_out(metrics):
        for row in list_figures(block, names):
            is_of_it = whole or row.name in of_other or row.name.startswith("auroc.")
            if is_of_it and row.figure["value"] is not None:
                yield title, row


def _left_out(metrics: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """What was left out, in words; the block of figures on it; and whether conditions were left out too."""
    for source, block in (metrics.get("leave_other_out") or {}).items():
        yield f"{plain_name(metrics['labels'][-1])} from {source}, no condition", block, False
    for source, block in (metrics.get("leave_source_out") or {}).items():
        yield f"all photos from {source}", block, True
    for label, sites in (metrics.get("leave_site_out") or {}).items():
        for site, block in sites.items():
            yield f"{plain_name(label)}, {plain_name(site)}", block, True


def _figures(metrics: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures at a name, or directly below it."""
    node: Any = metrics
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and "value" in node:
        yield name, node
    elif isinstance(node, dict):
        for last, figure in node.items():
            if isinstance(figure, dict) and "value" in figure:
                yield f"{name}.{last}", figure


def _text(metric: Metric, figure: dict[str, Any]) -> str:
    if metric.counts and figure["value"] is not None:
        return f"{figure['value']:,.0f}"
    return format_estimate(figure, percent=metric.percent)
