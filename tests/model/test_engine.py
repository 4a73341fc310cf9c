"""What answers for a checkpoint: the same finding from each, and PyTorch only where it must."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from calcinosis.common.errors import CheckpointError, PhotoError
from calcinosis.model.checkpoint import load_checkpoint, save_checkpoint
from calcinosis.model.config import CONFIG, GRAPH, SHIPPED, WEIGHTS
from calcinosis.model.engine import OnnxBackend, TorchBackend, open_backend
from calcinosis.model.export import TOLERANCE, export_onnx, write_graph
from calcinosis.model.finding import Finding
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from tests.drawings import draw, encode, tiny_config, tiny_network, write_tiny_checkpoint

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "numpy.ma", "rich.console")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with its graph; not to be written to."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("drawn"), prior=(0.1, 0.2, 0.3, 0.4))
    write_graph(folder)
    return folder


@pytest.fixture(scope="module")
def exported(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoint as one file, with nothing beside it."""
    path = tmp_path_factory.mktemp("exported") / "Bläschen 1.onnx"
    export_onnx(drawn, path)
    return path


@pytest.fixture
def copy(drawn: Path, tmp_path: Path) -> Path:
    """A checkpoint with its graph that a test may damage."""
    return Path(shutil.copytree(drawn, tmp_path / "checkpoint"))


def assert_alike(found: Finding, expected: Finding) -> None:
    """Equal but for the last digits."""
    assert list(found.probabilities.values()) == pytest.approx(
        list(expected.probabilities.values()), abs=1e-5
    )
    words = [
        {k: v for k, v in one.as_json().items() if k != "probabilities"}
        for one in (found, expected)
    ]
    assert words[0] == words[1]
    assert found.heat_map
    assert expected.heat_map
    assert found.heat_map.label == expected.heat_map.label
    assert found.heat_map.box == expected.heat_map.box
    assert found.heat_map.cam == pytest.approx(expected.heat_map.cam, abs=1e-3)


