"""The quiz: balanced, without repeats, scored properly, and silent about the answer until there is one."""

import random
import re
from html import unescape
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcinosis.data.synthetic import draw_set
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.model.words import all_sources, languages
from calcinosis.page.decks import vignettes
from calcinosis.page.drawings import LESIONS, SCENES
from calcinosis.page.quiz import Quiz, points
from calcinosis.page.validation_stats import Mixups, read_mixups
from calcinosis.page.words import words
from tests.drawings import draw


def index_of(html: str) -> int:
    found = re.search(r'data-index="(\d+)"', html)
    assert found
    return int(found[1])


def sent(deck: str, history: list[Any], **more: Any) -> dict[str, Any]:
    return {"deck": deck, "history": history, **more}


@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=4))
def test_the_best_set_keeps_what_is_likelier_than_one_in_four(weights: list[float]) -> None:
    chances = {label: w / sum(weights) for label, w in zip(LABELS, weights, strict=True)}
    sets = [kept for size in range(5) for kept in combinations(LABELS, size)]

    def expected(kept: tuple[str, ...]) -> float:
        return sum(p * (100 * (truth in kept) - 25 * len(kept)) for truth, p in chances.items())

    best = tuple(label for label in LABELS if chances[label] > 0.25)
    assert expected(best) == pytest.approx(max(map(expected, sets)))
    assert [points(kept, "milium", LABELS) for kept in ((), LABELS)] == [0, 0]


def test_the_cases_in_words_are_many_drawn_explained_and_cited() -> None:
    table = vignettes()
    assert len(table) >= 15
    assert {case["label"] for case in table.values()} == set(LABELS)
    for name, case in table.items():
        assert case["scene"] in SCENES
        assert case["lesion"] in LESIONS
        assert case["sources"], name
        assert set(case["sources"]) <= set(all_sources())
        for language in languages():
            said = words(language).table["quiz"]["vignettes"][name]
            assert said["story"]
            assert said["answer"]


def test_the_cases_need_no_photograph_and_each_comes_once(reader: Predictor) -> None:
    quiz = Quiz([], reader, choice=random.Random(1))  # noqa: S311
    history: list[Any] = []
    for _ in vignettes():
        question = quiz.ask(sent("text", history), "en")
        index = index_of(question)
        assert index not in [asked for asked, _, _ in history]
        assert "The tests showed" not in question
        assert f"Question {len(history) + 1} of {len(vignettes())}" in question
        history.append([index, ["milium"], []])
    truths = [list(vignettes().values())[index]["label"] for index, _, _ in history]
    assert set(truths[:4]) == set(LABELS), "each label once before any comes again"
    summary = quiz.ask(sent("text", history), "en")
    assert "points on average" in summary
    assert "data-index" not in summary


@pytest.mark.parametrize("language", languages())
def test_an_answer_is_explained_cited_and_defers(reader: Predictor, language: str) -> None:
    quiz = Quiz([], reader)
    say = words(language)
    answer = unescape(quiz.compare(sent("text", [], index=0, chosen=list(LABELS)), language))
    name = next(iter(vignettes()))
    assert str(say.table["quiz"]["vignettes"][name]["answer"]) in answer
    assert say("quiz.points", points=0) in answer
    assert "cc-cite" in answer
    assert say("deferral.statement") in answer


def test_photographs_are_balanced_unrepeated_and_the_tool_is_silent_until_answered(
    reader: Predictor, tmp_path: Path
) -> None:
    rows = draw_set(tmp_path, of_each=2, size=(320, 300))
    many = [tmp_path / f"other-{n}.png" for n in range(12)]
    for n, file in enumerate(many):
        draw("other", n, (320, 300)).save(file)
    photographs = [(tmp_path / row.file, row.label) for row in rows] + [(f, "other") for f in many]
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    photographs.append((tmp_path / "broken.jpg", "milium"))
    quiz = Quiz(photographs, reader, choice=random.Random(3))  # noqa: S311
    history: list[Any] = []
    for _ in range(8):
        question = quiz.ask(sent("photos", history), "en")
        assert "The source calls it" not in question
        assert "left open" not in question
        assert "heat map" not in question
        assert ".png" not in question
        history.append([index_of(question), ["milium"], []])
    asked = [photographs[index] for index, _, _ in history]
    assert len(set(asked)) == 8
    assert {label: [one for _, one in asked].count(label) for label in LABELS} == dict.fromkeys(
        LABELS, 2
    )
    answer = quiz.compare(sent("photos", [], index=history[0][0], chosen=["other", "<b>"]), "en")
    assert "The source calls it" in answer
    assert "The tool left open" in answer
    assert answer.count("data:image/jpeg") == 3, "the photo, and beside it what was read, with heat"
    assert "<b>" not in answer


def test_nonsense_from_a_browser_is_another_question(reader: Predictor) -> None:
    quiz = Quiz([], reader)
    for nonsense in (-1, 99, None, True, "1"):
        html = quiz.compare(sent("none", "all", index=nonsense), "en")  # type: ignore[arg-type]
        assert "data-index" in html
    for history in ([[1]], [["a", [], []]], [[1, "x", []]], [[99, [], []]], None, {"a": 1}):
        assert "Question 1 of" in quiz.ask({"deck": "text", "history": history}, "en")


def test_the_summary_says_what_was_mixed_up_beside_the_tools_own(
    reader: Predictor, tmp_path: Path
) -> None:
    mixups = Mixups({"milium": 100}, {"milium": {"milium": 90, "other": 17}})
    quiz = Quiz([], reader, mixups=mixups)
    truths = [case["label"] for case in vignettes().values()]
    at = truths.index("milium")
    history = [[at, ["calcinosis_cutis", "milium"], ["milium"]]]
    html = quiz.ask(sent("text", history, summary=True), "en")
    assert "50 points on average (1 answered)" in html
    assert "75 points on average; your answers to the same: 50." in html
    # What the tool refused counts for nobody beside its points.
    refused = [*history, [truths.index("other"), [], []]]
    both = quiz.ask(sent("text", refused, summary=True), "en")
    assert "(2 answered)" in both
    assert "on what it read (1): 75 points on average; your answers to the same: 50." in both
    assert html.count('cc-mixed"') == 2
    assert "</span>17</td>" in html
    assert "on 100 photographs" in html


def test_mixups_are_counted_from_the_predictions(tmp_path: Path) -> None:
    assert read_mixups(tmp_path) is None
    table = "label,prediction_set\nmilium,milium|other\nmilium,other\nother,other\n"
    (tmp_path / "predictions.csv").write_text(table)
    found = read_mixups(tmp_path)
    assert found
    assert found.asked == {"milium": 2, "other": 1}
    assert found.kept["milium"] == {"milium": 1, "other": 2}
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    assert read_mixups(tmp_path) is None
