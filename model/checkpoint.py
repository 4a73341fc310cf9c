"""A checkpoint on disk: a folder with `config.json` and `model.safetensors`, never a pickle."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from model.backbones import build_backbone
from model.calibration import Calibration, Conformal, check_prior
from model.errors import BackboneError, CheckpointError
from model.labels import OTHER
from model.network import Network
from model.preprocessing import Preprocessing

SHIPPED: Final = Path(__file__).parent / "weights"
"""The checkpoint that comes with the project."""

FORMAT: Final = 1
CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"


class CheckpointConfig(BaseModel):
    """All that a network needs to be asked about a photo, beside its weights.

    Attributes:
        format: version of this layout.
        name: what findings call the checkpoint.
        labels: in the order of the network's outputs; `other` is last.
        backbone: as `model.backbones` names it.
        kept_from: the backbone's stage from which on its start weights are kept beside the trained ones;
            null where they are not.
        preprocessing: the transform that the network was trained with.
        calibration, conformal: fitted on photos that the network had not seen.
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
    preprocessing: Preprocessing
    calibration: Calibration
    conformal: Conformal
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
        if len(set(self.labels)) != len(self.labels) or self.labels[-1:] != (OTHER,):
            raise ValueError(f"labels are distinct and end with {OTHER!r}")
        for values in (self.calibration.bias, self.conformal.thresholds):
            if len(values) != len(self.labels):
                raise ValueError("calibration and conformal hold one number a label")
        check_prior(self.prior, len(self.labels))
        return self


def save_checkpoint(folder: Path, network: Network, config: CheckpointConfig) -> None:
    """Write a checkpoint, the config last.

    Matrices and kernels are kept in half precision. Biases and batch statistics are few and stay as they
    are: halving them as well would triple what the features lose (0.6 % instead of 0.2 % on
    EfficientNet-Lite2), and a variance can be too large for half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (
            tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        ).contiguous()
        for name, tensor in _inference_state(network).items()
    }
    partial = folder / f"{WEIGHTS}.partial"
    save_file(state, partial)
    partial.replace(folder / WEIGHTS)
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / CONFIG)


def load_config(folder: Path) -> CheckpointConfig:
    """Read `config.json` of a checkpoint.

    Raises:
        CheckpointError: `missing_checkpoint` or `bad_config`.
    """
    path = folder / CONFIG
    try:
        return CheckpointConfig.model_validate_json(path.read_bytes())
    except OSError:
        raise CheckpointError(
            "missing_checkpoint",
            f"has no {CONFIG}; name the folder that training wrote the checkpoint to",
            name=str(folder),
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise CheckpointError(
            "bad_config", f"{place}: {first['msg']}; restore or retrain it", name=str(path)
        ) from None


def load_checkpoint(folder: Path = SHIPPED) -> tuple[Network, CheckpointConfig]:
    """Read a checkpoint into a network that is ready to be asked.

    Raises:
        CheckpointError: `missing_checkpoint`, `bad_config` or `bad_weights`, naming the first tensor that
            is missing, superfluous, of the wrong shape or not finite.
    """
    config = load_config(folder)
    path = folder / WEIGHTS
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            "missing_checkpoint", "there is no such file; restore or retrain it", name=str(path)
        ) from None
    except (SafetensorError, OSError):
        raise _bad_weights(path, "the file is damaged") from None
    try:
        backbone = build_backbone(config.backbone, pretrained=False)
    except BackboneError as error:
        raise CheckpointError("bad_config", str(error), name=str(folder / CONFIG)) from None
    network = Network(
        backbone,
        len(config.labels),
        frozen_stages=config.kept_from or 0,
        keeps_start=config.kept_from is not None,
    )
    _check_state(path, state, _inference_state(network))
    for prefix, part in _parts(network).items():
        part.load_state_dict(_below(state, prefix))
    return network.eval(), config


def _inference_state(network: Network) -> dict[str, torch.Tensor]:
    """The weights under names that do not depend on where training cut the network."""
    return {
        prefix + name: tensor
        for prefix, part in _parts(network).items()
        for name, tensor in part.state_dict().items()
    }


def _parts(network: Network) -> dict[str, nn.Module]:
    """What the weights of a network are filed under."""
    parts = {"backbone.": nn.Sequential(*network.trunk, *network.top), "head.": network.head}
    return parts if network.kept is None else {**parts, "kept.": network.kept}


def _below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _check_state(
    path: Path, state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    for name in expected:
        if name not in state:
            raise _bad_weights(path, f"the tensor {name} is missing")
    for name, tensor in state.items():
        if name not in expected:
            raise _bad_weights(path, f"the tensor {name} does not belong to this network")
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise _bad_weights(path, f"the tensor {name} has the shape {found} and not {wanted}")
        if not torch.isfinite(tensor.float()).all():
            raise _bad_weights(path, f"the tensor {name} holds numbers that are not finite")


def _bad_weights(path: Path, what: str) -> CheckpointError:
    return CheckpointError("bad_weights", f"{what}; restore or retrain it", name=str(path))
