"""What this validator was given to order: statements that wait, and the payloads it cuts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.types import Digest
from ledger.genesis import Genesis
from ledger.payload import build_payload
from ledger.statement import Statement
from node.mempool import Mempool
from node.signer import Signer
from node.store.chain import ChainStore
from node.validation import HeldPayload, catalogues


class Author:
    """Cuts payloads of the statements submitted here. Invariant: a payload is on disk before anybody sees it."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: ChainStore,
        signer: Signer,
        generation: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        """generation: number of this start, which keeps the payloads' sequence unique over restarts."""
        self._genesis = genesis
        self._store = store
        self._signer = signer
        self._generation = generation
        self._wall_ms = wall_ms
        self._cut_count = 0
        self.mempool = Mempool()
        self.bodies: dict[Digest, tuple[bytes, ...]] = {}
        """Claims of queued catalogues; the door's limit on bodies and the mempool's on statements bound it."""

    def add(self, statement: Statement, body: tuple[bytes, ...], now_ms: int) -> None:
        """A valid statement that is not pending here. body: a catalogue's claims. Raises: Overloaded."""
        self.mempool.add(statement, now_ms, sum(map(len, body)))
        if body:
            self.bodies[statement.digest] = body

    def cut(self, now_ms: int) -> HeldPayload | None:
        """The next payload, stored; None where none is due."""
        statements = self.mempool.cut(now_ms)
        if not statements:
            return None
        self._cut_count += 1
        unsigned = build_payload(
            tuple(s.raw for s in statements),
            consortium=self._genesis.digest,
            epoch=self._genesis.committee().epoch,
            author=self._signer.index,
            # Unique over restarts: the boot generation strictly increases.
            sequence=(self._generation() << 32) | self._cut_count,
            created_ms=self._wall_ms(),
        )
        payload = self._signer.payload(unsigned)
        self._store.put_payloads([payload])
        self.mempool.sent(payload.digest, statements)
        bodies = {s.digest: self.bodies.pop(s.digest) for s, _ in catalogues(statements)}
        return HeldPayload(payload=payload, statements=statements, bodies=bodies)

    def settled(self, payloads: Iterable[Digest]) -> None:
        """These payloads are final, whoever cut them."""
        for digest in payloads:
            self.mempool.settled(digest)

    def forget(self, statement: Digest) -> None:
        """`statement` is decided: it need not be sent any more."""
        self.mempool.drop(statement)
        self.bodies.pop(statement, None)
