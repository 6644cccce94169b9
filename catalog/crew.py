"""Work spread over forked processes, answers in the order of the items, with a bound on what is in flight.

Processes, not threads: of a small file's time a third is Python's, and only one thread of a process runs Python. They
are forked, so they start in a millisecond with everything imported. Batches go out through one pipe in packet mode
(pipe2(2), O_DIRECT: a read takes one whole packet), so that whoever is free takes the next; each worker answers on a
pipe of its own, whose end says that it died. What it had in hand, which stands on a page that all share, is then done
by this process itself.
"""

from __future__ import annotations

import os
import select
from mmap import PAGESIZE, mmap

TYPE_CHECKING = False  # see catalog.walk
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PACKET_BYTES_MAX = 4096
"""PIPE_BUF: what a pipe in packet mode keeps together."""
BATCH_ITEMS_MAX = 64
BATCH_WEIGHT = 4 << 20
"""What a batch should weigh: about a millisecond's work in bytes, against 30 us for handing it over and back."""
IN_FLIGHT_MAX = 256
"""Batches sent out before the oldest is answered: bounds what waits behind one slow item."""
PROCESSES_MAX = 256
SILENCE_MS = 1000
"""After so long without an answer, look whether a batch was lost between two looks at the shared page."""

_NUMBER = 8


