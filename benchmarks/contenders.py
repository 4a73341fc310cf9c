"""Who is timed beside a finding: the network alone in several libraries, and what a user would write with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from calcinosis.common.cpu import available_cores
from calcinosis.model.engine import INPUT
from calcinosis.model.predictor import Predictor

CONTENDERS: Final = {
    "calcinosis": "photo to finding",
    "onnxruntime": "the network alone, ONNX Runtime",
    "openvino": "the network alone, OpenVINO",
    "torch": "the network alone, PyTorch eager",
    "timm": "photo to label, timm's transform and PyTorch eager",
    "transformers": "photo to label, Hugging Face's pipeline",
}

Ask = Callable[[Path, np.ndarray], object]


def gather(exported: Path, reader: Predictor) -> tuple[dict[str, Ask], list[str]]:
    """How each contender is asked, and those that are not installed."""
    makers: dict[str, Callable[[], Ask]] = {
        "calcinosis": lambda: lambda path, _: reader.read(path),
        "onnxruntime": lambda: in_onnxruntime(exported),
        "openvino": lambda: in_openvino(exported),
        "torch": lambda: in_torch(reader),
        "timm": lambda: with_timm(reader),
        "transformers": lambda: with_transformers(reader),
    }
    contenders, absent = {}, []
    for name, make in makers.items():
        try:
            contenders[name] = make()
        except ImportError:
            absent.append(name)
    return contenders, absent


def in_onnxruntime(exported: Path, threads: int | None = None) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    return lambda _, ready: session.run(None, {INPUT: ready})


def in_openvino(exported: Path) -> Ask:
    import openvino

    compiled = openvino.Core().compile_model(
        exported, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda _, ready: compiled(ready)


def in_torch(reader: Predictor) -> Ask:
    import torch

    torch.set_num_threads(available_cores())

    def ask(_: Path, ready: np.ndarray) -> object:
        with torch.inference_mode():
            return reader.network.forward_with_cam(torch.from_numpy(ready))

    return ask


def with_timm(reader: Predictor) -> Ask:
    import torch
    from timm.data import create_transform

    how = reader.config.preprocessing
    transform: Any = create_transform(
        (3, how.size, how.size), interpolation="bicubic", mean=how.mean, std=how.std, crop_pct=1.0
    )

    def ask(path: Path, _: np.ndarray) -> object:
        with torch.inference_mode(), Image.open(path) as picture:
            return reader.network(transform(picture.convert("RGB"))[None]).softmax(dim=1)

    return ask


def with_transformers(reader: Predictor) -> Ask:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, ViTImageProcessor, pipeline
    from transformers.modeling_outputs import ImageClassifierOutput

    how, labels = reader.config.preprocessing, reader.config.labels

    class Classifier(PreTrainedModel):
        config_class = PretrainedConfig
        main_input_name = "pixel_values"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.network = reader.network
            self.post_init()

        def _init_weights(self, module: torch.nn.Module) -> None:
            """They are the reader's."""

        def forward(self, pixel_values: torch.Tensor, **_: object) -> ImageClassifierOutput:
            return ImageClassifierOutput(logits=self.network(pixel_values))

    side = {"height": how.size, "width": how.size}
    processor = ViTImageProcessor(size=side, resample=3, image_mean=how.mean, image_std=how.std)
    config = PretrainedConfig(id2label=dict(enumerate(labels)))
    ask = pipeline(
        "image-classification", model=Classifier(config).eval(), image_processor=processor
    )
    return lambda path, _: ask(str(path))
