"""Whether a network gives on this machine what it gave where its checkpoint was made.

Arithmetic of 8 bits saturates on processors that lack an instruction for it, and a decoder or a resampling may
change with its library: what comes out then is nonsense that nothing else would notice. So a checkpoint
carries `reference.json`: what the gate and the network said of a dozen drawn pictures.
"""

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calcinosis.common.errors import CheckpointError
from calcinosis.common.files import atomic_write
from calcinosis.model.engine import OnnxBackend, digest
from calcinosis.model.predictor import Predictor
from calcinosis.model.quality import measure

REFERENCE: Final = "reference.json"

TOLERANCES: Final = MappingProxyType(
    {"gate": 1e-3, "logits": 1e-3, "embedding": 1e-3, "probabilities": 1e-4}
)
"""The largest difference that still counts as agreement: of probabilities outright, of the others as a share
of the largest value there is (of each measure for itself, in the gate). PyTorch and ONNX Runtime differ
by about 1e-5; the arithmetic of 8 bits that saturates, by more than 0.1."""

_CHANNELS: Final = 64
"""So many channels of an embedding are kept, evenly apart."""

_FEATURES: Final = frozenset(
    ["avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16",
     "amx_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "bf16", "sve"]
)  # fmt: skip
"""Of a processor's features, those that linear algebra chooses its kernels by."""


@dataclass(frozen=True)
class Checkup:
    """How far a machine agrees with what is stored.

    Attributes:
        differences: the largest of each kind of value, as `TOLERANCES` counts them.
        redrawn: how many pictures came out as other pixels than those that the values are of.
    """

    differences: Mapping[str, float]
    redrawn: int

    @property
    def agrees(self) -> bool:
        """Whether all differences are within their tolerances; one that is no number is not."""
        return all(self.differences[kind] <= bound for kind, bound in TOLERANCES.items())


def check(predictor: Predictor, pictures: Sequence[Image.Image]) -> Checkup:
    """Compare what a predictor makes of pictures with the values beside its checkpoint.

    Raises:
        CheckpointError: `no_reference` where there are none, or they are of other weights or pictures.
    """
    path = reference_path(predictor.checkpoint)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["source_digest"] != _digest(predictor):
            raise _no_reference(path, "is of other weights")
        if len(stored["pixels"]) != len(pictures):
            raise _no_reference(path, "is of other pictures")
        expected = {kind: np.asarray(stored[kind]) for kind in ("gate", "logits", "embedding")}
    except (OSError, ValueError, KeyError, TypeError):
        raise _no_reference(path, "is absent or damaged") from None
    found = _values(predictor, pictures)
    if any(found[kind].shape != values.shape for kind, values in expected.items()):
        raise _no_reference(path, "is of another version")
    chances = [
        predictor.config.calibration.probabilities(values["logits"]) for values in (found, expected)
    ]
    differences = {
        "gate": _relative(found["gate"], expected["gate"], axis=0),
        "logits": _relative(found["logits"], expected["logits"]),
        "embedding": _relative(found["embedding"], expected["embedding"]),
        "probabilities": float(np.abs(chances[0] - chances[1]).max()),
    }
    redrawn = sum(
        was != now for was, now in zip(stored["pixels"], map(_pixels, pictures), strict=True)
    )
    return Checkup(differences, redrawn)


def renew(predictor: Predictor, pictures: Sequence[Image.Image]) -> Path:
    """Store what a predictor makes of pictures beside its checkpoint, for `check` on other machines."""
    path = reference_path(predictor.checkpoint)
    values: dict[str, Any] = {
        kind: [[float(f"{value:.7g}") for value in row] for row in rows.tolist()]
        for kind, rows in _values(predictor, pictures).items()
    }
    content = {
        "source_digest": _digest(predictor),
        "machine": machine(predictor),
        "pixels": [_pixels(picture) for picture in pictures],
        **values,
    }
    text = json.dumps(content, indent=1) + "\n"
    atomic_write(path, re.sub(r"\[[^][{}]+\]", lambda row: " ".join(row[0].split()), text))
    return path


def reference_path(checkpoint: Path) -> Path:
    """Where the values of a checkpoint's folder lie, or of a file that `calcinosis export` wrote."""
    if checkpoint.is_file():
        return checkpoint.with_name(f"{checkpoint.stem}.{REFERENCE}")
    return checkpoint / REFERENCE


def machine(predictor: Predictor) -> dict[str, Any]:
    """What computes here: the processor's kind and features, and the libraries' versions."""
    backend = "onnxruntime" if isinstance(predictor.backend, OnnxBackend) else "torch"
    return {
        "processor": platform.machine(),
        "features": processor_features(),
        "backend": backend,
        "versions": {name: metadata.version(name) for name in (backend, "numpy", "pillow")},
    }


def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Those of a processor's features that matter here; empty where the system does not tell (it is not Linux)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    named = (line.partition(":") for line in lines)
    told = next((text for key, _, text in named if key.strip() in ("flags", "Features")), "")
    return sorted(_FEATURES & set(told.split()))


def _values(predictor: Predictor, pictures: Sequence[Image.Image]) -> dict[str, NDArray[Any]]:
    outputs = [
        predictor.backend.forward_with_cam(predictor.config.preprocessing.array(picture)[None])
        for picture in pictures
    ]
    embeddings = np.concatenate([output.embedding for output in outputs])
    return {
        "gate": np.array([list(asdict(measure(picture)).values()) for picture in pictures]),
        "logits": np.concatenate([output.logits for output in outputs]),
        "embedding": embeddings[:, :: max(1, embeddings.shape[1] // _CHANNELS)],
    }


def _relative(found: NDArray[Any], expected: NDArray[Any], axis: int | None = None) -> float:
    """The largest difference, as a share of the largest value expected (along an axis, or at all)."""
    scale = np.maximum(np.abs(expected).max(axis=axis), 1e-9)
    return float((np.abs(found - expected) / scale).max())


def _digest(predictor: Predictor) -> str:
    if isinstance(predictor.backend, OnnxBackend):
        return predictor.backend.source_digest
    return digest(predictor.checkpoint, predictor.config)


def _pixels(picture: Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


def _no_reference(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        "no_reference",
        f"{what}; where the network is known to be right, store it with: calcinosis doctor --renew",
        name=str(path),
    )
