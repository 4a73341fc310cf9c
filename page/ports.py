"""Where the page listens; asked before Gradio is imported, which fails on a variable that is no port."""

import os
import socket
from typing import Final

from calcinosis.common.errors import CalcinosisError

VARIABLE: Final = "GRADIO_SERVER_PORT"
_LAST: Final = 65535


def asked_port() -> int:
    """The port that the environment asks for, or 7860.

    Raises:
        CalcinosisError: `bad_port`.
    """
    asked = os.environ.get(VARIABLE, "7860")
    if asked.isdecimal() and int(asked) <= _LAST:
        return int(asked)
    raise CalcinosisError("bad_port", f"{VARIABLE}={asked} is no port; give 0 to {_LAST}")


def check_port(port: int, option: str, host: str = "127.0.0.1") -> None:
    """Make sure that a port can be had.

    Raises:
        CalcinosisError: `port_taken`, naming the option or variable that chooses another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        what = f"port {port} cannot be had ({error.strerror}); choose another one with {option}"
        raise CalcinosisError("port_taken", what) from None
