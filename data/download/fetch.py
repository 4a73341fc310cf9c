"""Getting one file from a stranger's server: politely, to a public address only, and whole or not at all."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
import unicodedata
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar
from urllib.robotparser import RobotFileParser

import httpx2
from calcinosis.common.errors import DataError
from PIL import Image

_Result = TypeVar("_Result")

AGENT = "calcinosis-data"
FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 40_000_000
PARTIAL_SUFFIX = ".partial"

_CHUNK = 64 * 1024
_MOST_HOPS = 5
_LONGEST_NAME = 200
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_ATTEMPTS_AT_BAD_CONTENT = 2
_FILES_BEFORE_A_HOST_IS_DOWN = 5
# What Pillow's own fuzz tests allow a broken picture to raise.
_PILLOW_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    EOFError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class FetchPolicy:
    """How hard a server is asked. The defaults suit a small site; every time is in seconds.

    Attributes:
        connections: at once, over all servers.
        attempts: at one file, before it counts as failed for this run.
        first_wait: before the second attempt; doubles each time, with chance added so that
            connections do not come back all at once.
        longest_wait: between two attempts.
        longest_retry_after: a server that asks for more is left alone for this run.
        timeout: without a byte.
        deadline: for one file, however slowly its bytes drip.
        most_bytes: of one file.
    """

    connections: int = 4
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 600.0
    timeout: float = 30.0
    deadline: float = 300.0
    most_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Download:
    """A file that arrived whole."""

    bytes: int
    sha256: str
    md5: str


class PermanentError(Exception):
    """A file that did not arrive.

    `lasting` says that asking again will not help: the link is dead, or it was refused.
    """

    def __init__(self, code: str, detail: str, *, lasting: bool) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.lasting = lasting


class _PassingError(Exception):
    """A failure that may pass. `after` is how long the server asked to wait."""

    def __init__(self, code: str, detail: str, *, after: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.after = after


class StoppedError(Exception):
    """The run was told to stop."""


# ---- names and addresses ----------------------------------------------------------------------


def place_below(root: Path, name: str) -> Path:
    """Where a file of this name may be written below a folder.

    Raises:
        PermanentError: code `refused_name`, for anything that is not a plain relative path: `..`, absolute,
            hidden, too long, with control characters, or through a link out of the folder.
    """
    parts = PurePosixPath(name).parts
    plain = (
        bool(parts)
        and not name.startswith("/")
        and "\\" not in name
        and not PureWindowsPath(name).drive
        and all(
            part not in (".", "..") and not part.startswith(".") and len(part) <= _LONGEST_NAME
            for part in parts
        )
        and not any(unicodedata.category(letter).startswith("C") for letter in name)
    )
    if not plain:
        raise PermanentError("refused_name", f"{name!r} is no plain file name", lasting=True)
    place = root.joinpath(*parts)
    if not place.parent.resolve().is_relative_to(root.resolve()) or place.is_symlink():
        raise PermanentError("refused_name", f"{name!r} leads out of the folder", lasting=True)
    return place


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also where it wraps another one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def addresses(host: str, port: int, allowed: frozenset[str]) -> list[str]:
    """The addresses of a host, all of them public or the host allowed by name.

    Raises:
        PermanentError: code `refused_address`, when one of them is private.
        _PassingError: when the name cannot be resolved now.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise _PassingError("connection", f"no address for {host} ({error})") from None
    known = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if host not in allowed:
        for address in known:
            if not is_public(address):
                raise PermanentError(
                    "refused_address",
                    f"{host} leads to the private address {address}",
                    lasting=True,
                )
    return known


# ---- content ----------------------------------------------------------------------------------


