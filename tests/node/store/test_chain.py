"""The chain store: what was committed is found again, whole; what does not continue it leaves no trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from consensus.messages import Chain
from consensus.types import Digest
from ledger import merkle
from ledger.apply import Outcome, Reason
from ledger.catalogue import build_catalogue
from ledger.checkpoint import Checkpoint
from ledger.genesis import parse_genesis
from ledger.merkle import Frontier
from ledger.statement import parse_statement
from node.store import environment, schema
from node.store.chain import ChainStore, Cosigned
from node.store.errors import (
    CheckpointDiffers,
    CosignRefused,
    OtherConsortium,
    SchemaTooNew,
    StoreFull,
    StoreLocked,
    StoreMisused,
)
from tests.node.store.chains import FIRST, GENESIS, ChainMaker, claim, cosigned, make_genesis, payload, sign, statement


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture
def store(path: Path) -> Iterator[ChainStore]:
    with ChainStore.open(path, GENESIS) as opened:
        yield opened


@pytest.fixture
def maker(store: ChainStore) -> ChainMaker:
    return ChainMaker(store)


# ---- opening ---------------------------------------------------------------------------------------------------------


def test_a_new_store_holds_the_genesis_block_and_nothing_else(store: ChainStore) -> None:
    head = store.head()
    assert (head.block, head.finalization, head.size, head.claims) == (FIRST, None, 0, 0)
    assert store.frontier() == Frontier()
    assert store.size == 0
    assert store.pending_payloads() == ()
    assert store.blocks_from(1, 64) is None
    assert store.cosigned_watermark() is None
    assert store.latest_complete() is None


def test_everything_is_there_after_reopening(path: Path) -> None:
    with ChainStore.open(path, GENESIS) as store:
        maker = ChainMaker(store)
        maker.commit([[statement(1), statement(2)], [statement(3)]])
        store.record_cosigned(3, store.frontier().root())
        maker.cosign(3)
        before = (store.head(), store.frontier(), store.cosigned_watermark(), store.latest_complete())
    with ChainStore.open(path, GENESIS) as store:
        assert (store.head(), store.frontier(), store.cosigned_watermark(), store.latest_complete()) == before
        assert store.size == 3
        assert store.index_of_statement(parse_statement(statement(2)).digest) == 1


def test_a_second_writer_is_refused_and_told_who_holds_the_store(path: Path, store: ChainStore) -> None:
    with pytest.raises(StoreLocked, match=r"process \d+ has this store open"):
        ChainStore.open(path, GENESIS)


def test_a_store_of_another_genesis_is_refused(path: Path) -> None:
    ChainStore.open(path, GENESIS).close()
    with pytest.raises(OtherConsortium, match="right genesis"):
        ChainStore.open(path, parse_genesis(make_genesis("Another")))
    ChainStore.open(path, GENESIS).close()  # and the refusal let go of the lock


def test_a_newer_schema_is_refused_with_the_way_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ChainStore.open(path, GENESIS).close()
    monkeypatch.setattr(schema, "SCHEMA", 0)
    with pytest.raises(SchemaTooNew, match="install the Stretto release"):
        ChainStore.open(path, GENESIS)


# ---- blobs and payloads ----------------------------------------------------------------------------------------------


def test_blobs_are_kept_by_hash_and_dropped_while_nothing_needs_them(store: ChainStore) -> None:
    first, second = store.put_blobs([b"a" * 70_000, b"b"])
    assert first == hashlib.sha256(b"a" * 70_000).digest()
    assert store.has_blobs([first, bytes(32), second]) == (True, False, True)
    assert store.blob(second) == b"b"
    assert store.uploads() == (first, second)
    store.drop_blobs([first])
    assert store.has_blobs([first, second]) == (False, True)
    assert store.uploads() == (second,)


def test_blobs_of_a_recorded_catalogue_cannot_be_dropped(store: ChainStore, maker: ChainMaker) -> None:
    raw = maker.catalogue(0, 40)
    maker.commit([[raw]])
    header = parse_statement(raw).content
    manifest = store.blob(header.manifest)  # type: ignore[union-attr]
    assert manifest is not None
    assert store.uploads() == ()
    store.drop_blobs([header.manifest, manifest[:32]])  # type: ignore[union-attr]
    assert store.has_blobs([header.manifest, manifest[:32]]) == (True, True)  # type: ignore[union-attr]


def test_payloads_wait_in_order_of_arrival_until_they_are_committed(store: ChainStore, maker: ChainMaker) -> None:
    first, second, third = (payload([statement(n)], n) for n in (7, 8, 9))
    store.put_payloads([second])
    store.put_payloads([first, second, third])
    assert store.pending_payloads() == (second.digest, first.digest, third.digest)
    assert store.payload(first.digest) == first.encode()
    assert store.payload(Digest(bytes(32))) is None
    assert store.has_payload(first.digest)
    prepared = maker.prepare([[statement(7)]])
    maker.write(prepared)
    assert store.pending_payloads() == (second.digest, first.digest, third.digest)
    store.put_payloads(prepared.payloads)  # arrives once more, after it was committed
    assert store.pending_payloads() == (second.digest, first.digest, third.digest)


# ---- commits ---------------------------------------------------------------------------------------------------------


def test_a_commit_is_found_by_every_name_of_its_statements(store: ChainStore, maker: ChainMaker) -> None:
    raws = [statement(n) for n in range(5)]
    (applied,) = maker.commit([raws[:3], raws[3:]])
    with store.recorded() as recorded:
        for index, raw in enumerate(raws):
            parsed = parse_statement(raw)
            assert recorded.index_of_statement(parsed.digest) == index
            assert recorded.index_of_signed(parsed.signed_digest) == index
            assert recorded.index_of_client_ref("label", f"ref-{index}") == index
            assert store.entry_position(index) == (1, applied.block_time_ms)
            # The index keeps 15 bytes of a digest: the rest is compared with what is found.
            assert recorded.index_of_statement(Digest(parsed.digest[:15] + bytes(17))) is None
            assert recorded.index_of_signed(Digest(parsed.signed_digest[:15] + bytes(17))) is None
        assert recorded.index_of_statement(Digest(bytes(32))) is None
        assert recorded.index_of_signed(Digest(bytes(32))) is None
        assert recorded.index_of_client_ref("society", "ref-0") is None
        assert recorded.index_of_client_ref("label", "ref-9") is None
    assert (store.size, store.head().claims, store.head().block.height) == (5, 5, 1)


def test_a_catalogue_is_found_by_its_root_and_counts_its_claims(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(99)]])
    raw = maker.catalogue(0, 300)
    maker.commit([[raw]])
    root = build_catalogue(claim(n).encode() for n in range(300)).header.root
    with store.recorded() as recorded:
        assert recorded.index_of_catalogue("label", root) == 1
        assert recorded.index_of_catalogue("society", root) is None
        assert recorded.index_of_catalogue("label", Digest(bytes(32))) is None
    assert store.head().claims == 301


def test_refusals_leave_a_receipt_and_no_leaf(store: ChainStore, maker: ChainMaker) -> None:
    first = statement(1)
    again = sign(claim(2), "ref-1")  # another statement under a reference used before
    maker.commit([[first]], [[again, first]])
    assert store.size == 1
    recorded = store.receipt(parse_statement(first).digest)
    assert recorded is not None
    assert (recorded.outcome, recorded.index) == (Outcome.RECORDED, 0)
    refused = store.receipt(parse_statement(again).digest)
    assert refused is not None
    assert (refused.outcome, refused.reason, refused.index) == (Outcome.DUPLICATE, Reason.CLIENT_REF, 0)
    assert refused.height == 2
    assert store.receipt(Digest(bytes(32))) is None


def test_several_blocks_in_one_commit_each_have_their_checkpoint(store: ChainStore, maker: ChainMaker) -> None:
    raws = [statement(n) for n in range(6)]
    maker.commit([raws[:1]], [raws[1:4]], [], [raws[4:]])
    entries = [parse_statement(raw).digest for raw in raws]
    for size in (1, 4, 6):
        assert store.checkpoint_at(size) == Checkpoint(
            origin=GENESIS.origin, size=size, root=merkle.root(entries[:size])
        )
    assert [store.checkpoint_at(size) for size in (0, 2, 3, 5, 7)] == [None] * 5
    assert store.head().block.height == 4
    assert store.head().finalization is not None


def test_answers_to_chain_requests_end_at_a_block_with_its_own_finalization(
    store: ChainStore, maker: ChainMaker
) -> None:
    maker.commit([], [[statement(1)]], [])
    maker.commit([[statement(2)]])
    maker.commit([], [])
    whole = store.blocks_from(1, 64)
    assert isinstance(whole, Chain)
    assert [b.height for b in whole.blocks] == [1, 2, 3, 4, 5, 6]
    assert whole.finalization.vote.block == whole.blocks[-1].digest
    cut = store.blocks_from(2, 4)
    assert cut is not None
    assert [b.height for b in cut.blocks] == [2, 3, 4]
    assert cut.finalization.vote.block == cut.blocks[-1].digest
    assert store.blocks_from(1, 2) is None, "no block among the first two has a finalization of its own"
    assert store.blocks_from(7, 64) is None
    assert store.blocks_from(0, 64) is None


def test_what_does_not_continue_the_store_is_refused_and_leaves_no_trace(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(0)]])
    good = maker.prepare([[statement(1)]], [[statement(2)]])
    last_alone = replace(good.commit, blocks=good.commit.blocks[1:])
    other = maker.prepare([[statement(3)]])
    before = (store.head(), store.frontier(), store.size)
    with pytest.raises(StoreMisused, match="before its payload"):
        store.commit(good.commit, good.applied, good.frontier)
    store.put_payloads(good.payloads)
    with pytest.raises(StoreMisused, match="does not follow"):
        store.commit(last_alone, good.applied[1:], good.frontier)
    with pytest.raises(StoreMisused, match="1 results"):
        store.commit(good.commit, good.applied[:1], good.frontier)
    with pytest.raises(StoreMisused, match="does not finalize"):
        store.commit(replace(good.commit, finalization=other.commit.finalization), good.applied, good.frontier)
    with pytest.raises(StoreMisused, match="frontier"):
        store.commit(good.commit, good.applied, Frontier())
    with pytest.raises(StoreMisused, match="continue the log"):
        store.commit(good.commit, [good.applied[1], good.applied[0]], good.frontier)
    forged = replace(good.applied[0], entries=(replace(other.applied[0].entries[0]),))
    with pytest.raises(StoreMisused, match="not where its receipt says"):
        store.commit(good.commit, [forged, good.applied[1]], good.frontier)
    with pytest.raises(StoreMisused, match="one receipt for each"):
        store.commit(good.commit, [replace(good.applied[0], receipts=()), good.applied[1]], good.frontier)
    more = replace(good.applied[0], entries=(*good.applied[0].entries, *good.applied[1].entries))
    with pytest.raises(StoreMisused, match="more entries"):
        store.commit(good.commit, [more, good.applied[1]], good.frontier)
    assert (store.head(), store.frontier(), store.size) == before
    assert store.checkpoint_at(2) is None
    assert len(store.pending_payloads()) == 2
    store.commit(good.commit, good.applied, good.frontier)
    assert store.size == 3


def test_a_catalogue_without_its_body_is_refused(store: ChainStore, maker: ChainMaker) -> None:
    prepared = maker.prepare([[maker.catalogue(0, 300)]])
    store.put_payloads(prepared.payloads)
    with pytest.raises(StoreMisused, match="manifest"):
        store.commit(prepared.commit, prepared.applied, prepared.frontier)
    manifest, chunk = prepared.blobs
    store.put_blobs([manifest])
    with pytest.raises(StoreMisused, match="chunk"):
        store.commit(prepared.commit, prepared.applied, prepared.frontier)
    store.put_blobs([chunk])
    store.commit(prepared.commit, prepared.applied, prepared.frontier)
    assert store.uploads() == ()


def test_stored_tree_hashes_answer_every_proof(store: ChainStore, maker: ChainMaker) -> None:
    raws = [statement(n) for n in range(21)]
    entries = [parse_statement(raw).digest for raw in raws]
    for cut in ((0, 1), (1, 4), (4, 12), (12, 21)):
        maker.commit([raws[slice(*cut)]])
    with store._env.read() as txn:
        read = store._view(txn).tree_hash
        for size in range(1, 22):
            root = merkle.root(entries[:size])
            assert merkle.root_at(size, read) == root
            for index in range(size):
                merkle.verify_inclusion(
                    leaf=merkle.leaf_hash(entries[index]), index=index, size=size, root=root,
                    proof=merkle.inclusion_proof(index, size, read),
                )  # fmt: skip
            for smaller in range(1, size + 1):
                merkle.verify_consistency(
                    size1=smaller, size2=size, root1=merkle.root(entries[:smaller]), root2=root,
                    proof=merkle.consistency_proof(smaller, size, read),
                )  # fmt: skip


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_the_watermark_never_goes_back_and_never_contradicts(path: Path) -> None:
    with ChainStore.open(path, GENESIS) as store:
        maker = ChainMaker(store)
        maker.commit([[statement(1)]], [[statement(2)]], [[statement(3)]])
        roots = {size: bytes(store.checkpoint_at(size).root) for size in (1, 2, 3)}  # type: ignore[union-attr]
        store.record_cosigned(2, roots[2])
        store.record_cosigned(2, roots[2])
    with ChainStore.open(path, GENESIS) as store:
        with pytest.raises(CosignRefused, match="size 1"):
            store.record_cosigned(1, roots[1])
        with pytest.raises(CheckpointDiffers):
            store.record_cosigned(2, bytes(32))
        with pytest.raises(CheckpointDiffers):
            store.record_cosigned(4, bytes(32))
        assert store.cosigned_watermark() == (2, roots[2])
        store.record_cosigned(3, roots[3])
        assert store.cosigned_watermark() == (3, roots[3])


def test_after_a_restore_to_another_history_nothing_is_cosigned(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(1)]], [[statement(2)]])
    signed = schema.COSIGNED.pack(1, b"another history's root, 32 bytes")
    store._env.write(lambda txn: txn.put(schema.META_COSIGNED, signed, db=store._tables.meta))
    with pytest.raises(CosignRefused, match="restore"):
        store.record_cosigned(2, store.frontier().root())


def test_a_checkpoint_is_complete_at_a_quorum_of_distinct_validators(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(1)]], [[statement(2)]])
    checkpoint = store.checkpoint_at(1)
    assert checkpoint is not None
    maker.cosign(1, ("court", "court", "label"))
    assert store.latest_complete() is None
    maker.cosign(1, ("platform",))
    assert store.latest_complete() == 1
    assert store.cosignatures(1) == tuple(cosigned(checkpoint, member) for member in ("court", "label", "platform"))
    assert store.cosignatures(2) == ()


def test_cosignatures_of_strangers_or_other_trees_are_refused(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(1)]])
    checkpoint = store.checkpoint_at(1)
    assert checkpoint is not None
    log, signature = cosigned(checkpoint, "court")
    good = Cosigned(checkpoint=checkpoint, member="court", log=log, cosignature=signature)
    with pytest.raises(StoreMisused, match="no validator"):
        store.put_cosignatures([good, replace(good, member="stranger")])
    for other in (replace(checkpoint, root=bytes(32)), replace(checkpoint, size=2), replace(checkpoint, origin="else")):
        with pytest.raises(CheckpointDiffers):
            store.put_cosignatures([good, replace(good, checkpoint=other)])
    assert store.cosignatures(1) == (), "all or nothing"


def test_a_commit_takes_watermark_and_cosignatures_along(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(1)]])
    first = store.checkpoint_at(1)
    assert first is not None
    prepared = maker.prepare([[statement(2)]])
    store.put_payloads(prepared.payloads)
    signed = [
        Cosigned(checkpoint=first, member=member, log=log, cosignature=signature)
        for member in ("label", "court", "society")
        for log, signature in (cosigned(first, member),)
    ]
    store.commit(prepared.commit, prepared.applied, prepared.frontier, cosign=True, cosignatures=signed)
    assert store.cosigned_watermark() == (2, prepared.frontier.root())
    assert store.latest_complete() == 1


def test_a_commit_that_must_not_be_cosigned_leaves_nothing(store: ChainStore, maker: ChainMaker) -> None:
    maker.commit([[statement(1)]])
    signed = schema.COSIGNED.pack(1, b"another history's root, 32 bytes")
    store._env.write(lambda txn: txn.put(schema.META_COSIGNED, signed, db=store._tables.meta))
    prepared = maker.prepare([[statement(2)]])
    store.put_payloads(prepared.payloads)
    with pytest.raises(CosignRefused):
        store.commit(prepared.commit, prepared.applied, prepared.frontier, cosign=True)
    assert store.size == 1
    assert store.checkpoint_at(2) is None


# ---- room ------------------------------------------------------------------------------------------------------------


def test_the_map_grows_as_the_store_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES", 2**20)
    with ChainStore.open(path, GENESIS) as store:
        blobs = [bytes([i]) * 65_536 for i in range(200)]
        digests = [d for blob in blobs for d in store.put_blobs([blob])]
        digests += store.put_blobs(bytes([i]) * 65_537 for i in range(200))
        assert all(store.has_blobs(digests))
        assert store.used_bytes() > 2**24


def test_at_its_limit_the_store_refuses_and_keeps_what_it_has(path: Path) -> None:
    with ChainStore.open(path, GENESIS, map_bytes=2**20) as store:
        with pytest.raises(StoreFull, match="nothing was written"):
            store.put_blobs(bytes([i]) * 65_536 for i in range(20))
        assert store.uploads() == ()
        (kept,) = store.put_blobs([b"small"])
    with ChainStore.open(path, GENESIS, map_bytes=2**24) as store:
        assert store.blob(kept) == b"small"
        store.put_blobs(bytes([i]) * 65_536 for i in range(20))


def test_durability_is_never_switched_off(store: ChainStore) -> None:
    flags = store._env._env.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    assert not flags["map_async"]
    assert isinstance(store._env._env, lmdb.Environment)
