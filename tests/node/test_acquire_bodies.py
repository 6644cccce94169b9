"""Catalogue bodies acquired chunk by chunk from whoever has them, and what a node answers to others' fetches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trio.testing import MockClock

from consensus.types import Digest
from ledger.catalogue import CHUNK_BYTES, build_catalogue
from node.acquire import BODIES_AT_ONCE_MAX, answer_fetch
from node.store.chain import ChainStore
from node.wire import Fetch, encode_contents
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.desk import (
    LABEL,
    PLATFORM,
    SOCIETY,
    Desk,
    a_payload,
    catalogue_payload,
    sha256,
)
from tests.node.nodes import CONSORTIUM, MEMBERS

# ---- bodies ----------------------------------------------------------------------------------------------------------


async def test_catalogue_is_held_only_with_its_whole_body_on_disk(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    assert len(built.chunks) > 1
    desk.peers.give_body(LABEL, built)
    payload = catalogue_payload(built)
    desk.acquirer.pushed(payload.encode(), LABEL)
    await desk.quiet()
    (held,) = desk.held
    (claims,) = held.bodies.values()
    assert claims == tuple(make_claim(n).encode() for n in range(500))
    assert all(desk.store.has_blobs([sha256(blob) for blob in (built.manifest, *built.chunks)]))


async def test_chunks_here_already_are_not_asked_for(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    desk.store.put_blobs([built.manifest, built.chunks[0]])
    desk.peers.give_body(LABEL, built)
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    asked = {digest for _, fetch in desk.peers.asked for digest in fetch.digests}
    assert asked == {sha256(chunk) for chunk in built.chunks[1:]}
    assert len(desk.held) == 1


async def test_lying_peers_chunk_is_discarded_and_the_next_is_asked(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    desk.peers.give_body(PLATFORM, built)
    desk.peers.answers[LABEL] = lambda fetch: encode_contents(tuple(b"wrong" for _ in fetch.digests))
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1
    assert desk.rejected[LABEL] >= 1
    assert not any(desk.store.has_blobs([sha256(b"wrong")]))


async def test_chunks_scattered_over_peers_are_put_together(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    blobs = [built.manifest, *built.chunks]
    for number, blob in enumerate(blobs):
        member = (LABEL, SOCIETY, PLATFORM)[number % 3]
        desk.peers.contents[member][sha256(blob)] = blob
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1


async def test_body_of_equal_chunks_is_acquired(desk: Desk, autojump_clock: MockClock) -> None:
    """Its manifest names one digest again and again; counting the answers by digest never came to an end."""
    titles = ("x" * length for length in range(1, 200))
    claim = next(c for title in titles if len(c := make_claim(0, title=title).encode()) == 254)
    built = build_catalogue([claim] * (3 * CHUNK_BYTES // 256))
    assert len(set(built.chunks)) == 1
    assert len(built.chunks) == 3
    desk.peers.give_body(LABEL, built)
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1


async def test_body_that_is_not_what_was_signed_is_held_against_the_author(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Every chunk is right by its hash: it is the signed root or a claim that is wrong."""
    good = make_catalogue(3)
    bad = build_catalogue([b"no claim at all"] * 3)
    lying = replace(good, header=replace(good.header, root=Digest(bytes(32))))
    for number, built in enumerate((bad, lying)):
        desk.rejected.clear()
        desk.peers.give_body(LABEL, built)
        payload = CONSORTIUM.payload([CONSORTIUM.sign(built.header, ref=f"b{number}")], author=number)
        desk.acquirer.pushed(payload.encode(), PLATFORM)
        await desk.quiet()
        assert desk.rejected == {MEMBERS[number]: 1}
    assert desk.held == []


async def test_bodies_of_one_author_are_gathered_for_two_payloads_at_a_time(
    desk: Desk, autojump_clock: MockClock
) -> None:
    built = [make_catalogue(2, first=10 * n) for n in range(4)]
    gathering, most = 0, 0
    inner = desk.acquirer.body

    async def counted(*arguments: Any) -> tuple[bytes, ...]:
        nonlocal gathering, most
        gathering += 1
        most = max(most, gathering)
        try:
            return await inner(*arguments)
        finally:
            gathering -= 1

    desk.acquirer.body = counted  # type: ignore[method-assign]
    for number, each in enumerate(built):
        desk.peers.give_body(LABEL, each)
        payload = CONSORTIUM.payload([CONSORTIUM.sign(each.header, ref=f"c{number}")], author=0, sequence=number)
        desk.acquirer.pushed(payload.encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 4
    assert most == BODIES_AT_ONCE_MAX == 2


# ---- answering -------------------------------------------------------------------------------------------------------


def test_answer_holds_what_is_here_in_the_order_asked(store: ChainStore) -> None:
    one, two, unknown = a_payload(1), a_payload(2, sequence=2), Digest(bytes(32))
    store.put_payloads([one, two])
    store.put_blobs([b"chunk"])
    fetch = Fetch(payloads=True, digests=(two.digest, unknown, one.digest))
    assert answer_fetch(store, fetch, 2**20) == (two.encode(), None, one.encode())
    blobs = Fetch(payloads=False, digests=(one.digest, sha256(b"chunk")))
    assert answer_fetch(store, blobs, 2**20) == (None, b"chunk")
    assert answer_fetch(store, Fetch(payloads=True, digests=(sha256(b"chunk"),)), 2**20) == (None,)


def test_answer_stays_within_its_size(store: ChainStore) -> None:
    blobs = [bytes([n]) * 100 for n in range(5)]
    digests = store.put_blobs(blobs)
    answer = answer_fetch(store, Fetch(payloads=False, digests=digests), 250)
    assert answer == (blobs[0], blobs[1], None, None, None)
