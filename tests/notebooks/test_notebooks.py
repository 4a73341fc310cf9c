"""The notebooks run from top to bottom on drawings, in their order, and are kept without outputs."""

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 900
"""Within which each cell ends."""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for results that the notebooks share, and no photographs of the machine's user."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("CALCINOSIS_")]:
        del os.environ[name]
    os.environ["CALCINOSIS_WORK"] = str(tmp_path_factory.mktemp("notebooks"))
    os.environ["PYTHONPATH"] = str(FOLDER.parent)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_there_are_three() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs: they may show photographs"
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_defers(path: Path, surroundings: None) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "only a clinician can tell" in notebook.cells[0].source
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": FOLDER}})
    client.execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
