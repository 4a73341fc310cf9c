"""What a checkpoint says of itself beside its weights; reading it needs no PyTorch."""

import json
import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calcinosis.common.errors import CheckpointError
from calcinosis.common.files import atomic_write
from calcinosis.model.calibration import Calibration, check_prior
from calcinosis.model.conformal import Conformal
from calcinosis.model.frequencies import Frequencies
from calcinosis.model.labels import check_labels
from calcinosis.model.ood import DermoscopyDetector, OODDetector
from calcinosis.model.preprocessing import Preprocessing

SHIPPED: Final = Path(__file__).parent / "weights"
"""The checkpoint that comes with the project."""

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
GRAPH: Final = "graph.onnx"


class CheckpointConfig(BaseModel):
    """All that a network needs to run on a photo, beside its weights.

    Attributes:
        format: version of this layout.
        name: what findings call the checkpoint.
        labels: in the order of the network's outputs; `other` is last.
        backbone: as `calcinosis.model.backbones` names it.
        frozen_stages: how many of the backbone's stages come before the trainable ones.
        multi_scale, flip_tta: what the head reads; see `calcinosis.model.network.Network`.
        preprocessing: the transform that the network was trained with.
        calibration, conformal: fitted on photos that the network had not seen.
        frequencies: how often it was right in cross-validation; null where nobody counted.
        ood: what tells photos from other pictures; null where nothing does.
        dermoscopy: what tells dermoscopy from clinical photographs; null where nothing does.
        prior: the chances of each label that probabilities assume unless others are given.
        licence: of the weights, from the terms of the photographs.
        training: how it was made: the command, its settings, counts, versions.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[2] = 2
    name: str = Field(min_length=1)
    labels: tuple[str, ...]
    backbone: str
    frozen_stages: int = Field(default=0, ge=0)
    two_branch: Literal[False] = Field(default=False, exclude=True)  # as older files say
    multi_scale: bool = False
    flip_tta: bool = False
    preprocessing: Preprocessing
    calibration: Calibration
    conformal: Conformal
    frequencies: Frequencies | None = None
    ood: OODDetector | None = None
    dermoscopy: DermoscopyDetector | None = None
    prior: tuple[float, ...]
    licence: str
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _lengths_agree(self) -> "CheckpointConfig":
        check_labels(self.labels)
        if self.multi_scale and not self.frozen_stages:
            raise ValueError("multi_scale reads from the last frozen stage on: set frozen_stages")
        for values in (self.calibration.bias, self.conformal.thresholds):
            if len(values) != len(self.labels):
                raise ValueError("calibration and conformal hold one number per label")
        check_prior(self.prior, len(self.labels))
        return self


def parse_config(text: str | bytes, place: Path) -> CheckpointConfig:
    """Settings from their JSON; `place` is what an error names.

    Raises:
        CheckpointError: `bad_config`.
    """
    try:
        return CheckpointConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise CheckpointError(
            "bad_config", f"{where}: {first['msg']}; restore or retrain it", name=str(place)
        ) from None


def load_config(folder: Path) -> CheckpointConfig:
    """Read `config.json` of a checkpoint's folder.

    Raises:
        CheckpointError: `missing_checkpoint` or `bad_config`.
    """
    path = folder / CONFIG
    try:
        text = path.read_bytes()
    except OSError:
        raise CheckpointError(
            "missing_checkpoint",
            f"has no {CONFIG}; name the folder that training wrote the checkpoint to",
            name=str(folder),
        ) from None
    return parse_config(text, path)


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    """Write `config.json` of a checkpoint's folder, from what `CheckpointConfig` dumps to JSON."""
    text = json.dumps(settings, indent=2) + "\n"
    # A list of numbers on one line, for there may be a thousand; and a row of the frequencies.
    text = re.sub(r"\[[-+.,\de\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    text = re.sub(
        r"\{\s+\"prediction_set\"[^{]*\{[^}]*\}[^}]*\}", lambda row: " ".join(row[0].split()), text
    )
    atomic_write(folder / CONFIG, text)
