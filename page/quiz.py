"""Practice: what stays possible? The server keeps nothing of it; the browser sends what was asked before."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from calcinosis.common.errors import PhotoError
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.page.decks import Deck, Photographs, Vignettes, can_be_shown
from calcinosis.page.render import render
from calcinosis.page.validation_stats import Mixups
from calcinosis.page.words import words

_TRIES: Final = 20  # photographs that may be broken in a row before the quiz gives up
_MOST_ASKED: Final = 10_000  # of what a browser says was asked

Asked = tuple[int, list[str], list[str]]
"""Of a question that was answered: its number, the labels ticked, and the tool's."""


def points(kept: Sequence[str], truth: str, labels: Sequence[str]) -> int:
    """The score of a set of labels: 100 for the truth among them, less 100 / k for each of k labels.

    It is proper for sets: on average it is highest where a set holds exactly the labels whose probability is above
    1 / k. Nothing and everything score 0.

    >>> [points(kept, "a", "abcd") for kept in ("", "a", "ab", "b", "abcd")]
    [0, 75, 50, -25, 0]
    """
    return round(100 * (truth in kept) - 100 * len(kept) / len(labels))


class Quiz:
    """Questions of decks: cases in words, and photographs of the user's own where there are any.

    Args:
        photographs: files with the labels that their source gave.
        reader: the answer is compared with what it says.
        mixups: what the checkpoint kept for what, in its cross-validation.
        choice: where the order comes from.
    """

    def __init__(
        self,
        photographs: Sequence[tuple[Path, str]],
        reader: Predictor,
        *,
        mixups: Mixups | None = None,
        choice: random.Random | None = None,
    ) -> None:
        self.labels = tuple(reader.config.labels)
        self.decks: dict[str, Deck] = {}
        if self.labels == LABELS:
            self.decks["text"] = Vignettes()
        if photographs:
            self.decks["photos"] = Photographs(photographs, reader)
        self.mixups = mixups
        self.choice = choice or random.Random()  # noqa: S311 - an order of questions is no secret

    def start(self, language: str, **more: Any) -> str:
        """The quiz before its first question; empty where there is nothing to ask."""
        if not self.decks:
            return ""
        counts = {name: len(deck.truths) for name, deck in self.decks.items()}
        return self._render(language, decks=counts, **more)

    def ask(self, sent: Mapping[str, Any], language: str) -> str:
        """The next question: of the labels asked least, one that was not asked; then the summary."""
        name, deck = self._deck(sent)
        history = self._history(sent, deck)
        left = set(range(len(deck.truths))) - {index for index, _, _ in history}
        if sent.get("summary") is True or not left:
            return self.start(language, summary=self._summary(deck, history))
        counts = Counter(deck.truths[index] for index, _, _ in history)
        order = sorted(left, key=lambda i: (counts[deck.truths[i]], self.choice.random()))
        # Of each label as many as of any other; which label comes first is by chance.
        least = counts[deck.truths[order[0]]]
        fresh = sorted({deck.truths[i] for i in left if counts[deck.truths[i]] == least})
        label = self.choice.choice(fresh)
        order.sort(key=lambda i: deck.truths[i] != label)
        for index in order[:_TRIES]:
            if shown := can_be_shown(deck, index, language):
                return self._asked(name, index, history, shown, language)
        trouble = words(language)("quiz.no_photo")
        return self.start(language, summary=self._summary(deck, history), trouble=trouble)

    def compare(self, sent: Mapping[str, Any], language: str) -> str:
        """The truth, the points and the tool's prediction set beside what was ticked."""
        name, deck = self._deck(sent)
        history = self._history(sent, deck)
        index, chosen = sent.get("index"), sent.get("chosen")
        if type(index) is not int or not 0 <= index < len(deck.truths):
            return self.ask(sent, language)
        ticked = [label for label in self.labels if isinstance(chosen, list) and label in chosen]
        try:
            shown, told = deck.question(index, language), deck.answer(index, language)
        except PhotoError:
            return self.ask(sent, language)
        answer = {
            **told,
            "chosen": ticked,
            "sentences": self._sentences(deck.truths[index], ticked, told, language),
        }
        return self._asked(name, index, history, shown, language, answer=answer)

    def _sentences(
        self, truth: str, ticked: Sequence[str], told: Mapping[str, Any], language: str
    ) -> list[str]:
        say = words(language, self.labels)
        tool: list[str] = told["tool"]
        verdict = "unticked"
        if ticked:
            verdict = "kept" if truth in ticked else "missed"
        sentences = [
            told["truth"],
            say(f"quiz.{verdict}"),
            say("quiz.chosen", labels=say.listing(ticked) or say("quiz.nothing")),
            say("quiz.points", points=_signed(points(ticked, truth, self.labels))),
        ]
        if tool:
            earned = _signed(points(tool, truth, self.labels))
            sentences.append(say("quiz.tool", labels=say.listing(tool), points=earned))
        elif "headline" in told:
            sentences.append(told["headline"])
        return sentences

    def _asked(
        self,
        name: str,
        index: int,
        history: Sequence[Asked],
        shown: Mapping[str, Any],
        language: str,
        answer: Mapping[str, Any] | None = None,
    ) -> str:
        total = len(self.decks[name].truths)
        empty = {"photo": "", "drawing": "", "story": ""}
        number = {"deck": name, "index": index, "number": len(history) + 1, "total": total}
        told = {"photo": "", "heat_map": "", "heat_label": "", **answer} if answer else None
        return self._render(language, question={**empty, **shown, **number}, answer=told)

    def _summary(self, deck: Deck, history: Sequence[Asked]) -> dict[str, Any] | None:
        if not history:
            return None
        rows = {label: Counter[str]() for label in self.labels}
        asked = Counter(deck.truths[index] for index, _, _ in history)
        for index, ticked, _ in history:
            rows[deck.truths[index]].update(ticked)
        earned = [points(ticked, deck.truths[i], self.labels) for i, ticked, _ in history]
        tool = [points(kept, deck.truths[i], self.labels) for i, _, kept in history if kept]
        same = [one for one, (_, _, kept) in zip(earned, history, strict=True) if kept]
        mixups = self.mixups if self.mixups and set(self.mixups.asked) <= set(self.labels) else None
        return {
            "count": len(history),
            "points": _mean(earned),
            "tool": {"count": len(tool), "points": _mean(tool), "yours": _mean(same)}
            if tool
            else None,
            "rows": _table(self.labels, asked, rows),
            "tool_rows": _table(self.labels, mixups.asked, mixups.kept) if mixups else [],
            "tool_count": sum(mixups.asked.values()) if mixups else 0,
        }

    def _deck(self, sent: Mapping[str, Any]) -> tuple[str, Deck]:
        name = sent.get("deck")
        known = name if isinstance(name, str) and name in self.decks else next(iter(self.decks))
        return known, self.decks[known]

    def _history(self, sent: Mapping[str, Any], deck: Deck) -> list[Asked]:
        """What the browser says was asked, less all that cannot have been."""
        given = sent.get("history")
        history: dict[int, Asked] = {}
        for entry in given[:_MOST_ASKED] if isinstance(given, list) else ():
            if not isinstance(entry, list) or len(entry) != 3 or type(entry[0]) is not int:
                continue
            index, *kept = entry
            if 0 <= index < len(deck.truths) and all(isinstance(one, list) for one in kept):
                ticked, tool = ([label for label in self.labels if label in one] for one in kept)
                history[index] = (index, ticked, tool)
        return list(history.values())

    def _render(self, language: str, **values: Any) -> str:
        nothing: dict[str, Any] = {
            "question": None,
            "answer": None,
            "summary": None,
            "trouble": "",
            "decks": {},
        }
        said = {"say": words(language, self.labels), "labels": self.labels}
        return render("quiz", language, **{**nothing, **said, **values})


def _mean(earned: Sequence[int]) -> str:
    return _signed(round(sum(earned) / len(earned)))


def _signed(points: int) -> str:
    return str(points).replace("-", "\u2212")


def _table(
    labels: Sequence[str], asked: Mapping[str, int], kept: Mapping[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    return [
        {"label": label, "asked": asked[label], "kept": kept.get(label, {})}
        for label in labels
        if asked.get(label)
    ]
