"""The report: a page that stands alone, says every number in words, and draws what it says."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from calcinosis.training.evaluate.metrics.compute import compute_metrics
from calcinosis.training.report.formatting import format_estimate
from calcinosis.training.report.sections import write_report
from tests.training.tables import drawn_table

VOID = {"meta", "link", "br", "use", "path", "rect"}


class Page(HTMLParser):
    """Collects what a browser would build, and complains about tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.attributes, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.text = re.sub(r"\s+", " ", " ".join(page.words))
    return page


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    table = drawn_table()
    metrics = compute_metrics(table, prior=(0.1, 0.2, 0.3, 0.4), resamples=20)
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(metrics, table, path)
    return metrics, path


def test_the_page_is_whole_and_stands_alone(report):
    page = read(report[1])
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "img", "image", "iframe", "link"} & set(page.tags)
    outside = [
        value
        for _, name, value in page.attributes
        if name in {"src", "href", "xlink:href"} and not value.startswith("#")
    ]
    assert outside == []
    assert "@import" not in report[1].read_text()


def test_what_was_left_out_of_training_comes_first_and_repeats_are_averaged(report, tmp_path):
    figure = {"value": 0.125, "low": 0.1, "high": 0.15, "n": 80}
    more = {
        "leave_source_out": {"far away": {"suggestive": {"false_rate": figure}}},
        "repeated": {"repeats": 5, "balanced_accuracy": figure | {"value": 0.777}},
    }
    write_report(report[0] | more, drawn_table(), tmp_path / "report.html")
    external, known = read(tmp_path / "report.html").text.split("On patients left out")
    assert re.search("far away Something else that is called suggestive [^.]* 12.5%", external)
    assert "mean over repeated cross-validations" in known
    assert "0.777" in known or "77.7%" in known
    assert "left out of training" not in read(report[1]).text


def test_every_plot_has_a_description_and_its_numbers_stand_in_a_table(report):
    metrics, path = report
    page = read(path)
    drawings = page.tags.count("svg")
    described = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert drawings == len([words for words in described if words]) >= 10
    for name in ("auroc", "average_precision", "sensitivity", "specificity"):
        for label in metrics["labels"]:
            figure = metrics[name][label]
            said = format_estimate(figure, percent=name in ("sensitivity", "specificity"))
            assert said in page.text.replace("\xa0", " ")
    for name in ("ece", "brier"):
        assert format_estimate(metrics[name]) in page.text.replace("\xa0", " ")


def test_references_inside_a_drawing_stay_inside_it(report):
    page = read(report[1])
    wanted = {value[1:] for _, name, value in page.attributes if name in {"href", "xlink:href"}}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", report[1].read_text()))
    assert wanted
    assert wanted <= set(page.ids)


def test_it_never_says_that_a_person_has_something(report):
    text = read(report[1]).text.lower()
    assert "you have" not in text
    assert "clinician" in text
    assert "estimated" in text  # skin tone


def test_the_same_figures_give_the_same_page(report, tmp_path):
    write_report(report[0], drawn_table(), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == report[1].read_bytes()


def test_names_from_the_data_are_escaped(tmp_path):
    table = drawn_table()
    nasty = ("<b>source</b>",) * len(table)
    table = replace(table, source=nasty, source_label=nasty, skin_tone=nasty)
    path = tmp_path / "report.html"
    write_report(compute_metrics(table, prior=None, resamples=10), table, path)
    assert "<b>source" not in path.read_text()
    assert read(path).open == []


@pytest.mark.parametrize("labels_present", [[2], [3]])
@pytest.mark.filterwarnings(
    "error", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_table_without_some_labels_still_gives_a_report(tmp_path, labels_present):
    table = drawn_table()
    table = table.where(np.isin(table.label, labels_present))
    metrics = compute_metrics(table, prior=(0.1, 0.2, 0.3, 0.4), resamples=10)
    write_report(metrics, table, tmp_path / "report.html")
    page = read(tmp_path / "report.html")
    assert page.open == []
    assert "not measurable" in page.text
    assert "nan" not in page.text.lower().split()


def test_a_figure_is_said_with_its_interval_or_its_reason():
    whole = {"value": 0.951, "low": 0.88, "high": 0.985, "n": 40}
    assert format_estimate(whole) == "0.951 (0.880 to 0.985)"
    assert format_estimate(whole, percent=True) == "95.1% (88.0% to 98.5%)"
    bare = {"value": 1.0, "low": None, "high": None, "n": 3, "reason": "one patient"}
    assert format_estimate(bare) == "1.000 (no interval: one patient)"
    assert format_estimate(bare | {"value": None}) == "not measurable: one patient"
    assert format_estimate(None) == "not measured"
