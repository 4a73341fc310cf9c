"""The report of an evaluation: one HTML page for a clinician, without scripts or photographs.

A function per section computes what its template of the same name in `templates/report` shows.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from calcinosis.common.files import atomic_write
from calcinosis.training.evaluate.bootstrap import groups_worth, wilson_interval
from calcinosis.training.evaluate.metrics import kernels
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.evaluate.metrics.kernels import Array
from calcinosis.training.evaluate.metrics.registry import FEW_GROUPS, Sample, conditions_only
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.report import plots
from calcinosis.training.report.figures import external_figures, list_figures
from calcinosis.training.report.formatting import format_estimate, plain_name, plain_tone, render
from calcinosis.training.robustness.skin_tone import PREFIX, TONES

Metrics = dict[str, Any]
Context = dict[str, Any]

HEADLINE: Final = (
    "suggestive.false_rate",
    "suggestive.false_rate_malignant",
    "three_way_balanced_accuracy",
    "balanced_accuracy",
    "ece",
    "conformal.mean_set_size",
    "three_way.selective.risk_at_80",
)
SUGGESTIVE: Final = (
    "suggestive.precision.*",
    "suggestive.false_rate",
    "suggestive.false_rate_malignant",
)
GROUPS: Final = (
    ("by_source", "source"),
    ("by_skin_tone", "skin tone"),
    ("by_body_site", "body site"),
)


def write_report(metrics: Metrics, predictions: Predictions, path: Path) -> None:
    """Write one self-contained HTML page.

    Args:
        metrics: what `compute_metrics` gave for these predictions.
        predictions: the table, for the curves.
        path: the file to write, such as `run/report.html`.
    """
    sections = [_section(name, metrics, predictions) for name in SECTIONS]
    atomic_write(path, render("report/page.html", sections=sections).encode())


def report_section(name: str, metrics: Metrics, predictions: Predictions) -> str:
    """One section of the report as HTML that brings its own style, for a notebook.

    Args:
        name: one of `SECTIONS`.
        metrics: what `compute_metrics` gave for these predictions.
        predictions: the table, for the curves.
    """
    style = "background: #fff; color: #1b1b1b; padding: .2rem 1rem; font: 1rem/1.55 system-ui, sans-serif"
    content = _section(name, metrics, predictions)
    css = render("report/parts.css")
    return f'<div class="report" style="{style}"><style>.report {{{css}}}</style>{content}</div>'


def _section(name: str, metrics: Metrics, predictions: Predictions) -> Markup:
    context = SECTIONS[name](metrics, predictions)
    if context is None:
        return Markup()
    return Markup(render(f"report/{name}.html", metrics=metrics, **context))  # noqa: S704 - a template escapes


def _headline(metrics: Metrics, predictions: Predictions) -> Context:
    return {
        "external": [
            [what, row.title, row.text, row.figure["n"]] for what, row in external_figures(metrics)
        ],
        "repeated": [
            [r.title, r.text] for r in list_figures(metrics.get("repeated") or {}, HEADLINE)
        ],
        "rows": [[row.title, row.text] for row in list_figures(metrics, HEADLINE)],
        "per_label": [
            [
                plain_name(label),
                count,
                format_estimate(find_figure(metrics, f"sensitivity.{label}"), percent=True),
                format_estimate(find_figure(metrics, f"specificity.{label}"), percent=True),
            ]
            for label, count in metrics["label_counts"].items()
        ],
    }


def _confusion(metrics: Metrics, predictions: Predictions) -> Context:
    return {}


def _ranking(metrics: Metrics, predictions: Predictions) -> Context:
    ones = np.ones((len(predictions), 1))
    rocs, precisions = [], []
    for index, label in enumerate(predictions.labels):
        score, own = predictions.probabilities[:, index], predictions.label == index
        if own.all() or not own.any():
            continue
        found, false = kernels.operating_points(score, own, ones)
        rocs.append((plain_name(label), np.append(0.0, false[:, 0]), np.append(0.0, found[:, 0])))
        accepted = kernels.accepted_weight(score, np.ones_like(score), ones)[:, 0]
        precision = kernels.accepted_weight(score, own, ones)[:, 0] / accepted
        precisions.append((plain_name(label), found[:, 0], precision))
    roc = plots.curves(
        "roc",
        "ROC curves; the areas are in the table below",
        rocs,
        x="false alarms (1 - specificity)",
        y="found (sensitivity)",
        diagonal=True,
    )
    recall = plots.curves(
        "precision",
        "Precision-recall curves; the average precision is in the table below",
        precisions,
        x="found (recall)",
        y="right when named (precision)",
    )
    fixed = metrics["sensitivity_at_specificity"]
    return {
        "drawn": [("ROC curve per label", roc), ("Precision and recall per label", recall)],
        "fixed_heads": [
            f"Sensitivity at {float(name):.0%} specificity" for name in fixed[metrics["labels"][0]]
        ],
        "rows": [
            [
                plain_name(label),
                *(
                    format_estimate(find_figure(metrics, f"{name}.{label}"))
                    for name in ("auroc", "auroc_lookalike", "average_precision")
                ),
                *(format_estimate(figure, percent=True) for figure in fixed[label].values()),
            ]
            for label in metrics["labels"]
        ],
    }


def _calibration(metrics: Metrics, predictions: Predictions) -> Context:
    prior = metrics["prior"]
    frequencies = None if prior is None else np.asarray(prior, dtype=np.float64)
    weight = Sample(predictions, np.ones((len(predictions), 1)), frequencies).prior_weight
    if prior is None or np.isnan(weight).any():
        weight = np.ones(len(predictions))
        assumed = "at the label frequencies of these photographs"
    else:
        parts = zip(metrics["labels"], prior, strict=True)
        assumed = "as if the labels were as frequent as the probabilities assume (" + (
            ", ".join(f"{plain_name(label)} {share:.1%}" for label, share in parts) + ")"
        )
    drawn, rows = [], []
    for index, label in enumerate(predictions.labels):
        bins = _reliability_bins(predictions, index, weight)
        words = plain_name(label)
        description = f"Stated probability of {words} against frequency; numbers in the table below"
        stated, found, low, high = np.array([row[1:] for row in bins]).T
        picture = plots.reliability(
            f"reliability{index}", description, stated, found, low, high, plots.colour(index)
        )
        drawn.append((words.capitalize(), picture))
        rows += [
            [words, count, f"{stated:.1%}", f"{found:.1%} ({low:.1%} to {high:.1%})"]
            for count, stated, found, low, high in bins
        ]
    return {"assumed": assumed, "drawn": drawn, "rows": rows}


def _reliability_bins(
    predictions: Predictions, label: int, weight: Array
) -> list[tuple[int, float, float, float, float]]:
    """A row per bin: photos, mean stated, share found, and about where that share may lie.

    The interval is Wilson's with the number of patients that unequal weights are worth.
    """
    stated, own = predictions.probabilities[:, label], predictions.label == label
    bin_of = kernels.equal_mass_bins(stated, weight)
    groups = np.array(predictions.group)
    rows = []
    for number in np.unique(bin_of):
        here = bin_of == number
        w = weight[here]
        if not w.sum() > 0:
            continue
        found = float(np.average(own[here], weights=w))
        worth = groups_worth(groups[here], w)
        low, high = wilson_interval(found * worth, worth)
        rows.append((int(here.sum()), float(np.average(stated[here], weights=w)), found, low, high))
    return rows


def _selective(metrics: Metrics, predictions: Predictions) -> Context:
    lines, rows = [], []
    targets, conditions = conditions_only(Sample(predictions, np.ones((len(predictions), 1))))
    for words, table, p in (
        ("All photographs, all labels", predictions, predictions.probabilities),
        ("Photographs of the conditions, among the conditions", targets.predictions, conditions),
    ):
        if not len(table):
            continue
        confidence, wrong = p.max(axis=1), p.argmax(axis=1) != table.label
        ones = np.ones((len(table), 1))
        coverage, risk = kernels.risk_coverage(confidence, wrong, ones)
        # The first few photos alone make any rate; leave them out of the drawing.
        shown = coverage[:, 0] >= min(1.0, 10 / len(table))
        lines.append((words, coverage[shown, 0], risk[shown, 0]))
        shares = [
            float(kernels.selective_risk(c, confidence, wrong, ones)[0]) for c in (0.5, 0.8, 0.9, 1)
        ]
        rows.append([words, *(f"{share:.1%}" for share in shares)])
    picture = plots.curves(
        "risk",
        "Share of wrong answers when only the most confident photos are answered; table below",
        lines,
        x="photographs answered, most confident first",
        y="answers that are wrong",
        top=None,
    )
    return {"drawn": [("Risk and coverage", picture)], "rows": rows}


def _prediction_sets(metrics: Metrics, predictions: Predictions) -> Context:
    sizes = predictions.prediction_set.sum(axis=1)
    counts = list(range(int(sizes.min()), int(sizes.max()) + 1))
    names, shares, rows = [], [], []
    for index, label in enumerate(predictions.labels):
        own = sizes[predictions.label == index]
        if not len(own):
            continue
        names.append(plain_name(label))
        shares.append([float((own == size).mean()) for size in counts])
        held = find_figure(metrics, f"conformal.coverage.{label}")
        rows.append(
            [
                plain_name(label),
                len(own),
                format_estimate(held, percent=True),
                f"{own.mean():.2f}",
                *(f"{share:.1%}" for share in shares[-1]),
            ]
        )
    words = [{0: "no label", 1: "1 label"}.get(size, f"{size} labels") for size in counts]
    description = "Shares of photos by the size of their prediction set; numbers in the table below"
    picture = plots.stacked_shares("sizes", description, names, words, np.array(shares))
    return {"drawn": [("Size of the prediction sets", picture)], "sizes": words, "rows": rows}


def _decisions(metrics: Metrics, predictions: Predictions) -> Context | None:
    outcomes = metrics["outcomes"]
    if not outcomes:
        return None
    names = list(next(iter(outcomes.values())))
    return {
        "names": [name.replace("_", " ") for name in names],
        "rows": [
            [plain_name(label), *(counts[name] for name in names)]
            for label, counts in outcomes.items()
        ],
        "suggestive": [
            [row.title, row.text, row.figure["n"]] for row in list_figures(metrics, SUGGESTIVE)
        ],
    }


def _groups(metrics: Metrics, predictions: Predictions) -> Context:
    return {
        "groups": [
            _forests(field, title, metrics[field], metrics["labels"])
            for field, title in GROUPS
            if metrics.get(field)
        ]
    }


def _forests(field: str, title: str, groups: Metrics, labels: Sequence[str]) -> Context:
    """The plots and rows of one way to divide the photos."""
    order = [PREFIX + tone for tone, _ in TONES]
    names = sorted(groups, key=lambda name: (order.index(name) if name in order else -1, name))
    drawn, rows = [], []
    for family, words, percent in (
        ("sensitivity", "Found when present", True),
        ("auroc", "Area under the ROC curve", False),
    ):
        lines = []
        for index, label in enumerate(labels):
            for name in names:
                figure = find_figure(groups[name], f"{family}.{label}")
                if figure is None or figure["value"] is None:
                    continue
                count = groups[name]["label_counts"][label]
                group = plain_tone(name) if field == "by_skin_tone" else name
                if figure["low"] is None:
                    text = f"not shown: {figure['reason']}"
                else:
                    text = format_estimate(figure, percent=percent)
                    lines.append((f"{plain_name(label)}, {group} ({count})", figure, index))
                rows.append([words, plain_name(label), group, count, text])
        if lines:
            axis = words[0].lower() + words[1:]
            description = f"{words} by {title}; numbers in the table below"
            picture = plots.forest(f"{field}-{family}", description, lines, x=axis, percent=percent)
            drawn.append((f"{words}, by {title} (photographs of the label)", picture))
    return {
        "title": title,
        "estimated": any(name.startswith(PREFIX) for name in names),
        "drawn": drawn,
        "rows": rows,
        "small": [f"{name} ({groups[name]['n']})" for name in names if "reason" in groups[name]],
    }


def _lookalikes(metrics: Metrics, predictions: Predictions) -> Context | None:
    conditions = metrics.get("by_lookalike", {})
    if not conditions:
        return None
    background = metrics["labels"][-1]

    def place(item: tuple[str, Metrics]) -> tuple[bool, float]:
        return item[1].get("groups", 0) < FEW_GROUPS, -item[1]["taken_for_condition"]["value"]

    rows = []
    for name, row in sorted(sorted(conditions.items()), key=place):
        taken = [
            f"{plain_name(label)} {count}"
            for label, count in row["called"].items()
            if count and label != background
        ]
        text = format_estimate(row["taken_for_condition"], percent=True)
        rows.append([name.replace("_", " "), row["n"], text, ", ".join(taken) or "none"])
    return {"rows": rows, "few_groups": FEW_GROUPS}


def _learning(metrics: Metrics, predictions: Predictions) -> Context | None:
    curve = metrics.get("learning_curve")
    if not curve:
        return None
    rows = [
        (
            plain_name(label),
            point["groups"][label],
            *(point["auroc"][label][key] for key in ("mean", "lowest", "highest")),
            point["repeats"],
        )
        for label in curve[0]["auroc"]
        for point in curve
    ]
    lines = [
        (name, [row[1:5] for row in rows if row[0] == name])
        for name in dict.fromkeys(row[0] for row in rows)
    ]
    description = "Area under the ROC curve by patients learnt from; numbers in the table below"
    return {
        "drawn": [("Learning curve", plots.learning("learning", description, lines))],
        "rows": [
            [name, groups, f"{mean:.3f}", f"{lowest:.3f} to {highest:.3f}", repeats]
            for name, groups, mean, lowest, highest, repeats in rows
        ],
    }


def _method(metrics: Metrics, predictions: Predictions) -> Context:
    folds = len({int(fold) for fold in predictions.fold if fold >= 0})
    return {"folds": folds, "few_groups": FEW_GROUPS}


SECTIONS: Final[Mapping[str, Callable[[Metrics, Predictions], Context | None]]] = MappingProxyType(
    {
        "headline": _headline,
        "decisions": _decisions,
        "confusion": _confusion,
        "ranking": _ranking,
        "calibration": _calibration,
        "selective": _selective,
        "prediction_sets": _prediction_sets,
        "groups": _groups,
        "lookalikes": _lookalikes,
        "learning": _learning,
        "method": _method,
    }
)
"""The report's sections by name, in their order; None leaves one out."""
