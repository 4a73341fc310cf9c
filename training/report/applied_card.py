"""The applied model card of the Coalition for Health AI as XML: the card's facts in the shape that its schema asks for.

Schema 0.2 (repository coalition-for-health-ai/mc-schema): a sequence of elements, nearly all of them text.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.report.figures import Listed, external_figures, list_figures
from calcinosis.training.report.formatting import plain_name, plain_tone, render

USEFUL: Final = ("three_way_balanced_accuracy", "auroc.*", "average_precision.*")
SAFE: Final = (
    "suggestive.false_rate",
    "suggestive.false_rate_malignant",
    "specificity.*",
    "conformal.coverage.*",
    "ece",
)


def applied_card(context: dict[str, Any]) -> str:
    """The XML, from what the card's template shows."""
    metrics = context["metrics"]
    return render(
        "card/applied_model_card.xml",
        **context,
        not_stated="Not stated by its makers.",
        useful=[*_left_out(metrics, USEFUL), *_results(list_figures(metrics, USEFUL))],
        fair=list(_by_skin_tone(metrics)) or [{"label": "By skin tone", "value": _NOT_MEASURED}],
        safe=[*_left_out(metrics, SAFE), *_results(list_figures(metrics, SAFE))],
    )


_NOT_MEASURED: Final = json.dumps({"kind": "single", "value": None, "note": "not measured"})


def _results(rows: Iterable[Listed]) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {"label": row.title, "value": _value(row.figure)}


def _left_out(metrics: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, str]]:
    """These figures on what had not been learnt from."""
    for left_out, row in external_figures(metrics, names):
        title = f"{row.title} (left out of training: {left_out})"
        yield {"label": title, "value": _value(row.figure)}


def _by_skin_tone(metrics: dict[str, Any]) -> Iterator[dict[str, str]]:
    for tone, block in (metrics.get("by_skin_tone") or {}).items():
        for label in metrics["labels"]:
            figure = find_figure(block, f"sensitivity.{label}")
            if figure is not None and figure["value"] is not None:
                title = f"Sensitivity to {plain_name(label)}, {plain_tone(tone)} skin"
                yield {"label": title, "value": _value(figure)}


def _value(figure: dict[str, Any]) -> str:
    """A figure as the schema's examples write it."""
    if figure["value"] is None or figure["low"] is None:
        note = figure.get("reason", "")
        return json.dumps({"kind": "single", "value": figure["value"], "note": note})
    estimate, lower, upper = (round(figure[name], 4) for name in ("value", "low", "high"))
    return json.dumps(
        {"kind": "estimate_ci", "estimate": estimate, "lower": lower, "upper": upper, "level": 95}
    )
