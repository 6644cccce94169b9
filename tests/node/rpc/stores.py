"""A real chain store filled block by block: payloads, final blocks and cosignatures as four validators make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from consensus.events import Commit
from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from ledger.apply import apply_block
from ledger.catalogue import Catalogue, CatalogueHeader, check_catalogue
from ledger.checkpoint import cosignature, log_signature
from ledger.payload import Payload, build_payload
from ledger.statement import parse_statement
from node.store.chain import ChainStore, Cosigned
from tests.node.rpc.consortium import GENESIS, blobs, key

QUORUM = 3
BLOCK_TIME_MS = 1_700_000_000_000


class GrowingStore:
    """The writer's side of a store that a test's reader looks at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = ChainStore.open(path, GENESIS)
        self._sequence = 0

    def add(
        self,
        *statements: bytes,
        bodies: Mapping[bytes, Catalogue] | None = None,
        complete: bool = True,
        time_ms: int | None = None,
    ) -> None:
        """One block of these statements, or an empty one.

        bodies: of the catalogues among them. complete: whether a quorum cosigns. time_ms: of the block.
        """
        bodies = bodies or {}
        for built in bodies.values():
            self.chain.put_blobs(blobs(built))
        payloads = [self._payload(statements)] if statements else []
        self.chain.put_payloads(payloads)
        block = self._block(payloads, time_ms)
        parsed = [parse_statement(raw) for raw in statements]
        claims = {
            statement.digest: check_catalogue(statement.content, built.manifest, built.chunks)
            for statement in parsed
            if isinstance(statement.content, CatalogueHeader)
            for built in (bodies[statement.raw],)
        }
        with self.chain.recorded() as recorded:
            applied = apply_block(
                recorded, block.height, block.timestamp_ms, [(p.digest, parsed) for p in payloads], claims
            )
        frontier, _ = self.chain.frontier().extend(leaf.digest for leaf in applied.leaves())
        self.chain.commit(Commit(blocks=(block,), finalization=_finalize(block)), [applied], frontier)
        if complete and applied.leaf_count:
            self.cosign(frontier.size)

    def cosign(self, size: int, count: int = QUORUM) -> None:
        checkpoint = self.chain.checkpoint_at(size)
        assert checkpoint is not None, f"no block ended at {size} leaves"
        for member in GENESIS.validator_members()[:count]:
            log, cosign = key(member.id, "log"), key(member.id, "cosign")
            signed = Cosigned(
                checkpoint=checkpoint,
                member=member.id,
                log=log_signature(checkpoint, public_key=log.public, sign=log.sign),
                cosignature=cosignature(
                    checkpoint,
                    member_id=member.id,
                    timestamp_s=1_700_000_001,
                    public_key=cosign.public,
                    sign=cosign.sign,
                ),
            )
            self.chain.put_cosignatures([signed])

    def close(self) -> None:
        self.chain.close()

    def _payload(self, statements: Sequence[bytes]) -> Payload:
        self._sequence += 1
        author = GENESIS.validator_members()[0]
        unsigned = build_payload(
            statements,
            consortium=GENESIS.digest,
            epoch=Epoch(0),
            author=ValidatorIndex(0),
            sequence=self._sequence,
            created_ms=BLOCK_TIME_MS,
        )
        return unsigned.signed(key(author.id, "consensus").sign(unsigned.signing_bytes))

    def _block(self, payloads: Sequence[Payload], time_ms: int | None) -> Block:
        parent = self.chain.head().block
        view = View(parent.view + 1)
        return Block(
            consortium=GENESIS.digest,
            epoch=Epoch(0),
            view=view,
            height=Height(parent.height + 1),
            parent_view=parent.view,
            parent=parent.digest,
            timestamp_ms=time_ms or max(BLOCK_TIME_MS, parent.timestamp_ms) + 1,
            proposer=GENESIS.committee().leader(view),
            payloads=tuple(payload.digest for payload in payloads),
        )


def _finalize(block: Block) -> Certificate:
    vote = Vote(kind=VoteKind.FINALIZE, epoch=block.epoch, view=block.view, height=block.height, block=block.digest)
    message = vote.signing_bytes(Digest(GENESIS.digest))
    signers = GENESIS.validator_members()[:QUORUM]
    return Certificate(
        vote=vote,
        signers=tuple(ValidatorIndex(i) for i in range(QUORUM)),
        signatures=tuple(Signature(key(m.id, "consensus").sign(message)) for m in signers),
    )
