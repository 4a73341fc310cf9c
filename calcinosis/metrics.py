"""The figures of a run as a table: each with its interval and count, by a dotted name."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from html import escape
from typing import Any, NamedTuple


class MetricValue(NamedTuple):
    """A figure with its 95 % interval.

    Attributes:
        value: the figure; None where it is not defined.
        low, high: ends of its interval, from a bootstrap over groups; None where there is none.
        n: photos that it was computed from.

    Examples:
        >>> print(MetricValue(0.9123, 0.85, 0.96, 68))
        0.912 (0.850 to 0.960, n = 68)
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined (n = {self.n})"
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (n = {self.n})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n})"

    @classmethod
    def from_json(cls, figure: Mapping[str, Any]) -> "MetricValue":
        """A figure as `metrics.json` holds it."""
        return cls(figure["value"], figure.get("low"), figure.get("high"), figure["n"])


class Metrics(Mapping[str, MetricValue]):
    """The figures of a run by their dotted names, such as `auroc.milium`; a table when shown.

    Examples:
        >>> nested = {"auroc": {"milium": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 68}}, "prior": None}
        >>> Metrics(nested)["auroc.milium"].value
        0.9
        >>> Metrics(nested)
                      value  low    high   n
        auroc.milium  0.900  0.800  0.950  68
    """

    def __init__(self, nested: Mapping[str, Any]) -> None:
        self.nested = nested
        """All that `metrics.json` holds."""
        self._values = dict(_flatten(nested, ""))

    def __getitem__(self, name: str) -> MetricValue:
        if name not in self._values:
            near = ", ".join(get_close_matches(name, self._values)) or "those of list(metrics)"
            raise KeyError(f"no figure {name!r}; near it: {near}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def below(self, name: str) -> "Metrics":
        """The figures below a name: `metrics.below("by_source")`."""
        node: Any = self.nested
        for part in name.split("."):
            node = node[part]
        return Metrics(node)

    def table(self) -> list[tuple[str, float | None, float | None, float | None, int]]:
        """Rows of name, value, low, high, n: `pandas.DataFrame(metrics.table())` reads them."""
        return [(name, *value) for name, value in self.items()]

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (name, *("" if v is None else f"{v:.3f}" for v in value[:3]), str(value.n))
            for name, value in self.items()
        ]

    def __repr__(self) -> str:
        cells = [("", "value", "low", "high", "n"), *self._cells()]
        widths = [max(len(row[column]) for row in cells) for column in range(5)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("", "value", "low", "high", "n"))
        rows = (
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, MetricValue]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and {"value", "n"} <= value.keys():
            yield prefix + name, MetricValue.from_json(value)
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
