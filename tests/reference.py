"""Makes `reference_findings.json` anew for the checkpoint that ships: `python -m tests.reference PHOTOS`.

Findings of 50 drawings and of 200 photographs of the pool, which stand there by name, with numbers alone.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any, Final

from calcinosis.data.croissant import POOL
from calcinosis.data.manifest import read_manifest
from calcinosis.model.finding import Finding
from calcinosis.model.labels import LABELS, OTHER
from calcinosis.model.predictor import Predictor
from tests.drawings import draw

FILE: Final = Path(__file__).with_name("reference_findings.json")
_SIZES: Final = ((640, 480), (480, 640), (500, 500), (300, 200), (1024, 768))


def make(photos: Path) -> dict[str, list[dict[str, Any]]]:
    """The findings of drawings, which no gate refuses here, and of photographs below a folder."""
    ungated, gated = Predictor(skip_ood_check=True, threads=1), Predictor(threads=1)
    drawn = []
    for seed in range(50):
        label, size = LABELS[seed % len(LABELS)], _SIZES[seed % len(_SIZES)]
        finding = ungated.read(draw(label, seed=seed, size=size))
        drawn.append({"label": label, "seed": seed, "size": size, **_told(finding)})
    rows = read_manifest(POOL, labels=LABELS)
    rng = random.Random(0)  # noqa: S311 - a choice that anyone can make again
    shown = rng.sample([row.file for row in rows if row.label != OTHER], 80)
    files = sorted(shown + rng.sample([row.file for row in rows if row.label == OTHER], 120))
    read = [{"file": file, **_told(gated.read(photos / file))} for file in files]
    return {"drawn": drawn, "photos": read}


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "outcome": finding.outcome,
        "problem": finding.problem,
        "probabilities": {label: round(p, 6) for label, p in finding.probabilities.items()},
        "prediction_set": list(finding.prediction_set),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(Path(sys.argv[1]))) + "\n", encoding="utf-8")
