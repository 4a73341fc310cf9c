"""A finding in a notebook: all that it says, and nothing that a page could run."""

import re
from html.parser import HTMLParser

from PIL import Image

from calcinosis.model.finding import Shown
from calcinosis.model.predictor import Predictor
from calcinosis.model.show import finding_html
from tests.drawings import draw


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def parsed(html: str) -> Text:
    parser = Text()
    parser.feed(html)
    return parser


def test_all_that_the_finding_says_is_shown() -> None:
    finding = Predictor(skip_ood_check=True).read(draw("gouty_tophus", seed=1, size=(640, 480)))
    shown = parsed(finding._repr_html_())
    for text in (*finding.summary, *finding.reasons, finding.advice):
        assert text in shown.text
    assert len(re.findall("✓", shown.text)) == len(finding.prediction_set)
    assert all(label.replace("_", " ") in shown.text for label in finding.probabilities)
    assert shown.tags <= {"div", "p", "strong", "table", "tbody", "tr", "td", "ul", "li"}


def test_a_retake_shows_no_probabilities() -> None:
    finding = Predictor().read(Image.new("RGB", (300, 300), (180, 140, 120)))
    assert finding.outcome == "retake"
    assert "<table>" not in finding_html(finding)


def test_labels_of_a_users_own_run_nothing(tiny_checkpoint: object) -> None:
    label = "<script>alert(1)</script>"
    finding = Predictor(tiny_checkpoint, skip_ood_check=True).read(draw("milium"))  # type: ignore[arg-type]
    spoilt = type(finding)(
        outcome="suggestive",
        headline=label,
        probabilities={label: 0.97, "other": 0.03},
        prediction_set=(label,),
        reasons=(label,),
        advice=label,
        checkpoint=label,
        shown={label: Shown(0.95, "above"), "other": Shown(0.05, "below")},
    )
    html = finding_html(spoilt)
    assert "<script" not in html
    text = parsed(html).text
    assert label in text
    assert "> 95%" in text
    assert "< 5%" in text
