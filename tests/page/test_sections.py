"""The parts of the page: in the right order, escaped, deferring always."""

import base64
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from calcinosis.model.context import known_contexts
from calcinosis.model.decision import decide
from calcinosis.model.finding import OUTCOMES, Finding, coverage_of, shown_probabilities
from calcinosis.model.labels import LABELS, OTHER
from calcinosis.model.predictor import Predictor
from calcinosis.model.quality import QualityIssue
from calcinosis.model.words import all_sources
from calcinosis.page import sections as views
from calcinosis.page.cases import worked_cases
from calcinosis.page.decks import vignettes
from calcinosis.page.findings import Reader
from calcinosis.page.findings import finding as finding_html
from calcinosis.page.validation_stats import read_validation_stats
from calcinosis.page.words import languages, unbroken, words
from tests.drawings import draw


def shown(
    finding: Finding, photos: list[Image.Image], reader: Predictor, language: str = "en"
) -> str:
    return finding_html(finding, photos, Reader(reader.config, reader.prior.tolist()), language)


def report(html: str, which: str) -> str:
    found = re.search(rf'cc-{which}" href="data:text/html;base64,([^"]+)"', html)
    assert found
    return base64.b64decode(found[1]).decode()


@pytest.fixture
def photo() -> Image.Image:
    return draw("milium", size=(320, 300))


@pytest.mark.parametrize("language", languages())
def test_a_finding_is_told_in_the_order_in_which_it_should_be_read(
    reader: Predictor, photo: Image.Image, language: str
) -> None:
    say = words(language)
    html = shown(reader.in_language(language).read(photo), [photo], reader, language)
    landmarks = [
        'class="cc-outcome"',
        "<img",
        "cc-headline",
        say("deferral.statement"),
        say("finding.settle_title"),
        "<details",
        say("finding.probabilities_title"),
        say("finding.set_title"),
        say("finding.heat_title"),
        say("finding.reasons_title"),
    ]
    places = [html.index(landmark) for landmark in landmarks]
    assert places == sorted(places)


def test_every_outcome_defers(reader: Predictor, photo: Image.Image) -> None:
    seen = set()
    blank = Image.new("RGB", (300, 300), "black")
    for picture in (photo, draw("other", size=(320, 300)), draw("gouty_tophus"), blank):
        finding = reader.read(picture)
        seen.add(finding.outcome)
        assert "Only a clinician" in shown(finding, [picture], reader)
    assert {"retake"} < seen <= set(OUTCOMES)


def test_the_report_holds_no_photo_unless_it_is_asked_for(
    reader: Predictor, photo: Image.Image
) -> None:
    html = shown(reader.read(photo), [photo], reader)
    without, with_photo = report(html, "without"), report(html, "with")
    assert "data:image" not in without
    assert with_photo.count("data:image") == 2
    for page in (without, with_photo):
        assert "Only a clinician" in page
        assert "tiny" in page
        assert "http" not in page


def test_no_photo_shows_a_headline_number_or_certainty(
    reader: Predictor, photo: Image.Image
) -> None:
    finding = reader.read(photo)
    certain = dict.fromkeys(finding.probabilities, 0.0) | {"milium": 1.0}
    capped = shown_probabilities(certain, finding.coverage)
    told = Finding(**{**finding.__dict__, "probabilities": certain, "shown": capped})
    html = shown(told, [photo], reader)
    assert re.search(r"above 9[59]\u00a0%", html)
    assert re.search(r"below [15]\u00a0%", html)
    assert not re.search(r">\s*(100|0)\s%", html)


def test_several_photos_are_read_together_and_that_is_said(
    reader: Predictor, photo: Image.Image
) -> None:
    photos = [photo, Image.new("RGB", (300, 300), "black"), draw("milium", 3, (320, 300))]
    html = shown(reader.predict_group(photos), photos, reader)
    assert "2 photos were read together" in html
    assert "Photo 2 was left out" in html
    assert html.count('class="cc-pair"') == 2


def test_of_several_photos_that_are_refused_the_page_tells_each_reason(reader: Predictor) -> None:
    photos = [Image.new("RGB", (300, 300), colour) for colour in ("black", "white")]
    html = shown(reader.predict_group(photos), photos, reader)
    assert "None of these photos can be used" in html
    for number, photo in enumerate(photos, 1):
        problem = reader.read(photo).problem
        assert f"Photo {number} was left out: {words()(f'quality.{problem}.reason')}" in html
        assert words()(f"quality.{problem}.advice").split("'")[0] in html


