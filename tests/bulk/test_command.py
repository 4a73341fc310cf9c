"""`calcinosis predict --manifest`: its exit codes, and what it says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from calcinosis.cli.main import app
from tests.bulk.conftest import BAD, PHOTOS


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and standard error."""
    result = CliRunner().invoke(app, ["predict", *(str(part) for part in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr


def test_exit_codes(photos: Path, checkpoint: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    good = tmp_path / "good.csv"
    good.write_text("file\nphoto-1.png\n")
    given = ("--root", photos, "--checkpoint", checkpoint, "--workers", 1)
    code, said = run("--manifest", good, "--out", tmp_path / "good.parquet", *given)
    assert (code, "1 got a finding" in said) == (0, True)
    spanish = tmp_path / "es.parquet"
    assert run("--manifest", good, "--out", spanish, *given, "--language", "es")[0] == 0
    said_in = [
        parquet.read_table(t)["advice"][0].as_py() for t in (spanish, tmp_path / "good.parquet")
    ]
    assert said_in[0] != said_in[1]
    out = tmp_path / "all.parquet"
    for _ in range(2):  # the second time all is known, and the answer is the same
        code, said = run("--manifest", photos / "manifest.csv", "--out", out, *given)
        assert code == 1
        assert f"asked about {PHOTOS + 1 + len(BAD)} photos, {PHOTOS + 1} got a finding" in said
        assert "--retry-failed" in said
    assert parquet.read_table(out).num_rows == PHOTOS + 1 + len(BAD)
    code, said = run("--manifest", good, "--out", out, *given)
    assert (code, "choose another --out" in said) == (1, True)
    code, said = run(
        "--manifest", good, "--out", tmp_path / "none.parquet", "--root", photos,
        "--checkpoint", tmp_path / "none",
    )  # fmt: skip
    assert code == 1
    assert "none" in said
    assert "Traceback" not in said


def test_settings_that_do_not_fit_are_wrong_usage_and_a_fault_of_ours_is_none(
    photos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--manifest", photos / "manifest.csv", "--root", photos, "--checkpoint", checkpoint)
    out = tmp_path / "out.parquet"
    for wrong in (("--prior", "1,1"), ("--context", "xx"), ("--language", "xx")):
        assert run(*given, "--out", out, *wrong)[0] == 2

    def fails(*_: object, **__: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("calcinosis.bulk.run.open_run", fails)
    with pytest.raises(ValueError, match="of ours"):
        CliRunner().invoke(
            app, ["predict", *map(str, (*given, "--out", out))], catch_exceptions=False
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--manifest", "m.csv"),
        ("--manifest", "m.csv", "--root", "."),
        ("--manifest", "m.csv", "--root", ".", "--out", "t.parquet", "a.jpg"),
        ("--manifest", "m.csv", "--root", ".", "--out", "t.parquet", "--json"),
        ("a.jpg", "--out", "t.parquet"),
        ("a.jpg", "--root", ".", "--workers", "2"),
        ("a.jpg", "--engine", "ray"),
        ("a.jpg", "--retry-failed"),
    ],
)
def test_wrong_usage_ends_in_two(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2
