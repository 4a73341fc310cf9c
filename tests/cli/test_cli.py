"""The command line as a user meets it: one line of JSON a photo, typed errors, exit codes."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from calcinosis.cli.main import app
from calcinosis.data.catalogue import find_set, list_sets
from calcinosis.model.labels import LABELS
from tests.drawings import draw, encode
from tests.training.drawn_sets import draw_set

KEYS = [
    "file",
    "outcome",
    "probabilities",
    "prediction_set",
    "reasons",
    "advice",
    "checkpoint",
    "coverage",
    "frequency",
    "problem",
    "version",
]


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_a_finding_a_line(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos = [tmp_path / f"{label}.png" for label in LABELS]
    for photo, label in zip(photos, LABELS, strict=True):
        draw(label).save(photo)
    code, out, _ = run("predict", *photos, "--json", "--checkpoint", tiny_checkpoint)
    findings = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [finding["file"] for finding in findings] == [str(photo) for photo in photos]
    for finding in findings:
        assert list(finding) == KEYS
        assert list(finding["probabilities"]) == list(LABELS)
        assert sum(finding["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert finding["prediction_set"]
        assert "Only a clinician" in finding["advice"]


def test_bad_files_are_named_and_the_others_are_still_read(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    good = tmp_path / "good.png"
    draw("milium").save(good)
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes(encode(draw("other"))[:400])
    (tmp_path / "moving.gif").write_bytes(encode(draw("other"), "GIF"))
    (tmp_path / "bare").mkdir()
    names = ["text.jpg", "empty.jpg", "cut.png", "moving.gif", "absent.jpg", "bare"]
    code, out, _ = run(
        "predict",
        *[tmp_path / name for name in names],
        good,
        "--json",
        "--checkpoint",
        tiny_checkpoint,
    )
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line["error"]["code"] for line in lines[:-1]] == [
        "not_an_image",
        "empty",
        "damaged",
        "unsupported_format",
        "missing",
        "folder",
    ]
    assert all(line["error"]["message"] for line in lines[:-1])
    assert lines[-1]["file"] == str(good)
    assert list(lines[-1]) == KEYS


def test_one_pixel_gets_a_finding_that_asks_for_another_photo(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    photo = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(photo)
    code, out, _ = run("predict", photo, "--json", "--checkpoint", tiny_checkpoint)
    finding = json.loads(out)
    assert code == 0
    assert finding["outcome"] == "retake"
    assert finding["prediction_set"] == list(LABELS)
    _, told, _ = run("predict", photo, "--context", "gout", "--checkpoint", tiny_checkpoint)
    assert "gouty_tophus" not in told, "a photo that says nothing gets no row of what was assumed"


def test_words_for_a_person(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photo, heat = tmp_path / "p.png", tmp_path / "heat.png"
    draw("gouty_tophus").save(photo)
    code, out, _ = run("predict", photo, "--checkpoint", tiny_checkpoint, "--heatmap", heat)
    assert code == 0
    assert "Only a clinician" in out
    assert "you have" not in out.lower()
    assert Image.open(heat).size == (128, 128)  # the centred square that the network saw


def test_another_prior_moves_probabilities_alone(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photo = tmp_path / "p.png"
    draw("milium").save(photo)
    arguments = ("predict", photo, "--json", "--checkpoint", tiny_checkpoint)
    equal = json.loads(run(*arguments)[1])
    common = json.loads(run(*arguments, "--prior", "1,1,1,97")[1])
    assert common["probabilities"]["other"] > equal["probabilities"]["other"]
    assert common["prediction_set"] == equal["prediction_set"]
    assert run(*arguments, "--prior", "1,2")[0] == 2
    assert run(*arguments, "--prior", "a,b,c,d")[0] == 2


def test_a_context_is_a_prior_by_name(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photo = tmp_path / "bump.png"
    photo.write_bytes(encode(draw("gouty_tophus", size=(320, 300))))
    arguments = ("predict", "--json", "--checkpoint", str(tiny_checkpoint), str(photo))
    plain, known = (
        json.loads(run(*arguments, *more)[1])
        for more in ((), ("--context", "general_practice,gout"))
    )
    assert known["prediction_set"] == plain["prediction_set"]
    assert known["probabilities"]["gouty_tophus"] > plain["probabilities"]["gouty_tophus"]
    assert any("gouty tophus 0.4" in reason for reason in known["reasons"])
    assert "rough illustration" in known["reasons"][-1]
    assert "rough illustration" not in str(plain["reasons"])
    assert run(*arguments, "--context", "moonlight")[0] == 2
    assert run(*arguments, "--context", "gout", "--prior", "1,1,1,1")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("predict", "a.jpg", "b.jpg", "--heatmap", "h.png"),
        ("demo", "--photos", "photos"),
        ("predict", "a.jpg", "--heatmap", "h.bmp"),
        ("predict", "a.jpg", "--language", "tlh"),
        ("predict", "a.jpg", "--format", "yaml"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_ends_in_two(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    code, out, err = run("predict", tmp_path / "p.png", "--checkpoint", tmp_path / "none")
    assert (code, out) == (1, "")
    assert "config.json" in err
    assert "Traceback" not in err


def test_brackets_in_a_message_reach_the_reader(tmp_path: Path, tiny_checkpoint: Path) -> None:
    code, _, err = run("predict", tmp_path / "a[train].jpg", "--checkpoint", tiny_checkpoint)
    assert code == 1
    assert "a[train].jpg" in err


def test_split_train_evaluate_predict(tmp_path: Path) -> None:
    """The README's road for a researcher, on drawn photos."""
    photos, run_folder = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    draw_set(photos, of_each=6)
    folds, recipe = tmp_path / "folds.csv", tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "drawn"\nbackbone = "timm:test_efficientnet"\npretrained = false\n'
        'input_size = 64\nmethod = "probe"\nC = 1.0\n'
    )
    assert run("split", "--manifest", photos / "manifest.csv", "--out", folds, "--folds", 3)[0] == 0
    given = ("--manifest", folds, "--root", photos)
    code, out, _ = run("crossval", *given, "--config", recipe, "--out", tmp_path / "cv")
    assert code == 0
    assert "balanced_accuracy" in out
    assert run("train", *given, "--config", recipe, "--out", run_folder)[0] == 0
    card = (run_folder / "README.md").read_text()
    assert "calcinosis train" in card
    results = tmp_path / "results"
    assert run("evaluate", *given, "--checkpoint", run_folder, "--out", results)[0] == 0
    metrics = json.loads((results / "metrics.json").read_text())
    for name in ("balanced_accuracy", "three_way_balanced_accuracy", "ece", "brier"):
        assert {"value", "low", "high", "n"} <= set(metrics[name])
    for family in ("auroc", "auroc_lookalike", "average_precision", "sensitivity", "specificity"):
        assert {"calcinosis_cutis", "gouty_tophus", "milium"} <= set(metrics[family])
    with (results / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 24
    assert {"file", "label", "group", "source", "kind", "fold", "prediction_set", "outcome"} <= set(
        rows[0]
    )
    photo = photos / "milium-0.jpg"
    code, out, _ = run("predict", photo, "--json", "--checkpoint", run_folder)
    assert code == 0
    assert json.loads(out)["checkpoint"] == "drawn"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,label,source\na.jpg,other,s\n", "group"),
        ("file,label,source,group\na.jpg,wart,s,g\n", "wart"),
        ("file,label,source,group\nabsent.jpg,other,s,g\n", "absent.jpg"),
        ("", "manifest.csv"),
    ],
)
def test_a_manifest_that_cannot_be_used(
    text: str, named: str, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(text)
    code, _, err = run(
        "evaluate", "--manifest", manifest, "--root", tmp_path, "--checkpoint", tiny_checkpoint,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 1
    assert named in err
    assert "Traceback" not in err


def test_an_exported_checkpoint_gives_the_same_finding(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    photo, exported = tmp_path / "p.png", tmp_path / "new" / "model.onnx"
    draw("milium", seed=110).save(photo)
    code, _, err = run("export", "--checkpoint", tiny_checkpoint, "--out", exported)
    assert code == 0
    assert "model.onnx" in err
    by_torch = json.loads(run("predict", photo, "--json", "--checkpoint", tiny_checkpoint)[1])
    by_onnx = json.loads(run("predict", photo, "--json", "--checkpoint", exported)[1])
    for label, probability in by_torch.pop("probabilities").items():
        assert by_onnx["probabilities"][label] == pytest.approx(probability, abs=1e-5)
    del by_onnx["probabilities"]
    assert by_onnx == by_torch


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "--format", "graph", "--out", "model.onnx"),
        ("export", "--format", "tflite", "--out", "model.tflite"),
        ("bench", "--photos", "photos"),
    ],
)
def test_an_export_or_a_bench_that_cannot_be_meant(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_an_export_that_cannot_be_made(tmp_path: Path, tiny_checkpoint: Path) -> None:
    code, _, err = run("export", "--checkpoint", tmp_path, "--out", tmp_path / "m.onnx")
    assert code == 1
    assert "config.json" in err
    (tmp_path / "taken").write_text("a file")
    code, _, err = run(
        "export", "--checkpoint", tiny_checkpoint, "--out", tmp_path / "taken" / "m.onnx"
    )
    assert code == 1
    assert "taken" in err
    assert "Traceback" not in err


def test_the_sets_are_listed_with_what_they_hold_and_on_what_terms() -> None:
    code, out, _ = run("data", "list")
    header, *lines = out.splitlines()
    assert code == 0
    assert header.split() == [
        "set",
        "photos",
        "calcinosis",
        "tophi",
        "milia",
        "access",
        "fetch",
        "build",
        "licence",
    ]
    assert [line.split()[0] for line in lines] == [entry.name for entry in list_sets()]
    entry = find_set("fitzpatrick17k")
    (line,) = (line for line in lines if line.startswith(f"{entry.name} "))
    assert f"{entry.images:,}" in line
    assert line.endswith(entry.licence)


def test_of_one_set_all_is_told_that_is_known() -> None:
    code, out, _ = run("data", "list", "fitzpatrick17k")
    entry = find_set("fitzpatrick17k")
    assert code == 0
    for known in (entry.title, entry.licence, entry.citation, entry.how, *entry.terms):
        assert known in out
    assert "None" not in out


def test_a_set_that_there_is_not_is_one_clear_line() -> None:
    code, out, err = run("data", "list", "atlas")
    assert (code, out) == (1, "")
    assert "atlas: there is no such set; there are " in err


def test_a_manifest_of_a_set_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    places = ("--root", tmp_path, "--out", tmp_path / "manifest.csv")
    code, _, err = run("data", "build", "fitzpatrick17k", *places)
    assert code == 1
    assert "fitzpatrick17k.csv" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "manifest.csv").exists()
