"""What all tests share: see `tests/drawings.py` for the pictures and the tiny network."""

import os

# One thread for each process, as the tests run in several; read when the libraries are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from calcinosis.data.manifest import Row, read_manifest
from calcinosis.model.export import write_graph
from calcinosis.model.labels import LABELS
from tests.drawings import write_tiny_checkpoint
from tests.training.drawn_sets import draw_set, tiny_recipe, train_quietly

# The same examples each time, and no verdict on how busy the machine is; in CI other examples each time, of
# which a failing one is printed with what repeats it.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("steady", derandomize=True, **_PATIENT)
settings.register_profile("fresh", derandomize=False, print_blob=True, **_PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the programs that
# they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes a folder by its name, once for all processes that run tests; not to be written to after that."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if worker else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / f"shared-{name}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                fill(partial)
                partial.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_once: MakeOnce) -> Path:
    """The folder of a small, fast checkpoint that has learnt the drawn labels; not to be written to."""
    return make_once("tiny", write_tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_checkpoint_with_graph(make_once: MakeOnce) -> Path:
    """The same with its graph, so that ONNX Runtime answers; not to be written to."""
    return make_once("tiny-graph", lambda folder: write_graph(write_tiny_checkpoint(folder)))


@pytest.fixture(scope="session")
def trained(make_once: MakeOnce) -> tuple[Path, list[Row], Path]:
    """A folder of drawn photos, its rows, and the run that was trained on them; not to be written to."""

    def fill(folder: Path) -> None:
        (folder / "photos").mkdir()
        rows = draw_set(folder / "photos")
        train_quietly(rows, folder / "photos", tiny_recipe(), folder / "run")

    folder = make_once("trained", fill)
    rows = read_manifest(folder / "photos" / "manifest.csv", labels=LABELS)
    return folder / "photos", rows, folder / "run"
