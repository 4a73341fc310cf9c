"""A fit's state on disk, from which it goes on after it was stopped: tensors and one line of JSON."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.optim.swa_utils import AveragedModel

from calcinosis.common.files import atomic_write, write_json


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors, in safetensors, whole or not at all."""
    atomic_write(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


class State:
    """What a fit needs to go on: the learner, the running average of its weights, and the optimizer.

    At any moment `state.json` names a whole file of tensors: a new state is written beside the old one,
    and the old one goes when the new one is named.
    """

    def __init__(
        self,
        folder: Path,
        learner: nn.Module,
        averaged: AveragedModel,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.folder = folder
        self.learner, self.averaged, self.optimizer = learner, averaged, optimizer

    def save(self, epoch: int) -> None:
        """Write the state after an epoch."""
        tensors = {
            **{f"learner.{k}": v for k, v in self.learner.state_dict().items()},
            **{f"averaged.{k}": v for k, v in self.averaged.state_dict().items()},
        }
        for number, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in slots.items()}
        path = self.folder / f"state-{epoch}.safetensors"
        # A copy of each: safetensors refuses tensors that share memory.
        write_tensors(path, {k: v.detach().cpu().clone() for k, v in tensors.items()})
        write_json(self.folder / "state.json", {"epoch": epoch, "tensors": path.name})
        for old in self.folder.glob("*state-*.safetensors*"):
            if old != path:
                old.unlink()

    def restore(self) -> int:
        """Load the last state, if there is one; gives the epochs that are done."""
        try:
            note = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0
        tensors = load_file(self.folder / note["tensors"])

        def below(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.learner.load_state_dict(below("learner."))
        self.averaged.load_state_dict(below("averaged."))
        whole = self.optimizer.state_dict()
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in below("optimizer.").items():
            number, name = key.split(".")
            slots.setdefault(int(number), {})[name] = tensor
        whole["state"] = slots
        self.optimizer.load_state_dict(whole)
        epoch: int = note["epoch"]
        return epoch
