"""Work in forked processes: order, and what happens when one of them does not come back."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog import crew
from catalog.crew import IN_FLIGHT_MAX, Board, Crew, Ready, Task


def upper(paths: list[bytes]) -> bytes:
    return b"".join(path.upper() + b"\n" for path in paths)


def working(work: Callable[[list[bytes]], bytes]) -> Callable[[Task], Callable[[list[bytes]], bytes]]:
    return lambda _: work


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_answers_come_in_the_order_of_the_items(processes: int) -> None:
    items = [f"song {i}".encode() for i in range(3000)]

    def hire(task: Task) -> Callable[[list[bytes]], bytes]:
        def work(paths: list[bytes]) -> bytes:
            task.weigh(len(paths))
            time.sleep(0.001 * (len(paths[0]) % 3))
            return upper(paths)

        return work

    got = b"".join(Crew(hire, upper, processes=processes).answers(iter(items)))
    assert got == upper(items)


def test_what_is_ready_comes_out_in_its_place() -> None:
    items: list[bytes | Ready] = [b"a", Ready(b"1"), Ready(b"2"), b"b", b"c", Ready(b"3")]
    got = b"".join(Crew(working(upper), upper, processes=2).answers(items))
    assert got == b"A\n12B\nC\n3"
    assert list(Crew(working(upper), upper, processes=2).answers([])) == []


def test_no_more_is_handed_out_than_the_bound() -> None:
    taken = 0

    def items() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield b"x" * 3000  # one a packet

    answers = Crew(working(upper), upper, processes=2).answers(items())
    next(answers)
    assert taken <= IN_FLIGHT_MAX + 2
    answers.close()
    assert taken < 100_000


def test_a_name_too_long_for_a_packet_is_done_here() -> None:
    items = [b"a", b"x" * 5000, b"b"]
    assert b"".join(Crew(working(upper), upper, processes=2).answers(items)) == upper(items)


@pytest.mark.parametrize("processes", [1, 3])
def test_what_a_dead_worker_had_in_hand_is_redone(processes: int) -> None:
    notices: list[str] = []
    redone: list[bytes] = []

    def work(paths: list[bytes]) -> bytes:
        if b"poison" in paths:
            os.kill(os.getpid(), signal.SIGKILL)
        return upper(paths)

    def redo(paths: list[bytes]) -> bytes:
        redone.extend(paths)
        return upper(paths)

    items = [b"poison" if i % 40 == 7 else b"song %d" % i for i in range(200)]
    got = b"".join(Crew(working(work), redo, processes=processes, notice=notices.append).answers(items))
    assert got == upper(items)
    assert redone.count(b"poison") == 5
    assert notices
    assert set(notices) == {"signal 9"}


def test_a_mapped_file_that_shrinks_costs_a_worker_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_bytes(bytes(1 << 20))

    def work(paths: list[bytes]) -> bytes:
        faulthandler.disable()  # pytest's, which would print this death
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as pages:
            os.truncate(path, 0)
            return bytes(pages)

    notices: list[str] = []
    answers = Crew(working(work), lambda _: b"redone", processes=1, notice=notices.append).answers([b"song"])
    assert list(answers) == [b"redone"]
    assert notices == [f"signal {int(signal.SIGBUS)}"]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_taken_by_a_worker_that_died_before_saying_so_is_found(
    monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(crew, "SILENCE_MS", 50)
    real = Board.take

    def take(self: Board, worker: int, number: int) -> None:
        if number == 3:
            os._exit(9)
        real(self, worker, number)

    monkeypatch.setattr(Board, "take", take)
    items = [b"song %d" % i for i in range(20)]
    assert b"".join(Crew(working(upper), upper, processes=processes).answers(items)) == upper(items)


def test_a_fault_in_the_work_is_met_again_here_and_raised() -> None:
    def fail(paths: list[bytes]) -> bytes:
        raise ZeroDivisionError(paths)

    with pytest.raises(ZeroDivisionError):
        list(Crew(working(fail), fail, processes=2).answers([b"a", b"b", b"c"]))


def test_left_early_nobody_works_on() -> None:
    def slow(paths: list[bytes]) -> bytes:
        if paths != [b"first"]:
            time.sleep(600)
        return upper(paths)

    answers = Crew(working(slow), upper, processes=3).answers([b"first", *[b"x"] * 5])
    assert next(answers) == b"FIRST\n"
    answers.close()  # the fixture looks who is left


def test_where_no_process_can_be_had_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    items = [b"song %d" % i for i in range(50)]
    assert b"".join(Crew(working(upper), upper, processes=2).answers(items)) == upper(items)
