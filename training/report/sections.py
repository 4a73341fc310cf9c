"""The report of an evaluation: one HTML page for a clinician, without scripts or photographs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from calcinosis.training.evaluate.bootstrap import wilson_interval
from calcinosis.training.evaluate.metrics import kernels as measures
from calcinosis.training.evaluate.metrics.kernels import Array
from calcinosis.training.evaluate.metrics.registry import FEW_GROUPS, Sample, find_figure
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.report import plots
from calcinosis.training.report.formatting import format_estimate, plain_name, plain_tone
from calcinosis.training.robustness.skin_tone import PREFIX, TONES

Metrics = dict[str, Any]

_PAGE_STYLE: Final = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.25rem; color: #1b1b1b; background: #fff;
  font: 1rem/1.55 system-ui, sans-serif; }
@media (max-width: 30rem) { body { padding: .9rem; } }
"""
_PARTS_STYLE: Final = """
h1 { font-size: 1.7rem; line-height: 1.2; margin: .2rem 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; padding-top: .9rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
figure h3 { margin-top: 0; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.notice { border-left: .3rem solid #b45309; background: #fff7ed; padding: .7rem 1rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.2rem; align-items: start; }
figure { margin: 0; max-width: 30rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; margin: .3rem 0; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e6e6e6; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.confusion td { text-align: center; padding: .45rem .6rem; border: 1px solid #fff; }
.muted { color: #595959; }
details { margin: .3rem 0 1rem; }
summary { cursor: pointer; color: #1d4ed8; }
@media print { details > * { display: block; } }
@media (max-width: 30rem) { table { font-size: .82rem; }
  th, td { padding-right: .45rem; } th.number { white-space: normal; }
  table.confusion td { padding: .35rem .15rem; } }
"""


def write_report(metrics: Metrics, predictions: Predictions, path: Path) -> None:
    """Write one self-contained HTML page.

    Args:
        metrics: what `compute_metrics` gave for these predictions.
        predictions: the table, for the curves.
        path: the file to write, such as `run/report.html`.
    """
    body = "\n".join(_section(name, metrics, predictions) for name in SECTIONS)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation report</title>
