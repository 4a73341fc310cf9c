"""Writing a checkpoint as ONNX, so that it runs without PyTorch, in this project or in others.

A file that stands alone holds `Network.forward_with_cam`: `inputs` (n, 3, size, size), any n, to `logits` (n, labels), `cam`
(n, labels, h, w) and `embedding` (n, channels). Their metadata holds what `config.json` holds, preprocessing and
calibration included.
"""

import contextlib
import io
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from calcinosis.common.errors import CheckpointError
from calcinosis.common.files import atomic_path
from calcinosis.model.checkpoint import load_checkpoint, stored_names
from calcinosis.model.config import GRAPH, WEIGHTS, CheckpointConfig
from calcinosis.model.engine import (
    CONFIG_ENTRY,
    DIGEST_ENTRY,
    INPUT,
    OUTPUTS,
    VIEW_ENTRY,
    OnnxBackend,
    digest,
)
from calcinosis.model.network import Network

TOLERANCE: Final = 1e-4
_OPSET: Final = 18
_STORED_TYPES: Final = {"F16": "FLOAT16", "F32": "FLOAT", "I64": "INT64"}


def export_onnx(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint as one ONNX file that needs nothing beside it.

    Raises:
        CheckpointError: as `load_checkpoint` does, `export_not_installed`, or `export_differs` where ONNX
            Runtime and PyTorch differ by more than `TOLERANCE`.
        OSError: if the file cannot be written.
    """
    network, config = load_checkpoint(checkpoint)
    model = _draw(network, config, digest(checkpoint, config))
    _write(model, out, network, config)


def write_graph(folder: Path) -> None:
    """Draw a checkpoint's layers into `graph.onnx` in its folder; the weights stay where they are.

    With `flip_tta` it holds `Network.forward_view`: `OnnxBackend` asks it about the mirror image as well.

    Raises:
        CheckpointError, OSError: as `export_onnx` does.
    """
    network, config = load_checkpoint(folder)
    model = _draw(network, config, digest(folder, config), one_view=config.flip_tta)
    _refer_to_stored(model, folder / WEIGHTS, stored_names(network))
    _write(model, folder / GRAPH, network, config)


class _WithCam(nn.Module):
    """A network whose call is its `forward_with_cam`, or its `forward_view`: what the exporter follows."""

    def __init__(self, network: Network, one_view: bool) -> None:
        super().__init__()
        self.network, self.one_view = network, one_view

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ask = self.network.forward_view if self.one_view else self.network.forward_with_cam
        return tuple(ask(inputs))


def _draw(
    network: Network, config: CheckpointConfig, source_digest: str, *, one_view: bool = False
) -> Any:
    """The network as an `onnx.ModelProto` that holds its weights under the network's own names."""
    try:
        import onnx  # noqa: F401 (the exporter needs it, and says so less kindly)
        from onnx_ir.passes import common
        from onnxscript import optimizer
    except ImportError:
        raise CheckpointError(
            "export_not_installed",
            "writing ONNX needs one more package; run: pip install --editable '.[export]'",
        ) from None
    size = config.preprocessing.size
    with _quietly():
        program: Any = torch.onnx.export(
            _WithCam(network, one_view).eval(),
            (torch.zeros(2, 3, size, size),),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
            opset_version=_OPSET,
            dynamo=True,
            optimize=False,  # that would melt batch statistics into kernels, and no weight be as stored
        )
        common.InlinePass()(program.model)
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    # Where on this machine each layer came from is nobody's business.
    common.ClearMetadataAndDocStringPass()(program.model)
    model = program.model_proto
    model.producer_name = "calcinosis"
    entries = {CONFIG_ENTRY: config.model_dump_json(), DIGEST_ENTRY: source_digest}
    for key, value in (entries | ({VIEW_ENTRY: "1"} if one_view else {})).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model


def _refer_to_stored(model: Any, weights: Path, stored: dict[str, str]) -> None:
    """Replace weights in an ONNX model by where they stand in a safetensors file beside it.

    Those in half precision are widened by a node that ONNX Runtime computes once, on loading.
    """
    import onnx

    places = _places(weights)
    names = {f"network.{own}": name for own, name in stored.items()}
    widening = []
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            continue
        place = places[names[tensor.name]]
        if place["dtype"] == "F16":
            halved = f"{tensor.name}.half"
            widening.append(
                onnx.helper.make_node("Cast", [halved], [tensor.name], to=onnx.TensorProto.FLOAT)
            )
            tensor.name = halved
        tensor.ClearField("raw_data")
        tensor.data_type = onnx.TensorProto.DataType.Value(_STORED_TYPES[place["dtype"]])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        first, end = place["data_offsets"]
        for key, value in (("location", WEIGHTS), ("offset", first), ("length", end - first)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
    layers = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*widening, *layers])
    del model.graph.value_info[:]


def _places(weights: Path) -> dict[str, Any]:
    """Type and place in the file of each tensor (https://github.com/huggingface/safetensors#format)."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    for place in header.values():
        place["data_offsets"] = [8 + length + offset for offset in place["data_offsets"]]
    return header


def _write(model: Any, out: Path, network: Network, config: CheckpointConfig) -> None:
    """Write a model under a partial name, compare its outputs, and only then give it its name."""
    with atomic_path(out) as partial:
        partial.write_bytes(model.SerializeToString())
        difference = _difference(OnnxBackend(partial), network, config)
        if not difference <= TOLERANCE:
            raise CheckpointError(
                "export_differs",
                f"ONNX Runtime and PyTorch differ by {difference:.2g}; keep to the checkpoint's folder",
                name=str(out),
            )


def _difference(backend: OnnxBackend, network: Network, config: CheckpointConfig) -> float:
    """The largest difference between two backends' outputs, against 1 or the largest of them."""
    size = config.preprocessing.size
    largest = 0.0
    for count in (1, 3):
        inputs = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = network.forward_with_cam(inputs)
        found = backend.forward_with_cam(inputs.numpy())
        for ours, theirs in zip(found, expected, strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()) / scale)
    return largest


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's running commentary; what goes wrong is raised all the same."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
