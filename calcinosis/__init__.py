"""calcinosis: tells calcinosis cutis from its look-alikes in photographs, and always defers to a clinician."""

from pathlib import Path

# In a checkout the rooms stand at the top, beside this folder; installed, they lie within it.
_CHECKOUT = Path(__file__).resolve().parents[1]
if (_CHECKOUT / "pyproject.toml").is_file():
    __path__.append(str(_CHECKOUT))
