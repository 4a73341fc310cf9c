"""Practice on labelled photographs of the user's own: what cannot be excluded from a photo?"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from calcinosis.common.errors import PhotoError
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.page import sections as views
from calcinosis.page.render import as_picture
from calcinosis.page.words import words
from PIL import Image

_TRIES: Final = 20  # photographs that may be broken in a row before the quiz gives up


class Quiz:
    """Questions about photographs, a file and its label each.

    Args:
        photographs: files with the labels that their source gave.
        reader: the answer is compared with what it says.
        choice: where the order comes from.
    """

    def __init__(
        self,
        photographs: Sequence[tuple[Path, str]],
        reader: Predictor,
        *,
        choice: random.Random | None = None,
    ) -> None:
        self.photographs = list(photographs)
        self.reader = reader
        self.choice = choice or random.Random()  # noqa: S311 - an order of questions is no secret

    def start(self, language: str) -> str:
        """The quiz before its first photo."""
        return views.quiz(language)

    def ask(self, language: str) -> str:
        """A photo to judge; one that cannot be opened is passed over."""
        for _ in range(_TRIES):
            index = self.choice.randrange(len(self.photographs))
            photo = self._photo(index)
            if photo:
                return self._shown(photo, index, language)
        return views.quiz(language, sentences=[words(language)("quiz.no_photo")])

    def compare(self, index: Any, chosen: Any, language: str) -> str:
        """The answer beside the source's label and the tool's prediction set."""
        known = type(index) is int and 0 <= index < len(self.photographs)
        photo = self._photo(index) if known else None
        if photo is None:
            return self.ask(language)
        say = words(language)
        labels = self.reader.config.labels
        ticked = [label for label in labels if isinstance(chosen, list) and label in chosen]
        label = self.photographs[index][1]
        finding = self.reader.in_language(language).read(photo)
        sentences = [
            say("quiz.source", label=say.label(label)),
            say("quiz.kept" if label in ticked else "quiz.missed"),
            say("quiz.chosen", labels=say.listing(ticked) or say("quiz.nothing")),
            finding.headline
            if finding.problem
            else say("quiz.tool", labels=say.listing(finding.prediction_set)),
            say.settle(label),
            say("deferral.statement"),
        ]
        return self._shown(photo, index, language, chosen=ticked, sentences=sentences)

    def _shown(self, photo: Image.Image, index: int, language: str, **answer: Any) -> str:
        labels = self.reader.config.labels
        picture = as_picture(photo)
        return views.quiz(language, photo=picture, index=index, labels=labels, **answer)

    def _photo(self, index: int) -> Image.Image | None:
        try:
            return open_photo(self.photographs[index][0])
        except PhotoError:
            return None
