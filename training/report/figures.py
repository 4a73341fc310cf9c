"""The figures that report and card list, with their titles."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from calcinosis.training.evaluate.metrics.registry import find_figure
from calcinosis.training.report.formatting import format_estimate, plain_name

FIGURES: Final = (
    # name, what it says, as a percentage
    ("suggestive.precision.*", "Right when called suggestive of it", True),
    ("suggestive.false_rate", "Something else that is called suggestive of a condition", True),
    ("suggestive.false_rate_malignant", "Skin cancer that is called suggestive of a condition", True),
    ("three_way_balanced_accuracy", "Balanced accuracy among the conditions", True),
    ("balanced_accuracy", "Balanced accuracy, all labels", True),
    ("auroc.*", "AUROC against every other photo", False),
    ("auroc_lookalike.*", "AUROC against other conditions and look-alikes", False),
    ("average_precision.*", "Average precision", False),
    ("sensitivity.*", "Sensitivity of the most probable label", True),
    ("specificity.*", "Specificity of the most probable label", True),
    ("ece", "Expected calibration error at the stated prior, 15 bins", False),
    ("brier", "Brier score at the stated prior, all labels, 0 to 2", False),
    ("conformal.coverage.*", "Prediction set holds the label", True),
    ("conformal.mean_set_size", "Mean size of the prediction set", False),
    ("three_way.selective.risk_at_80", "Wrong among the most confident 80 %, conditions only", True),
    ("selective.aurc", "AURC", False),
    ("selective.augrc", "AUGRC", False),
)  # fmt: skip


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

    A name that ends in `*` stands for a figure per label.
    """
    titles = {name: (title, percent) for name, title, percent in FIGURES}
    for name in titles if names is None else names:
        title, percent = titles[name]
        for label in metrics["labels"] if name.endswith("*") else [""]:
            figure = find_figure(metrics, name.removesuffix("*") + label)
            if figure is not None:
                text = format_estimate(figure, percent=percent)
                words = f"{title}: {plain_name(label)}" if label else title
                yield Listed(name.removesuffix("*") + label, words, figure, text)
