"""Syncing a long log: what arrives is the same log, whoever lies is dropped and named, and what is here stays here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from consensus.messages import Chain
from consensus.types import Digest, Height, Signature
from ledger.payload import PAYLOAD_BYTES_MAX, parse_payload
from node.acquire import answer_fetch
from node.store.chain import ChainStore
from node.store.check import check_store
from node.sync_chain import PIECE_PAYLOADS_MAX, answer_chains, read_chains
from node.sync_pieces import Budget, ChainInvalid
from node.sync_providers import STRIKES_MAX
from node.wire import ChainFetch, Fetch, decode_contents, encode, encode_contents
from tests.node.store.chains import GENESIS, ChainMaker, finalization, statement
from tests.node.syncing import ANSWER_BYTES, MEMBERS, Answer, joining, make_chain, never, same_log

LIAR = "court"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainStore]:
    with make_chain(tmp_path_factory.mktemp("source") / "chain") as store:
        yield store


async def test_synced_log_is_the_same_and_everything_is_found_in_it(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    async with joining(tmp_path / "new", source) as node:
        await node.syncer.run()
        assert same_log(node.store, source)
        assert node.store.pending_payloads() == ()
        assert node.store.uploads() == ()
        with source.recorded() as theirs, node.store.recorded() as ours:
            assert ours.size == theirs.size
        asked = {member for member, _ in node.peers.asked}
        assert asked == set(MEMBERS), "several are asked at once"
        assert not node.rejected
        served = decode_contents(encode_contents(answer_chains(node.store, ChainFetch(from_height=Height(1)))), None)
        assert served[0] is not None, "who has synced serves others"
    check_store(tmp_path / "new", GENESIS)


async def test_nothing_is_written_twice_or_asked_twice_where_nothing_lacks(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    async with joining(tmp_path / "new", source) as node:
        await node.syncer.run()
    async with joining(tmp_path / "new", source) as node:
        await node.syncer.run()
        assert [fetch for _, fetch in node.peers.asked] == [ChainFetch(from_height=Height(41))]


# ---- liars -----------------------------------------------------------------------------------------------------------


def exchanged(fetch: Fetch | ChainFetch, honest: bytes, *, payloads: bool) -> bytes:
    """Other content for payloads, or for blobs; honest in the rest."""
    if isinstance(fetch, ChainFetch) or fetch.payloads is not payloads:
        return honest
    contents = [c for c in decode_contents(honest, None) if c is not None]
    return encode_contents(tuple(c[:-1] + bytes([c[-1] ^ 1]) for c in contents))


def resigned(fetch: Fetch | ChainFetch, honest: bytes) -> bytes:
    """The digest of a payload does not cover its author's signature."""
    if isinstance(fetch, ChainFetch) or not fetch.payloads:
        return honest
    found = [parse_payload(c) for c in decode_contents(honest, None) if c is not None]
    return encode_contents(tuple(replace(p, signature=Signature(bytes(64))).encode() for p in found))


def chains_of(change: str) -> Answer:
    def answer(fetch: Fetch | ChainFetch, honest: bytes) -> bytes:
        if not isinstance(fetch, ChainFetch):
            return honest
        first, *_ = read_chains(honest)
        blocks, certificate = first.blocks, first.finalization
        match change:
            case "signature":
                certificate = replace(certificate, signatures=(Signature(bytes(64)), *certificate.signatures[1:]))
            case "too few":
                certificate = replace(
                    certificate, signers=certificate.signers[:2], signatures=certificate.signatures[:2]
                )
            case "other block":
                blocks = (*blocks[:-1], replace(blocks[-1], timestamp_ms=blocks[-1].timestamp_ms + 1))
            case "rewritten":
                blocks = (replace(blocks[0], payloads=()), *blocks[1:])
            case "from elsewhere":
                blocks = blocks[1:]
            case "other consortium":
                blocks = tuple(replace(b, consortium=Digest(bytes(32))) for b in blocks)
                certificate = finalization(blocks[-1])
        return encode_contents((encode(Chain(blocks=blocks, finalization=certificate)),))

    return answer