@pytest.mark.parametrize("language", languages())
def test_a_photo_that_looks_like_none_of_them_is_not_shown_as_ruling_out(
    reader: Predictor, photo: Image.Image, language: str
) -> None:
    finding = decide(
        dict.fromkeys(LABELS, 0.01) | {OTHER: 0.97},
        [OTHER],
        prior=dict.fromkeys(LABELS, 0.25),
        coverage=coverage_of(reader.config.conformal, LABELS),
        checkpoint="tiny",
        heat_maps=reader.read(photo).heat_maps,
        language=language,
    )
    first, *folded = unescape(shown(finding, [photo], reader, language)).split("<details")
    (note,) = finding.notes
    assert unbroken(note) in first
    assert not any(unbroken(note) in part for part in folded[:-1])


@pytest.mark.parametrize("language", languages())
def test_chances_that_context_moves_are_called_an_illustration(
    reader: Predictor, photo: Image.Image, language: str
) -> None:
    html = unescape(shown(reader.read(photo), [photo], reader, language))
    panel = json.loads(html.partition('data-panel="')[2].partition('">')[0])
    assert panel["now"].endswith(words(language)("reasons.context"))


def test_names_of_labels_are_escaped(reader: Predictor, photo: Image.Image) -> None:
    finding = reader.read(photo)
    hostile = Finding(**{**finding.__dict__, "headline": "<script>alert(1)</script>"})
    assert "<script>" not in shown(hostile, [photo], reader)


@pytest.mark.parametrize("language", languages())
def test_statements_lead_to_their_sources(
    reader: Predictor, photo: Image.Image, language: str
) -> None:
    say = words(language)
    finding = shown(reader.in_language(language).read(photo), [photo], reader, language)
    for label in ("calcinosis_cutis", "gouty_tophus", "milium"):
        (first, *_) = say.sources_of(label)
        after = finding[finding.index(say.settle(label).split("'")[0]) :]
        assert f"cc-source-{first['number']}" in after[: after.index("</li>")]
    learn = views.learn(language)
    for row in say.table["compare"]["rows"]:
        after = learn[learn.index(f">{row['name']}<") :]
        assert after[: after.index("</tr>")].count("cc-cite") >= 3


def test_every_problem_has_advice(reader: Predictor, photo: Image.Image) -> None:
    say = words()
    for code in say.table["quality"]:
        values = {"side": 1, "minimum": 2, "third": 3}
        assert say(f"quality.{code}.reason", **QualityIssue(code, values).values)
        assert say(f"quality.{code}.advice")


def test_how_often_the_set_was_right_is_said_with_counts_and_intervals(
    reader: Predictor, photo: Image.Image, tmp_path: Path
) -> None:
    figure = {"value": 0.8, "low": 0.52, "high": 0.96, "n": 15}
    metrics = {"conformal": {"coverage": {"calcinosis_cutis": figure}}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    record = read_validation_stats(tmp_path)
    told_with = Reader(reader.config, reader.prior.tolist(), record)
    html = finding_html(reader.read(photo), [photo], told_with, "en")
    assert (
        "calcinosis cutis: 12 of 15 photographs (95\u00a0% interval 52\u00a0% to 96\u00a0%)" in html
    )


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"conformal": {"coverage": {"a": 1}}}'])
def test_without_such_figures_none_are_stated(tmp_path: Path, content: str) -> None:
    assert read_validation_stats(tmp_path) == {}
    (tmp_path / "metrics.json").write_text(content)
    assert read_validation_stats(tmp_path) == {}


def names_of_sources(node: Any) -> Iterator[str]:
    """The sources that a table names, anywhere in it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if "sources" in key:
                yield from strings_of(value)
            else:
                yield from names_of_sources(value)
    elif isinstance(node, list):
        for value in node:
            yield from names_of_sources(value)


def strings_of(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else node:
        yield from [value] if isinstance(value, str) else strings_of(value)


def test_every_source_is_cited_somewhere() -> None:
    table = {key: value for key, value in words().table.items() if key != "sources"}
    cited = set(names_of_sources(table))
    for cases in (worked_cases(), vignettes()):
        cited |= {name for case in cases.values() for name in case["sources"]}
    cited |= {name for known in known_contexts().values() for name in known.sources}
    assert cited == set(all_sources())
