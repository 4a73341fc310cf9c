"""The command line in a process of its own, on drawn photos, for tests that stop it or start several."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from calcinosis.data.manifest import read_manifest, write_manifest
from calcinosis.data.splits import assign_folds
from calcinosis.model.labels import LABELS
from tests.drawings import TINY_BACKBONE
from tests.training.drawn_sets import draw_set

ROOT = Path(__file__).parents[2]


def draw_task(folder: Path, **settings: Any) -> tuple[str, ...]:
    """Drawn photos in two folds and a tiny recipe below a folder; gives the arguments that name them."""
    draw_set(folder, of_each=6)
    manifest = folder / "manifest.csv"
    write_manifest(assign_folds(read_manifest(manifest, labels=LABELS), folds=2), manifest)
    chosen = {
        "name": "tiny",
        "backbone": TINY_BACKBONE,
        "pretrained": False,
        "input_size": 64,
        "frozen_stages": 1,
        "C": 1.0,
        "epochs": 3,
        "samples_per_epoch": 384,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "freeze_batch_norm": False,
    } | settings
    words = {str: lambda v: f'"{v}"', bool: lambda v: str(v).lower()}
    recipe = [f"{name} = {words.get(type(v), str)(v)}" for name, v in chosen.items()]
    (folder / "recipe.toml").write_text("\n".join(recipe) + "\n")
    return (
        "--manifest", str(manifest), "--root", str(folder), "--config", str(folder / "recipe.toml"),
        "--cache", str(folder / "cache"), "--no-watermark",
    )  # fmt: skip


def start(*arguments: object, processes: int = 1) -> subprocess.Popen[str]:
    """`calcinosis` with arguments, in a process group of its own; with several processes by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "calcinosis"]
    return subprocess.Popen(  # noqa: S603 (our own command, on drawn photos)
        [*command, *(str(part) for part in arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(*arguments: object, processes: int = 1) -> tuple[int, str]:
    """Exit code and standard error of the same, when it has ended."""
    process = start(*arguments, processes=processes)
    _, said = process.communicate(timeout=300)
    return process.returncode, said