LIES: dict[str, Answer] = {
    "payload exchanged": lambda f, h: exchanged(f, h, payloads=True),
    "blob exchanged": lambda f, h: exchanged(f, h, payloads=False),
    "author's signature exchanged": resigned,
    "noise": lambda _f, _h: b"\xff\xff",
    "chain with a bad signature": chains_of("signature"),
    "chain without a quorum": chains_of("too few"),
    "chain that ends elsewhere": chains_of("other block"),
    "chain with another block in it": chains_of("rewritten"),
    "chain from elsewhere": chains_of("from elsewhere"),
    "chain of another consortium": chains_of("other consortium"),
    "more than was asked": lambda f, h: h if isinstance(f, ChainFetch) else encode_contents((b"x",) * 40),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_liar_is_dropped_and_named_and_the_others_go_on(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, lie: Answer
) -> None:
    async with joining(tmp_path / "new", source) as node:
        node.peers.answers[LIAR] = lie
        # Only the liar says that it has the whole chain: it is asked for it first, whatever chance says.
        for provider in node.syncer.providers._all.values():
            provider.height = 40 if provider.member == LIAR else 0
        await node.syncer.run()
        assert same_log(node.store, source)
        assert set(node.syncer.providers.dropped()) == {LIAR}
        assert {member for member, _ in node.rejected} == {LIAR}
    assert any(f"dropped {LIAR}" in line for line in caplog.messages)


@pytest.mark.parametrize(
    "lie",
    [never, lambda f, _h: encode_contents((None,) * (1 if isinstance(f, ChainFetch) else len(f.digests)))],
    ids=["stalls", "withholds"],
)
async def test_peer_that_gives_nothing_is_dropped_after_some_tries(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock, lie: Answer
) -> None:
    async with joining(tmp_path / "new", source) as node:
        node.peers.answers[LIAR] = lie
        node.syncer.greeted(LIAR, 10**12)
        await node.syncer.run()
        assert same_log(node.store, source)
        assert set(node.syncer.providers.dropped()) == {LIAR}
        assert node.rejected == [], "it may be slow, or its disk: it is not accused of a forgery"
        assert sum(member == LIAR for member, _ in node.peers.asked) <= 3 * STRIKES_MAX


async def test_peer_with_an_older_log_is_no_liar(tmp_path: Path, source: ChainStore, autojump_clock: MockClock) -> None:
    with make_chain(tmp_path / "older", blocks=5, catalogues=0) as older:

        def answer(fetch: Fetch | ChainFetch, _honest: bytes) -> bytes:
            return encode_contents(answer_fetch(older, fetch, ANSWER_BYTES))

        async with joining(tmp_path / "new", source) as node:
            node.peers.answers[LIAR] = answer
            node.syncer.providers._all[LIAR].height = 5
            await node.syncer.run()
            assert same_log(node.store, source)
            assert node.syncer.providers.dropped() == {}


async def test_when_all_lie_the_node_says_so_and_begins_again(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with joining(tmp_path / "new", source) as node:
        lie = LIES["chain with a bad signature"]

        def answer(fetch: Fetch | ChainFetch, honest: bytes) -> bytes:
            return lie(fetch, honest) if len(node.peers.asked) <= 2 * len(MEMBERS) else honest  # type: ignore[return-value]

        node.peers.answers = dict.fromkeys(MEMBERS, answer)
        await node.syncer.run()
        assert same_log(node.store, source)
    said = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 2, "it began again twice"
    assert all(member in said[0] for member in MEMBERS)


async def test_final_block_with_an_invalid_statement_stops_the_node(tmp_path: Path, autojump_clock: MockClock) -> None:
    """No peer's lie: a quorum voted for it."""
    bad = statement(1)[:-1] + bytes([statement(1)[-1] ^ 1])
    with ChainStore.open(tmp_path / "bad", GENESIS) as source:
        ChainMaker(source).commit([[bad]])
        async with joining(tmp_path / "new", source) as node:
            with pytest.raises(ExceptionGroup) as caught:
                await node.syncer.run()
            assert caught.group_contains(ChainInvalid)
            assert node.store.size == 0
            assert node.syncer.providers.dropped() == {}


# ---- resuming --------------------------------------------------------------------------------------------------------


async def test_interrupted_sync_goes_on_with_what_is_there(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at every request in turn: no content is fetched again that had been stored."""
    fetched: list[Digest] = []
    rounds = 0
    monkeypatch.setattr("node.sync.COMMIT_BYTES", 1)
    while True:
        rounds += 1
        async with joining(tmp_path / "new", source) as node:
            blobs = {d for d in fetched if node.store.blob(d) is not None}
            payloads = {d for d in fetched if node.store.has_payload(d)}
            with trio.CancelScope() as scope:
                node.peers.answers = dict.fromkeys(MEMBERS, _cut_after(3 * rounds, scope))
                await node.syncer.run()
            again = [d for _, fetch in node.peers.asked if isinstance(fetch, Fetch) for d in fetch.digests]
            assert not blobs & set(again)
            assert not payloads & set(again)
            fetched += again
            if not scope.cancelled_caught:
                assert same_log(node.store, source)
                break
    assert rounds > 2
    check_store(tmp_path / "new", GENESIS)


def _cut_after(requests: int, scope: trio.CancelScope) -> Answer:
    left = [requests]

    def answer(_fetch: Fetch | ChainFetch, honest: bytes) -> bytes:
        left[0] -= 1
        if not left[0]:
            scope.cancel()
        return honest

    return answer


# ---- bounds ----------------------------------------------------------------------------------------------------------


async def test_bytes_held_are_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    with make_chain(tmp_path / "many", blocks=60, catalogues=60) as source:
        async with joining(tmp_path / "new", source, held_bytes_max=2**20) as node:
            await node.syncer.run()
            assert same_log(node.store, source)
            body = 300 * 200
            largest = PIECE_PAYLOADS_MAX * (PAYLOAD_BYTES_MAX + body)
            assert node.syncer.budget.peak <= 2**20 + largest, "what is allowed, and the piece that is next in line"
            assert node.syncer.budget.used == 0


async def test_only_the_next_in_line_may_exceed_the_bytes_held(autojump_clock: MockClock) -> None:
    budget = Budget(100)
    first = [True]
    await budget.take(90, lambda: False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.take, 500, lambda: first[0])
        nursery.start_soon(budget.take, 20, lambda: False)
        await trio.sleep(1)
        assert budget.used == 590
        budget.give(500)
        await trio.sleep(1)
        assert budget.used == 90, "the other waits for room"
        budget.give(10)
    assert budget.used == 100
    assert budget.peak == 590


def test_pieces_served_are_small_and_end_where_a_block_has_its_own_finalization(
    tmp_path: Path, source: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.sync_chain.PIECE_CLAIMS_MAX", 20)
    chains = read_chains(encode_contents(answer_chains(source, ChainFetch(from_height=Height(1)))))
    heights = [block.height for chain in chains for block in chain.blocks]
    assert heights == list(range(1, 41))
    assert all(len(chain.blocks) <= 16 for chain in chains)
    assert any(len(chain.blocks) > 1 for chain in chains)
    assert answer_chains(source, ChainFetch(from_height=Height(41))) == (None,)
    assert answer_chains(source, ChainFetch(from_height=Height(0))) == (None,)
