"""Damaged files end in findings or typed errors; benchmarks/fuzz_photos.py sends many more."""

import base64
from collections.abc import Callable

import gradio as gr
import pytest

from calcinosis.benchmarks.damage import damaged_files
from calcinosis.benchmarks.fuzz_photos import end_of, end_shown, fuzz
from calcinosis.model.predictor import Predictor
from calcinosis.page.server import Answers

pytestmark = pytest.mark.slow


def as_endpoint(answers: Answers, file: bytes) -> str:
    return end_of(answers.finding_v1(base64.b64encode(file).decode()))


def as_page(answers: Answers, file: bytes) -> str:
    sent = {"photos": [f"data:image/jpeg;base64,{base64.b64encode(file).decode()}"]}
    return end_shown(answers.look(gr.EventData(None, sent)))


@pytest.mark.parametrize("way", [as_endpoint, as_page])
def test_damaged_files_end_in_findings_or_typed_errors(
    reader: Predictor, way: Callable[[Answers, bytes], str]
) -> None:
    answers = Answers(reader, {}, ())
    ends, slowest = fuzz(lambda file: way(answers, file), damaged_files(150, seed=1))
    assert ends.total() == 150
    assert not {"error: unexpected", "error: unknown"} & ends.keys()
    assert ends["error: damaged"] > 0
    assert ends.keys() - {end for end in ends if end.startswith("error")}, "no file survived"
    assert slowest < 30
