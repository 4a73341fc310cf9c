"""How labels and figures are said in the report and on the card."""

from typing import Any

from calcinosis.model.labels import OTHER
from calcinosis.training.robustness.skin_tone import PREFIX


def plain_name(label: str) -> str:
    """A label as it stands in a sentence: `gouty_tophus` gives `gouty tophus`."""
    return "something else" if label == OTHER else label.replace("_", " ")


def plain_tone(tone: str) -> str:
    """A group of skin tone as it stands in a sentence, without where it came from."""
    return tone.removeprefix(PREFIX).replace("_", " ")


def format_estimate(
    figure: dict[str, Any] | None, *, percent: bool = False, digits: int = 3
) -> str:
    """A figure with its interval in words: `0.951 (0.880 to 0.985)`, or why there is none."""
    if figure is None:
        return "not measured"
    if figure["value"] is None:
        return f"not measurable: {figure.get('reason', 'undefined')}"

    def say(value: float) -> str:
        return f"{value:.1%}" if percent else f"{value:.{digits}f}"

    if figure["low"] is None:
        return f"{say(figure['value'])} (no interval: {figure.get('reason', 'undefined')})"
    return f"{say(figure['value'])} ({say(figure['low'])} to {say(figure['high'])})"
