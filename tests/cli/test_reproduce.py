"""The command that a card states: every option that was given, and no place of this machine."""

import shlex
from pathlib import Path
from typing import Any

import typer

from calcinosis.cli.main import app
from calcinosis.cli.options import reproduce_command

TRAIN = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
GIVEN = ["--manifest", "m.csv", "--root", "/far/photos", "--config", "lite2.toml", "--out", "run"]


def context(*arguments: str) -> Any:
    return TRAIN.make_context("train", [*GIVEN, *arguments])


def test_what_is_usual_is_left_out_and_places_keep_their_name() -> None:
    usual = "calcinosis train --manifest m.csv --root photos --config lite2.toml --out run"
    assert reproduce_command(context()) == usual
    assert reproduce_command(context("--resume", "--cache", "elsewhere")) == usual


def test_every_other_option_of_a_run_is_in_it() -> None:
    usual = {
        "device": "cuda",
        "precision": "bf16",
        "off_topic": "'a file.csv'",
        "repeats": "3",
        "facts": "f.toml",
        "outside": "o.csv",
    }
    left_out = {"manifest", "root", "config", "out", "resume", "cache"}
    for option in TRAIN.params:
        if option.name in left_out:
            continue
        value = usual.get(option.name, "")
        flag = (option.secondary_opts if option.default is True else option.opts)[0]
        words = f"{flag} {value}".strip()
        assert reproduce_command(context(*shlex.split(words))).endswith(f" {words}")


def test_several_processes_are_started_as_they_were() -> None:
    command = reproduce_command(context("--device", "cuda"), processes=2)
    assert command.startswith("torchrun --nproc-per-node 2 -m calcinosis train --manifest")
    assert Path("run").name in command
