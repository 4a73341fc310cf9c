"""Which packages an extra of pyproject.toml brings, so that whoever needs one can say which."""

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from calcinosis.common.errors import CalcinosisError

P = ParamSpec("P")
T = TypeVar("T")

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
_DEMO: Final = frozenset({"gradio", "starlette"})
_TRAIN: Final = _DATA | _EXPORT | {"accelerate", "huggingface_hub", "matplotlib"}

MODULES: Final = {
    "demo": _DEMO,
    "data": _DATA,
    "export": _EXPORT,
    "train": _TRAIN,
    "scale": frozenset({"pyarrow", "ray"}),
    "heic": frozenset({"pillow_heif"}),
    "bench": _DEMO | _TRAIN | {"fastai", "openvino", "psutil", "skimage", "transformers"},
}
"""The modules that each extra makes importable, those of the extras within it included."""


def missing_extra(command: str, extra: str) -> str:
    """What a command says whose extra is not installed."""
    return f"calcinosis {command} needs {_install(extra)}"


def needs_extra(expected: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function of the API name the extra to install, as `CalcinosisError`, where a module is missing."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except ModuleNotFoundError as error:
                extra = extra_of(error.name or "", expected)
                if extra is None:
                    raise
                what = f"{function.__qualname__} needs {_install(extra)}"
                raise CalcinosisError("missing_extra", what) from None

        return guarded

    return decorate


def _install(extra: str) -> str:
    return f"the extra {extra}: pip install 'calcinosis[{extra}]'"


def extra_of(module: str, expected: str) -> str | None:
    """The extra to install for a module that is missing: the command's own where it holds it."""
    package = module.partition(".")[0]
    holding = [extra for extra, modules in MODULES.items() if package in modules]
    return expected if expected in holding else next(iter(holding), None)
