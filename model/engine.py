"""What runs the network for a predictor: ONNX Runtime where it can, PyTorch where it must.

A checkpoint's folder may hold `graph.onnx` beside its weights: the layers alone, a few hundred kilobytes,
whose weights ONNX Runtime reads out of `model.safetensors`. So there is one copy of the weights, nothing to
make on first use, no cache that could go stale or not be written, and a photo is read without loading
PyTorch, which takes seconds and most of a gigabyte. The graph names the digest of what it was drawn of; where
that is not what lies beside it, or the graph is absent or damaged, PyTorch runs instead, from the weights
and the code, and gives the same finding.

A file that `calcinosis export` wrote is a checkpoint as well: it holds layers, weights and settings.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from calcinosis.common.cpu import available_cores, side_by_side
from calcinosis.common.errors import CheckpointError
from calcinosis.model.config import (
    GRAPH,
    SHIPPED,
    WEIGHTS,
    CheckpointConfig,
    load_config,
    parse_config,
)

Floats = NDArray[np.float32]

CONFIG_ENTRY: Final = "config"
"""The entry of an ONNX file's metadata that holds what a checkpoint's `config.json` holds."""

DIGEST_ENTRY: Final = "source_digest"
"""The entry that holds the digest of the weights and settings that the file was made of."""

VIEW_ENTRY: Final = "one_view"
"""The entry that a file has whose layers see a photo as it is, for a network that sees its mirror image as well."""

INPUT: Final = "inputs"
OUTPUTS: Final = ("logits", "cam", "embedding")

_OF_A_FINDING: Final = {
    "name", "calibration", "conformal", "frequencies", "ood", "dermoscopy", "prior", "licence",
    "training",
}  # fmt: skip
"""Settings that no layer depends on."""


class Output(NamedTuple):
    """What a network predicts for n photos; `calcinosis.model.network.Output` in arrays.

    Attributes:
        logits: (n, labels).
        cam: (n, labels, h, w), what each place of the photo adds to each logit.
        embedding: (n, channels), near each other for like photos.
    """

    logits: Floats
    cam: Floats
    embedding: Floats


class InferenceBackend(Protocol):
    """A network that is ready to run, in several threads at once if need be."""

    def forward_with_cam(self, inputs: Floats) -> Output:
        """The output for inputs (n, 3, size, size)."""
        ...


class TorchBackend:
    """The network in PyTorch, from a checkpoint's folder.

    Raises:
        CheckpointError: as `calcinosis.model.checkpoint.load_checkpoint` does.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        import torch

        from calcinosis.model.checkpoint import load_checkpoint

        if threads:
            torch.set_num_threads(threads)
        self.network, self.config = load_checkpoint(folder)

    def forward_with_cam(self, inputs: Floats) -> Output:
        import torch

        with torch.inference_mode():
            output = self.network.forward_with_cam(torch.from_numpy(inputs))
        return Output(*(tensor.numpy() for tensor in output))


class OnnxBackend:
    """The network in ONNX Runtime.

    A photo and its mirror image are asked about side by side where there are two threads, each with half of them:
    half of the network's time, where two threads that share each layer wait for each other at each.

    Attributes:
        config: what the file says of itself.
        source_digest: digest of the weights and settings that it was made of.

    Raises:
        CheckpointError: `bad_onnx` or `bad_config`.
    """

    def __init__(self, path: Path, threads: int | None = None, *, views: int = 1) -> None:
        import onnxruntime  # its telemetry is off: see calcinosis/__init__.py

        options = onnxruntime.SessionOptions()
        # Said outright, as ONNX Runtime would count cores that a container may not use.
        threads = threads or available_cores()
        options.intra_op_num_threads = math.ceil(threads / views)
        # Threads that spin while they wait take what another process, or another thread's share, would compute with.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised, too
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # ONNX Runtime raises a dozen kinds that share no other ancestor
            raise _bad_onnx(path, "is damaged or no ONNX file") from None
        entries = self._session.get_modelmeta().custom_metadata_map
        if CONFIG_ENTRY not in entries or DIGEST_ENTRY not in entries:
            raise _bad_onnx(path, "was not written by this project")
        self.config = parse_config(entries[CONFIG_ENTRY], path)
        self.source_digest = entries[DIGEST_ENTRY]
        self._one_view = VIEW_ENTRY in entries
        self._beside = threads > 1
        size, labels = self.config.preprocessing.size, len(self.config.labels)
        ends = [(one.name, one.shape[1:]) for one in self._session.get_inputs()]
        starts = [one.shape[1:2] for one in self._session.get_outputs()]
        if ends != [(INPUT, [3, size, size])] or starts[:2] != [[labels]] * 2 or len(starts) != 3:
            raise _bad_onnx(path, "holds another network than its settings say")

    def forward_with_cam(self, inputs: Floats) -> Output:
        if not self._one_view:
            return self._run(inputs)
        mirrored = np.ascontiguousarray(inputs[..., ::-1])
        if self._beside:
            views = side_by_side(lambda: self._run(inputs), lambda: self._run(mirrored))
        else:
            both, n = self._run(np.concatenate([inputs, mirrored])), len(inputs)
            views = Output(*(part[:n] for part in both)), Output(*(part[n:] for part in both))
        upright, other = views[0], views[1]._replace(cam=views[1].cam[..., ::-1])
        return Output(
            *(np.float32(0.5) * (one + two) for one, two in zip(upright, other, strict=True))
        )

    def _run(self, inputs: Floats) -> Output:
        return Output(*self._session.run(None, {INPUT: inputs}))


def open_backend(
    checkpoint: Path = SHIPPED, *, threads: int | None = None
) -> tuple[InferenceBackend, CheckpointConfig]:
    """What runs a checkpoint, and the checkpoint's settings.

    Args:
        checkpoint: a checkpoint's folder, or a file that `calcinosis export` wrote.
        threads: how many of them one photo may use; as many as there are cores unless given.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
    """
    if checkpoint.is_file():
        exported = OnnxBackend(checkpoint, threads)
        return exported, exported.config
    config = load_config(checkpoint)
    return _graph_backend(checkpoint, config, threads) or TorchBackend(checkpoint, threads), config


def digest(folder: Path, config: CheckpointConfig) -> str:
    """Of a checkpoint's weights and of those settings that its layers depend on."""
    # Without defaults, so that a setting that a later version adds changes no older digest.
    settings = config.model_dump(mode="json", exclude=_OF_A_FINDING, exclude_defaults=True)
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    total.update((folder / WEIGHTS).read_bytes())
    return total.hexdigest()


def _graph_backend(
    folder: Path, config: CheckpointConfig, threads: int | None
) -> OnnxBackend | None:
    """The graph beside the weights, if it was drawn of just these."""
    try:
        wanted = digest(folder, config)
        if not (folder / GRAPH).is_file():
            return None
        backend = OnnxBackend(folder / GRAPH, threads, views=1 + config.flip_tta)
    except (OSError, CheckpointError):
        return None
    return backend if backend.source_digest == wanted else None


def _bad_onnx(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        "bad_onnx", f"{what}; write it anew with: calcinosis export", name=str(path)
    )
