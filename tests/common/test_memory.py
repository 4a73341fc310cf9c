"""What large photos took goes back to the system; what a training takes stays for the next batch."""

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


FAULTS = """if True:
    import resource
    import sys
    from calcinosis.common.memory import keep_large_blocks

    if sys.argv[1] == "yes":
        keep_large_blocks()
    for turn in range(20):
        if turn == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = bytearray(b"x") * 64 * 1024**2
        del block
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_large_blocks_are_kept_for_the_next_ones() -> None:
    """A page that the system clears for a process is one fault; huge pages make them fewer, not none."""
    faults = {
        wanted: int(
            subprocess.run(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", FAULTS, wanted],
                cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout
        )
        for wanted in ("yes", "no")
    }  # fmt: skip
    assert faults["yes"] < 100
    assert faults["no"] > 4 * faults["yes"] + 100, "it is no longer needed"
