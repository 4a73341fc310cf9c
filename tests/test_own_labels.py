"""Labels of a researcher's own: from the audit to the page by a manifest and one line of a recipe."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from calcinosis.cli.main import app
from calcinosis.data.synthetic import draw_set
from calcinosis.model.predictor import Predictor
from calcinosis.page import sections as views
from calcinosis.page import server as demo
from calcinosis.page.findings import finding as finding_html
from calcinosis.page.validation_stats import read_validation_stats
from calcinosis.page.words import languages

LABELS = ("xanthelasma", "syringoma", "milium", "other")
RECIPE = """
name = "eyelids"
labels = ["xanthelasma", "syringoma", "milium", "other"]
backbone = "timm:test_efficientnet"
pretrained = false
input_size = 64
method = "probe"
C = 1.0
"""
# What the page says of this project's three conditions and must not say here.
OURS = (
    "alcinosis cutis",
    "gouty",
    "gota",
    "calcium, milium",
    "calcio, milium",
    "sebaceous",
    "sebácea",
)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every command of the README's road leaves behind."""
    folder = tmp_path_factory.mktemp("own")
    photos, recipe, folds = folder / "photos", folder / "recipe.toml", folder / "folds.csv"
    photos.mkdir()
    draw_set(photos, LABELS, of_each=6, size=(320, 300))
    manifest = photos / "manifest.csv"
    # The least that a manifest may say: no kind, no source label.
    rows = [line.split(",")[:4] for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(",".join(row) for row in rows) + "\n")
    recipe.write_text(RECIPE)
    given = ("--config", recipe)
    run("audit", "--manifest", manifest, "--root", photos, "--out", folder / "audit", *given)
    found = folder / "audit" / "audit.csv"
    run("split", "--manifest", manifest, "--audit", found, "--out", folds, "--folds", 3, *given)
    known = ("--manifest", folds, "--root", photos)
    run("train", *known, *given, "--out", folder / "run")
    run("evaluate", *known, "--checkpoint", folder / "run", "--out", folder / "figures")
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> Predictor:
    return Predictor(folder / "run")


@pytest.fixture
def photo(folder: Path) -> Image.Image:
    return Image.open(folder / "photos" / "syringoma-0.jpg")


def test_figures_card_and_report_speak_of_these_labels(folder: Path) -> None:
    metrics = json.loads((folder / "figures" / "metrics.json").read_text())
    assert metrics["labels"] == list(LABELS)
    assert metrics["balanced_accuracy"]["value"] > 0.8
    card = (folder / "run" / "README.md").read_text()
    assert "xanthelasma, syringoma or milium" in card
    for page in (card, (folder / "figures" / "report.html").read_text()):
        assert not [name for name in OURS if name in page]


def test_predict_defers_in_general_for_a_label_that_nothing_is_known_of(folder: Path) -> None:
    photo = folder / "photos" / "xanthelasma-0.jpg"
    finding = json.loads(run("predict", photo, "--json", "--checkpoint", folder / "run"))
    assert list(finding["probabilities"]) == list(LABELS)
    assert "xanthelasma" in finding["prediction_set"]
    assert "Only a clinician" in finding["advice"]
    assert "For xanthelasma: an examination by a clinician" in finding["advice"]
    assert not [name for name in OURS if name in json.dumps(finding)]


@pytest.mark.parametrize("language", languages())
def test_the_page_speaks_of_these_labels_alone(
    reader: Predictor, photo: Image.Image, folder: Path, language: str
) -> None:
    answers = demo.Answers(reader, read_validation_stats(folder / "run"), quiz=())
    finding = reader.in_language(language).read(photo)
    shown = finding_html(finding, [photo], answers.told_with, language)
    page = "\n".join((*answers.sections(language).values(), shown))
    for label in LABELS[:2]:
        assert label in page
    assert not [name for name in OURS if name in page.split("cc-compare")[0]]
    assert "2\u00a0mm" in page  # what is true of any label stays


def test_the_comparison_is_of_conditions_that_something_is_known_of() -> None:
    page = views.learn("en", LABELS)
    assert "keratin cyst" in page
    assert "urate" not in page.split("cc-compare")[1].split("</table>")[0]
    assert "cc-compare" not in views.learn("en", ("xanthelasma", "syringoma", "other"))
    assert "cc-flags" in views.learn("en", ("xanthelasma", "syringoma", "other"))


def test_the_demo_is_built_on_such_a_checkpoint(reader: Predictor, folder: Path) -> None:
    page = demo.build_app(reader, record=read_validation_stats(folder / "run"))
    assert "finding_v1" in json.dumps(page.get_api_info(all_endpoints=True))
    page.close()


@pytest.mark.parametrize(
    "labels",
    ['["milium", "milium", "other"]', '["milium"]', '["other"]', '["a|b", "other"]'],
)
def test_a_label_set_that_cannot_be_used_is_named_before_any_work(
    folder: Path, labels: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace('["xanthelasma", "syringoma", "milium", "other"]', labels))
    arguments = ["split", "--manifest", folder / "folds.csv", "--out", tmp_path / "o.csv"]
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--config", recipe)])
    assert result.exit_code == 1
    assert "labels" in result.stderr
