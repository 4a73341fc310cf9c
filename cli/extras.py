"""Which packages an extra of pyproject.toml brings, so that a command can say which one it needs."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

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

MODULES: Final = {
    "demo": frozenset({"gradio", "starlette"}),
    "data": _DATA,
    "export": _EXPORT,
    "train": _DATA | _EXPORT | {"accelerate", "matplotlib"},
    "scale": frozenset({"pyarrow", "ray"}),
    "heic": frozenset({"pillow_heif"}),
    "bench": _DATA
    | _EXPORT
    | {"accelerate", "fastai", "matplotlib", "openvino", "psutil", "skimage", "transformers"},
}
"""The modules that each extra makes importable, those of the extras within it included."""


class MissingExtraError(Exception):
    """A command that needs a package which only an extra installs; the text says which extra."""


def extra_of(module: str, expected: str) -> str | None:
    """The extra to install for a module that is missing: the command's own where it holds it."""
    package = module.partition(".")[0]
    holding = [extra for extra, modules in MODULES.items() if package in modules]
    return expected if expected in holding else next(iter(holding), None)


def needs_extra(extra: str, command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command say in one line which extra it lacks.

    Args:
        extra: what the command needs beside the base.
        command: its name, as a user types it.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except ModuleNotFoundError as error:
                missing = extra_of(error.name or "", extra)
                if missing is None:
                    raise
                raise MissingExtraError(
                    f"calcinosis {command} needs the extra {missing}: "
                    f"pip install 'calcinosis[{missing}]'"
                ) from error

        return guarded

    return decorate
