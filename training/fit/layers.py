"""How two kinds of layers compute while they learn: faster on a CPU, alike in several processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn

from calcinosis.training.fit.device import Device

Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def learning_layers(top: nn.Module, device: Device) -> Iterator[None]:
    """Within it, the layers of a top compute as `depthwise_in_full_precision` and `shared_statistics` say."""
    layers: list[Any] = list(top.modules())
    changed = []
    for module in layers:
        if device.torch_device.type == "cpu" and _is_depthwise(module):
            changed.append(module)
            module.forward = depthwise_in_full_precision(module)
        elif device.processes > 1 and _is_learning_norm(module):
            changed.append(module)
            module.forward = shared_statistics(module, device.processes)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _is_learning_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.training


def depthwise_in_full_precision(convolution: Any) -> Forward:
    """A depthwise convolution kept out of autocast: measured, its bfloat16 backward pass on a CPU takes
    3.6 times as long as the one in float32, while other layers gain.
    """
    forward = type(convolution).forward

    def run(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            output: torch.Tensor = forward(convolution, inputs.float())
        return output

    return run


def shared_statistics(norm: Any, processes: int) -> Forward:
    """Batch normalisation by the statistics of the whole batch, of which each process holds a part.

    PyTorch's SyncBatchNorm does the same on a GPU alone, and changes the names of the weights.
    """

    def run(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            values = inputs.float()
            mean = _Sum.apply(values.mean(dim=(0, 2, 3))) / processes
            centred = values - mean[:, None, None]
            variance = _Sum.apply((centred**2).mean(dim=(0, 2, 3))) / processes
            with torch.no_grad():
                count = values.numel() / values.shape[1] * processes
                norm.num_batches_tracked.add_(1)
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
            scale = norm.weight / (variance + norm.eps).sqrt()
            output = centred * scale[:, None, None] + norm.bias[:, None, None]
        # timm's BatchNormAct2d holds what follows it, too.
        for after in (getattr(norm, "drop", None), getattr(norm, "act", None)):
            output = after(output) if after is not None else output
        return output.to(inputs.dtype)

    return run


class _Sum(torch.autograd.Function):
    """The sum over the processes of a tensor that each has; so is its gradient."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
