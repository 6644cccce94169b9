"""Executes what consensus made final: payloads into log entries, committed with their block in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from consensus.events import Commit
from consensus.types import Digest
from ledger.apply import Applied, LedgerView, apply_block
from ledger.checkpoint import Checkpoint
from node.store.chain import ChainStore
from node.validation import HeldPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a commit did. checkpoints: one per block that appended to the log, ascending (design D8)."""

    applied: tuple[Applied, ...]
    heights: tuple[int, ...]
    times_ms: tuple[int, ...]
    checkpoints: tuple[Checkpoint, ...]


class OverlayView:
    """The store's ledger plus blocks executed and not yet written, so that several blocks can be one transaction."""

    def __init__(self, base: LedgerView) -> None:
        self._base = base
        self._size = base.size
        self._statements: dict[Digest, int] = {}
        self._signed: dict[Digest, int] = {}
        self._refs: dict[tuple[str, str], int] = {}
        self._catalogues: dict[tuple[str, Digest], int] = {}

    @property
    def size(self) -> int:
        return self._size

    def add(self, applied: Applied) -> None:
        for entry in applied.entries:
            statement = entry.statement
            self._statements[statement.digest] = entry.index
            self._signed[statement.signed_digest] = entry.index
            self._refs[statement.issuer, statement.client_ref] = entry.index
            if statement.catalogue_root is not None:
                self._catalogues[statement.issuer, statement.catalogue_root] = entry.index
            self._size = entry.index + 1

    def index_of_statement(self, digest: Digest) -> int | None:
        found = self._statements.get(digest)
        return self._base.index_of_statement(digest) if found is None else found

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        found = self._signed.get(signed_digest)
        return self._base.index_of_signed(signed_digest) if found is None else found

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        found = self._refs.get((issuer, client_ref))
        return self._base.index_of_client_ref(issuer, client_ref) if found is None else found

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        found = self._catalogues.get((issuer, root))
        return self._base.index_of_catalogue(issuer, root) if found is None else found


def execute(
    commit: Commit, store: ChainStore, origin: str, held: Callable[[Sequence[Digest]], Iterable[HeldPayload]]
) -> Executed:
    """Applies the blocks of `commit` and writes blocks, entries, receipts and tree hashes in ONE durable transaction.

    held: gives the payloads of a block, in order; each was checked before this node voted or fetched it.
    """
    view = OverlayView(store)
    frontier = store.frontier()
    applied_blocks: list[Applied] = []
    checkpoints: list[Checkpoint] = []
    for block in commit.blocks:
        payloads = list(held(block.payloads))
        bodies = {digest: claims for p in payloads for digest, claims in p.bodies.items()}
        applied = apply_block(
            view, block.height, block.timestamp_ms, [(p.payload.digest, p.statements) for p in payloads], bodies
        )
        view.add(applied)
        applied_blocks.append(applied)
        if applied.entries:
            frontier, _ = frontier.extend(entry.statement.digest for entry in applied.entries)
            checkpoints.append(Checkpoint(origin=origin, size=frontier.size, root=frontier.root()))
    store.commit(commit, applied_blocks, frontier)
    return Executed(
        applied=tuple(applied_blocks),
        heights=tuple(b.height for b in commit.blocks),
        times_ms=tuple(b.timestamp_ms for b in commit.blocks),
        checkpoints=tuple(checkpoints),
    )
