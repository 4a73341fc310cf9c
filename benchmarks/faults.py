"""Processes that are killed while many ask: is any other photo lost or mixed up, and does the next start work?

    python benchmarks/faults.py

Users ask the demo without a pause. Meanwhile the processes that decode a HEIC photo are killed, and then the server
itself, which is started anew on its port. Prints what came of the photos; exits with 1 if one that had nothing
to do with the fault was lost, if a finding went to the wrong user, or if files were left. Needs the extra `heic`.
"""

import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from calcinosis.benchmarks.damage import heic_files
from calcinosis.benchmarks.fuzz_photos import end_shown
from calcinosis.benchmarks.load_demo import digest, known_pages
from calcinosis.benchmarks.visitor import Server, Visitor, free_port, start_server
from calcinosis.model.config import SHIPPED

Known = list[tuple[bytes, str]]


def asking(server: Server, known: Known, user: int, over: threading.Event) -> Counter[str]:
    """What one user gets for photos that are asked about until it is over."""
    ends: Counter[str] = Counter()
    visitor = Visitor(server.address)
    while not over.is_set():
        for content, page in known[user::4]:
            try:
                ends["right" if digest(visitor.ask([content])) == page else "mixed up"] += 1
            except Exception as error:
                ends[type(error).__name__] += 1
                over.wait(0.2)
    return ends


def amid_users(server: Server, known: Known, fault: Callable[[], None]) -> Counter[str]:
    """What three users get while something goes wrong."""
    over = threading.Event()
    with ThreadPoolExecutor(3) as users:
        asked = [users.submit(asking, server, known, user, over) for user in range(3)]
        try:
            time.sleep(2)
            fault()
            time.sleep(2)
        finally:
            over.set()
        return sum((user.result() for user in asked), Counter())


def kill_decoders(server: Server, times: int) -> Counter[str]:
    """What one user gets for HEIC photos of which every other loses its decoder."""
    photo, visitor = heic_files()[0], Visitor(server.address)
    process = psutil.Process(server.process.pid)
    ends: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as one:
        for number in range(times):
            answer = one.submit(visitor.ask, [photo], "image/heic")
            while number % 2 and not answer.done():
                for child in process.children():
                    child.kill()
                time.sleep(0.01)
            ends[("killed: " if number % 2 else "spared: ") + end_shown(answer.result())] += 1
    return ends


def main() -> None:
    known = known_pages(SHIPPED, 40)
    with tempfile.TemporaryDirectory() as temporary:
        port = free_port()
        server = start_server(SHIPPED, port, Path(temporary))
        heic: Counter[str] = Counter()
        others = amid_users(server, known, lambda: heic.update(kill_decoders(server, 10)))
        print("decoders killed:", dict(heic), "; the other users:", dict(others))
        bad = set(others) - {"right"}
        for how in (signal.SIGKILL, signal.SIGTERM):
            seconds: list[float] = []

            def end_and_start(how: signal.Signals = how, seconds: list[float] = seconds) -> None:
                nonlocal server
                server.end(how)
                began = time.monotonic()
                server = start_server(SHIPPED, port, Path(temporary))
                seconds.append(time.monotonic() - began)

            ends = amid_users(server, known, end_and_start)
            after = asking(server, known[:8], 0, _over_soon())
            print(
                f"server ended by {how.name}, back after {seconds[0]:.1f} s:",
                dict(ends),
                "; then:",
                dict(after),
            )
            bad |= ({"mixed up"} & set(ends)) | (set(after) - {"right"})
        server.end()
        left = [name for name in server.files() if name.startswith("calcinosis-")]
        print(f"temporary files left: {len(left)}", *left)
        sys.exit(1 if bad or left else 0)


def _over_soon() -> threading.Event:
    over = threading.Event()
    threading.Timer(1, over.set).start()
    return over


if __name__ == "__main__":
    main()
