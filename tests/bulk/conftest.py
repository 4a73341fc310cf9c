"""A folder of drawn photos, some of them not to be read, with a manifest and what must come of it."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from tests.drawings import draw, encode

PHOTOS = 36
"""How many can be read, the first of them too dark to ask the network about."""

BAD = {
    "text.jpg": "not_an_image",
    "absent.jpg": "missing_photo",
    "../outside.jpg": "outside_root",
    "shard.tar/absent.png": "missing_photo",
}


@pytest.fixture(scope="session")
def checkpoint(tiny_checkpoint_with_graph: Path) -> Path:
    """Workers begin sooner without PyTorch."""
    return tiny_checkpoint_with_graph


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with files, a shard, and `manifest.csv`; not to be written to."""
    pytest.importorskip("pyarrow", reason="tables in Parquet need the extra scale")
    root = tmp_path_factory.mktemp("photos")
    files = []
    with tarfile.open(root / "shard.tar", "w") as shard:
        for number in range(PHOTOS):
            photo = draw(LABELS[number % 4], number)
            content = encode(photo if number else photo.point(lambda value: value // 20))
            files.append(f"photo-{number}.png")
            if number % 3:
                (root / files[-1]).write_bytes(content)
            else:
                member = tarfile.TarInfo(files[-1])
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
                files[-1] = f"shard.tar/{files[-1]}"
    (root / "text.jpg").write_text("no picture")
    files[5:5] = list(BAD)
    files.append(files[0])  # a photo may be listed twice
    (root / "manifest.csv").write_text("file\n" + "\n".join(files) + "\n")
    return root


@pytest.fixture(scope="session")
def expected(photos: Path, checkpoint: Path) -> list[dict[str, Any]]:
    """For each row its file, outcome, problem, probabilities, prediction set and error, read one by one."""
    reader, said = Predictor(checkpoint, threads=1), []
    for file in (photos / "manifest.csv").read_text().splitlines()[1:]:
        if file in BAD:
            said.append({"file": file, "error_code": BAD[file]})
            continue
        with tarfile.open(photos / "shard.tar") as shard:
            name = file.removeprefix("shard.tar/")
            inside = shard.extractfile(name) if name != file else None
            found = reader.read(inside.read() if inside else photos / file)
        said.append(
            {
                "file": file,
                "outcome": found.outcome,
                "problem": found.problem,
                "prediction_set": list(found.prediction_set),
                "advice": found.advice,
                **{f"p_{label}": p for label, p in found.probabilities.items()},
            }
        )
    return said
