"""What large photos took goes back to the system."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """if True:
    import sys
    import threading
    from calcinosis.common.memory import return_large_blocks

    def held():
        line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024

    if sys.argv[1] == "yes":
        return_large_blocks()
    small = []

    def read_photos():
        for _ in range(2):
            large = [bytearray(b"x") * 16 * 1024**2 for _ in range(4)]
            small.append(bytearray(1000))
            del large

    for _ in range(2):
        readers = [threading.Thread(target=read_photos) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    print(held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_large_blocks_are_given_back() -> None:
    held = {}
    for wanted in ("yes", "no"):
        command = [sys.executable, "-c", PROGRAM, wanted]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
        held[wanted] = int(done.stdout)
    assert held["yes"] < 60
    assert held["no"] > held["yes"] + 100, "it is no longer needed"
