"""Which packages an extra of pyproject.toml brings, so that a command can say which one it needs."""

from typing import Final

_DATA: Final = frozenset(
    {
        "cv2",
        "filelock",
        "httpcore2",
        "httpx2",
        "imagehash",
        "rapidfuzz",
        "scipy",
        "sklearn",
        "tenacity",
        "threadpoolctl",
    }
)
_EXPORT: Final = frozenset({"onnx", "onnxscript", "timm", "torch", "torchvision"})
_TRAIN: Final = _DATA | _EXPORT | {"accelerate", "huggingface_hub", "matplotlib"}

MODULES: Final = {
    "demo": frozenset({"gradio", "starlette"}),
    "data": _DATA,
    "export": _EXPORT,
    "train": _TRAIN,
    "scale": frozenset({"pyarrow", "ray"}),
    "heic": frozenset({"pillow_heif"}),
    "bench": _TRAIN | {"fastai", "openvino", "psutil", "skimage", "transformers"},
}
"""The modules that each extra makes importable, those of the extras within it included."""


def missing_extra(command: str, extra: str) -> str:
    """What a command says whose extra is not installed."""
    return f"calcinosis {command} needs the extra {extra}: pip install 'calcinosis[{extra}]'"


def extra_of(module: str, expected: str) -> str | None:
    """The extra to install for a module that is missing: the command's own where it holds it."""
    package = module.partition(".")[0]
    holding = [extra for extra, modules in MODULES.items() if package in modules]
    return expected if expected in holding else next(iter(holding), None)
