"""calcinosis: tells calcinosis cutis from its look-alikes in photographs, and always defers to a clinician.

    >>> import calcinosis as cc
    >>> finding = cc.load().read("bump.jpg")

See `calcinosis.api` for what else there is. Importing the package loads nothing heavy.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calcinosis.api import Photos as Photos
    from calcinosis.api import Run as Run
    from calcinosis.api import crossval as crossval
    from calcinosis.api import load as load
    from calcinosis.common.errors import CalcinosisError as CalcinosisError
    from calcinosis.metrics import Metrics as Metrics
    from calcinosis.metrics import MetricValue as MetricValue
    from calcinosis.model.finding import Finding as Finding
    from calcinosis.model.predictor import Predictor as Predictor

    __version__: str

# In a checkout the rooms stand at the top, beside this folder; installed, they lie within it.
_CHECKOUT = Path(__file__).resolve().parents[1]
if (_CHECKOUT / "pyproject.toml").is_file():
    __path__.append(str(_CHECKOUT))

# Photographs of patients are read here: nothing is reported to anybody. These libraries do so unless told not to
# before they are imported, and every way in, library or command, imports this package first. Who sets one of the
# variables keeps what they set.
for _name, _value in {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime, on Linux from 1.29 on
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # Hugging Face's hub, and what timm asks of it
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}.items():
    os.environ.setdefault(_name, _value)

_FROM = {
    "CalcinosisError": "calcinosis.common.errors",
    "MetricValue": "calcinosis.metrics",
    "Finding": "calcinosis.model.finding",
    "Metrics": "calcinosis.metrics",
    "Photos": "calcinosis.api",
    "Predictor": "calcinosis.model.predictor",
    "Run": "calcinosis.api",
    "crossval": "calcinosis.api",
    "load": "calcinosis.api",
}
"""Where each public name is defined; it is imported when first asked for."""

__all__ = [
    "CalcinosisError",
    "Finding",
    "MetricValue",
    "Metrics",
    "Photos",
    "Predictor",
    "Run",
    "__version__",
    "crossval",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from calcinosis.common.version import package_version

        value: Any = package_version()
    elif name in _FROM:
        from importlib import import_module

        value = getattr(import_module(_FROM[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})
