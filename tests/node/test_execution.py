"""Executing final blocks: what becomes a leaf, in one transaction with its block, and which checkpoints follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from consensus.events import Commit
from consensus.types import Block, Certificate, Digest, Height, Signature, ValidatorIndex, View, Vote, VoteKind
from ledger.apply import Outcome, Reason
from ledger.merkle import root
from ledger.payload import Payload
from node.execution import Execution, execute
from node.store.chain import ChainStore
from node.validation import HeldPayload, catalogues, check_statements, load_body
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, make_folder


class Chain:
    """Blocks over payloads, and a store that executes them."""

    def __init__(self, store: ChainStore) -> None:
        self.store = store
        self.payloads: dict[Digest, Payload] = {}
        self.parent = store.head().block
        self.sequence = 0

    def payload(self, *statements: bytes) -> Digest:
        self.sequence += 1
        payload = CONSORTIUM.payload(statements, sequence=self.sequence)
        self.store.put_payloads([payload])
        self.payloads[payload.digest] = payload
        return payload.digest

    def block(self, *payloads: Digest) -> Block:
        parent = self.parent
        self.parent = Block(
            consortium=GENESIS.digest,
            epoch=parent.epoch,
            view=View(parent.view + 1),
            height=Height(parent.height + 1),
            parent_view=parent.view,
            parent=parent.digest,
            timestamp_ms=parent.timestamp_ms + 7,
            proposer=ValidatorIndex(0),
            payloads=payloads,
        )
        return self.parent

    def held(self, digests: Sequence[Digest]) -> Iterable[HeldPayload]:
        for digest in digests:
            payload = self.payloads[digest]
            statements = check_statements(payload, GENESIS.roster)
            bodies = {s.digest: load_body(header, self.store.blob) for s, header in catalogues(statements)}
            yield HeldPayload(payload=payload, statements=statements, bodies=bodies)

    def execute(self, *blocks: Block) -> Execution:
        last = blocks[-1]
        vote = Vote(kind=VoteKind.FINALIZE, epoch=last.epoch, view=last.view, height=last.height, block=last.digest)
        signers = tuple(ValidatorIndex(i) for i in range(3))
        certificate = Certificate(vote=vote, signers=signers, signatures=(Signature(bytes(64)),) * 3)
        return execute(Commit(blocks=blocks, finalization=certificate), self.store, self.held)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with ChainStore.open(make_folder(tmp_path / "court", "court").chain_path, GENESIS) as store:
        yield Chain(store)


def sign(number: int, ref: str = "") -> bytes:
    return CONSORTIUM.sign(make_claim(number), ref=ref or f"r{number}")


def test_statements_become_leaves_in_the_order_of_the_block(chain: Chain) -> None:
    statements = [sign(number) for number in range(4)]
    done = chain.execute(chain.block(chain.payload(*statements[:2]), chain.payload(*statements[2:])))
    assert [e.statement.raw for e in done.applied[0].entries] == statements
    assert [r.index for r in done.applied[0].receipts] == [0, 1, 2, 3]
    (checkpoint,) = done.checkpoints
    assert (checkpoint.origin, checkpoint.size) == (GENESIS.origin, 4)
    assert checkpoint.root == root([e.statement.digest for e in done.applied[0].entries])
    assert chain.store.checkpoint_at(4) == checkpoint
    assert chain.store.size == 4


def test_each_block_that_appends_gives_a_checkpoint_and_no_other(chain: Chain) -> None:
    blocks = (
        chain.block(chain.payload(sign(0))),
        chain.block(),
        chain.block(chain.payload(sign(0))),
        chain.block(chain.payload(sign(1), sign(2))),
    )
    done = chain.execute(*blocks)
    assert [c.size for c in done.checkpoints] == [1, 3]
    assert [a.height for a in done.applied] == [1, 2, 3, 4]
    assert chain.store.head().block == blocks[-1]


def test_duplicate_in_a_later_block_of_the_same_commit_is_seen(chain: Chain) -> None:
    """Neither block is in the store when the second is executed."""
    done = chain.execute(chain.block(chain.payload(sign(0))), chain.block(chain.payload(sign(0), sign(1, ref="r0"))))
    receipts = done.applied[1].receipts
    assert [r.outcome for r in receipts] == [Outcome.DUPLICATE] * 2
    assert [r.reason for r in receipts] == [Reason.STATEMENT, Reason.CLIENT_REF]
    assert [r.index for r in receipts] == [0, 0]
    assert chain.store.size == 1


def test_same_payload_in_two_blocks_is_recorded_once(chain: Chain) -> None:
    payload = chain.payload(sign(0), sign(1))
    chain.execute(chain.block(payload), chain.block(payload))
    chain.execute(chain.block(payload))
    assert chain.store.size == 2
    assert chain.store.pending_payloads() == ()


def test_executing_together_or_apart_gives_the_same_log(chain: Chain, tmp_path: Path) -> None:
    with ChainStore.open(make_folder(tmp_path / "label", "label").chain_path, GENESIS) as store:
        twin = Chain(store)
        blocks, twin_blocks = (
            [each.block(each.payload(sign(number), sign(number % 2, ref=f"again {number}"))) for number in range(3)]
            for each in (chain, twin)
        )
        assert blocks == twin_blocks
        chain.execute(*blocks)
        for block in twin_blocks:
            twin.execute(block)
        assert twin.store.frontier() == chain.store.frontier()
        assert twin.store.head().claims == chain.store.head().claims


def test_catalogue_brings_its_claims(chain: Chain) -> None:
    built = make_catalogue(5)
    chain.store.put_blobs([built.manifest, *built.chunks])
    done = chain.execute(chain.block(chain.payload(CONSORTIUM.sign(built.header), sign(9))))
    assert [len(entry.claims) for entry in done.applied[0].entries] == [5, 1]
    assert chain.store.head().claims == 6
    assert chain.store.uploads() == (), "what a recorded statement needs is no mere upload"


def test_commit_that_fails_leaves_nothing_behind(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    block = chain.block(chain.payload(sign(0)))

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("node.store.commitment.Commitment._write_index", fail)
        with pytest.raises(RuntimeError):
            chain.execute(block)
    assert chain.store.head().block.height == 0
    assert chain.store.size == 0
    assert len(chain.store.pending_payloads()) == 1
    chain.execute(block)
    assert chain.store.size == 1
