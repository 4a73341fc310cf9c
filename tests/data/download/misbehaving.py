"""A small server on 127.0.0.1 that does all that servers of old atlases do."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from PIL import Image

PAGE = b"<!doctype html><html><body>This picture has moved.</body></html>"


def photo(number: int) -> bytes:
    """A drawn JPEG, another one for each number."""
    drawn = io.BytesIO()
    colour = (number * 37 % 256, number * 91 % 256, number * 53 % 256)
    Image.new("RGB", (24, 16), colour).save(drawn, "JPEG")
    return drawn.getvalue()


def gif() -> bytes:
    drawn = io.BytesIO()
    Image.new("P", (8, 8)).save(drawn, "GIF")
    return drawn.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        nth = self.server.note(self.path, self.headers.get("User-Agent", ""))
        first = path.strip("/").split("/")[0]
        handle = getattr(self, f"do_{first.partition('.')[0]}", self.do_missing)
        handle(path, nth)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_photo(self, path: str, _: int) -> None:
        time.sleep(self.server.slowness)
        number = int(path.rpartition("/")[2].removesuffix(".jpg"))
        self.answer(200, photo(number), Content_Type="image/jpeg")

    def do_missing(self, _path: str, _: int) -> None:
        self.answer(404, PAGE, Content_Type="text/html")

    def do_gone(self, _path: str, _: int) -> None:
        self.answer(410)

    def do_busy(self, _path: str, nth: int) -> None:
        if nth == 1:
            self.answer(429, Retry_After="1")
        else:
            self.answer(200, photo(1))

    def do_closed(self, _path: str, _: int) -> None:
        self.answer(429, Retry_After="86400")

    def do_flaky(self, _path: str, nth: int) -> None:
        if nth <= 2:
            self.answer(503)
        else:
            self.answer(200, photo(2))

    def do_broken(self, _path: str, _: int) -> None:
        self.answer(500)

    def do_hang(self, _path: str, _: int) -> None:
        self.server.release.wait(5)
        self.close_connection = True

    def do_drip(self, _path: str, _: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        for _ in range(100):
            if self.server.release.wait(0.05):
                break
            try:
                self.wfile.write(b"\xff")
                self.wfile.flush()
            except OSError:
                break
        self.close_connection = True

    def do_cut(self, _path: str, _: int) -> None:
        body = photo(3)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def do_half(self, _path: str, _: int) -> None:
        """Cut short where nothing in the answer says so."""
        body = photo(3)
        self.answer(200, body[: len(body) // 2], Content_Type="image/jpeg")

    def do_html(self, _path: str, _: int) -> None:
        self.answer(200, PAGE, Content_Type="text/html; charset=utf-8")

    def do_disguised(self, _path: str, _: int) -> None:
        self.answer(200, PAGE, Content_Type="image/jpeg")

    def do_gif(self, _path: str, _: int) -> None:
        self.answer(200, gif(), Content_Type="image/jpeg")

    def do_large(self, _path: str, _: int) -> None:
        self.answer(200, b"\xff" * 300_000, Content_Type="image/jpeg")

    def do_private(self, _path: str, _: int) -> None:
        port = self.server.server_address[1]
        self.answer(302, Location=f"http://localhost:{port}/photo/9.jpg")

    def do_metadata(self, _path: str, _: int) -> None:
        self.answer(302, Location="http://169.254.169.254/latest/meta-data/")

    def do_file(self, _path: str, _: int) -> None:
        self.answer(302, Location="file:///etc/hostname")

    def do_astray(self, _path: str, _: int) -> None:
        self.answer(302, Location="http://127.0.0.1:none/x.jpg")

    def do_circle(self, _path: str, _: int) -> None:
        self.answer(302, Location="/circle/again.jpg")

    def do_moved(self, _path: str, _: int) -> None:
        self.answer(301, Location="/photo/7.jpg")

    def do_robots(self, _path: str, _: int) -> None:
        if self.server.robots is None:
            self.answer(404)
        else:
            self.answer(200, self.server.robots.encode(), Content_Type="text/plain")

    def do_json(self, _path: str, _: int) -> None:
        self.answer(200, self.server.pages[self.path], Content_Type="application/json")

    def log_message(self, *_: object) -> None:
        """Nothing: the tests read `Server.asked`."""


class Server(ThreadingHTTPServer):
    """Counts what it was asked, and how many asked at once."""

    daemon_threads = True
    request_queue_size = 64
    pages: ClassVar[dict[str, bytes]] = {}

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.pages = {}
        self.robots: str | None = None
        self.slowness = 0.0
        self.release = threading.Event()
        self._lock = threading.Lock()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, path: str, agent: str) -> int:
        with self._lock:
            self.asked[path] += 1
            self.agents.add(agent)
            return self.asked[path]

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle is part of the tests."""
