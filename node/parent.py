"""A process that ends with the one that started it: a test, a campaign, a demonstration. An operator's own stays."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from consensus.errors import LocalError

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


class ParentGone(LocalError):
    """The process to end with is not, or no longer, this one's parent. pid: which."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"--parent {pid}: expected the id of the process that started this one; it has ended")
        self.pid = pid


def end_with_parent(pid: int) -> None:
    """From now on the kernel kills this process when `pid`, its parent, ends in whatever way. Linux only; else nothing.

    SIGKILL: a process that was stopped (SIGSTOP) would never hear anything else, and a node bears it. Whoever starts
    one so has to do it on a thread that lives as long as itself: it is that thread's end which counts (prctl(2)).
    Raises: ParentGone, where it ended before.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # Asked after that: had it ended before, nothing would ever be sent.
    if os.getppid() != pid:
        raise ParentGone(pid)
