"""Work in parallel threads, results in the order of the input, with a bound on what is in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_PER_THREAD = 8
"""Items handed out before the oldest result is taken: keeps threads busy behind one slow item, and memory bounded."""


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """work(item) for each item, in up to `threads` threads; results come in the order of `items`.

    What `work` raises is raised where its result would have come. Left early, it starts nothing more.
    """
    remaining = iter(items)
    first = list(islice(remaining, 2))
    if threads == 1 or len(first) < 2:
        yield from map(work, chain(first, remaining))
        return
    # Imported late: it brings `logging` along, which is a tenth of the start-up time of hashing a single file.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Result]] = deque()
    try:
        for item in chain(first, remaining):
            pending.append(pool.submit(work, item))
            if len(pending) >= threads * AHEAD_PER_THREAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
