"""What a checkpoint says of itself beside its weights; reading it needs no PyTorch."""

from pathlib import Path
from typing import Any, Final

from calcinosis.common.errors import CheckpointError
from calcinosis.model.calibration import Calibration, Conformal, check_prior
from calcinosis.model.labels import check_labels
from calcinosis.model.ood import OODDetector
from calcinosis.model.preprocessing import Preprocessing
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

SHIPPED: Final = Path(__file__).parent / "weights"
"""The checkpoint that comes with the project."""

FORMAT: Final = 1
CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
GRAPH: Final = "graph.onnx"


class CheckpointConfig(BaseModel):
    """All that a network needs to be asked about a photo, beside its weights.

    Attributes:
        format: version of this layout.
        name: what findings call the checkpoint.
        labels: in the order of the network's outputs; `other` is last.
        backbone: as `calcinosis.model.backbones` names it.
        kept_from: the backbone's stage from which on its start weights are kept beside the trained ones;
            null where they are not.
        read_from: the backbone's stage whose output the head reads beside those of all later stages, of
            the start weights; null where it reads the last one alone.
        flip_tta: the head reads the mean over a photo and its mirror image.
        preprocessing: the transform that the network was trained with.
        calibration, conformal: fitted on photos that the network had not seen.
        ood: what tells photos from other pictures; null where nothing does.
        prior: the chances of each label that probabilities assume unless a reader asks for others.
        licence: of the weights, from the terms of the photographs.
        training: how it was made: the command, its settings, counts, versions.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    name: str = Field(min_length=1)
    labels: tuple[str, ...]
    backbone: str
    kept_from: int | None = Field(default=None, ge=0)
    read_from: int | None = Field(default=None, ge=0)
    flip_tta: bool = False
    preprocessing: Preprocessing
    calibration: Calibration
    conformal: Conformal
    ood: OODDetector | None = None
    prior: tuple[float, ...]
    licence: str
    training: dict[str, Any] = Field(default_factory=dict)

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"{value} is not {FORMAT}, the one this version reads")
        return value

    @model_validator(mode="after")
    def _lengths_agree(self) -> "CheckpointConfig":
        check_labels(self.labels)
        both = self.kept_from is not None and self.read_from is not None
        if both and self.kept_from != (self.read_from or 0) + 1:
            raise ValueError("read_from is the stage before kept_from, where both are given")
        for values in (self.calibration.bias, self.conformal.thresholds):
            if len(values) != len(self.labels):
                raise ValueError("calibration and conformal hold one number a label")
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