<style>{_PAGE_STYLE}{_PARTS_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
""",
        encoding="utf-8",
    )
    partial.replace(path)


def report_section(name: str, metrics: Metrics, predictions: Predictions) -> str:
    """One section of the report as HTML that brings its own style, for a notebook.

    Args:
        name: one of `SECTIONS`.
        metrics: what `compute_metrics` gave for these predictions.
        predictions: the table, for the curves.
    """
    style = "background: #fff; color: #1b1b1b; padding: .2rem 1rem; font: 1rem/1.55 system-ui, sans-serif"
    content = _section(name, metrics, predictions)
    return f'<div class="report" style="{style}"><style>.report {{{_PARTS_STYLE}}}</style>{content}</div>'


def _section(name: str, metrics: Metrics, predictions: Predictions) -> str:
    return "\n".join(part for part in SECTIONS[name](metrics, predictions) if part)


def _headline(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    counts = ", ".join(
        f"{count:,} of {plain_name(label)}" for label, count in metrics["label_counts"].items()
    )
    yield "<h1>How well does the model tell the conditions apart?</h1>"
    yield (
        '<p class="notice"><strong>For education and research.</strong> The figures describe '
        "photographs collected for this evaluation, not the patients of any clinic. The model "
        "does not diagnose: a clinician does, with examination and tests.</p>"
    )
    yield (
        f"<p>{metrics['n']:,} photographs of {metrics['groups']:,} patients or pictures: "
        f"{escape(counts)}. Every range below is a 95 % interval: with as many other patients, "
        "the figure could easily have come out anywhere within it.</p>"
    )
    names = [
        (
            "three_way_balanced_accuracy",
            True,
            "Told apart rightly among the conditions, each counting alike",
        ),
        ("balanced_accuracy", True, "Called rightly among all labels, each counting alike"),
        ("ece", False, "Mean gap between stated probability and frequency (0 is best)"),
        ("conformal.mean_set_size", False, "Labels in a prediction set, on average (1 is best)"),
        (
            "three_way.selective.risk_at_80",
            True,
            "Wrong among the most_confident 80 % of photos of the conditions",
        ),
    ]
    rows = [
        [words, format_estimate(find_figure(metrics, name), percent=percent)]
        for name, percent, words in names
    ]
    yield _table(["What", "Figure (95 % interval)"], rows, numbers=())
    per_label = [
        [
            plain_name(label),
            metrics["label_counts"][label],
            format_estimate(find_figure(metrics, f"sensitivity.{label}"), percent=True),
            format_estimate(find_figure(metrics, f"specificity.{label}"), percent=True),
        ]
        for label in metrics["labels"]
    ]
    yield "<h3>Each label by itself, taking the most probable label as the answer</h3>"
    yield _table(
        [
            "Label",
            "Photos",
            "Sensitivity: found when present",
            "Specificity: not named when absent",
        ],
        per_label,
        numbers=(1,),
    )


def _confusion(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>What is taken for what</h2>"
    yield (
        "<p>Read along a row: of the photographs of one condition, how many were given each most "
        "probable label. The diagonal is right; everything else is a mistake.</p>"
    )
    labels = metrics["labels"]
    head = "".join(f'<th scope="col">called {escape(plain_name(label))}</th>' for label in labels)
    rows = []
    for truth in labels:
        row = metrics["confusion"][truth]
        total = sum(row.values())
        cells = "".join(
            _confusion_cell(row[called], total, right=called == truth) for called in labels
        )
        rows.append(f'<tr><th scope="row">{escape(plain_name(truth))}</th>{cells}</tr>')
    yield (
        '<div class="scroll" tabindex="0"><table class="confusion"><thead><tr><td></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _confusion_cell(count: int, total: int, *, right: bool) -> str:
    share = count / total if total else 0.0
    red, green, blue = (0, 114, 178) if right else (213, 94, 0)
    ink = "#fff" if share > 0.55 else "#1b1b1b"
    return (
        f'<td style="background:rgba({red},{green},{blue},{share:.2f});color:{ink}">'
        f"{count:,}<br>{share:.0%}</td>"
    )


def _ranking(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>Does a higher probability mean a likelier condition?</h2>"
    yield (
        "<p><strong>ROC:</strong> moving the threshold trades missed cases against false alarms; "
        "the closer a curve comes to the upper left corner, the better, and the dashed line is "
        "guessing. <strong>Precision:</strong> of the photographs above the threshold, how many truly "
        "show the condition; rare conditions fall low here even when the ROC curve looks good.</p>"
    )
    ones = np.ones((len(predictions), 1))
    rocs, precisions = [], []
    for index, label in enumerate(predictions.labels):
        score, own = predictions.probabilities[:, index], predictions.label == index
        if own.all() or not own.any():
            continue
        found, false = measures.operating_points(score, own, ones)
        rocs.append((plain_name(label), np.append(0.0, false[:, 0]), np.append(0.0, found[:, 0])))
        called = measures.accepted_weight(score, np.ones_like(score), ones)[:, 0]
        precision = measures.accepted_weight(score, own, ones)[:, 0] / called
        precisions.append((plain_name(label), found[:, 0], precision))
    yield _plots(
        (
            "ROC curve of each label",
            plots.curves(
                "roc",
                "ROC curves; the areas are in the table below",
                rocs,
                x="false alarms (1 - specificity)",
                y="found (sensitivity)",
                diagonal=True,
            ),
        ),
        (
            "Precision and recall of each label",
            plots.curves(
                "precision",
                "Precision-recall curves; the average precision is in the table below",
                precisions,
                x="found (recall)",
                y="right when named (precision)",
            ),
        ),
    )
    rows = []
    for label in metrics["labels"]:
        fixed = metrics["sensitivity_at_specificity"][label]
        rows.append(
            [
                plain_name(label),
                format_estimate(find_figure(metrics, f"auroc.{label}")),
                format_estimate(metrics.get("auroc_lookalike", {}).get(label)),
                format_estimate(find_figure(metrics, f"average_precision.{label}")),
                *(format_estimate(figure, percent=True) for figure in fixed.values()),
            ]
        )
    fixed_names = list(metrics["sensitivity_at_specificity"][metrics["labels"][0]])
    yield _details(
        "Areas and sensitivities as numbers",
        _table(
            [
                "Label",
                "Area under ROC, against all other photos",
                "Against other conditions and look-alikes",
                "Average precision",
                *(f"Sensitivity at {float(name):.0%} specificity" for name in fixed_names),
            ],
            rows,
            numbers=(),
        ),
    )


def _calibration(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>Can the probabilities be taken at their word?</h2>"
    prior = metrics["prior"]
    sample = Sample(
        predictions,
        np.ones((len(predictions), 1)),
        None if prior is None else np.asarray(prior, dtype=np.float64),
    )
    weight = sample.prior_weight
    if prior is None or np.isnan(weight).any():
        weight = np.ones(len(predictions))
        assumed = "at the label frequencies of these photographs"
    else:
        parts = zip(metrics["labels"], prior, strict=True)
        assumed = "as if the labels were as frequent as the probabilities assume (" + (
            ", ".join(f"{plain_name(label)} {share:.1%}" for label, share in parts) + ")"
        )
    yield (
        "<p>Each dot stands for about a fifteenth of the photographs, by rising probability. On the dashed line "
        "the model keeps its word: of the photos given 60 %, 60 % show the condition. Below the "
        f"line it claims too much, above it too little. Counted {escape(assumed)}.</p>"
    )
    drawn, rows = [], []
    for index, label in enumerate(predictions.labels):
        bins = _reliability_bins(predictions.probabilities[:, index], predictions, index, weight)
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
    yield _plots(*drawn)
    head = ["Label", "Photos in the bin", "Mean probability stated", "Photos that were so"]
    yield _details("The dots as numbers", _table(head, rows, numbers=(1, 2, 3)))
    errors = [
        ["All labels", format_estimate(metrics["ece"])],
        [
            "The same at these photographs' own frequencies",
            format_estimate(metrics["ece_unweighted"]),
        ],
        ["The most probable label only", format_estimate(metrics["ece_top_label"])],
        ["Brier score (0 is perfect, 2 the worst)", format_estimate(metrics["brier"])],
    ]
    yield _table(["Expected calibration error (0 is best)", "Figure (95 % interval)"], errors)


def _reliability_bins(
    stated: Array, predictions: Predictions, label: int, weight: Array
) -> list[tuple[int, float, float, float, float]]:
    """A row a bin: photos, mean stated, share found, and about where that share may lie.

    The interval is Wilson's with the number of photos that unequal weights are worth (Kish).
    """
    bin_of = measures.equal_mass_bins(stated, weight)
    own = predictions.label == label
    rows = []
    for number in np.unique(bin_of):
        here = bin_of == number
        w = weight[here]
        if not w.sum() > 0:
            continue
        found = float(np.average(own[here], weights=w))
        worth = float(w.sum() ** 2 / (w**2).sum())
        low, high = wilson_interval(found * worth, worth)
        rows.append((int(here.sum()), float(np.average(stated[here], weights=w)), found, low, high))
    return rows


def _selective(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>Does it know when it does not know?</h2>"
    yield (
        "<p>Suppose the model answers only for the photographs it is most_confident of and leaves the rest "
        "to a clinician. The curve shows how many of its answers are then wrong. It should fall "
        "towards the left; a flat curve means that its confidence says nothing.</p>"
    )
    lines, rows = [], []
    targets = predictions.where(predictions.label != predictions.background)
    among = targets.probabilities[:, :-1]
    total = among.sum(axis=1, keepdims=True)
    among = np.divide(among, total, out=np.zeros_like(among), where=total > 0)
    for words, table, p in (
        ("All photographs, all labels", predictions, predictions.probabilities),
        ("Photographs of the conditions, among the conditions", targets, among),
    ):
        if not len(table):
            continue
        confidence, wrong = p.max(axis=1), p.argmax(axis=1) != table.label
        ones = np.ones((len(table), 1))
        coverage, risk = measures.risk_coverage(confidence, wrong, ones)
        # The first few photos alone make any rate; leave them out of the drawing.
        shown = coverage[:, 0] >= min(1.0, 10 / len(table))
        lines.append((words, coverage[shown, 0], risk[shown, 0]))
        shares = [
            float(measures.selective_risk(c, confidence, wrong, ones)[0])
            for c in (0.5, 0.8, 0.9, 1)
        ]
        rows.append([words, *(f"{share:.1%}" for share in shares)])
    yield _plots(
        (
            "Risk and coverage",
            plots.curves(
                "risk",
                "Share of wrong answers when only the most_confident photos are answered; table below",
                lines,
                x="photographs answered, most_confident first",
                y="answers that are wrong",
                top=None,
            ),
        )
    )
    head = ["Wrong among the most_confident", "50 %", "80 %", "90 %", "100 %"]
    yield _table(head, rows, numbers=(1, 2, 3, 4))
    areas = [
        [
            "Area under the risk-coverage curve (AURC)",
            format_estimate(metrics["selective"]["aurc"]),
        ],
        [
            "Area under the generalised risk-coverage curve (AUGRC)",
            format_estimate(metrics["selective"]["augrc"]),
        ],
    ]
    yield _table(["Over all coverages (0 is best)", "Figure (95 % interval)"], areas)


def _prediction_sets(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>Which labels cannot be excluded?</h2>"
    yield (
        "<p>Instead of one answer the model can give every label it cannot exclude. A set should "
        "hold the true label as often as promised, and be small: one label is an answer, several "
        "are an honest doubt. Each bar shows how many labels the sets of its photographs held.</p>"
    )
    sizes = predictions.prediction_set.sum(axis=1)
    parts = list(range(int(sizes.min()), int(sizes.max()) + 1))
    names, shares, rows = [], [], []
    for index, label in enumerate(predictions.labels):
        own = sizes[predictions.label == index]
        if not len(own):
            continue
        names.append(plain_name(label))
        shares.append([float((own == size).mean()) for size in parts])
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
    words = [_count_words(size) for size in parts]
    description = "Shares of photos by the size of their prediction set; numbers in the table below"
    yield _plots(
        (
            "Size of the prediction sets",
            plots.stacked_shares("sizes", description, names, words, np.array(shares)),
        )
    )
    head = ["Label", "Photos", "Set holds the true label", "Mean size", *words]
    yield _table(head, rows, numbers=(1, *range(3, 4 + len(words))))


def _count_words(size: int) -> str:
    return {0: "no label", 1: "1 label"}.get(size, f"{size} labels")


def _decisions(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    outcomes = metrics["outcomes"]
    if not outcomes:
        return
    yield "<h2>What would a reader have been told?</h2>"
    yield (
        "<p>Photographs of each label by the outcome of the decision. Every outcome sends the "
        "reader to a clinician.</p>"
    )
    names = list(next(iter(outcomes.values())))
    rows = [
        [plain_name(label), *(counts[name] for name in names)] for label, counts in outcomes.items()
    ]
    head = ["Label", *(name.replace("_", " ") for name in names)]
    yield _table(head, rows, numbers=range(1, len(names) + 1))


def _groups(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>Is it as good for everyone, from everywhere?</h2>"
    yield (
        "<p>Each line is the 95 % interval of one group, and the dot is the figure itself. Long lines "
        "mean few photographs, not bad results. Lines of one colour that stay apart suggest a real "
        "difference; among many lines a few stay apart by chance.</p>"
    )
    for field, words in (("by_source", "source"), ("by_skin_tone", "skin tone")):
        groups = metrics.get(field, {})
        if not groups:
            continue
        order = [PREFIX + tone for tone, _ in TONES]
        groups = dict(
            sorted(groups.items(), key=lambda g: (order.index(g[0]) if g[0] in order else -1, g[0]))
        )
        yield f"<h3>By {words}</h3>"
        if any(name.startswith(PREFIX) for name in groups):
            yield (
                '<p class="muted">Skin tone was estimated from the colours of each photograph '
                "(individual typology angle); light and camera change it, and nobody confirmed it."
                "</p>"
            )
        yield from _forests(field, words, groups, metrics["labels"])


def _forests(
    field: str, words: str, groups: dict[str, Any], labels: Sequence[str]
) -> Iterator[str]:
    drawn, rows = [], []
    for family, title, percent in (
        ("sensitivity", "Found when present", True),
        ("auroc", "Area under the ROC curve", False),
    ):
        lines = []
        for index, label in enumerate(labels):
            for name, block in groups.items():
                figure = find_figure(block, f"{family}.{label}")
                if figure is None or figure["value"] is None:
                    continue
                count = block["label_counts"][label]
                group = plain_tone(name) if field == "by_skin_tone" else name
                if figure["low"] is None:
                    said = f"not shown: {figure['reason']}"
                else:
                    said = format_estimate(figure, percent=percent)
                    lines.append((f"{plain_name(label)}, {group} ({count})", figure, index))
                rows.append([title, plain_name(label), group, count, said])
        if lines:
            description = f"{title} by {words}; numbers in the table below"
            picture = plots.forest(
                f"{field}-{family}",
                description,
                lines,
                x=title[0].lower() + title[1:],
                percent=percent,
            )
            drawn.append((f"{title}, by {words} (photographs of the label)", picture))
    if drawn:
        yield _plots(*drawn)
    head = ["Figure", "Label", words.capitalize(), "Photos of the label", "Figure (95 % interval)"]
    if rows:
        yield _details("The lines as numbers", _table(head, rows, numbers=(3,)))
    small = [f"{name} ({block['n']})" for name, block in groups.items() if "reason" in block]
    if small:
        yield f'<p class="muted">Too few photographs for figures: {escape(", ".join(small))}.</p>'


def _learning(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    curve = metrics.get("learning_curve")
    if not curve:
        return
    yield "<h2>Would more patients help?</h2>"
    yield (
        "<p>The same recipe, learning from a random share of each condition's patients and from all "
        "other photographs; a fifth of those counted is held out at a time. Bands span the random "
        "choices. A line that still rises at its end says "
        "that more patients would help; a flat one, that something else must change.</p>"
    )
    names = list(curve[0]["auroc"])
    lines = [
        (
            plain_name(name),
            [
                (
                    point["groups"][name],
                    *(point["auroc"][name][key] for key in ("mean", "lowest", "highest")),
                )
                for point in curve
            ],
        )
        for name in names
    ]
    description = "Area under the ROC curve by patients learnt from; numbers in the table below"
    yield _plots(("Learning curve", plots.learning("learning", description, lines)))
    rows = [
        [
            plain_name(name),
            point["groups"][name],
            f"{point['auroc'][name]['mean']:.3f}",
            f"{point['auroc'][name]['lowest']:.3f} to {point['auroc'][name]['highest']:.3f}",
            point["repeats"],
        ]
        for name in names
        for point in curve
    ]
    head = ["Label", "Patients or pictures", "Mean", "Lowest to highest", "Random choices"]
    yield _details("The lines as numbers", _table(head, rows, numbers=(1, 2, 4)))


def _lookalikes(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    conditions = metrics.get("by_lookalike", {})
    if not conditions:
        return
    yield "<h2>Which look-alikes fool it?</h2>"
    yield (
        "<p>Conditions that are easily mistaken for one of the three, most often mistaken first, "
        "and what they were taken for.</p>"
    )
    background = metrics["labels"][-1]
    ranked = sorted(
        conditions.items(), key=lambda item: (-item[1]["taken_for_condition"]["value"], item[0])
    )
    rows = []
    for name, row in ranked:
        taken = ", ".join(
            f"{plain_name(label)} {count}"
            for label, count in row["called"].items()
            if count and label != background
        )
        said = format_estimate(row["taken_for_condition"], percent=True)
        rows.append([name.replace("_", " "), row["n"], said, taken or "none"])
    head = ["Condition", "Photos", "Taken for one of the conditions", "For which, photos"]
    table = _table(head, rows[:15], numbers=(1,))
    yield table
    if len(rows) > 15:
        rest = _table(head, rows[15:], numbers=(1,))
        yield _details(f"The other {len(rows) - 15} conditions", rest)


def _method(metrics: Metrics, predictions: Predictions) -> Iterator[str]:
    yield "<h2>How the figures were made</h2>"
    folds = sorted({int(fold) for fold in predictions.fold if fold >= 0})
    held_out = (
        f"Each photograph was judged by a model that had not seen its patient, in {len(folds)} folds. "
        if len(folds) > 1
        else ""
    )
    yield (
        f"<p>{held_out}Intervals come from {metrics['resamples']:,} draws of whole groups (patients "
        f"or pictures) with replacement, seed {metrics['seed']}. Where every draw agrees, or fewer than "
        f"{FEW_GROUPS} patients stand behind a share, it takes Wilson's interval over its patients "
        "instead. Resampling biases calibration errors upwards; their intervals are "
        "widened to hold the figure. Look-alike intervals are Wilson's. Labels are those of the "
        "sources, and are not confirmed by a pathologist.</p>"
    )


def _plots(*drawn: tuple[str, str]) -> str:
    """Titles and SVGs, side by side where the page is wide enough."""
    figures = "".join(
        f"<figure><h3>{escape(title)}</h3>{picture}</figure>" for title, picture in drawn
    )
    return f'<div class="plots">{figures}</div>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()
) -> str:
    """A table whose cells are escaped; `numbers` are the columns that align right."""

    def kind(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    header = "".join(
        f'<th scope="col"{kind(column)}>{escape(str(cell))}</th>'
        for column, cell in enumerate(head)
    )

    def text(cell: object) -> str:
        words = f"{cell:,}" if isinstance(cell, int) else str(cell)
        return escape(words).replace(" to ", "&nbsp;to&nbsp;")  # keeps an interval on one line

    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(column)}>{text(cell)}</td>" for column, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


SECTIONS: Final[Mapping[str, Callable[[Metrics, Predictions], Iterator[str]]]] = MappingProxyType(
    {
        "headline": _headline,
        "confusion": _confusion,
        "ranking": _ranking,
        "calibration": _calibration,
        "selective": _selective,
        "prediction_sets": _prediction_sets,
        "decisions": _decisions,
        "groups": _groups,
        "lookalikes": _lookalikes,
        "learning": _learning,
        "method": _method,
    }
)
"""The report's sections by name, in their order."""
