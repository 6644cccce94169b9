"""A newcomer syncs a log with mints, disputes and lapses: it computes the derived leaves, and what rests on trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from trio.testing import MockClock

from ledger.rights import MINTS_MAX
from ledger.rights_content import CourtAction
from node.store import schema
from node.store.chain import ChainStore
from node.store.check import check_store
from node.sync_pieces import ChainInvalid
from tests.node.store.chains import GENESIS, ChainMaker, statement
from tests.node.store.rights_chains import block_time, claim_of, dispute, mint, order, tell
from tests.node.store.test_check import failed, records
from tests.node.syncing import joining, make_pin, same_log

COMPUTED = (
    schema.DERIVED, schema.DERIVED_INDEX, schema.RIGHTS, schema.STAYS, schema.BLOCKS, schema.BOUNDARIES,
    schema.HASHES, schema.RECEIPTS,
)  # fmt: skip


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_newcomer_computes_the_same_rights_and_leaves(
    tmp_path: Path, autojump_clock: MockClock, pinned: bool
) -> None:
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        maker = ChainMaker(source)
        for first in (1_000, 2_000, 3_000):
            tell(maker, first, until=maker.store.head().block.height + 25)
        pin = make_pin(tmp_path / "pin", source) if pinned else None
        async with joining(tmp_path / "new", source, pin=pin) as node:
            await node.syncer.run()
            assert same_log(node.store, source)
            assert not node.pinning.is_open
    for table in COMPUTED:
        assert records(tmp_path / "new", table) == records(tmp_path / "chain", table), table
    assert failed(check_store(tmp_path / "new", GENESIS)) == []


async def test_a_sync_that_was_interrupted_goes_on_with_open_stays(tmp_path: Path, autojump_clock: MockClock) -> None:
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        maker, raw = ChainMaker(source), statement(1)
        of = claim_of(raw)
        maker.commit([[raw, mint(of, 1)]])
        maker.commit([[order(of, raw, CourtAction.STAY, "stay", until_ms=block_time(30))]])
        async with joining(tmp_path / "new", source) as node:
            await node.syncer.run()
            assert node.store.open_stays() == 1
        for number in range(2, 40):
            maker.commit([[statement(number)]])
        async with joining(tmp_path / "new", source) as node:
            await node.syncer.run()
            assert same_log(node.store, source)
            assert node.store.open_stays() == 0


def spoilt(raw: bytes) -> bytes:
    """The same statement with a signature that is none."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize("cause", ["mint", "dispute", "lapse"])
async def test_derived_leaves_do_not_lift_the_pin_over_what_nobody_vouches_for(
    tmp_path: Path, autojump_clock: MockClock, cause: str
) -> None:
    """Above the pinned size a bad signature is found, though fewer statements than its leaves came before."""
    raw = statement(1)
    of = claim_of(raw)
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        maker = ChainMaker(source)
        maker.commit([[raw, *(mint(of, n) for n in range(1, 6))]])
        match cause:
            case "mint":
                maker.commit([[mint(of, 9)]])
            case "dispute":
                maker.commit([[dispute(of)]])
            case _:
                maker.commit([[order(of, raw, CourtAction.STAY, "stay", until_ms=block_time(3))]])
                maker.commit([])
        pin = make_pin(tmp_path / "pin", source)
        assert source.size > len(records_in(source, schema.ENTRIES)) + 1
        maker.commit([[spoilt(statement(2))]])
        async with joining(tmp_path / "new", source, pin=pin) as node:
            with pytest.raises(ExceptionGroup) as caught:
                await node.syncer.run()
            assert caught.group_contains(ChainInvalid)


async def test_a_stay_that_was_open_before_the_sync_is_counted_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    raw = statement(1)
    of = claim_of(raw)
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        maker = ChainMaker(source)
        maker.commit([[raw, *(mint(of, n) for n in range(1, 6))]])
        maker.commit([[order(of, raw, CourtAction.STAY, "stay", until_ms=block_time(3))]])
        async with joining(tmp_path / "new", source) as node:
            await node.syncer.run()
        maker.commit([])
        pin = make_pin(tmp_path / "pin", source)
        maker.commit([[spoilt(statement(2))]])
        async with joining(tmp_path / "new", source, pin=pin) as node:
            with pytest.raises(ExceptionGroup) as caught:
                await node.syncer.run()
            assert caught.group_contains(ChainInvalid)


async def test_below_the_pin_statements_about_rights_are_taken_on_trust_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    raw = statement(1)
    of = claim_of(raw)
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        maker = ChainMaker(source)
        maker.commit([[raw, mint(of, 1), spoilt(dispute(of))]])
        for number in range(2, 72):  # more than one piece of the chain
            maker.commit([[statement(number)]])
        maker.commit([[statement(number) for number in range(72, 72 + MINTS_MAX)]])
        async with joining(tmp_path / "new", source, pin=make_pin(tmp_path / "pin", source)) as node:
            await node.syncer.run()
            assert same_log(node.store, source)


def records_in(store: ChainStore, table: bytes) -> list[bytes]:
    with store._env.read() as txn, txn.cursor(db=store._env.databases[table]) as cursor:
        return [bytes(key) for key in cursor.iternext(values=False)]
