"""The reader process beside the node process: started, watched, started again, and never left behind."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

log = logging.getLogger(__name__)

READER_RESTART_S = 1.0
READER_RESTART_S_MAX = 60.0
"""A reader that cannot start (its port is taken, say) is tried ever more seldom; its log says why."""
READER_STEADY_S = 60.0
"""After running so long it was well: the next end is a new story."""
READER_STOP_S = 5.0


@asynccontextmanager
async def reader_process(command: Sequence[str]) -> AsyncIterator[None]:
    """Keeps the reader process running beside this one; it ends when its standard input does: it is never orphaned."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_reader, command)
        yield
        nursery.cancel_scope.cancel()


async def _keep_reader(command: Sequence[str]) -> None:
    pause_s = READER_RESTART_S
    while True:
        started = trio.current_time()
        code = await _run_reader(command)
        if trio.current_time() - started > READER_STEADY_S:
            pause_s = READER_RESTART_S
        log.error("the reader process ended with code %d: starting it again in %.0f s", code, pause_s)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, READER_RESTART_S_MAX)


async def _run_reader(command: Sequence[str]) -> int:
    """Runs it once, and never leaves it behind. Gives its exit code."""
    # A session of its own: a Ctrl-C in the terminal is for this process, which then ends the reader.
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None, "it was asked for"
    try:
        return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                with trio.move_on_after(READER_STOP_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.stdin.aclose()
