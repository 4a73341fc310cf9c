"""The prior, live: Bayes' rule in the browser is that of the command line, and the set does not move."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from calcinosis.model.finding import shown_probabilities
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.page.findings import share
from calcinosis.page.words import words
from tests.drawings import draw, encode
from tests.page.test_browser import look, serious, upload

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
PHOTO = encode(draw("gouty_tophus", size=(480, 400)))
CONTEXTS = [
    ("general_practice", "gout"),
    ("rheumatology_clinic", "systemic_sclerosis", "kidney_disease", "hand"),
    ("newborn_ward", "face"),
    ("heel_prick",),
]


def say_what_is_known(page: Page, names: tuple[str, ...]) -> None:
    for group in ("setting", "site"):
        options = page.eval_on_selector_all(
            f"[data-known={group}] option", "all => all.map((one) => one.value)"
        )
        page.select_option(
            f"[data-known={group}]", next((name for name in names if name in options), "")
        )
    for box in page.query_selector_all("[data-known=known]"):
        box.set_checked(box.get_attribute("value") in names)


def chances(page: Page) -> list[str]:
    return [cell.inner_text() for cell in page.query_selector_all(".cc-finding [data-prior=after]")]


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_browser_works_out_what_the_command_line_does(
    open_page: Open, reader: Predictor, language: str
) -> None:
    page = open_page(locale={"en": "en-GB", "es": "es-ES"}[language])
    page.wait_for_selector(f"html[lang={language}]")
    upload(page, PHOTO)
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    look(page)
    as_read = page.evaluate(
        "JSON.parse(document.querySelector('.cc-finding .cc-prior').dataset.panel)"
    )
    set_before = page.inner_text(".cc-finding .cc-set")
    sent.clear()
    for names in CONTEXTS:
        say_what_is_known(page, names)
        known = Predictor(reader.checkpoint, context=names)
        moved = {
            label: after / before * prior
            for label, after, before, prior in zip(
                LABELS, as_read["after"], as_read["before"], known.prior, strict=True
            )
        }
        total = sum(moved.values())
        moved = {label: value / total for label, value in moved.items()}
        shown = shown_probabilities(moved, known.read(PHOTO).coverage)
        assert chances(page) == [share(shown[label], words(language)) for label in LABELS]
        assert page.inner_text(".cc-finding .cc-set") == set_before
    assert not [url for url in sent if "queue/join" in url], "it is worked out in the browser"


def test_what_moved_is_said_and_the_arithmetic_is_one_click_away(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    upload(page, PHOTO)
    look(page)
    plain = chances(page)
    assert page.inner_text("[data-prior=now]") == ""
    say_what_is_known(page, ("newborn_ward", "face"))
    assert "The photo has not changed" in page.inner_text("[data-prior=now]")
    assert chances(page) != plain
    sums = page.inner_text("[data-prior=sums]")
    assert sums.count("×") == 4
    assert "illustrative" in page.inner_text(".cc-finding .cc-prior")
    assert serious(page) == []
    say_what_is_known(page, ())
    assert chances(page) == plain
