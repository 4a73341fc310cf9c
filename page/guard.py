"""The door of the server: only the routes that the page needs, small requests, calm rates, strict headers.

Gradio opens many routes: uploads, files, proxies, monitoring. This page needs few of them, since photos
travel inside a request and results inside its answer. What is not named here does not exist.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from calcinosis.model.photo import MAX_BYTES

MAX_BODY: Final = MAX_BYTES * 4 // 3 + 1024**2
"""Bytes of a request: one photo of the largest size as base64, or several framed ones."""

_API: Final = "/gradio_api"
_ROUTES: Final = tuple(
    (method, re.compile(pattern))
    for method, pattern in (
        ("GET", r"/"),
        ("GET", r"/health"),
        ("GET", r"/config/?"),
        ("GET", r"/theme\.css"),
        ("GET", r"/(assets|static)/[\w./@~-]+"),
        ("GET", r"/(favicon\.ico|robots\.txt|manifest\.json)"),
        ("GET", rf"{_API}/(info|app_id|startup-events|theme\.css)/?"),
        ("GET", rf"{_API}/heartbeat/\w+"),
        ("GET", rf"{_API}/queue/data"),
        ("POST", rf"{_API}/queue/join/?"),
        ("POST", rf"{_API}/(reset|cancel)/?"),
        ("POST", rf"{_API}/call/finding_v1/?"),
        ("GET", rf"{_API}/call/finding_v1/\w+"),
    )
)

# Gradio's page starts from inline scripts and compiles its templates in the browser; all else is shut.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' blob: mediastream:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware around the whole server.

    Args:
        readings_per_minute: for one address; a burst of as many is allowed.
        behind_proxy: trust the last address of `X-Forwarded-For`, which a proxy in front wrote.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        readings_per_minute: float = 300,
        behind_proxy: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.rate = Rate(readings_per_minute, clock)
        self.behind_proxy = behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan goes through; there are no web sockets
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith(("/assets/", "/static/")):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        answer = self._answer(scope)
        await (answer or self.app)(scope, receive, send_strictly)

    def _answer(self, scope: Scope) -> Response | None:
        """What the guard says itself; None lets the request through."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"]
        if path == "/health":
            return PlainTextResponse("ok")
        if ".." in path or not any(
            method == allowed and pattern.fullmatch(path) for allowed, pattern in _ROUTES
        ):
            return JSONResponse({"detail": "Not found"}, 404)
        if method == "POST":
            headers = Headers(scope=scope)
            length = headers.get("content-length", "")
            # In chunks a body may be longer than the length that stands beside them (RFC 9112, 6.3).
            if not length.isdigit() or "transfer-encoding" in headers:
                return JSONResponse({"detail": "A length is required"}, 411)
            if int(length) > MAX_BODY:
                return JSONResponse({"detail": "The request is too large"}, 413)
            if not self.rate.allows(self._address(scope)):
                return JSONResponse({"detail": "Too many requests; wait a minute"}, 429)
        return None

    def _address(self, scope: Scope) -> str:
        if self.behind_proxy:
            forwarded = Headers(scope=scope).get("x-forwarded-for", "")
            if forwarded:
                return forwarded.rsplit(",", 1)[-1].strip()
        client: Any = scope.get("client") or ("",)
        return str(client[0])


class Rate:
    """A bucket of permits for each address, which fills again over a minute."""

    _MOST_ADDRESSES: Final = 10_000

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Whether a request of this address may pass now; counts it if so."""
        now = self.clock()
        permits, last = self.buckets.pop(address, (self.per_minute, now))
        permits = min(self.per_minute, permits + (now - last) * self.per_minute / 60)
        allowed = permits >= 1
        self.buckets[address] = (permits - 1 if allowed else permits, now)
        if len(self.buckets) > self._MOST_ADDRESSES:
            self.buckets.popitem(last=False)
        return allowed
