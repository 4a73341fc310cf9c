"""The benchmark of speed: every contender is asked about the same photos, and the tables add up."""

from pathlib import Path

import numpy as np

from calcinosis.benchmarks.speed import ask_by_stages, ask_in_turns, clocked, show
from calcinosis.model.predictor import Predictor
from tests.drawings import draw


def test_each_is_asked_about_all_photos_in_turn() -> None:
    asked: list[tuple[str, str]] = []
    contenders = {
        "onnxruntime": lambda path, _: asked.append(("onnxruntime", path.name)),
        "calcinosis": lambda path, _: asked.append(("calcinosis", path.name)),
    }
    inputs = {Path(name): np.zeros(1) for name in ("a", "b")}
    times = ask_in_turns(contenders, inputs, repeats=2)
    photos = ["a", "b", "a", "b"]  # the first two to warm up
    assert asked == 2 * [(name, photo) for name in contenders for photo in photos]
    assert all(0 <= figure["p50"] <= figure["p95"] for figure in times.values())


def test_the_stages_are_parts_of_the_whole(tiny_checkpoint: Path, tmp_path: Path) -> None:
    photo = tmp_path / "p.png"
    draw("milium", size=(300, 200)).save(photo)
    times = ask_by_stages(Predictor(tiny_checkpoint, threads=1), [photo], repeats=5)
    assert set(times) == {
        "all", "decode", "quality", "input", "network", "decision", "heat map",
    }  # fmt: skip
    parts = sum(times[name]["p50"] for name in times if name != "all")
    assert parts <= 1.2 * times["all"]["p95"]


def test_clocks_are_taken_off_again(tiny_checkpoint: Path) -> None:
    reader = Predictor(tiny_checkpoint)
    before = reader._heat_map
    with clocked({"heat map": (reader, "_heat_map")}, {"heat map": []}):
        assert reader._heat_map != before
    assert reader._heat_map == before


def test_the_tables_say_the_ratios_and_what_is_missing() -> None:
    figures = {
        "machine": {"cores": 2, "load": [0.1, 0.2]},
        "photos": 3,
        "repeats": 2,
        "absent": ["openvino"],
        "one_photo_ms": {
            "calcinosis": {"p50": 30.0, "p95": 60.0},
            "onnxruntime": {"p50": 20.0, "p95": 25.0},
        },
        "stages_ms": {"all": {"p50": 30.0, "p95": 60.0}},
        "many_photos_per_second": {"calcinosis": 45.0, "one": 40.0, "two": 50.0},
        "cold_start": {
            "calcinosis": {"seconds": 1.0, "peak_megabytes": 200.0},
            "torch": {"seconds": 4.0, "peak_megabytes": 900.0},
        },
        "evaluate_seconds": {"predict": 2.0, "evaluate": 2.2},
        "page_ms": {"predict": 50.0, "page": 70.0},
        "beside_busy_processes_ms": {"one thread, nobody else": 50.0},
    }
    text = show(figures)
    assert "| photo to finding | 30.0 | 60.0 | 1.50 |" in text
    assert "| calcinosis | 45.0 | 0.90 |" in text
    assert "cold start, ours of theirs: 0.25" in text
    assert "not installed: openvino" in text
    assert "| `evaluate`, asking, 2.20 s of 2.00 s | 1.10 |" in text
    assert "| the page, click to finding, 70.0 ms of 50.0 ms | 1.40 |" in text
    assert "| one thread, nobody else | 50.0 |" in text
