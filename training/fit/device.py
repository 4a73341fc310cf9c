"""Where a training computes: on which device, how exactly, and shared between how many processes.

Processes come from `torchrun`; Accelerate joins them. They share the folders `--out` and `--cache`: one
process writes, and the others read what it wrote.
"""

import datetime
import importlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import nn

from calcinosis.common.errors import TrainingError

DEVICES: Final = ("cpu", "cuda")
PRECISIONS: Final = ("auto", "bf16", "float32")
_PATIENCE: Final = datetime.timedelta(days=1)  # others wait while one reads every photograph


class Device:
    """What a training computes on.

    Args:
        device: `cpu` or `cuda`.
        precision: `bf16`, where convolutions and products are computed in bfloat16 and weights stay in
            float32 (autocast); `float32` throughout; or `auto`, which is the former where the processor
            computes in bfloat16 itself, and the latter where it would only pretend to, and take longer.

    Attributes:
        torch_device: of this process.
        processes: how many there are.
        rank: this one's number, from 0.

    Raises:
        TrainingError: `unknown_hardware`, `no_such_device`, or `not_installed` if there are several
            processes and Accelerate is not there to join them.
    """

    def __init__(self, device: str = "cpu", precision: str = "auto") -> None:
        for value, known in ((device, DEVICES), (precision, PRECISIONS)):
            if value not in known:
                raise TrainingError(
                    "unknown_hardware", f"is not known; there are: {', '.join(known)}", name=value
                )
        if device == "cuda" and not torch.cuda.is_available():
            raise TrainingError(
                "no_such_device",
                "PyTorch sees no GPU here; train with --device cpu, or install PyTorch for your GPU",
                name=device,
            )
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self._bf16 = precision == "bf16" or (precision == "auto" and _computes_bf16(device))
        self._accelerator = _join(device) if self.processes > 1 else None
        self.torch_device = self._accelerator.device if self._accelerator else torch.device(device)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    @property
    def precision(self) -> str:
        """What convolutions and products are computed in: `bf16` or `float32`."""
        return "bf16" if self._bf16 else "float32"

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the precision holds."""
        return torch.autocast(self.torch_device.type, torch.bfloat16, enabled=self._bf16)

    def share(self, module: nn.Module) -> nn.Module:
        """The module, such that its gradients are the mean over the processes."""
        if self._accelerator is None:
            return module
        shared: nn.Module = self._accelerator.prepare_model(module)
        return shared

    def shard(self, count: int) -> slice:
        """This process's shard of a batch; all shards are of one size."""
        size = count // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)

    def mean(self, value: torch.Tensor) -> float:
        """The mean over the processes of a number that each has."""
        if self._accelerator is not None:
            value = self._accelerator.reduce(value.detach(), reduction="mean")
        return float(value.item())

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """The process that writes goes first; the others follow when it is through."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


def _computes_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16", False))


def _join(device: str) -> Any:
    try:
        accelerate = importlib.import_module("accelerate")
    except ImportError:
        raise TrainingError(
            "not_installed",
            "several processes are joined by Accelerate; run: pip install --editable '.[train]'",
        ) from None
    patience = accelerate.InitProcessGroupKwargs(timeout=_PATIENCE)
    # What is computed in bfloat16 is said by `autocast`, with several processes as with one.
    return accelerate.Accelerator(
        cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[patience]
    )
