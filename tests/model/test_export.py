"""Export to ONNX: what the file holds, that others can use it, and parity with PyTorch on photographs."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard

from calcinosis.common.errors import CheckpointError
from calcinosis.data.locating import resolve
from calcinosis.data.manifest import read_manifest
from calcinosis.model.checkpoint import load_checkpoint
from calcinosis.model.config import CONFIG, GRAPH, SHIPPED, WEIGHTS, load_config
from calcinosis.model.engine import OnnxBackend
from calcinosis.model.export import TOLERANCE, export_onnx, write_graph
from calcinosis.model.labels import LABELS
from calcinosis.model.network import Network, Output
from calcinosis.model.photo import open_photo
from tests.drawings import draw, write_tiny_checkpoint

PHOTOS = os.environ.get("CALCINOSIS_PHOTOS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), licence="for a test")
    write_graph(folder)
    export_onnx(folder, folder / "sub" / "model.onnx")
    return folder


def test_it_can_be_used_by_who_does_not_know_this_project(folder: Path) -> None:
    """From the file alone: the settings say how to prepare a photo and what the outputs are."""
    session = onnxruntime.InferenceSession(folder / "sub" / "model.onnx")
    config = json.loads(session.get_modelmeta().custom_metadata_map["config"])
    how = config["preprocessing"]
    picture = draw("gouty_tophus", seed=101, size=(128, 128)).resize((how["size"],) * 2, 3)
    pixels = (np.asarray(picture, dtype=np.float32) / 255 - how["mean"]) / how["std"]
    inputs = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    (logits,) = session.run(["logits"], {"inputs": inputs})
    assert config["labels"][int(logits[0].argmax())] == "gouty_tophus"
    assert config["licence"] == "for a test"
    assert {"calibration", "conformal", "prior", "name"} <= set(config)


def test_it_is_valid_and_says_nothing_of_the_machine_it_was_written_on(folder: Path) -> None:
    for path in (folder / "sub" / "model.onnx", folder / GRAPH):
        onnx.checker.check_model(str(path))
        content = path.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"network.py" not in content


def test_the_graph_holds_no_weight_a_second_time(folder: Path) -> None:
    model = onnx.load(folder / GRAPH, load_external_data=False)
    weights = sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_location != onnx.TensorProto.EXTERNAL
    )
    stored = sum(p.numel() for p in load_checkpoint(folder)[0].parameters())
    assert weights < 0.05 * stored  # the constants of its layers
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {WEIGHTS}


def test_nothing_is_left_where_the_two_differ(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward_with_cam = Network.forward_with_cam

    def off(network: Network, inputs: torch.Tensor) -> Output:
        output = forward_with_cam(network, inputs)
        return output._replace(logits=output.logits + (not torch.compiler.is_exporting()) * 0.01)

    monkeypatch.setattr(Network, "forward_with_cam", off)
    with pytest.raises(CheckpointError) as caught:
        export_onnx(folder, tmp_path / "model.onnx")
    assert caught.value.code == "export_differs"
    assert not list(tmp_path.iterdir())


def test_no_checkpoint_no_export(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        export_onnx(tmp_path, tmp_path / "model.onnx")
    assert caught.value.code == "missing_checkpoint"


def test_a_place_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        export_onnx(folder, tmp_path / "taken" / "model.onnx")
    with pytest.raises(OSError, match="sub"):
        export_onnx(folder, folder / "sub")


@pytest.mark.slow
@pytest.mark.skipif(PHOTOS is None, reason="CALCINOSIS_PHOTOS names no folder of photographs")
def test_parity_on_200_photographs() -> None:
    root = Path(PHOTOS or "")
    rows = read_manifest(root / "photos.csv", labels=LABELS)
    chosen = np.random.default_rng(0).permutation(len(rows))[:200]
    network, config = load_checkpoint(SHIPPED)
    engine = OnnxBackend(SHIPPED / GRAPH)
    for number in chosen:
        inputs = config.preprocessing(open_photo(resolve(root, rows[number])))[None]
        with torch.no_grad():
            expected = network.forward_with_cam(inputs)
        answer = engine.forward_with_cam(inputs.numpy())
        assert np.abs(answer.logits - expected.logits.numpy()).max() <= TOLERANCE
        for ours, theirs in zip(answer, expected, strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            assert np.abs(ours - theirs.numpy()).max() <= TOLERANCE * scale


def test_the_shipped_folder_is_a_repository_for_the_hugging_face_hub() -> None:
    card = ModelCard.load(SHIPPED / "README.md")
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license_name == "research-and-education-non-commercial"
    assert (SHIPPED / card.data.license_link).is_file()
    assert card.data.model_name == load_config(SHIPPED).name
    assert card.data.eval_results
    for name in (CONFIG, WEIGHTS, GRAPH, "metrics.json"):
        assert (SHIPPED / name).is_file()
