"""Those who put statements on record, and what they may expect: what an honest validator cut into a payload gets there,
once. Of what only waits in a validator's memory nobody may expect that; here nothing does, all is cut at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.types import Digest
from ledger.statement import Statement
from tests.simulation import consortium as founding
from tests.simulation.acquisition import TOY
from tests.simulation.machine import Machine
from tests.simulation.world import World

SUBMIT_AGAIN_MS = 1500
"""How long a client waits for a receipt before it submits the same statement elsewhere."""


@dataclass(frozen=True)
class Order:
    """A statement and what goes with it."""

    statement: Statement
    blobs: tuple[bytes, ...] = ()


class Clients:
    def __init__(self, world: World) -> None:
        self._world = world
        self._consortium = world.committee.consortium
        self._next = 0
        self._orders: dict[Digest, Order] = {}
        self._looked = -1
        self._lacking: Order | None = None
        """What was found not to be on record when it was asked last."""

    # ---- submitting --------------------------------------------------------------------------------------------------

    def submit_any(self) -> None:
        """Something to some validator; now and then the same to two, or the same reference twice."""
        rng = self._world.random
        number = self._next = self._next + 1
        what = rng.random()
        if what < 0.25:
            signed = founding.catalogue(self._consortium, number)
            self._world.allow(signed.statement, signed.claims)
            self._submit([signed.statement], signed.blobs)
        elif what < 0.35 and number > 1:
            self._submit([founding.repeated_claim(self._consortium, number - 1)])
        else:
            statements = [founding.claim(self._consortium, number)]
            if what > 0.8:
                self._next += 1
                statements.append(founding.claim(self._consortium, self._next))
            self._submit(statements)
            if what > 0.9:
                self._submit(statements)

    def submit_new(self, count: int) -> None:
        for _ in range(count):
            self._next += 1
            self._submit([founding.claim(self._consortium, self._next)])

    def _submit(self, statements: list[bytes], blobs: tuple[bytes, ...] = ()) -> None:
        """To a validator that is up and honest; if there is none now, nobody has promised anything."""
        self._looked = -1
        for statement in statements:
            if founding.parsed(statement).digest not in self._world.checks.legitimate:
                self._world.allow(statement)
        ready = [n for n in self._world.nodes.values() if n.index is not None and n.engine is not None and n.is_honest]
        if ready and self._world.random.choice(ready).submit(statements, blobs) is not None:
            for statement in map(founding.parsed, statements):
                self._orders[statement.digest] = Order(statement, blobs)

    # ---- waiting -----------------------------------------------------------------------------------------------------

    def spread_again(self, *, submits: bool) -> None:
        """Good weather: payloads that wait are spread again, and clients submit again what they got no receipt for."""
        for node in self._world.nodes.values():
            for digest in node.disk.pending():
                frame = node.disk.payloads[digest]
                if frame != TOY and self._world.judge.payload(frame).header.epoch == node.epoch:
                    for other in self._world.nodes.values():
                        self._world.push(node.number, other, digest, frame)
        if submits:
            self._world.at(self._world.now_ms + SUBMIT_AGAIN_MS, self._submit_again)

    def _submit_again(self) -> None:
        numbers = self._world.checks.top_term.members
        members = [node for node in self._world.nodes.values() if node.is_honest and node.number in numbers]
        waiting = [order for order in self._orders.values() if not _is_on_record(order, members)]
        for order in waiting:
            self._submit([order.statement.raw], order.blobs)
        self._world.at(self._world.now_ms + SUBMIT_AGAIN_MS, self._submit_again)

    def are_served(self, who: Callable[[], list[Machine]]) -> bool:
        """Whether every statement that was accepted is on record at all these nodes."""
        if self._world.commits == self._looked:
            return False  # nothing has changed since it was asked last
        members = who()
        if self._lacking is None or _is_on_record(self._lacking, members):
            self._lacking = next((o for o in self._orders.values() if not _is_on_record(o, members)), None)
        self._looked = -1 if self._lacking is None else self._world.commits
        return self._lacking is None


def _is_on_record(order: Order, nodes: list[Machine]) -> bool:
    """Or another statement under its reference: then it was refused, which is an answer too."""
    statement = order.statement
    return all(
        node.disk.books.index_of_client_ref(statement.issuer, statement.client_ref) is not None for node in nodes
    )
