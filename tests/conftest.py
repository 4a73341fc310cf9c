"""What all tests share: see `tests/drawings.py` for the pictures and the tiny network."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.drawings import write_tiny_checkpoint

# The same examples each time, and no verdict on how busy the machine is.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the programs that
# they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small, fast checkpoint that has learnt the drawn labels; not to be written to."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
