"""The public API: what the documentation shows is what happens."""

import doctest
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import calcinosis as cc
import calcinosis.api as api
import calcinosis.metrics as metrics
from calcinosis.common.errors import PredictionsError
from calcinosis.data.manifest import Row, write_manifest
from calcinosis.data.synthetic import draw
from calcinosis.model.labels import LABELS
from calcinosis.training.evaluate.predictions import write_predictions
from tests.training.tables import drawn_table

EACH = 10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples find it: photos.csv, photos/ and bump.jpg, all of them drawn."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "photos").mkdir()
    rows = []
    for label in LABELS:
        for seed in range(EACH):
            name = f"{label}-{seed}.jpg"
            draw(label, seed, size=(320, 288)).save(folder / "photos" / name, quality=92)
            rows.append(Row(name, label, "drawn", f"{label}-{seed}"))
    write_manifest(rows, folder / "photos.csv")
    draw("milium", 1, size=(640, 480)).save(folder / "bump.jpg", quality=92)
    return folder


def examples() -> list[doctest.DocTest]:
    tests = [test for module in (api, metrics) for test in doctest.DocTestFinder().find(module)]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name.split(".")[-1])
def test_the_examples_are_true(
    example: doctest.DocTest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def test_the_package_names_what_it_offers() -> None:
    for name in cc.__all__:
        assert getattr(cc, name) is not None
        assert name in dir(cc)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cc.no_such_name  # type: ignore[attr-defined]
    major, minor, patch = cc.__version__.split(".")
    assert (major + minor + patch).isdigit()


def test_photos_stay_together_with_root_and_labels(home: Path, tmp_path: Path) -> None:
    photos = cc.Photos.read(home / "photos.csv", root=home / "photos")
    some = photos[:3]
    assert isinstance(some, cc.Photos)
    assert (some.root, some.labels, len(some)) == (photos.root, photos.labels, 3)
    folded = photos.split(folds=2, seed=1)
    folded.write(tmp_path / "folds.csv")
    again = cc.Photos.read(tmp_path / "folds.csv", root=home / "photos")
    assert again.rows == folded.rows


def test_a_photo_that_is_absent_is_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(cc.CalcinosisError, match="absent"):
        cc.Photos.read(home / "photos.csv", root=tmp_path)


def test_copies_that_an_audit_found_share_a_fold(home: Path, tmp_path: Path) -> None:
    photos = cc.Photos.read(home / "photos.csv", root=home / "photos")
    first, second = photos[0].file, photos[1].file

    class Found:
        pairs = ((first, second),)

    folds = {row.file: row.fold for row in photos.split(Found(), seed=3)}  # type: ignore[arg-type]
    assert folds[first] == folds[second]


def test_a_table_of_metrics_says_what_is_undefined() -> None:
    undefined = {"value": None, "low": None, "high": None, "n": 3, "reason": "too few"}
    metrics = cc.Metrics({"ece": undefined, "by_source": {"<b>": {"ece": undefined}}})
    assert str(metrics["ece"]) == "undefined (n = 3)"
    assert "&lt;b&gt;" in metrics._repr_html_()
    assert list(metrics.below("by_source")) == ["<b>.ece"]
    assert metrics.table()[0] == ("ece", None, None, None, 3)


def test_runs_at_other_priors_are_not_compared(tmp_path: Path) -> None:
    runs = []
    for name, prior in (
        ("even", [0.25] * 4),
        ("again", [0.25] * 4),
        ("rare", [0.1, 0.1, 0.1, 0.7]),
    ):
        write_predictions(drawn_table(), tmp_path / name / "predictions.csv")
        (tmp_path / name / "metrics.json").write_text(json.dumps({"prior": prior}))
        runs.append(cc.Run.read(tmp_path / name))
    assert runs[0].compare(runs[1], "brier").value == 0
    with pytest.raises(PredictionsError, match="another prior") as caught:
        runs[0].compare(runs[2], "brier")
    assert caught.value.code == "not_paired"


def test_a_recipe_that_is_not_there_is_named(home: Path) -> None:
    photos = cc.Photos.read(home / "photos.csv", root=home / "photos")
    with pytest.raises(cc.CalcinosisError, match="no_such_recipe"):
        cc.crossval(photos, recipe="no_such_recipe")


def test_a_missing_extra_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = cc.Photos.read(home / "photos.csv", root=home / "photos")
    monkeypatch.setitem(sys.modules, "filelock", None)
    monkeypatch.delitem(sys.modules, "calcinosis.training.run_dir", raising=False)
    monkeypatch.delitem(sys.modules, "calcinosis.training.crossval", raising=False)
    with pytest.raises(cc.CalcinosisError, match=r"calcinosis\[train\]") as caught:
        cc.crossval(photos)
    assert caught.value.code == "missing_extra"


@pytest.mark.parametrize(
    ("port", "said"), [("abc", "no port"), ("70000", "no port"), (None, "cannot be had")]
)
def test_the_app_says_in_one_line_which_port_it_cannot_have(port: str | None, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        asked = port or str(taken.getsockname()[1])
        app = Path(__file__).parents[1] / "app.py"
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, str(app)],
            env=os.environ | {"GRADIO_SERVER_PORT": asked, "GRADIO_SERVER_NAME": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert said in done.stderr
    assert "GRADIO_SERVER_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_asked_for_in_vain_is_named(home: Path) -> None:
    assert not {"Any", "Path", "os"} & set(dir(cc))
    with pytest.raises(ValueError, match="threads=0"):
        cc.load(threads=0)
    assert cc.load(context="gout").prior.tolist() == cc.load(context=["gout"]).prior.tolist()
    with pytest.raises(TypeError, match=r"Photos\.read"):
        cc.crossval([1, 2])  # type: ignore[arg-type]
    with pytest.raises(cc.CalcinosisError, match="no such run"):
        cc.Run.read(home / "nowhere")
    figure = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 68}
    with pytest.raises(KeyError, match=r"auroc\.milium"):
        cc.Metrics({"auroc": {"milium": figure}})["auroc.milia"]
