"""Children of the test's own process."""

from __future__ import annotations

import os
import time

TIMEOUT_S = 30.0


def exit_code(child: int) -> int:
    """What a forked child ended with; fails the test where it does not end."""
    deadline = time.monotonic() + TIMEOUT_S
    done, status = os.waitpid(child, os.WNOHANG)
    while not done:
        assert time.monotonic() < deadline, "the child has not ended"
        time.sleep(0.02)
        done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status)
