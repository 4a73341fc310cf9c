"""A checkpoint on disk: what is written is what is read, and what is damaged is said so."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calcinosis.common.errors import CheckpointError
from calcinosis.model.checkpoint import load_checkpoint, save_checkpoint
from calcinosis.model.config import CONFIG, WEIGHTS, load_config
from calcinosis.model.engine import digest
from tests.drawings import tiny_config, tiny_network

TENSOR = "head.weight"


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def refusal(folder: Path) -> CheckpointError:
    """The error of a checkpoint that cannot be loaded, with what every such error owes its reader."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    error = caught.value
    assert str(folder) in error.name
    assert ";" in error.message, "an error says what is wrong; and what to do"
    return error


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | changes), encoding="utf-8")


def change_weights(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    state = load_file(folder / WEIGHTS) | change
    save_file({name: t for name, t in state.items() if t is not None}, folder / WEIGHTS)


# What is written is what is read


def test_a_round_trip_keeps_logits_and_settings(tmp_path: Path, inputs: torch.Tensor) -> None:
    network, config = tiny_network(), tiny_config(prior=(0.1, 0.2, 0.3, 0.4))
    save_checkpoint(tmp_path / "new" / "folder", network, config)
    again, config_again = load_checkpoint(tmp_path / "new" / "folder")
    assert config_again == config
    assert not again.training
    with torch.no_grad():
        expected, found = network(inputs), again(inputs)
    # Half precision keeps eleven bits of each weight.
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).all()


def test_a_second_round_trip_loses_nothing_more(
    tiny_checkpoint: Path, tmp_path: Path, inputs: torch.Tensor
) -> None:
    network, config = load_checkpoint(tiny_checkpoint)
    save_checkpoint(tmp_path, network, config)
    again, _ = load_checkpoint(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(inputs), network(inputs))
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_checkpoint / WEIGHTS).read_bytes()
    assert (tmp_path / CONFIG).read_bytes() == (tiny_checkpoint / CONFIG).read_bytes()


@pytest.mark.parametrize("frozen_stages", [1, 3, 7])
def test_weights_that_training_cut_differently_load_the_same(
    frozen_stages: int, tmp_path: Path, inputs: torch.Tensor
) -> None:
    save_checkpoint(tmp_path / "whole", tiny_network(), tiny_config())
    save_checkpoint(tmp_path / "cut", tiny_network(frozen_stages), tiny_config())
    whole, _ = load_checkpoint(tmp_path / "whole")
    cut, _ = load_checkpoint(tmp_path / "cut")
    with torch.no_grad():
        assert torch.equal(cut(inputs), whole(inputs))


def test_a_variance_too_large_for_half_precision_survives(tmp_path: Path) -> None:
    network = tiny_network()
    statistics = network.state_dict()
    name = next(name for name in statistics if name.endswith("running_var"))
    statistics[name].fill_(1e6)
    save_checkpoint(tmp_path, network, tiny_config())
    again, _ = load_checkpoint(tmp_path)
    assert (again.state_dict()[name] == 1e6).all()


def test_weights_take_half_the_space(tiny_checkpoint: Path) -> None:
    count = sum(parameter.numel() for parameter in tiny_network().parameters())
    assert (tiny_checkpoint / WEIGHTS).stat().st_size < 2.7 * count


def test_writing_over_a_checkpoint_leaves_only_the_new_one(copy: Path) -> None:
    save_checkpoint(copy, tiny_network(), tiny_config(name="newer"))
    assert load_config(copy).name == "newer"
    assert sorted(path.name for path in copy.iterdir()) == [CONFIG, WEIGHTS]


def test_who_may_read_the_settings_may_read_the_weights(tiny_checkpoint: Path) -> None:
    modes = [(tiny_checkpoint / name).stat().st_mode for name in (WEIGHTS, CONFIG)]
    assert modes[0] == modes[1]


def test_a_folder_may_have_any_name(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "Höcker und mehr"))
    assert load_checkpoint(folder)[1].name == "tiny"


# What is missing


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere")
    assert error.code == "missing_checkpoint"
    assert CONFIG in error.message


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    error = refusal(copy)
    assert error.code == "missing_checkpoint"
    assert name in str(error)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_in_place_of_a_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    refusal(copy)


