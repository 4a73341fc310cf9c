"""How labels and figures are written in the report and on the card, and the templates that they go into."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from calcinosis.model.labels import OTHER
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.robustness.skin_tone import PREFIX

_PLAIN: Final = {OTHER: "something else", "deposit": "a deposit, calcinosis or tophus"}
TEMPLATES: Final = Path(__file__).with_name("templates")


def plain_name(label: str) -> str:
    """A label as it stands in a sentence: `gouty_tophus` gives `gouty tophus`."""
    return _PLAIN.get(label, label.replace("_", " "))


def plain_tone(tone: str) -> str:
    """A group of skin tone as it stands in a sentence, without where it came from."""
    return tone.removeprefix(PREFIX).replace("_", " ")


def format_estimate(figure: dict[str, Any] | None, *, percent: bool = False) -> str:
    """A figure with its interval in words: `0.951 (0.880 to 0.985)`, or why there is none."""
    if figure is None:
        return "not measured"
    if figure["value"] is None:
        return f"not measurable: {figure.get('reason', 'undefined')}"

    def say(value: float) -> str:
        return f"{value:.1%}" if percent else f"{value:.3f}"

    if figure["low"] is None:
        return f"{say(figure['value'])} (no interval: {figure.get('reason', 'undefined')})"
    return f"{say(figure['value'])} ({say(figure['low'])} to {say(figure['high'])})"


def join(words: list[str], last: str = "and") -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render(template: str, **context: Any) -> str:
    """A template of the folder `templates`, filled in; what ends in `.html` is escaped.

    Raises:
        jinja2.UndefinedError: the context lacks something that the template names.
    """
    return _templates().get_template(template).render(context)


@cache
def _templates() -> Environment:
    environment = Environment(  # escapes where markup is written; Markdown has its own filter
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["find"] = find_figure
    environment.filters |= {
        "plain": plain_name,
        "estimate": format_estimate,
        "percentage": lambda figure: format_estimate(figure, percent=True),
        "series": join,
        "html_cell": _html_cell,
        "markdown_cell": lambda cell: _text(cell).replace("|", "\\|").replace("\n", " "),
    }
    return environment


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _html_cell(cell: object) -> Markup:
    # An interval stays on one line.
    return Markup(escape(_text(cell)).replace(" to ", Markup("&nbsp;to&nbsp;")))  # noqa: S704 - escaped