def check_photo(path: Path) -> None:
    """Make sure that a file is a photograph that can be decoded to its last pixel.

    Raises:
        PermanentError: code `not_a_photo` with what it is instead; lasting for a web page or a picture of
            another kind or size, not lasting where the file may have been cut short.
    """
    with path.open("rb") as stream:
        start = stream.read(512).lstrip()
    if start[:1] == b"<" or b"<html" in start.lower():
        raise PermanentError("not_a_photo", "a web page came instead of a photo", lasting=True)
    if not start:
        raise PermanentError("not_a_photo", "an empty file came", lasting=False)
    try:
        with Image.open(path, formats=FORMATS) as photo:
            width, height = photo.size
            if width * height > MOST_PIXELS:
                raise PermanentError(
                    "not_a_photo",
                    f"{width} by {height} pixels are more than {MOST_PIXELS:,}",
                    lasting=True,
                )
            photo.load()
    except _PILLOW_FAULTS as error:
        raise PermanentError("not_a_photo", f"cannot be decoded ({error})", lasting=False) from None


def check_md5(expected: str) -> Callable[[Download], None]:
    """A check that a file is the one that its set knows."""

    def check(got: Download) -> None:
        if got.md5 != expected.casefold():
            raise PermanentError(
                "wrong_content", f"md5 is {got.md5}, the set says {expected}", lasting=False
            )

    return check


