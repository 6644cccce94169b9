"""Bodies are checked on a thread, and never two at once."""

from __future__ import annotations

import threading

import pytest
import trio

from ledger.catalogue import CheckedBody, check_catalogue
from ledger.errors import CatalogueBodyMismatch
from node import bodies
from node.bodies import check_body
from tests.ledger.builders import make_catalogue

BUILT = make_catalogue(3)


async def test_bodies_are_checked_one_at_a_time_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    checking, most, threads = 0, 0, set()

    def counted(*arguments: object) -> CheckedBody:
        nonlocal checking, most
        checking += 1
        most = max(most, checking)
        threads.add(threading.get_ident())
        trio.from_thread.run(trio.lowlevel.checkpoint)  # the loop gets a turn, and could start another
        try:
            return check_catalogue(*arguments)  # type: ignore[arg-type]
        finally:
            checking -= 1

    monkeypatch.setattr(bodies, "check_catalogue", counted)
    found: list[CheckedBody] = []

    async def check() -> None:
        found.append(await check_body(BUILT.header, BUILT.manifest, BUILT.chunks))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(check)
    assert [len(body) for body in found] == [3] * 5
    assert most == 1
    assert threading.get_ident() not in threads


async def test_after_a_bad_body_the_next_is_checked() -> None:
    with pytest.raises(CatalogueBodyMismatch):
        await check_body(BUILT.header, BUILT.manifest, ())
    assert len(await check_body(BUILT.header, BUILT.manifest, BUILT.chunks)) == 3
