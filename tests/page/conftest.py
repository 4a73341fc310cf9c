"""What the tests of the page share: a server with the tiny checkpoint, and a browser where there is one."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from calcinosis.model.predictor import Predictor
from calcinosis.page import server as demo


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def reader(tiny_checkpoint: Path) -> Predictor:
    return Predictor(tiny_checkpoint)


@pytest.fixture(scope="session")
def page(reader: Predictor) -> gr.Blocks:
    return demo.build_app(reader)


@pytest.fixture(scope="session")
def address(page: gr.Blocks) -> Iterator[str]:
    """Where the page is served."""
    port = free_port()
    demo.launch(page, server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    page.close()


BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of the machine; the tests that need one are skipped where there is none."""
    program = os.environ.get("CALCINOSIS_BROWSER") or shutil.which("chromium")
    if not program:
        pytest.skip("no chromium on this machine; install it, or name one in CALCINOSIS_BROWSER")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens the page as a visitor of its own, with the settings of a browser context."""
    visits = []

    def open_it(address: str = address, **settings: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", **settings})
        visits.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector("[data-listening] [data-do=look]", state="attached")
        return page

    yield open_it
    for visit in visits:
        visit.close()
