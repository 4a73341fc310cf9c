"""The demo in a process of its own, and visitors who ask it as the page does in a browser."""

import base64
import json
import multiprocessing
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import httpx2 as httpx

PATIENCE: Final = 300.0
"""Seconds after which a server is held to hang."""


def serve_demo(checkpoint: Path, port: int, temporary: Path) -> None:
    """The demo until it is ended, for drawings as for photos, with no limit on how often one address asks."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `calcinosis demo` ends
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    from calcinosis.model.predictor import Predictor
    from calcinosis.page import server

    server._make_private_folder()
    page = server.build_app(Predictor(checkpoint, threads=1, skip_ood_check=True))
    server.launch(page, server_port=port, readings_per_minute=1e9, quiet=True)


@dataclass
class Server:
    """A demo that runs.

    Attributes:
        port: on 127.0.0.1.
        process: that serves.
        temporary: the folder that all its temporary files go to.
    """

    port: int
    process: BaseProcess
    temporary: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> float:
        """Megabytes that it has in memory (Linux)."""
        return memory(self.process.pid or 0)

    def files(self) -> list[str]:
        """What lies in its folder for temporary files."""
        return [str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*")]

    def end(self, how: int = signal.SIGTERM) -> None:
        """End it by a signal, and wait until it is gone."""
        os.kill(self.process.pid or 0, how)
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError("the demo did not end")


def memory(process: int) -> float:
    """Megabytes that a process has in memory (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start_server(checkpoint: Path, port: int, temporary: Path) -> Server:
    """A demo in a process of its own, once it answers."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=serve_demo, args=(checkpoint, port, temporary), daemon=True)
    process.start()
    server = Server(port, process, temporary)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.is_alive():
        try:
            httpx.get(f"{server.address}/health", timeout=1)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return server
    process.kill()
    raise TimeoutError("the demo did not start")


@contextmanager
def served(checkpoint: Path) -> Iterator[Server]:
    """A demo while it is needed."""
    with tempfile.TemporaryDirectory() as temporary:
        server = start_server(checkpoint, free_port(), Path(temporary))
        try:
            yield server
        finally:
            if server.process.is_alive():
                server.end()


class Visitor:
    """Who has the page open: asks as its script does, each time as a new visit, and reads the answer.

    Args:
        address: of the demo.
    """

    def __init__(self, address: str) -> None:
        self._web = httpx.Client(base_url=f"{address}", timeout=PATIENCE)
        parts = self._web.get("/config").json()["dependencies"]
        self._submit = next(part for part in parts if part["api_name"] == "look")

    def close(self) -> None:
        self._web.close()

    def ask(self, files: Sequence[bytes], kind: str = "image/jpeg") -> str:
        """The HTML that the page shows for the files of photos.

        Raises:
            RefusedError: where the server answers nothing that could be shown.
            httpx.HTTPError: where there is no server, or it ends.
        """
        session = self.join(files, kind)
        where = {"session_hash": session}
        with self._web.stream("GET", "/gradio_api/queue/data", params=where) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed" and message["success"]:
                    return str(message["output"]["data"][0])
                if message.get("msg") in ("process_completed", "unexpected_error"):
                    raise RefusedError(line)
        raise RefusedError("the answer ended before it was there")

    def join(self, files: Sequence[bytes], kind: str = "image/jpeg") -> str:
        """Ask and do not wait: the session that the answer is for."""
        photos = [f"data:{kind};base64,{base64.b64encode(file).decode()}" for file in files]
        session = secrets.token_hex(6)
        sent = {
            "data": [],
            "event_data": {"photos": photos, "language": "en"},
            "fn_index": self._submit["id"],
            "trigger_id": self._submit["targets"][0][0],
            "session_hash": session,
        }
        answer = self._web.post("/gradio_api/queue/join", json=sent)
        if answer.status_code != httpx.codes.OK:
            raise RefusedError(f"{answer.status_code}: {answer.text}")
        return session


class RefusedError(Exception):
    """The server is there and gives no answer that could be shown."""
