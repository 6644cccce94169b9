"""Every file comes back once, whatever happens to those who read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.cluster.queue import (
    BATCH_BYTES_MAX,
    BATCH_FILES_MAX,
    DEATHS_MAX,
    LOSSES_MAX,
    Item,
    WorkQueue,
)
from catalog.engine import Work


def work_on(path: Path) -> Work:
    return Work(path=path, root=path.parent, size_bytes=0)


def names(batch: tuple[Item, ...]) -> list[str]:
    return [item.path.name for item in batch]


def missing(*found: str) -> WorkQueue:
    """Files that this machine cannot see count as empty: whoever reads them says why."""
    return WorkQueue(work_on(Path("/nowhere") / name) for name in found)


def test_small_files_travel_together_up_to_a_bound() -> None:
    queue = missing(*(f"{n:03}" for n in range(BATCH_FILES_MAX + 3)))
    assert len(queue.take()) == BATCH_FILES_MAX
    assert len(queue.take()) == 3
    assert not queue.waiting
    assert queue.take() == ()


def test_a_large_file_travels_alone(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", BATCH_BYTES_MAX + 1), ("c", BATCH_BYTES_MAX - 5), ("d", 5), ("e", 1)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    queue = WorkQueue(map(work_on, sorted(tmp_path.iterdir())))
    assert [names(queue.take()) for _ in range(4)] == [["a"], ["b"], ["c", "d"], ["e"]]


def test_paths_are_read_only_as_they_are_taken() -> None:
    read = []

    def endless() -> Iterator[Work]:
        for number in range(10**9):
            read.append(number)
            yield work_on(Path(f"/nowhere/{number}"))

    queue = WorkQueue(endless())
    queue.take()
    queue.take()
    assert len(read) <= 2 * BATCH_FILES_MAX + 1


def test_files_of_a_lost_batch_are_done_again_one_by_one_before_new_ones() -> None:
    queue = missing("a", "b", *(f"new {n}" for n in range(BATCH_FILES_MAX)))
    first = queue.take()[:2]
    assert queue.lost(first, why="its process ended", suspect=True) == []
    assert [names(queue.take()) for _ in range(2)] == [["a"], ["b"]]
    assert queue.redone == 2


def test_a_file_that_kills_whoever_reads_it_is_left_out_by_name_and_its_neighbours_are_not() -> None:
    queue = missing("good", "killer", "fine")
    queue.lost(queue.take(), why="its process ended", suspect=True)
    left_out, done = [], []
    while batch := queue.take():
        if names(batch) == ["killer"]:
            left_out += queue.lost(batch, why="its process ended", suspect=True)
        else:
            queue.done(batch)
            done += names(batch)
    assert sorted(done) == ["fine", "good"]
    ((work, one),) = left_out
    assert work.path == one.path == Path("/nowhere/killer")
    assert one.reason == f"{DEATHS_MAX} workers were lost while they read it (its process ended)"


def test_a_file_whose_workers_are_lost_through_no_fault_of_its_own_has_more_patience() -> None:
    queue = missing("a")
    rounds = 0
    left_out = []
    while batch := queue.take():
        rounds += 1
        left_out = queue.lost(batch, why="it left the cluster", suspect=False)
    assert rounds == LOSSES_MAX > DEATHS_MAX
    assert len(left_out) == 1


def test_a_batch_not_begun_is_handed_out_as_it_was() -> None:
    queue = missing("a", "b")
    batch = queue.take()
    queue.put_back(batch)
    assert queue.take() == batch
    assert queue.redone == 0


@pytest.mark.parametrize("suspect", [True, False])
@settings(deadline=None)
@given(data=st.data())
def test_each_file_ends_once_done_or_left_out(suspect: bool, data: st.DataObject) -> None:
    found = [Path(f"/nowhere/{n}") for n in range(data.draw(st.integers(0, 80)))]
    queue = WorkQueue(map(work_on, found))
    flying: list[tuple[Item, ...]] = []
    ended: list[Path] = []
    while queue.waiting or flying:
        if queue.waiting and (not flying or data.draw(st.booleans())):
            flying.append(queue.take())
            continue
        batch = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        match data.draw(st.sampled_from(["done", "lost", "put back"])):
            case "done":
                queue.done(batch)
                ended += [item.path for item in batch]
            case "lost":
                ended += [work.path for work, _ in queue.lost(batch, why="x", suspect=suspect)]
            case _:
                queue.put_back(batch)
    assert sorted(ended) == sorted(found)
