"""What `calcinosis predict` prints of each photo: sentences for one, a table for several, JSON or CSV."""

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from calcinosis.cli.errors import print_error, print_exactly, print_json, print_line

if TYPE_CHECKING:
    from calcinosis.common.errors import PhotoError
    from calcinosis.model.finding import Finding, Shown
    from calcinosis.model.predictor import Predictor

Format = Literal["text", "json", "csv"]


class Rows:
    """Prints the finding of each photo, or why it has none, in the form that was asked for."""

    def __init__(self, chosen: Format, predictor: "Predictor", *, several: bool) -> None:
        from calcinosis.model.words import words

        self.say = words(predictor.language)
        self.format = chosen
        self.labels = labels = predictor.config.labels
        self.remarks = predictor.remarks()
        self.several = several
        self.outcomes: Counter[str] = Counter()
        if chosen == "csv":
            self._write_csv(
                "file", "outcome", *(f"p_{label}" for label in labels), "prediction_set",
                "checkpoint", "error", "message", "advice", "problem",
            )  # fmt: skip
        elif chosen == "text" and several:
            titles = ("outcome", "most_probable", "left_open", "photo")
            print_line(_TABLE.format(*(self.say(f"table.{title}") for title in titles)))

    def add(self, path: Path, finding: "Finding | PhotoError") -> None:
        from calcinosis.common.errors import PhotoError

        if isinstance(finding, PhotoError):
            self.outcomes[self.say("table.unread")] += 1
            self._add_error(path, finding)
            return
        outcome = self.say(f"table.outcomes.{finding.outcome}")
        self.outcomes[outcome] += 1
        if self.format == "json":
            print_json({"file": str(path), **finding.as_json()})
        elif self.format == "csv":
            chances = (f"{finding.probabilities[label]:.6f}" for label in self.labels)
            rest = ("|".join(finding.prediction_set), finding.checkpoint, "", "", finding.advice)
            self._write_csv(path, finding.outcome, *chances, *rest, finding.problem or "")
        elif self.several:
            label = max(finding.probabilities, key=lambda label: finding.probabilities[label])
            best = (
                f"{label} {_share(finding.shown[label])}"
                if finding.outcome != "retake"
                else self.say("table.not_asked")
            )
            members = ", ".join(finding.prediction_set)
            if len(finding.prediction_set) == len(self.labels):
                members = self.say("table.anything")
            print_line(_TABLE.format(outcome, best, members, path))
        else:
            _print_finding(path, finding, self.say("table.left_open"))

    def end(self) -> None:
        """Below a table for people: what holds for each of its rows, and how many of each outcome."""
        if self.format == "text" and self.several:
            counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
            summary = self.say("table.summary", count=self.outcomes.total(), counts=counts)
            for line in ("", *self.remarks, summary, self.say("table.advice")):
                print_line(line)

    def _add_error(self, path: Path, error: "PhotoError") -> None:
        if self.format == "json":
            trouble = {"code": error.code, "message": error.message}
            print_json({"file": str(path), "error": trouble})
        elif self.format == "csv":
            empty = [""] * len(self.labels)
            self._write_csv(path, "", *empty, "", "", error.code, error.message, "", "")
        else:
            print_error(error.message, str(path))

    def _write_csv(self, *cells: object) -> None:
        line = _Line()
        csv.writer(line, lineterminator="\r\n").writerow(cells)  # it quotes what holds one of these
        print_exactly(line.text.removesuffix("\r\n"))


class _Line:
    """What `csv` takes for a file, for a single line."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text


_TABLE: Final = "{:16} {:22} {:42} {}"


def _share(shown: "Shown") -> str:
    """A probability no bolder than the patients behind it support: `37.2%`, `<5%`, `>95%`."""
    if not shown.bound:
        return f"{shown.value:.1%}"
    return f"{'<' if shown.bound == 'below' else '>'}{shown.value:.0%}"


def _print_finding(path: Path, finding: "Finding", open_mark: str) -> None:
    print_line(str(path))
    for sentence in finding.summary:
        print_line(f"  {sentence}")
    for label, shown in finding.shown.items():
        mark = open_mark if label in finding.prediction_set else ""
        print_line(f"  {_share(shown):>6}  {label:18} {mark}".rstrip())
    for sentence in (*finding.reasons, finding.advice):
        print_line(f"  {sentence}")
