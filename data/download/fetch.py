"""Getting one file from a stranger's server: politely, from a public address only, and whole or not at all."""

from __future__ import annotations

import email.utils
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

import httpx2
from PIL import Image
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from calcinosis.common.files import atomic_path, file_digest
from calcinosis.data.download.addresses import PublicTransport
from calcinosis.data.download.errors import BadContentError, PermanentError, TransientError
from calcinosis.data.table import write_errors

_Result = TypeVar("_Result")

AGENT = "calcinosis-data"
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 40_000_000

_MAX_HOPS = 5
_MAX_NAME = 200
_MAX_ROBOTS_BYTES = 512 * 1024
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_ATTEMPTS_AT_BAD_CONTENT = 2
_FILES_BEFORE_A_HOST_IS_DOWN = 5


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
        max_bytes: of one file.
    """

    connections: int = 4
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 600.0
    timeout: float = 30.0
    deadline: float = 300.0
    max_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Download:
    """A file that arrived whole."""

    bytes: int
    sha256: str


class StoppedError(Exception):
    """The run was told to stop."""


# ---- names and content ------------------------------------------------------------------------


def path_below(root: Path, name: str) -> Path:
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
        and not any(part.startswith(".") or len(part) > _MAX_NAME for part in parts)
        and not any(unicodedata.category(letter).startswith("C") for letter in name)
    )
    if not plain:
        raise PermanentError("refused_name", f"{name!r} is no plain file name")
    path = root.joinpath(*parts)
    if not path.parent.resolve().is_relative_to(root.resolve()) or path.is_symlink():
        raise PermanentError("refused_name", f"{name!r} leads out of the folder")
    return path


def check_file(path: Path, *, md5: str = "", photo: bool = True) -> Download:
    """Make sure that a file is the one that its set knows, and a photograph that can be decoded.

    Raises:
        PermanentError: code `not_a_photo`, for a web page or a picture of too many pixels.
        BadContentError: `wrong_content` or `not_a_photo`, where the file may have been cut short.
    """
    if md5 and (found := file_digest(path, "md5")) != md5.casefold():
        raise BadContentError("wrong_content", f"md5 is {found}, the set says {md5}")
    if photo:
        _check_photo(path)
    return Download(path.stat().st_size, file_digest(path))


def _check_photo(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(512).lstrip()
    if start[:1] == b"<" or b"<html" in start.lower():
        raise PermanentError("not_a_photo", "a web page came instead of a photo")
    if not start:
        raise BadContentError("not_a_photo", "an empty file came")
    try:
        with Image.open(path, formats=FORMATS) as photo:
            width, height = photo.size
            if width * height > MAX_PIXELS:
                raise PermanentError(
                    "not_a_photo", f"{width} by {height} pixels are more than {MAX_PIXELS:,}"
                )
            photo.load()
    except PermanentError:
        raise
    except Exception as error:  # whatever Pillow raises for it, as model/photo.py says
        raise BadContentError("not_a_photo", f"cannot be decoded ({error})") from None


# ---- asking -----------------------------------------------------------------------------------


@dataclass
class _Host:
    """What is known of a server during a run: when it may be asked again, and whether it is down."""

    not_before: float = 0.0
    between: float = 0.0
    failures: int = 0
    robots: RobotFileParser | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    robots_lock: threading.Lock = field(default_factory=threading.Lock)

    def turn(self) -> float:
        """How long to wait before asking; the caller's turn is kept."""
        with self.lock:
            now = time.monotonic()
            start = max(now, self.not_before)
            self.not_before = max(self.not_before, start + self.between)
            return start - now

    def check_up(self) -> None:
        if self.failures >= _FILES_BEFORE_A_HOST_IS_DOWN:
            raise TransientError(
                "host_down", "the server has not answered several files", again=False
            )

    def pause(self, seconds: float) -> None:
        with self.lock:
            self.not_before = max(self.not_before, time.monotonic() + seconds)


