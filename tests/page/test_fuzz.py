"""Damaged files end in findings or typed errors; benchmarks/fuzz_photos.py sends many more."""

import pytest
from calcinosis.benchmarks.fuzz_photos import fuzz
from calcinosis.model.predictor import Predictor
from calcinosis.page.server import Answers

pytestmark = pytest.mark.slow


def test_damaged_files_end_in_findings_or_typed_errors(reader: Predictor) -> None:
    ends, slowest = fuzz(Answers(reader, {}, ()), files=300, seed=1)
    assert ends.total() == 300
    assert ends["error: unexpected"] == 0
    assert ends["error: damaged"] > 0
    assert ends.keys() - {end for end in ends if end.startswith("error")}, "no file survived"
    assert slowest < 30
