"""The plots of a report, each as one inline SVG that scales to its page."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from calcinosis.training.evaluate.metrics.kernels import Array

# Okabe and Ito's palette: told apart with any colour vision. Dashes tell them apart in grey.
COLOURS: Final = ("#d55e00", "#0072b2", "#009e73", "#4d4d4d", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: Final = ("solid", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), "dotted")
WIDTH: Final = 3.9
"""Inches of a plot: as wide as a phone, so that its words stay readable there."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "calcinosis",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def colour(index: int) -> str:
    """The colour of a label, by its place in the label set."""
    return COLOURS[index % len(COLOURS)]


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element that a screen reader announces by its description.

    Ids are prefixed with the name: several plots share one page.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    label = f'<svg role="img" aria-label="{escape(description, quote=True)}"'
    return text.replace("<svg", label, 1)


def _shares(axes: Axes, *, x: str, y: str) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def reliability(
    name: str, description: str, stated: Array, found: Array, low: Array, high: Array, shade: str
) -> str:
    """Stated probability against found frequency, a point per bin with its interval."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(3.6)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="dashed")
        axes.vlines(stated, low, high, color=shade, linewidth=1.2, alpha=0.6)
        axes.plot(stated, found, "o", color=shade, markersize=5)
        _shares(axes, x="probability stated", y="photos that were so")
        axes.set_aspect("equal")
        return _svg(figure, name, description)


def curves(
    name: str,
    description: str,
    lines: Sequence[tuple[str, Array, Array]],
    *,
    x: str,
    y: str,
    diagonal: bool = False,
    top: float | None = 1.0,
) -> str:
    """Curves of (words, x, y) with a legend below; `top` None lets the highest point set the axis."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(3.5 + 0.2 * len(lines))
        if diagonal:
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="dashed")
        for index, (words, across, up) in enumerate(lines):
            axes.plot(
                across,
                up,
                color=colour(index),
                linestyle=DASHES[index % len(DASHES)],
                label=words,
            )
        _shares(axes, x=x, y=y)
        if top is None:
            highest = max((float(np.nanmax(up)) for _, _, up in lines if len(up)), default=0)
            axes.set_ylim(0, max(0.05, min(1.0, highest * 1.1)))
        if lines:
            figure.legend(loc="outside lower left", fontsize=8.5)
        return _svg(figure, name, description)


def learning(
    name: str,
    description: str,
    lines: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]],
) -> str:
    """A line per label: for each number of groups, the mean, lowest and highest figure learnt from them."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(3.6)
        for place, (words, points) in enumerate(lines):
            counts, means, lowest, highest = zip(*points, strict=True)
            dash, shade = DASHES[place % len(DASHES)], colour(place)
            axes.plot(counts, means, "o", markersize=4, linestyle=dash, color=shade, label=words)
            axes.fill_between(counts, lowest, highest, color=shade, alpha=0.15, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("patients or pictures of the condition")
        axes.set_ylabel("area under the ROC curve")
        axes.legend(loc="lower right", fontsize=8.5)
        return _svg(figure, name, description)


def stacked_shares(
    name: str, description: str, rows: Sequence[str], parts: Sequence[str], shares: Array
) -> str:
    """One bar per row, divided into parts: shares (rows, parts)."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(1.3 + 0.42 * len(rows))
        left = np.zeros(len(rows))
        greys = np.linspace(0.85, 0.25, max(len(parts), 2))
        for index, part in enumerate(parts):
            width = shares[:, index]
            shade = str(greys[index])
            axes.barh(range(len(rows)), width, left=left, color=shade, label=part, height=0.7)
            for row in np.flatnonzero(width >= 0.12):
                axes.text(
                    left[row] + width[row] / 2,
                    float(row),
                    f"{width[row]:.0%}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="black" if greys[index] > 0.5 else "white",
                )
            left = left + width
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside lower left", ncols=len(parts), fontsize=8.5)
        return _svg(figure, name, description)


def forest(
    name: str,
    description: str,
    rows: Sequence[tuple[str, dict[str, Any], int]],
    *,
    x: str,
    percent: bool,
) -> str:
    """A row per group: (words, figure, place of its label), value as a dot, interval as a line."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(0.9 + 0.25 * len(rows))
        for row, (_, stated, label) in enumerate(rows):
            axes.hlines(row, stated["low"], stated["high"], color=colour(label), linewidth=2)
            axes.plot(stated["value"], row, "o", color=colour(label), markersize=5)
        axes.set_yticks(range(len(rows)), [words for words, _, _ in rows], fontsize=8.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        lowest = min(stated["low"] for _, stated, _ in rows)
        axes.set_xlim(-0.02 if percent else min(0.48, lowest - 0.02), 1.02)
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel(x)
        return _svg(figure, name, description)