def digest(path: Path) -> Download:
    """Size and digests of a file on disk."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            sha256.update(chunk)
            md5.update(chunk)
    return Download(size, sha256.hexdigest(), md5.hexdigest())


# ---- one server's patience --------------------------------------------------------------------


class _Host:
    """What is known of a server during a run: when it may be asked again, and whether it is down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._between = 0.0
        self._failures = 0
        self.robots: RobotFileParser | None = None
        self.robots_lock = threading.Lock()

    def turn(self) -> float:
        """How long to wait before asking; the caller's turn is kept."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._not_before)
            self._not_before = max(self._not_before, start + self._between)
            return start - now

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def space(self, seconds: float) -> None:
        with self._lock:
            self._between = seconds

    def answered(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1

    @property
    def down(self) -> bool:
        return self._failures >= _FILES_BEFORE_A_HOST_IS_DOWN


class Fetcher:
    """Gets files with one set of manners.

    Args:
        manners: how hard to ask.
        allowed: host names and addresses that may be private: a mirror on your own network.
        contact: an address for a server's owner to write to, put into the User-Agent.
    """

    def __init__(
        self, manners: FetchPolicy, *, allowed: frozenset[str] = frozenset(), contact: str = ""
    ) -> None:
        self.manners = manners
        self.stop = threading.Event()
        self._allowed = allowed
        about = "research and education; " + (contact or "no contact given")
        self._agent = f"{AGENT}/0.1 ({re.sub(r'[^ -~]', '', about)})"
        self._clients: dict[str, httpx2.Client] = {}
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def save(
        self,
        url: str,
        place: Path,
        *,
        checks: tuple[Callable[[Download], None], ...] = (),
        photo: bool = True,
        robots: bool = False,
    ) -> Download:
        """Get a file to its place, which exists only once the file is whole and checked.

        Raises:
            PermanentError: when it cannot be had.
            StoppedError: when the run was told to stop.
            DataError: code `disk_full` or `cannot_write`.
        """
        partial = place.with_name(f".{place.name}{PARTIAL_SUFFIX}")

        def attempt() -> Download:
            got = self._into(url, partial)
            for check in checks:
                check(got)
            if photo:
                check_photo(partial)
            return got

        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            got = self._patiently(url, attempt, robots=robots)
            partial.replace(place)
        except OSError as error:
            raise _disk_fault(error, place) from None
        finally:
            partial.unlink(missing_ok=True)
        return got

    def read(self, url: str, most_bytes: int) -> bytes:
        """A small answer, such as a page of an API, in memory.

        Raises:
            PermanentError, StoppedError: as `save`.
        """

        def attempt() -> bytes:
            body = bytearray()
            with self._answer(url) as response:
                for chunk in self._chunks(response, most_bytes):
                    body += chunk
            return bytes(body)

        return self._patiently(url, attempt)

    # -- patience --

    def _patiently(
        self, url: str, attempt: Callable[[], _Result], *, robots: bool = False
    ) -> _Result:
        host = self._host(_host_of(url))
        if host.down:
            raise PermanentError(
                "host_down", "the server has not answered several files", lasting=False
            )
        if robots:
            self._ask_robots(url, host)
        wait = self.manners.first_wait
        for number in range(1, self.manners.attempts + 1):
            self._sleep(host.turn())
            if host.down:
                raise PermanentError(
                    "host_down", "the server has not answered several files", lasting=False
                )
            try:
                result = attempt()
            except PermanentError as lost:
                host.answered()
                if lost.lasting or number >= _ATTEMPTS_AT_BAD_CONTENT:
                    raise PermanentError(lost.code, lost.detail, lasting=True) from None
                again = _PassingError(lost.code, lost.detail)
            except _PassingError as failure:
                again = failure
            else:
                host.answered()
                return result
            if again.after is not None:
                if again.after > self.manners.longest_retry_after:
                    raise PermanentError(
                        again.code,
                        f"{again.detail}; asks to wait {again.after:.0f} s",
                        lasting=False,
                    )
                host.pause(again.after)
            elif number < self.manners.attempts:
                self._sleep(min(wait, self.manners.longest_wait) * _jitter())
                wait *= 2
        if again.code in ("connection", "timeout"):
            host.failed()
        detail = f"{again.detail}; {self.manners.attempts} attempts"
        raise PermanentError(again.code, detail, lasting=False)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds) if seconds > 0 else self.stop.is_set():
            raise StoppedError

    def _host(self, name: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(name, _Host())

    def _ask_robots(self, url: str, host: _Host) -> None:
        """Honour robots.txt (RFC 9309): none means yes, one that cannot be read means not now."""
        with host.robots_lock:
            if host.robots is None:
                host.robots = self._read_robots(url)
                delay = host.robots.crawl_delay(AGENT)
                if delay:
                    host.space(min(float(delay), self.manners.longest_wait))
        if not host.robots.can_fetch(AGENT, url):
            raise PermanentError(
                "robots", "the site's robots.txt asks not to fetch this", lasting=True
            )

    def _read_robots(self, url: str) -> RobotFileParser:
        parser = RobotFileParser()
        address = str(httpx2.URL(url).copy_with(raw_path=b"/robots.txt"))
        try:
            text = self.read(address, 512 * 1024).decode("utf-8", errors="replace")
        except PermanentError as lost:
            if not lost.lasting:
                raise
            text = ""
        parser.parse(text.splitlines())
        return parser

    # -- one request --

    def _into(self, url: str, partial: Path) -> Download:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        with self._answer(url) as response, partial.open("wb") as stream:
            if response.headers.get("content-type", "").startswith("text/html"):
                raise PermanentError(
                    "not_a_photo", "a web page came instead of a photo", lasting=True
                )
            for chunk in self._chunks(response, self.manners.most_bytes):
                size += len(chunk)
                sha256.update(chunk)
                md5.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return Download(size, sha256.hexdigest(), md5.hexdigest())

    def _chunks(self, response: httpx2.Response, most_bytes: int) -> Iterator[bytes]:
        end = time.monotonic() + self.manners.deadline
        try:
            # No chunk size: then a drip of single bytes meets the deadline, not a buffer.
            for chunk in response.iter_bytes():
                most_bytes -= len(chunk)
                if most_bytes < 0:
                    raise PermanentError(
                        "too_large", "is larger than one file may be", lasting=True
                    )
                if self.stop.is_set():
                    raise StoppedError
                if time.monotonic() > end:
                    raise _PassingError("timeout", "took too long to arrive")
                yield chunk
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise _network_fault(error) from None

    @contextmanager
    def _answer(self, url: str) -> Iterator[httpx2.Response]:
        """The answer at the end of a chain of redirects, every hop of which is checked."""
        here = _url(url)
        for _ in range(_MOST_HOPS + 1):
            response = self._send(here)
            try:
                if response.is_redirect:
                    here = _next_hop(here, response.headers.get("location", ""))
                    continue
                _check_status(response)
                yield response
                return
            finally:
                response.close()
        raise PermanentError("redirects", f"more than {_MOST_HOPS} redirects", lasting=True)

    def _send(self, url: httpx2.URL) -> httpx2.Response:
        """Ask the very address that was checked, so that a name cannot change in between.

        Behind a proxy the proxy resolves names: there the name is sent, and checked as far as
        this machine can resolve it.
        """
        host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
        client = self._client(f"{url.scheme}://{host}:{port}")
        if _proxied(url):
            with suppress(_PassingError):
                addresses(host, port, self._allowed)
            return self._try(client, client.build_request("GET", url))
        fault: _PassingError | None = None
        for address in addresses(host, port, self._allowed):
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={"Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                return self._try(client, request)
            except _PassingError as failure:
                fault = failure
                if failure.code != "connection":
                    break
        raise fault or _PassingError("connection", f"no address for {host}")

    def _try(self, client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
        try:
            return client.send(request, stream=True, follow_redirects=False)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _network_fault(error) from None

    def _client(self, origin: str) -> httpx2.Client:
        """One client for each server: a connection made for one name is never used for another."""
        with self._lock:
            if origin not in self._clients:
                self._clients[origin] = httpx2.Client(
                    headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
                    timeout=self.manners.timeout,
                    verify=_certificates(),
                    limits=httpx2.Limits(max_connections=self.manners.connections),
                )
            return self._clients[origin]


@cache
def _certificates() -> ssl.SSLContext:
    """The system's trusted certificates, read once: it takes longer than a request."""
    return httpx2.create_ssl_context()