# Settings


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe{}", b"{'name': 'tiny'}"]
)
def test_broken_json_is_refused(copy: Path, content: bytes) -> None:
    (copy / CONFIG).write_bytes(content)
    error = refusal(copy)
    assert error.code == "bad_config"
    assert error.name.endswith(CONFIG)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temprature": 1}, "temprature"),
        ({"format": 3}, "format"),
        ({"format": 3, "something_new": {}}, "format"),
        ({"format": 1}, "format"),
        ({"two_branch": True}, "two_branch"),
        ({"kept_from": 3}, "kept_from"),
        ({"frozen_stages": 99}, "frozen_stages = 99"),
        ({"multi_scale": True}, "frozen_stages"),
        ({"format": "one"}, "format"),
        ({"name": ""}, "name"),
        ({"labels": ["other", "milium"]}, "labels"),
        ({"labels": ["milium", "milium", "gouty_tophus", "other"]}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": ["milium", "gouty_tophus", "other"]}, "one number per label"),
        ({"prior": [1, 1, 1]}, "prior"),
        ({"prior": [1, 1, 1, 0]}, "prior"),
        ({"backbone": None}, "backbone"),
        ({"backbone": "timm:no_such_network"}, "no_such_network"),
        ({"backbone": "../../elsewhere"}, "elsewhere"),
        ({"backbone": "timm:test_vit"}, "test_vit"),
        ({"preprocessing": {"size": -1}}, "preprocessing.size"),
        ({"calibration": {"temperature": 0, "bias": [0, 0, 0, 0]}}, "calibration.temperature"),
        ({"calibration": {"temperature": 1, "bias": [0, 0, 0]}}, "one number per label"),
        ({"calibration": {"temperature": 1, "bias": [0, 0, 0, float("nan")]}}, "calibration.bias"),
        ({"conformal": {"coverage": 0.9, "thresholds": [0.1]}}, "one number per label"),
    ],
)
def test_a_wrong_setting_is_named(copy: Path, changes: dict[str, Any], named: str) -> None:
    change_config(copy, **changes)
    error = refusal(copy)
    assert error.code == "bad_config"
    assert error.name.endswith(CONFIG)
    assert named in error.message


@pytest.mark.parametrize("key", ["name", "labels", "backbone", "preprocessing", "calibration"])
def test_a_missing_setting_is_named(copy: Path, key: str) -> None:
    config = json.loads((copy / CONFIG).read_text(encoding="utf-8"))
    del config[key]
    (copy / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    assert key in refusal(copy).message


def test_a_setting_of_old_that_was_always_false_is_dropped(copy: Path, tmp_path: Path) -> None:
    _, before = load_checkpoint(copy)
    change_config(copy, two_branch=False)
    network, config = load_checkpoint(copy)
    assert config == before
    assert digest(copy, config) == digest(copy, before)
    save_checkpoint(tmp_path / "new", network, config)
    assert "two_branch" not in (tmp_path / "new" / CONFIG).read_text(encoding="utf-8")
    assert "two_branch" not in config.model_dump_json()


# Weights


def test_a_missing_tensor_is_named(copy: Path) -> None:
    change_weights(copy, {TENSOR: None})
    error = refusal(copy)
    assert error.code == "bad_weights"
    assert error.name.endswith(WEIGHTS)
    assert TENSOR in error.message


def test_the_first_missing_tensor_is_named(copy: Path) -> None:
    with safe_open(copy / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
    save_file({"head.bias": torch.zeros(4)}, copy / WEIGHTS)
    message = refusal(copy).message
    assert "backbone.0.0.weight" in names
    assert "backbone.0.0.weight" in message


def test_a_superfluous_tensor_is_named(copy: Path) -> None:
    change_weights(copy, {"head.scale": torch.ones(4)})
    assert "head.scale" in refusal(copy).message


@pytest.mark.parametrize("shape", [(4, 1), (3, 256), (256, 4), ()])
def test_a_tensor_of_the_wrong_shape_is_named(copy: Path, shape: tuple[int, ...]) -> None:
    change_weights(copy, {TENSOR: torch.zeros(shape)})
    message = refusal(copy).message
    assert TENSOR in message
    assert str(shape) in message
    assert "(4, 256)" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_tensor_that_is_not_finite_is_named(copy: Path, value: float) -> None:
    tensor = load_file(copy / WEIGHTS)[TENSOR]
    tensor[1, 2] = value
    change_weights(copy, {TENSOR: tensor})
    assert TENSOR in refusal(copy).message


def test_weights_of_another_network_are_refused(copy: Path) -> None:
    change_config(copy, backbone="timm:test_resnet")
    assert refusal(copy).code == "bad_weights"


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.3, 0.9, 0.999])
def test_weights_cut_short_are_damaged(copy: Path, share: float) -> None:
    content = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(content[: int(share * len(content))])
    error = refusal(copy)
    assert error.code == "bad_weights"
    assert "damaged" in error.message


class Trap:
    """Unpickled, it writes a file: what a stranger's pickle could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "sprung"))


def test_a_pickle_under_the_right_name_is_refused_and_not_run(copy: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (copy / WEIGHTS).write_bytes(pickle.dumps(Trap(sprung)))
    assert refusal(copy).code == "bad_weights"
    assert not sprung.exists()
    torch.save(tiny_network().state_dict(), copy / WEIGHTS)
    assert refusal(copy).code == "bad_weights"
