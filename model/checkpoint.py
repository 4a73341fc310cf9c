"""A checkpoint on disk: a folder with `config.json` and `model.safetensors`, never a pickle.

`calcinosis.model.config` holds what of it can be read without PyTorch, `calcinosis.model.export` what lets it run without.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from calcinosis.common.errors import BackboneError, CheckpointError
from calcinosis.common.files import atomic_write
from calcinosis.model.backbones import build_backbone
from calcinosis.model.config import (
    CONFIG,
    GRAPH,
    SHIPPED,
    WEIGHTS,
    CheckpointConfig,
    load_config,
    write_config,
)
from calcinosis.model.network import Network


def save_checkpoint(folder: Path, network: Network, config: CheckpointConfig) -> None:
    """Write a checkpoint, the config last.

    The backbone's matrices and kernels are kept in half precision. Biases and batch statistics are few and
    stay as they are: halving them as well would triple what the features lose (0.6 % instead of 0.2 % on
    EfficientNet-Lite2), and a variance can be too large for half precision. So does the head, whose large
    weights of either sign nearly cancel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH).unlink(missing_ok=True)  # it was drawn of other weights
    state = {
        name: (
            tensor.half()
            if tensor.is_floating_point() and tensor.dim() > 1 and not name.startswith("head.")
            else tensor
        ).contiguous()
        for name, tensor in _inference_state(network).items()
    }
    # Safetensors' own `save_file` would keep the file from all other users.
    atomic_write(folder / WEIGHTS, save(state))
    write_config(folder, config.model_dump(mode="json"))


def load_checkpoint(folder: Path = SHIPPED) -> tuple[Network, CheckpointConfig]:
    """Read a checkpoint into a network that is ready to run.

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
        network = Network(
            build_backbone(config.backbone, pretrained=False),
            len(config.labels),
            frozen_stages=config.frozen_stages,
            multi_scale=config.multi_scale,
            flip_tta=config.flip_tta,
        )
    except BackboneError as error:
        raise CheckpointError("bad_config", str(error), name=str(folder / CONFIG)) from None
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


def stored_names(network: Network) -> dict[str, str]:
    """The name that each weight is filed under, by its name in the network."""
    own = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    return {
        own[id(tensor)]: prefix + name
        for prefix, part in _parts(network).items()
        for name, tensor in part.state_dict(keep_vars=True).items()
    }


def _parts(network: Network) -> dict[str, nn.Module]:
    """What the weights of a network are filed under."""
    backbone = nn.Sequential(*network.frozen, *network.trainable)
    return {"backbone.": backbone, "head.": network.head}


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
