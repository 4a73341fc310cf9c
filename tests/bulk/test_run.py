"""Reading a manifest into a table: every row once, whoever is killed and whenever."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from calcinosis.bulk import worker_pool
from calcinosis.bulk.on_ray import _read_parts
from calcinosis.bulk.reading import Job, Worker, failure
from calcinosis.bulk.run import open_run
from calcinosis.bulk.table import FINISHED, check_claim, make_claim, part_path
from calcinosis.bulk.worker_pool import Task, WorkerPool
from calcinosis.common.errors import BulkError, CheckpointError, ManifestError
from calcinosis.model.words import words
from tests.bulk import deadly
from tests.bulk.conftest import BAD

ROOT = Path(__file__).parents[2]
Said = list[dict[str, Any]]


def table(folder: Path) -> Said:
    """The rows of a table in the order of its files, as any reader of Parquet sees them."""
    from pyarrow import parquet

    rows: Said = parquet.read_table(folder).to_pylist()
    return rows


def check(found: Said, expected: Said) -> None:
    """Every row of the manifest is there once, in its place, and says what it should."""
    assert [row["row"] for row in found] == [*range(len(expected))]
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            same = pytest.approx(value, abs=1e-6) if isinstance(value, float) else value
            assert row[name] == same, (row["file"], name)
        if "error_code" in wanted:
            assert row["error_message"]
            assert row["outcome"] is None
        else:
            assert row["error_code"] is None
            assert "Only a clinician" in row["advice"]


def read(photos: Path, checkpoint: Path, out: Path, workers: int = 2) -> int:
    """Read all that is left, in parts of eight rows; says how many rows got no finding."""
    run = open_run(photos / "manifest.csv", Job(photos, checkpoint), out, rows_a_part=8)
    assert sum(run.read(workers=workers)) == run.index.rows - run.done
    return run.failed


def test_a_table_says_what_reading_one_by_one_says(
    photos: Path, checkpoint: Path, expected: Said, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    assert read(photos, checkpoint, out) == len(BAD)
    check(table(out), expected)
    assert table(out)[0]["problem"] == "too_dark"
    assert (out / FINISHED).exists()
    # Once more there is nothing to do, and no worker is started for it.
    assert read(photos, checkpoint, out, workers=10**6) == len(BAD)
    assert not list(out.glob(".*"))
    # Unless what failed shall be tried again, which is in the first and the second part.
    given = (photos / "manifest.csv", Job(photos, checkpoint), out)
    again = open_run(*given, rows_a_part=8, retry_failed=True)
    bad = [n for n, row in enumerate(expected) if "error_code" in row]
    assert [chunk.number for chunk in again.left] == sorted({row // 8 for row in bad})
    assert (again.failed, again.done) == (0, again.index.rows - 8 * len(again.left))
    part_path(out, again.index.chunks[1]).write_bytes(b"half a file")
    with pytest.raises(BulkError, match="delete it") as caught:
        open_run(*given, rows_a_part=8)
    assert caught.value.code == "damaged_part"


def test_a_wrong_language_is_met_before_workers_of_ray_are_asked(
    photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    run = open_run(photos / "manifest.csv", Job(photos, checkpoint, language="xx"), out)
    with pytest.raises(ValueError, match="xx"):
        next(_read_parts(None, run, workers=1))
    assert not out.exists()


def test_what_was_not_finished_is_read_and_nothing_else(
    photos: Path, checkpoint: Path, expected: Said, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    read(photos, checkpoint, out)
    parts = sorted(out.glob("part-*"))
    kept = {part: part.stat().st_ino for part in (parts[0], parts[2])}
    for part in (parts[1], *parts[3:]):
        part.unlink()
    (out / ".part-0000001.parquet.1.partial").write_bytes(b"half a file")
    assert read(photos, checkpoint, out) == len(BAD)
    assert {part: part.stat().st_ino for part in kept} == kept
    check(table(out), expected)


def test_a_killed_run_leaves_no_worker_and_goes_on(
    photos: Path, checkpoint: Path, expected: Said, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    program = """if __name__ == "__main__":
        import sys
        from pathlib import Path
        from calcinosis.bulk.reading import Job
        from calcinosis.bulk.run import open_run

        photos, checkpoint, out = map(Path, sys.argv[1:])
        run = open_run(photos / "manifest.csv", Job(photos, checkpoint), out, rows_a_part=8)
        list(run.read(workers=2))
    """
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, tmp_path / "program.py", photos, checkpoint, out],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    wait_until(lambda: any(out.glob("part-*")) or process.poll() is not None)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(process.pid))
    left = len(list(out.glob("part-*")))
    assert left
    assert read(photos, checkpoint, out) == len(BAD)
    check(table(out), expected)


def alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_worker_loses_nothing(
    photos: Path, checkpoint: Path, expected: Said, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    run = open_run(photos / "manifest.csv", Job(photos, checkpoint), out, rows_a_part=8)
    out.mkdir()
    with WorkerPool(run.job, workers=2) as pool:
        steps = run.read_with(pool)
        next(steps)
        for process in list(pool._pool._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        assert sum(steps) == run.index.rows - 8
    check(table(out), expected)


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_parts_that_were_finished_are_kept(
    photos: Path, checkpoint: Path, expected: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    write, out = parquet.write_table, tmp_path / "table.parquet"

    def full_at_the_second(table: Any, file: IO[bytes], **options: Any) -> None:
        if table["row"][0].as_py() == 8:
            file.write(b"half a file")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(table, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_table", full_at_the_second)
        with pytest.raises(BulkError, match="give the same command again") as caught:
            read(photos, checkpoint, out, workers=1)
    assert (caught.value.code, caught.value.name) == ("disk_full", str(out))
    assert sorted(file.name for file in out.iterdir()) == ["_run.json", "part-0000000.parquet"]
    assert read(photos, checkpoint, out, workers=1) == len(BAD)
    check(table(out), expected)


def test_a_photo_that_ends_its_worker_is_named_and_the_others_are_read(
    photos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "_read", deadly.read)
    files = ["photo-1.png", deadly.NAME, "photo-2.png"]
    with WorkerPool(Job(photos, checkpoint), workers=1) as pool:
        (records,) = pool.read([(7, files)])
    assert [record["row"] for record in records] == [7, 8, 9]
    assert [record.get("error_code") for record in records] == [None, "crashed", None]


def test_only_a_few_tasks_are_held(photos: Path, checkpoint: Path) -> None:
    drawn = 0

    def tasks() -> Iterator[Task]:
        nonlocal drawn
        for drawn in range(1, 101):
            yield drawn, ["text.jpg"]

    with WorkerPool(Job(photos, checkpoint), workers=1) as pool:
        for collected, _ in enumerate(pool.read(tasks()), start=1):
            assert drawn - collected < 5
    assert drawn == 100


def test_a_folder_is_one_runs_own(photos: Path, checkpoint: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "table.parquet", tmp_path / "other.csv"
    read(photos, checkpoint, out, workers=1)
    other.write_text("file\ntext.jpg\n")
    job = Job(photos, checkpoint)
    (tmp_path / "file").touch()
    for manifest, given, place in (
        (other, job, out),
        (photos / "manifest.csv", Job(photos, checkpoint, (0.4, 0.3, 0.2, 0.1)), out),
        (photos / "manifest.csv", Job(photos, checkpoint, context=("gout",)), out),
        (photos / "manifest.csv", Job(tmp_path, checkpoint), out),
        (other, job, photos),
        (other, job, tmp_path / "file"),
    ):
        with pytest.raises(BulkError) as caught:
            open_run(manifest, given, place, rows_a_part=8)
        assert caught.value.code == "other_run"


def test_of_two_runs_that_begin_at_once_one_gets_the_folder(
    photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    first, second = (
        open_run(photos / "manifest.csv", Job(photos, checkpoint, language=language), out)
        for language in ("en", "es")
    )
    first.claim()
    first.claim()  # by the same command once more
    with pytest.raises(BulkError) as caught:
        second.claim()
    assert caught.value.code == "other_run"


@pytest.mark.parametrize("left", ["", "{", "\udcff"])
def test_a_damaged_note_is_named_and_what_a_kill_left_of_one_is_not_in_the_way(
    tmp_path: Path, left: str
) -> None:
    out, run = tmp_path / "out", {"rows": 8}
    out.mkdir()
    (out / "._run.json.12345678.partial").write_text("{")  # of one who writes it now, or was killed
    check_claim(out, run)
    make_claim(out, run)
    make_claim(out, run)  # by the same command once more
    (out / "_run.json").write_bytes(left.encode(errors="surrogateescape"))
    for claim in (check_claim, make_claim):
        with pytest.raises(BulkError, match=r"is damaged.* choose another --out") as caught:
            claim(out, run)
        assert (caught.value.code, caught.value.name) == ("damaged_note", str(out / "_run.json"))


class Absent:
    """A pool whose photos are all absent."""

    labels = ("milium", "other")

    def read(self, tasks: Iterator[Task]) -> Iterator[Said]:
        for first, files in tasks:
            yield [failure(first + i, file, "missing", "\udcff") for i, file in enumerate(files)]


@pytest.mark.parametrize("now", ["file\n" + "a.jpg\n" * 20, "file\n" + "b.jpg\n" * 40])
def test_a_manifest_that_changes_under_a_run_ends_it(
    now: str, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    manifest, out = tmp_path / "m.csv", tmp_path / "table.parquet"
    manifest.write_text("file\n" + "a.jpg\n" * 40)
    run = open_run(manifest, Job(tmp_path, checkpoint), out, rows_a_part=16)
    steps = run.read_with(Absent())  # type: ignore[arg-type]
    next(steps)
    manifest.write_text(now)
    with pytest.raises(ManifestError) as caught:
        list(steps)
    assert caught.value.code == "changed_manifest"
    assert [row["file"] for row in table(out)] == ["a.jpg"] * 16
    assert table(out)[0]["error_message"] == r"\udcff"


def test_a_row_says_that_its_chances_are_an_illustration(photos: Path, checkpoint: Path) -> None:
    for context in ((), ("gout",)):
        worker = Worker(Job(photos, checkpoint, context=context))
        (row,) = worker.read(0, ["photo-1.png"])
        assert (words()("reasons.context") in row["reasons"]) == bool(context)


def test_what_cannot_begin_leaves_nothing_behind(
    photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    broken, out = tmp_path / "broken", tmp_path / "table.parquet"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").touch()
    run = open_run(photos / "manifest.csv", Job(photos, broken), out)
    with pytest.raises(CheckpointError):
        list(run.read(workers=1))
    run = open_run(photos / "manifest.csv", Job(photos, checkpoint, (0.5, 0.5)), out)
    with pytest.raises(ValueError, match="prior"):
        list(run.read(workers=1))
    with pytest.raises(BulkError, match="no folder"):
        open_run(photos / "manifest.csv", Job(tmp_path / "none", checkpoint), out)
    assert not out.exists()
