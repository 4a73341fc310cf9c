"""A server that is killed while a photo is read: the page says so, and works again once it is back."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from calcinosis.benchmarks.visitor import free_port, start_server
from tests.page.test_browser import drawn, look, upload

pytestmark = pytest.mark.slow

Open = Callable[..., Page]


def test_a_page_whose_server_is_killed_says_so_and_works_once_it_is_back(
    open_page: Open, tiny_checkpoint_with_graph: Path, tmp_path: Path
) -> None:
    port = free_port()
    server = start_server(tiny_checkpoint_with_graph, port, tmp_path)
    page = open_page(server.address)
    upload(page, drawn())
    os.kill(server.process.pid or 0, signal.SIGSTOP)  # lest it answers too soon
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_selector("[data-do=look][disabled]")
    server.end(signal.SIGKILL)
    page.wait_for_function(
        "document.querySelector('[data-show=status]').textContent.includes('did not answer')"
    )
    assert page.query_selector("[data-do=look]:not([disabled])")
    page.click("[data-do=look]:not([disabled])")  # nobody is there yet
    page.wait_for_function(
        "document.querySelector('[data-show=status]').textContent.includes('did not answer')"
    )
    server = start_server(tiny_checkpoint_with_graph, port, tmp_path)
    page.wait_for_timeout(5000)  # Gradio may start the page anew
    page.wait_for_selector("[data-listening] [data-do=look]", state="attached")
    if not page.query_selector_all(".cc-thumb"):
        upload(page, drawn())
    assert "Only a clinician" in look(page)
    server.end()
    assert not list(tmp_path.glob("calcinosis-*")), "the killed server's folder is still there"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
