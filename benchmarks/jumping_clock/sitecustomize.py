"""A wall clock that jumps a day on and two days back, every four seconds; the monotonic clock goes on.

Python runs this file where its folder is in `PYTHONPATH`, in all processes that a command starts.
"""

import time

_DAY = 86_400
_TURN = 4  # seconds

_seconds, _nanoseconds = time.time, time.time_ns


def _ahead() -> int:
    return (0, _DAY, -_DAY)[int(time.monotonic() // _TURN) % 3]


time.time = lambda: _seconds() + _ahead()
time.time_ns = lambda: _nanoseconds() + _ahead() * 10**9