class Ready:
    """An answer that is there already, to come out in its place."""

    __slots__ = ("answer",)

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Board:
    """One page that this process and its workers share: who does what. Aligned words, each with one writer."""

    def __init__(self) -> None:
        self._words = memoryview(mmap(-1, PAGESIZE * (1 + 3 * PROCESSES_MAX * _NUMBER // PAGESIZE))).cast("Q")
        # Word 0: the number of the last batch sent. Then, by worker, last taken; in hand or 0; weight so far.
        self.sent = 0

    def send(self, number: int) -> None:
        self.sent = self._words[0] = number

    def take(self, worker: int, number: int) -> None:
        self._words[1 + worker] = self._words[1 + PROCESSES_MAX + worker] = number

    def put_down(self, worker: int) -> None:
        self._words[1 + PROCESSES_MAX + worker] = 0

    def in_hand(self, worker: int) -> int:
        return self._words[1 + PROCESSES_MAX + worker]

    def weigh(self, worker: int, weight: int) -> None:
        self._words[1 + 2 * PROCESSES_MAX + worker] += weight

    def weight(self) -> int:
        return sum(self._words[1 + 2 * PROCESSES_MAX : 1 + 3 * PROCESSES_MAX])

    def nothing_waits(self) -> bool:
        """Has every batch been taken by somebody?"""
        return max(self._words[1 : 1 + PROCESSES_MAX]) == self._words[0]


class Task:
    """What the work of one worker may ask and tell."""

    def __init__(self, board: Board, worker: int, parent: int) -> None:
        """parent: the process that forked; asked for in the child, it could be gone already."""
        self._board = board
        self._worker = worker
        self._parent = parent

    def nothing_waits(self) -> bool:
        """Is nobody waiting for this worker, so that it may use other processors too?"""
        return self._board.nothing_waits()

    def weigh(self, weight: int) -> None:
        """So much more was done. Ends the process where nobody waits for it any more."""
        if os.getppid() != self._parent:
            os._exit(130)
        self._board.weigh(self._worker, weight)


if TYPE_CHECKING:
    Work = Callable[[list[bytes]], bytes]


class _Worker:
    __slots__ = ("answers", "pid", "received", "slot")

    def __init__(self, pid: int, slot: int, answers: int) -> None:
        self.pid, self.slot, self.answers = pid, slot, answers
        self.received = bytearray()


class Crew:
    """Up to `processes` workers, started as there is work for them; gone when `answers` ends, however it ends."""

    def __init__(
        self,
        hire: Callable[[Task], Work],
        redo: Work,
        *,
        processes: int,
        notice: Callable[[str], None] = lambda _: None,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """hire: called in each worker once; gives what does its batches: items without NUL in, one answer out.

        redo: does a batch in this process whose worker died. notice: told of such deaths, in words.
        advance: told the weight done so far, now and then.
        """
        self._hire, self._redo, self._notice, self._advance = hire, redo, notice, advance
        self._processes = min(processes, PROCESSES_MAX)
        self._board = Board()
        self._own = os.getpid()
        self._take, self._give = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
        os.set_blocking(self._give, False)
        self._workers: dict[int, _Worker] = {}
        self._poll = select.poll()  # not select(), which knows descriptors below 1,024 only
        self._tasks = select.poll()
        self._tasks.register(self._take, select.POLLIN)
        self._number = self._finished = self._finished_items = 0
        self._out: dict[int, list[bytes]] = {}
        self._back: dict[int, bytes] = {}

    def answers(self, items: Iterable[bytes | Ready]) -> Iterator[bytes]:
        """The answers to all batches of `items`, and those that were ready, in the order of the items."""
        order: list[int | Ready] = []
        due = 0
        try:
            for batch in self._batches(items):
                if isinstance(batch, Ready):
                    order.append(batch)
                else:
                    order.append(self._send(batch))
                    self._receive(0)
                while due < len(order) and (len(order) - due >= IN_FLIGHT_MAX or self._is_back(order[due])):
                    yield self._wait_for(order[due])
                    due += 1
                if due >= IN_FLIGHT_MAX:
                    del order[:due]
                    due = 0
            for one in order[due:]:
                yield self._wait_for(one)
        finally:
            self._dismiss()

    def _batches(self, items: Iterable[bytes | Ready]) -> Iterator[list[bytes] | Ready]:
        batch: list[bytes] = []
        room, items_max = PACKET_BYTES_MAX - _NUMBER, self._batch_items()
        for item in items:
            if batch and (isinstance(item, Ready) or len(batch) >= items_max or len(item) >= room):
                yield batch
                batch = []
                room, items_max = PACKET_BYTES_MAX - _NUMBER, self._batch_items()
            if isinstance(item, Ready):
                yield item
            else:
                batch.append(item)
                room -= len(item) + 1
        if batch:
            yield batch

    def _batch_items(self) -> int:
        """How many of the items so far would have made a good batch. One by one until something is known."""
        if self._finished_items < 4:
            return 1
        each = max(1, self._board.weight() // self._finished_items)
        return max(1, min(BATCH_ITEMS_MAX, BATCH_WEIGHT // each))

    # ---- out ---------------------------------------------------------------------------------------------------------

    def _send(self, batch: list[bytes]) -> int:
        self._number += 1
        number = self._number
        packet = number.to_bytes(_NUMBER, "little") + b"\0".join(batch)
        self._out[number] = batch
        if len(self._workers) < self._processes:
            self._start()
        if not self._workers or len(packet) > PACKET_BYTES_MAX:  # no process to be had; a name no system call takes
            self._answer(number, self._redo(batch))
            return number
        self._board.send(number)
        while True:
            try:
                os.write(self._give, packet)
            except BlockingIOError:  # as many wait as the pipe holds
                self._receive(SILENCE_MS)
                if number not in self._out:
                    return number
            else:
                return number

    def _start(self) -> None:
        taken = {worker.slot for worker in self._workers.values()}
        slot = next(i for i in range(self._processes) if i not in taken)
        answers, tell = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:  # a limit on processes: those there are will do
            os.close(answers)
            os.close(tell)
            return
        if pid == 0:
            self._work(slot, tell)
        os.close(tell)
        self._board.put_down(slot)
        self._workers[answers] = _Worker(pid, slot, answers)
        self._poll.register(answers, select.POLLIN)

    def _work(self, slot: int, tell: int) -> None:
        """A worker's life. Does not return."""
        code = 1
        try:
            os.close(self._give)  # or nobody would see the end of the tasks
            work = self._hire(Task(self._board, slot, self._own))
            while packet := os.read(self._take, PACKET_BYTES_MAX):
                number = int.from_bytes(packet[:_NUMBER], "little")
                self._board.take(slot, number)
                answer = work(packet[_NUMBER:].split(b"\0"))
                _write_all(tell, packet[:_NUMBER] + len(answer).to_bytes(_NUMBER, "little") + answer)
                self._board.put_down(slot)
            code = 0
        except (KeyboardInterrupt, BrokenPipeError):  # Ctrl-C reaches all; or whoever we work for is gone
            code = 130
        finally:
            # Whatever it was: not a step into the code of the process that forked. It will redo and meet it.
            os._exit(code)

    # ---- back --------------------------------------------------------------------------------------------------------

    def _is_back(self, one: int | Ready) -> bool:
        return isinstance(one, Ready) or one in self._back

    def _wait_for(self, one: int | Ready) -> bytes:
        if isinstance(one, Ready):
            return one.answer
        while one not in self._back:
            self._receive(SILENCE_MS)
        return self._back.pop(one)

    def _answer(self, number: int, answer: bytes) -> None:
        batch = self._out.pop(number, None)
        if batch is not None:  # else it was done twice: its worker died after answering
            self._back[number] = answer
            self._finished_items += len(batch)

    def _receive(self, wait_ms: int) -> None:
        """Takes what answers there are; waits so long for the first."""
        heard = self._poll.poll(wait_ms)
        for descriptor, _ in heard:
            worker = self._workers[descriptor]
            piece = os.read(descriptor, 1 << 16)
            if piece:
                worker.received += piece
                self._parse(worker.received)
            else:
                self._bury(worker)
        if self._advance is not None:
            self._advance(self._board.weight())
        if not heard and wait_ms:
            self._find_lost()

    def _parse(self, received: bytearray) -> None:
        start = 0
        while len(received) - start >= 2 * _NUMBER:
            body = start + 2 * _NUMBER
            end = body + int.from_bytes(received[start + _NUMBER : body], "little")
            if len(received) < end:
                break
            self._answer(int.from_bytes(received[start : start + _NUMBER], "little"), bytes(received[body:end]))
            start = end
        del received[:start]

    def _bury(self, worker: _Worker) -> None:
        """A worker's pipe ended: all is done, or it died with a batch in hand."""
        self._poll.unregister(worker.answers)
        del self._workers[worker.answers]
        os.close(worker.answers)
        how = _reap(worker.pid)
        number = self._board.in_hand(worker.slot)
        if number in self._out:
            self._notice(how)
            self._answer(number, self._redo(self._out[number]))
            if not self._workers and self._out:
                self._start()  # the others wait in the pipe
        if not self._workers:  # none to be had, or it died before it had begun, and so would the next
            self._find_lost()

    def _find_lost(self) -> None:
        """Redoes what nobody has: taken by a worker that died before it could say so, or waiting where all died."""
        if self._workers:
            busy = any(self._board.in_hand(worker.slot) for worker in self._workers.values())
            if busy or self._waits():
                return
        while self._waits():
            os.read(self._take, PACKET_BYTES_MAX)  # nobody else will; what it says is in self._out too
        for number in sorted(self._out):
            self._answer(number, self._redo(self._out[number]))

    def _waits(self) -> bool:
        return bool(self._tasks.poll(0))

    def _dismiss(self) -> None:
        """Ends all workers: at once those that still have something to do, which nobody wants any more."""
        os.close(self._give)
        os.close(self._take)
        for worker in self._workers.values():
            if self._out:
                os.kill(worker.pid, 9)
            os.close(worker.answers)
        for worker in self._workers.values():
            _reap(worker.pid)
        self._workers.clear()


def _reap(pid: int) -> str:
    """Waits for a child's end. Gives how it ended, in words."""
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # whoever started us has SIGCHLD ignored
        return "unknown"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def processors() -> int:
    """Processors this process may run on (a container often has fewer than the machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
