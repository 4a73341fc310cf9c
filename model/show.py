"""How a finding shows itself in a notebook: escaped text and a small table, without scripts or styles of a page."""

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from calcinosis.model.finding import Finding, Shown

_BOUNDS: Final = {"": "", "below": "< ", "above": "> "}
_BAR: Final = 12  # em, for a probability of 1


def finding_html(finding: "Finding") -> str:
    """A finding as HTML that is safe wherever it is shown: the outcome first, the clinician last.

    A probability is shown no bolder than the patients behind it support; the labels that stay on the list are
    ticked. For a retake, which says nothing of the labels, there is no table.
    """
    first, *more = finding.summary
    parts = [
        f"<p><strong>{escape(first)}</strong></p>",
        *(f"<p>{escape(text)}</p>" for text in more),
    ]
    if finding.outcome != "retake":
        parts.append(_table(finding))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in finding.reasons)
    parts.append(f"<ul>{reasons}</ul><p>{escape(finding.advice)}</p>")
    return f'<div style="max-width: 48em">{"".join(parts)}</div>'


def _table(finding: "Finding") -> str:
    ordered = sorted(finding.probabilities, key=lambda label: -finding.probabilities[label])
    rows = "".join(
        f"<tr><td>{'✓' if label in finding.prediction_set else ''}</td>"
        f"<td>{escape(label.replace('_', ' '))}</td>"
        f"<td>{escape(_percent(finding.shown.get(label), finding.probabilities[label]))}</td>"
        f"<td>{_bar(finding.probabilities[label])}</td></tr>"
        for label in ordered
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _percent(shown: "Shown | None", probability: float) -> str:
    if shown is None:
        return f"{probability:.0%}"
    return f"{_BOUNDS[shown.bound]}{shown.value:.0%}"


def _bar(probability: float) -> str:
    width = f"{_BAR * probability:.2f}em"
    return f'<div aria-hidden="true" style="width: {width}; height: 0.7em; background: #555"></div>'
