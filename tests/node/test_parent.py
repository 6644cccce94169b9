"""A process tied to its parent ends with it, however that ended; one that is not goes on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from consensus.errors import LocalError
from node.devnet import _start_time
from node.parent import ParentGone, end_with_parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

CHILD = """
import os, signal, sys
from node.parent import end_with_parent
if sys.argv[1] == "tied":
    end_with_parent(os.getppid())
signal.signal(signal.SIGTERM, lambda *_: None)  # as a node, which stops in good order
os.write(1, b"%d" % os.getpid())
os.read(int(sys.argv[2]), 1)  # until the test is over
"""
PARENT = """
import subprocess, sys
command = [sys.executable, "-c", sys.argv[1], sys.argv[2], sys.argv[3]]
subprocess.run(command, start_new_session=True, pass_fds=[int(sys.argv[3])])
"""


@contextmanager
def family(tie: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A parent, the id of its child, and a descriptor that is at its end once no process of the family is left."""
    ours, theirs = os.pipe()  # the child reads what nobody writes
    said, says = os.pipe()
    command = [sys.executable, "-c", textwrap.dedent(PARENT), textwrap.dedent(CHILD), tie, str(ours)]
    try:
        with subprocess.Popen(command, stdout=says, text=True, pass_fds=[ours]) as parent:
            os.close(says)
            child = int(os.read(said, 32))
            yield parent, child, said
            parent.kill()
    finally:
        os.close(theirs)
        os.close(ours)
        os.close(said)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_tied_process_ends_when_its_parent_is_killed(stopped: bool) -> None:
    with family("tied") as (parent, child, said):
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        waiting = select.poll()  # a test process may have a thousand descriptors, and select() knows no more
        waiting.register(said, select.POLLIN)
        ended = waiting.poll(30_000)
        try:
            assert ended, "it goes on"
            assert os.read(said, 1) == b"", "whoever could write has ended"
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def test_untied_process_outlives_its_parent() -> None:
    with family("free") as (parent, child, _):
        parent.kill()
        parent.wait()
        assert _start_time(child) is not None
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_process_whose_parent_is_already_gone_says_so_instead_of_waiting_for_nobody() -> None:
    other = os.getppid() + 1
    code = f"from node.parent import end_with_parent; end_with_parent({other})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert f"ParentGone: --parent {other}" in ended.stderr
    assert issubclass(ParentGone, LocalError)


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    end_with_parent(1)  # would raise, and tie the test run to whoever started it
