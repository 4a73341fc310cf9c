"""What the tests of the page share: a server with the tiny checkpoint, and a browser where there is one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

import app as demo
from model.reader import Reader


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def reader(tiny_checkpoint: Path) -> Reader:
    return Reader(tiny_checkpoint)


@pytest.fixture(scope="session")
def page(reader: Reader) -> gr.Blocks:
    return demo.build_app(reader)


@pytest.fixture(scope="session")
def address(page: gr.Blocks) -> Iterator[str]:
    """Where the page is served."""
    port = free_port()
    demo.launch(page, server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    page.close()
