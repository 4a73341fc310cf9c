"""The check of a machine: it agrees with itself, and notices what a wrong processor or library would do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcinosis.common.errors import CheckpointError
from calcinosis.model import doctor
from calcinosis.model.config import SHIPPED
from calcinosis.model.engine import Floats, Output
from calcinosis.model.predictor import Predictor
from tests.drawings import draw, write_tiny_checkpoint

PICTURES = [draw(label, 0) for label in ("milium", "gouty_tophus", "other")]


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    predictor = Predictor(write_tiny_checkpoint(tmp_path))
    doctor.renew(predictor, PICTURES)
    return predictor


def test_a_machine_agrees_with_itself(predictor: Predictor) -> None:
    checkup = doctor.check(predictor, PICTURES)
    assert checkup.agrees
    assert checkup.redrawn == 0
    assert max(checkup.differences.values()) < 1e-5


class Saturating:
    """A backend whose numbers overflow, as arithmetic of 8 bits does on some processors."""

    def __init__(self, backend: Any, share: float) -> None:
        self.backend, self.share = backend, share

    def forward_with_cam(self, inputs: Floats) -> Output:
        output = self.backend.forward_with_cam(inputs)
        bound = self.share * np.abs(output.embedding).max()
        return Output(output.logits, output.cam, output.embedding.clip(-bound, bound))


def test_a_wrong_network_a_wrong_gate_and_no_number_are_noticed(
    predictor: Predictor,
) -> None:
    right: Any = predictor.backend
    predictor.backend = Saturating(right, 0.9)
    checkup = doctor.check(predictor, PICTURES)
    assert not checkup.agrees
    assert checkup.differences["embedding"] > 0.05
    assert checkup.differences["logits"] < 1e-5
    predictor.backend = Saturating(right, np.nan)
    assert not doctor.check(predictor, PICTURES).agrees
    predictor.backend = right
    brighter = [picture.point(lambda value: min(255, value + 3)) for picture in PICTURES]
    checkup = doctor.check(predictor, brighter)
    assert not checkup.agrees
    assert checkup.redrawn == len(PICTURES)


def test_values_of_other_weights_or_pictures_and_damaged_ones_are_refused(
    predictor: Predictor,
) -> None:
    with pytest.raises(CheckpointError, match="other pictures"):
        doctor.check(predictor, PICTURES[:2])
    path = doctor.reference_path(predictor.checkpoint)
    stored = json.loads(path.read_text())
    for change, reason in (
        ({"source_digest": "0"}, "other weights"),
        ({"logits": [[0.0]]}, "another version"),
        ({"gate": "none"}, "damaged|version"),
    ):
        path.write_text(json.dumps(stored | change))
        with pytest.raises(CheckpointError, match=reason) as raised:
            doctor.check(predictor, PICTURES)
        assert raised.value.code == "no_reference"
    path.unlink()
    with pytest.raises(CheckpointError, match="doctor --renew"):
        doctor.check(predictor, PICTURES)


def test_features_are_read_where_the_system_tells_them(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nflags : fpu avx2 fma avx512_vnni\n\nflags : fpu\n")
    assert doctor.processor_features(told) == ["avx2", "avx512_vnni", "fma"]
    told.write_text("Features : fp asimd asimddp\n")
    assert doctor.processor_features(told) == ["asimd", "asimddp"]
    assert doctor.processor_features(tmp_path / "none") == []


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 (our own words)
        [sys.executable, "-m", "calcinosis", "doctor", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_stores_compares_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path)
    options = ("--checkpoint", str(checkpoint))
    missing = run(*options)
    assert missing.returncode == 1
    assert "doctor --renew" in " ".join(missing.stderr.split())
    assert run(*options, "--renew").returncode == 0
    done = run(*options)
    assert done.returncode == 0, done.stderr
    assert "this machine computes what was stored" in done.stdout
    path = doctor.reference_path(checkpoint)
    stored = json.loads(path.read_text())
    stored["logits"][0][0] += 1
    path.write_text(json.dumps(stored))
    wrong = run(*options)
    assert wrong.returncode == 1
    assert "DIFFER" in wrong.stdout


def test_this_machine_agrees_with_the_shipped_values() -> None:
    """Fails where weights were put in place without: calcinosis doctor --renew."""
    done = run()
    assert doctor.reference_path(SHIPPED).is_file()
    assert done.returncode == 0, done.stdout + done.stderr