def _host_of(url: str) -> str:
    return _url(url).netloc.decode("ascii")


def _url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, TypeError) as error:
        raise PermanentError("bad_link", f"is no link ({error})", lasting=True) from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise PermanentError("bad_link", "is no plain http or https link", lasting=True)
    return url


def _next_hop(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        there = here.join(location)
    except httpx2.InvalidURL:
        raise PermanentError("redirects", "redirects to no link", lasting=True) from None
    if here.scheme == "https" and there.scheme != "https":
        raise PermanentError(
            "redirects", "redirects from https to an unprotected link", lasting=True
        )
    return _url(str(there))


def _check_status(response: httpx2.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    detail = f"the server answers {status}"
    if status in _RETRIED:
        code = "too_many_requests" if status == 429 else "server_error"
        raise _PassingError(
            code, detail, after=_retry_after(response.headers.get("retry-after", ""))
        )
    code = {404: "not_found", 410: "not_found"}.get(status, "refused_by_server")
    raise PermanentError(code, detail, lasting=True)


def _retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110: a number or a date), or None."""
    if text.strip().isdigit():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _network_fault(error: Exception) -> _PassingError:
    if isinstance(error, httpx2.TimeoutException):
        return _PassingError("timeout", "the server fell silent")
    if isinstance(error, httpx2.RemoteProtocolError):
        return _PassingError("truncated", "the answer was cut short")
    return _PassingError("connection", f"no connection ({type(error).__name__})")


def _disk_fault(error: OSError, place: Path) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            "disk_full",
            "the disk is full; make room and start again: what is there is kept",
            name=str(place.parent),
        )
    return DataError("cannot_write", f"cannot be written ({error.strerror})", name=str(place))


def _proxied(url: httpx2.URL) -> bool:
    proxies = urllib.request.getproxies()
    return (url.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(url.host)


def _jitter() -> float:
    """Between 0.5 and 1: chance from the clock is enough to spread connections."""
    return 0.5 + (time.monotonic_ns() % 1000) / 2000
