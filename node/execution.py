"""Executes what consensus made final: payloads into log entries, committed with their block in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from consensus.events import Commit
from consensus.types import Certificate, Digest
from ledger.apply import Applied, Overlay, apply_block
from ledger.checkpoint import Checkpoint
from ledger.roster import Roster
from node.store.chain import ChainStore, Cosigned
from node.store.chain_signatures import ChainSigned
from node.validation import HeldPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a commit did. checkpoints: one per block that appended to the log, ascending (design D8)."""

    applied: tuple[Applied, ...]
    checkpoints: tuple[Checkpoint, ...]

    @property
    def next_roster(self) -> Roster | None:
        """Of the next epoch, where a change passed."""
        return next((each.next_roster for each in self.applied if each.next_roster is not None), None)


def execute(
    commit: Commit,
    store: ChainStore,
    held: Callable[[Sequence[Digest]], Iterable[HeldPayload]],
    *,
    cosign: bool = False,
    cosignatures: Sequence[Cosigned] = (),
    chain_signatures: Sequence[ChainSigned] = (),
    finalizations: Sequence[Certificate] = (),
) -> Execution:
    """Applies the blocks of `commit` and writes blocks, entries, receipts and tree hashes in ONE durable transaction.

    held: gives the payloads of a block, in order; each was checked before this node voted or fetched it.
    The last block may end the epoch; then the store's rosters go on. Raises: BoundaryDiffers, as `ChainStore.commit`.
    cosign, cosignatures, chain_signatures, finalizations: what else goes into the transaction, see `ChainStore.commit`.
    """
    frontier = store.frontier()
    applied_blocks: list[Applied] = []
    checkpoints: list[Checkpoint] = []
    with store.recorded() as recorded:
        view = Overlay(recorded)
        for block in commit.blocks:
            payloads = list(held(block.payloads))
            bodies = {digest: claims for p in payloads for digest, claims in p.bodies.items()}
            applied = apply_block(
                view, block.height, block.timestamp_ms, [(p.payload.digest, p.statements) for p in payloads], bodies
            )
            view.extend(applied)
            applied_blocks.append(applied)
            if applied.leaf_count:
                frontier, _ = frontier.extend(leaf.digest for leaf in applied.leaves())
                checkpoints.append(Checkpoint(origin=store.rosters.origin, size=frontier.size, root=frontier.root()))
    store.commit(
        commit, applied_blocks, frontier, cosign=cosign, cosignatures=cosignatures, chain_signatures=chain_signatures,
        finalizations=finalizations,
    )  # fmt: skip
    return Execution(applied=tuple(applied_blocks), checkpoints=tuple(checkpoints))
