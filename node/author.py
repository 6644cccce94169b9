"""What this validator was given to order: statements that wait, and the payloads it cuts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from consensus.errors import RequestError
from consensus.types import Digest
from ledger.governance import Change
from ledger.payload import Payload, build_payload, parse_payload
from ledger.statement import Statement, check_authority, check_statement
from node.mempool import Mempool
from node.refusals import NotAValidator, OtherEpoch
from node.rosters import Rosters
from node.signer import Signer
from node.store.chain import ChainStore
from node.validation import HeldPayload, catalogues, load_body, parse_statements


class Author:
    """Cuts payloads of the statements submitted here. Invariant: a payload is on disk before anybody sees it."""

    def __init__(
        self,
        *,
        rosters: Rosters,
        member: str,
        store: ChainStore,
        signer: Signer | None,
        generation: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        """signer: None while this node has no seat: then nothing may be added.

        generation: number of this start, which keeps the payloads' sequence unique over restarts.
        """
        self._rosters = rosters
        self._member = member
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
        assert self._signer is not None, "without a seat nothing can be ordered"
        self.mempool.add(statement, now_ms, sum(map(len, body)))
        if body:
            self.bodies[statement.digest] = body

    def cut(self, now_ms: int) -> HeldPayload | None:
        """The next payload, stored; None where none is due."""
        if self._signer is None:
            return None
        statements = self.mempool.cut(now_ms)
        if not statements:
            return None
        payload = self._sign(statements, self._signer)
        self._store.put_payloads([payload])
        self.mempool.sent(payload.digest, statements)
        bodies = {s.digest: self.bodies.pop(s.digest) for s, _ in catalogues(statements)}
        return HeldPayload(payload=payload, statements=statements, bodies=bodies)

    def _sign(self, statements: Sequence[Statement], signer: Signer) -> Payload:
        self._cut_count += 1
        unsigned = build_payload(
            tuple(s.raw for s in statements),
            consortium=signer.roster.consortium,
            epoch=signer.roster.epoch,
            author=signer.index,
            # Unique over restarts: the boot generation strictly increases.
            sequence=(self._generation() << 32) | self._cut_count,
            created_ms=self._wall_ms(),
        )
        return signer.payload(unsigned)

    def begin(self, signer: Signer | None) -> list[tuple[Digest, RequestError]]:
        """The next epoch has begun: what is queued and cannot be ordered in it, with the reason, is queued no more.

        signer: None where this node has no seat in it. Follow with `cut_again`.
        """
        self._signer = signer
        refused: list[tuple[Digest, RequestError]] = []
        for statement in self.mempool.queued():
            error = self._fault(statement, self._rosters.epoch - 1)
            if error is not None:
                refused.append((statement.digest, error))
                self.forget(statement.digest)
        return refused

    def cut_again(self) -> tuple[list[HeldPayload], list[tuple[Digest, RequestError]]]:
        """Payloads of earlier epochs that no block ordered: this node's own are signed anew, others' dropped.

        Gives the new ones, which are stored, and statements that cannot be ordered any more, with the reason.
        """
        old = [
            payload
            for digest in self._store.pending_payloads()
            if self._store.payload_epoch(digest) != self._rosters.epoch
            and (data := self._store.payload(digest)) is not None
            and (payload := parse_payload(data))
        ]
        again: list[HeldPayload] = []
        refused: list[tuple[Digest, RequestError]] = []
        for payload in old:
            self.mempool.settled(payload.digest)
            epoch = payload.header.epoch
            roster = self._rosters.of_epoch(epoch)
            if roster is None or roster.validator_index(self._member) != payload.header.author:
                continue
            kept: list[Statement] = []
            for statement in parse_statements(payload):
                error = self._fault(statement, epoch)
                if error is None:
                    kept.append(statement)
                else:
                    refused.append((statement.digest, error))
            if kept and self._signer is not None:
                bodies = {s.digest: load_body(header, self._store.blob) for s, header in catalogues(kept)}
                signed = self._sign(kept, self._signer)
                again.append(HeldPayload(payload=signed, statements=tuple(kept), bodies=bodies))
        # At once: a crash leaves the old ones, or the new ones.
        self._store.replace_payloads(drop=[p.digest for p in old], put=[held.payload for held in again])
        for held in again:
            self.mempool.sent(held.payload.digest, held.statements)
        return again, refused

    def _fault(self, statement: Statement, epoch: int) -> RequestError | None:
        """Why a statement that was valid in `epoch` cannot be ordered now. Its signature was checked then."""
        if self._signer is None:
            validators = [member.id for member in self._rosters.current.validator_members()]
            return NotAValidator(self._member, validators)
        before = self._rosters.of_epoch(epoch)
        assert before is not None, "it was reached"
        try:
            member = check_authority(statement, self._rosters.current)
            was = before.member(statement.issuer)
            if was is None or was.keys.statement != member.keys.statement:
                check_statement(statement, self._rosters.current)
        except RequestError as error:
            return error
        content = statement.content
        if isinstance(content, Change) and content.epoch != self._rosters.epoch:
            return OtherEpoch(content.epoch, self._rosters.epoch)
        return None

    def settled(self, payloads: Iterable[Digest]) -> None:
        """These payloads are final, whoever cut them."""
        for digest in payloads:
            self.mempool.settled(digest)

    def forget(self, statement: Digest) -> None:
        """`statement` is decided: it need not be sent any more."""
        self.mempool.drop(statement)
        self.bodies.pop(statement, None)
