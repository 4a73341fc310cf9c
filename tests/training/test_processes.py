"""Two processes learn what one learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from calcinosis.common.errors import TrainingError
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.finetune import finetune
from tests.training.commands import draw_task, run
from tests.training.drawn_sets import tiny_recipe

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The work folder of a run by one process, and of the same by two."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("task")
    # Batch statistics are learnt, so that the shards of a batch need each other.
    task = draw_task(folder, epochs=2, samples_per_epoch=48)
    for processes in (1, 2):
        out = folder / f"by-{processes}"
        code, said = run(
            "crossval", *task, "--precision", "float32", "--out", out, processes=processes
        )
        assert code == 0, said
        assert said.count("photographs read") == 1  # one of them speaks
    return folder / "by-1.work", folder / "by-2.work"


def last_states(runs: tuple[Path, Path]) -> tuple[Tensors, Tensors]:
    one, two = (load_file(work / "fold-0" / "state-2.safetensors") for work in runs)
    assert one.keys() == two.keys()
    return one, two


@pytest.mark.slow
def test_the_gradients_are_those_of_the_whole_batch(runs: tuple[Path, Path]) -> None:
    """Adam keeps their running mean; it agrees to a thousandth of its length, float32's rounding."""
    one, two = last_states(runs)
    names = [name for name in one if name.endswith("exp_avg")]
    largest = max(float(one[name].norm()) for name in names)
    for name in names:
        length = max(float(one[name].norm()), 1e-3 * largest)  # some are 0 but for rounding
        assert float((one[name] - two[name]).norm()) <= 1e-3 * length, name


@pytest.mark.slow
def test_the_weights_and_the_batch_statistics_are_the_same(runs: tuple[Path, Path]) -> None:
    """Tolerance: two steps of the learning rate, 0.001. Adam takes a whole step along a gradient that is
    0 but for rounding, as that of a bias in front of a normalisation, which changes no answer.
    """
    one, two = last_states(runs)
    for name in (name for name in one if not name.startswith("optimizer")):
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=2e-3, msg=name)


@pytest.mark.slow
def test_the_answers_are_the_same(runs: tuple[Path, Path]) -> None:
    """Tolerance: two hundredths of a logit, for what Adam makes of rounding."""
    for fold in ("fold-0", "fold-1"):
        one, two = (load_file(work / fold / "logits.safetensors")["logits"] for work in runs)
        torch.testing.assert_close(two, one, rtol=0, atol=2e-2)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    class Three(Device):
        def __init__(self) -> None:
            super().__init__()
            self.processes = 3

    with pytest.raises(TrainingError, match="16 cannot be shared evenly by 3"):
        finetune(  # type: ignore[arg-type]
            None, None, np.zeros(1, int), None, tiny_recipe(), Path(), Three()
        )  # fmt: skip


@pytest.mark.parametrize(("device", "precision"), [("tpu", "bf16"), ("cpu", "fp8")])
def test_unknown_hardware_is_named(device: str, precision: str) -> None:
    with pytest.raises(TrainingError) as caught:
        Device(device, precision)
    assert caught.value.code == "unknown_hardware"


def test_a_gpu_that_is_not_there_is_said_to_be_missing() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="--device cpu"):
        Device("cuda")


@pytest.mark.parametrize("computes", [False, True])
def test_bfloat16_is_left_to_processors_that_compute_in_it(
    computes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx512_bf16": computes}, raising=False
    )
    for precision, wanted in (("auto", computes), ("bf16", True), ("float32", False)):
        with Device("cpu", precision).autocast():
            assert torch.is_autocast_enabled("cpu") == wanted