# The same answer


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_backend_gives_the_same_answer(drawn: Path, exported: Path, count: int) -> None:
    inputs = np.random.default_rng(count).normal(size=(count, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = load_checkpoint(drawn)[0].forward_with_cam(torch.from_numpy(inputs))
    for engine in (TorchBackend(drawn), OnnxBackend(drawn / GRAPH), OnnxBackend(exported)):
        answer = engine.forward_with_cam(inputs)
        assert answer.logits.shape == (count, len(LABELS))
        assert answer.cam.shape == expected.cam.shape
        assert answer.logits == pytest.approx(expected.logits.numpy(), abs=TOLERANCE)
        assert answer.cam == pytest.approx(expected.cam.numpy(), abs=TOLERANCE)
        assert answer.embedding == pytest.approx(expected.embedding.numpy(), abs=TOLERANCE)


def test_every_backend_gives_the_same_finding(drawn: Path, exported: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copy(drawn / name, bare)
    by_torch, by_graph, by_file = Predictor(bare), Predictor(drawn), Predictor(exported)
    assert isinstance(by_torch.backend, TorchBackend)
    assert isinstance(by_graph.backend, OnnxBackend)
    assert by_file.config == by_graph.config == by_torch.config
    for label in LABELS:
        photo = draw(label, seed=110)
        expected = by_torch.read(photo)
        assert_alike(by_graph.read(photo), expected)
        assert_alike(by_file.read(photo), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_shipped_graph_answers_as_the_weights_beside_it_do(threads: int) -> None:
    """Fails where weights were put in place without: calcinosis export --format graph.

    With one thread it sees the photos and their mirror images at once, with two side by side.
    """
    engine, config = open_backend(SHIPPED, threads=threads)
    assert isinstance(engine, OnnxBackend)
    inputs = np.stack([config.preprocessing.array(draw(label, 1, (640, 480))) for label in LABELS])
    with torch.no_grad():
        expected = load_checkpoint(SHIPPED)[0].forward_with_cam(torch.from_numpy(inputs))
    answer = engine.forward_with_cam(inputs)
    assert answer.logits == pytest.approx(expected.logits.numpy(), abs=TOLERANCE)
    scale = float(expected.cam.abs().max())
    assert answer.cam == pytest.approx(expected.cam.numpy(), abs=TOLERANCE * scale)


def test_a_photo_is_read_without_loading_what_takes_long(
    drawn: Path, exported: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "p.png"
    draw("milium").save(photo)
    for checkpoint in (drawn, exported):
        script = (
            "import sys; from pathlib import Path; from calcinosis.cli.main import main\n"
            f"sys.argv = ['calcinosis', 'predict', {str(photo)!r}, '--json', "
            f"'--checkpoint', {str(checkpoint)!r}]\n"
            "try: main()\nexcept SystemExit: pass\n"
            f"print([name for name in {HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run(  # noqa: S603 (our own words)
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        finding, loaded = done.stdout.splitlines()
        assert json.loads(finding)["checkpoint"] == "tiny"
        assert loaded == "[]"


def test_photos_read_at_once_come_in_their_order(drawn: Path, tmp_path: Path) -> None:
    reader = Predictor(drawn, threads=1)
    pictures = [draw(label, seed) for seed in range(6) for label in LABELS]
    photos: list[bytes | Image.Image] = [*pictures, b"no picture", encode(pictures[0])]
    found = list(reader.read_each(photos, workers=3))
    assert found[:-2] == [reader.read(picture) for picture in pictures]
    assert isinstance(found[-2], PhotoError)
    assert found[-1] == found[0]
    assert list(reader.read_each([], workers=2)) == []


def test_a_photo_gets_the_finding_alone_that_it_gets_among_others(drawn: Path) -> None:
    """Alone with two threads, gate and input side by side; among others that are refused or cannot be read."""
    dark = Image.new("RGB", (300, 200))
    photos = [draw(label, seed, (300, 200)) for seed in range(3) for label in LABELS]
    among = [given for photo in photos for given in (photo, dark, b"no picture")]
    found = Predictor(drawn, threads=1).read_each(among, workers=2)
    alone = Predictor(drawn, threads=2)
    for given, one in zip(among, found, strict=True):
        if isinstance(given, bytes):
            assert isinstance(one, PhotoError)
            continue
        expected = alone.read(given)
        assert one == replace(expected, probabilities=one.probabilities, shown=one.shown)
        assert one.probabilities == pytest.approx(expected.probabilities, abs=5e-7)
        assert one.outcome == "retake" or given is not dark


# A graph that is not of these weights


def assert_torch_answers(folder: Path) -> None:
    reader = Predictor(folder)
    assert isinstance(reader.backend, TorchBackend)
    network, config = load_checkpoint(folder)
    photo = draw("milium", seed=110)
    with torch.no_grad():
        logits = network(config.preprocessing(photo)[None]).numpy()
    expected = config.calibration.probabilities(logits, config.prior)[0]
    assert list(reader.read(photo).probabilities.values()) == pytest.approx(expected, abs=1e-6)


def test_no_graph(copy: Path) -> None:
    (copy / GRAPH).unlink()
    assert_torch_answers(copy)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x0a"])
def test_a_damaged_graph(copy: Path, content: bytes) -> None:
    (copy / GRAPH).write_bytes(content)
    assert_torch_answers(copy)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_graph_cut_short(copy: Path, share: float) -> None:
    content = (copy / GRAPH).read_bytes()
    (copy / GRAPH).write_bytes(content[: int(share * len(content))])
    assert_torch_answers(copy)


def test_a_folder_in_place_of_a_graph(copy: Path) -> None:
    (copy / GRAPH).unlink()
    (copy / GRAPH).mkdir()
    assert_torch_answers(copy)


def test_a_graph_of_other_weights(copy: Path) -> None:
    state = load_file(copy / WEIGHTS)
    state["head.weight"] = state["head.weight"].flip(0)
    save_file(state, copy / WEIGHTS)
    assert_torch_answers(copy)


def test_a_new_checkpoint_takes_the_graph_of_the_old_one_away(copy: Path) -> None:
    save_checkpoint(copy, tiny_network(), tiny_config(name="newer"))
    assert not (copy / GRAPH).exists()
    assert_torch_answers(copy)


def test_settings_that_no_layer_depends_on_may_change(copy: Path) -> None:
    config = json.loads((copy / CONFIG).read_text())
    config["calibration"]["bias"] = [5, 0, 0, 0]
    config["name"] = "recalibrated"
    (copy / CONFIG).write_text(json.dumps(config))
    reader = Predictor(copy)
    assert isinstance(reader.backend, OnnxBackend)
    finding = reader.read(draw("milium", seed=110))
    assert finding.checkpoint == "recalibrated"


def test_settings_that_layers_depend_on_may_not(copy: Path) -> None:
    config = json.loads((copy / CONFIG).read_text())
    config["preprocessing"]["size"] = 96
    (copy / CONFIG).write_text(json.dumps(config))
    assert_torch_answers(copy)


def test_damaged_weights_are_an_error_with_or_without_a_graph(copy: Path) -> None:
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(CheckpointError) as caught:
        Predictor(copy)
    assert caught.value.code == "bad_weights"


# A file that is no checkpoint


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x0a", b"\x89PNG"])
def test_what_is_no_onnx_file_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.onnx") as caught:
        Predictor(path)
    assert caught.value.code == "bad_onnx"


def test_somebody_elses_onnx_file_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    layer = torch.nn.Linear(3, 4).eval()
    torch.onnx.export(layer, (torch.zeros(1, 3),), str(path), dynamo=True, verbose=False)
    with pytest.raises(CheckpointError) as caught:
        Predictor(path)
    assert caught.value.code == "bad_onnx"


def test_settings_of_another_network_are_a_typed_error(exported: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported)
    for entry in model.metadata_props:
        if entry.key == "config":
            entry.value = tiny_config(preprocessing={"size": 96}).model_dump_json()
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(CheckpointError) as caught:
        Predictor(tmp_path / "wrong.onnx")
    assert caught.value.code == "bad_onnx"


def test_the_pytorch_network_of_a_reader_is_there_when_asked_for(
    drawn: Path, exported: Path
) -> None:
    assert Predictor(drawn).network.head.out_features == len(LABELS)
    with pytest.raises(CheckpointError):
        _ = Predictor(exported).network
