"""What the tests of the data share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photographs with its `photos.csv`."""
    folder = os.environ.get("CALCINOSIS_PHOTOS")
    if not folder:
        pytest.skip("CALCINOSIS_PHOTOS names no folder of real photographs")
    return Path(folder)
