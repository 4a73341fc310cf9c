"""The same run on Ray Data, with two workers on this machine, one of which is killed."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if not Path("/proc").is_dir():
    pytest.skip("finds the worker that it kills in /proc", allow_module_level=True)
ray: Any = pytest.importorskip("ray", reason="Ray is not installed: it comes with the extra scale")

from calcinosis.bulk.on_ray import read_on_ray  # noqa: E402
from calcinosis.bulk.reading import Job  # noqa: E402 - not where Ray is missing
from calcinosis.bulk.run import open_run  # noqa: E402
from tests.bulk.conftest import BAD  # noqa: E402
from tests.bulk.test_run import check, table  # noqa: E402


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray on this machine with two cores, and nothing of it that a test has no use for."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else the workers come after all else
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 1024**2,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def test_the_same_rows_though_a_worker_is_killed(
    cluster: None, photos: Path, checkpoint: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    run = open_run(photos / "manifest.csv", Job(photos, checkpoint), out, rows_a_part=4)
    with contextlib.closing(read_on_ray(run, workers=2)) as steps:
        rows = next(steps)
        kill_a_worker()
        assert rows + sum(steps) == run.index.rows
    assert run.failed == len(BAD)
    check(table(out), expected)


def kill_a_worker() -> None:
    """End a process of Ray's that is reading photos, as a machine that fails would."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # processes come and go
            name = (place / "cmdline").read_bytes()
            if name.startswith(b"ray::") and b"PartReader" in name:
                os.kill(int(place.name), signal.SIGKILL)
                return
    raise AssertionError("no worker is alive")