class Fetcher:
    """Gets files under one policy.

    Args:
        policy: how hard to ask.
        allowed: host names and addresses that may be private: a mirror on your own network.
        contact: an address for a server's owner to write to, put into the User-Agent.
    """

    def __init__(
        self, policy: FetchPolicy, *, allowed: frozenset[str] = frozenset(), contact: str = ""
    ) -> None:
        self.policy = policy
        self.stop = threading.Event()
        about = re.sub(r"[^ -~]", "", contact) or "no contact given"
        self._client = httpx2.Client(
            transport=PublicTransport(allowed, policy.connections),
            headers={
                "User-Agent": f"{AGENT}/0.1 (research and education; {about})",
                "Accept-Encoding": "identity",
            },
            timeout=policy.timeout,
        )
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def save(
        self, url: str, path: Path, *, md5: str = "", photo: bool = True, robots: bool = False
    ) -> Download:
        """Get a file to its path, which exists only once the file is whole and checked.

        Raises:
            PermanentError, TransientError: when it cannot be had.
            StoppedError: when the run was told to stop.
            DataError: code `disk_full` or `cannot_write`.
        """

        def attempt() -> Download:
            with atomic_path(path) as partial:
                with self._answer(url) as response, partial.open("wb") as stream:
                    if response.headers.get("content-type", "").startswith("text/html"):
                        raise PermanentError("not_a_photo", "a web page came instead of a photo")
                    for chunk in self._chunks(response, self.policy.max_bytes):
                        stream.write(chunk)
                    stream.flush()
                    os.fsync(stream.fileno())
                return check_file(partial, md5=md5, photo=photo)

        with write_errors(path):
            return self._persist(url, attempt, robots=robots)

    def read(self, url: str, max_bytes: int) -> bytes:
        """A small answer, such as a page of an API, in memory.

        Raises:
            PermanentError, TransientError, StoppedError: as `save`.
        """

        def attempt() -> bytes:
            with self._answer(url) as response:
                return b"".join(self._chunks(response, max_bytes))

        return self._persist(url, attempt)

    def _persist(
        self, url: str, attempt: Callable[[], _Result], *, robots: bool = False
    ) -> _Result:
        """Attempt until it works, waiting longer each time, or as long as the server asks."""
        try:
            netloc = urlsplit(url).netloc
        except ValueError as error:
            raise PermanentError("bad_link", f"is no link ({error})") from None
        with self._lock:
            host = self._hosts.setdefault(netloc, _Host())
        backoff = wait_random_exponential(self.policy.first_wait, self.policy.longest_wait)
        if robots:
            self._ask_robots(url, host)

        def once() -> _Result:
            self._sleep(host.turn())
            host.check_up()
            return attempt()

        def wait(state: RetryCallState) -> float:
            error = _error_of(state)
            if not isinstance(error, TransientError) or error.after is None:
                return backoff(state)
            host.pause(error.after)
            return 0

        def stop(state: RetryCallState) -> bool:
            few = isinstance(_error_of(state), BadContentError)
            return state.attempt_number >= (
                _ATTEMPTS_AT_BAD_CONTENT if few else self.policy.attempts
            )

        retrying = Retrying(
            retry=retry_if_exception(lambda e: isinstance(e, TransientError) and e.again),
            wait=wait,
            stop=stop,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            result = retrying(once)
        except BadContentError as error:
            host.failures = 0
            raise PermanentError(error.code, error.detail) from None
        except PermanentError:
            host.failures = 0
            raise
        except TransientError as error:
            host.failures += error.code in ("connection", "timeout")
            raise
        host.failures = 0
        return result

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds) if seconds > 0 else self.stop.is_set():
            raise StoppedError

    def _ask_robots(self, url: str, host: _Host) -> None:
        """Honour robots.txt (RFC 9309): none means yes, one that cannot be read means not now."""
        with host.robots_lock:
            if host.robots is None:
                host.check_up()
                try:
                    answer = self.read(urljoin(url, "/robots.txt"), _MAX_ROBOTS_BYTES)
                except PermanentError:
                    answer = b""
                robots = RobotFileParser()
                robots.parse(answer.decode("utf-8", errors="replace").splitlines())
                host.between = min(float(robots.crawl_delay(AGENT) or 0), self.policy.longest_wait)
                host.robots = robots
        if not host.robots.can_fetch(AGENT, url):
            raise PermanentError("robots", "the site's robots.txt asks not to fetch this")

    @contextmanager
    def _answer(self, url: str) -> Iterator[httpx2.Response]:
        """The answer at the end of a chain of redirects, every hop of which is checked."""
        try:
            request, secure = self._client.build_request("GET", url), False
            for _ in range(_MAX_HOPS + 1):
                secure = _check_link(request.url, secure)
                with closing(self._client.send(request, stream=True)) as response:
                    if response.next_request is None:
                        self._check_status(response)
                        yield response
                        return
                    request = response.next_request
        except (httpx2.InvalidURL, TypeError) as error:
            raise PermanentError("bad_link", f"is no link ({error})") from None
        except httpx2.TimeoutException:
            raise TransientError("timeout", "the server fell silent") from None
        except httpx2.RemoteProtocolError:
            raise TransientError("truncated", "the answer was cut short") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise TransientError("connection", f"no connection ({type(error).__name__})") from None
        raise PermanentError("redirects", f"more than {_MAX_HOPS} redirects")

    def _check_status(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        detail = f"the server answers {status}"
        if status not in _RETRIED:
            gone = status in (404, 410)
            raise PermanentError("not_found" if gone else "refused_by_server", detail)
        code = "too_many_requests" if status == 429 else "server_error"
        after = _retry_after(response.headers.get("retry-after", ""))
        if after is not None:
            detail += f"; asks to wait {after:.0f} s"
        again = after is None or after <= self.policy.longest_retry_after
        raise TransientError(code, detail, after=after, again=again)

    def _chunks(self, response: httpx2.Response, max_bytes: int) -> Iterator[bytes]:
        end = time.monotonic() + self.policy.deadline
        # No chunk size: then a drip of single bytes meets the deadline, not a buffer.
        for chunk in response.iter_bytes():
            max_bytes -= len(chunk)
            if max_bytes < 0:
                raise PermanentError("too_large", "is larger than one file may be")
            if self.stop.is_set():
                raise StoppedError
            if time.monotonic() > end:
                raise TransientError("timeout", "took too long to arrive")
            yield chunk


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _check_link(url: httpx2.URL, secure: bool) -> bool:
    """Whether this hop is protected; once one was, all that follow have to be."""
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise PermanentError("bad_link", "is no plain http or https link")
    if secure and url.scheme != "https":
        raise PermanentError("redirects", "redirects from https to an unprotected link")
    return url.scheme == "https"


def _retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110: a number or a date), or None."""
    if text.strip().isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
