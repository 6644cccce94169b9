"""What this validator lacks and asks others for: one holder after another, until it is here or matters no more."""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.types import Digest, ValidatorIndex, View

BLOCK_PURSUITS_MAX = 64
PAYLOAD_PURSUITS_MAX = 64
PURSUIT_DELTAS = 2
"""An answer takes a round trip; after that the next holder is asked."""


@dataclass(slots=True)
class Pursuit:
    """One thing asked for. view: it matters until the committed chain is past it. due_ms: when to ask (again).

    holders: everybody else, those who should have it first. Everybody: one of the first may be silent, or lie.
    """

    view: View
    holders: tuple[ValidatorIndex, ...]
    due_ms: int
    attempts: int = 0

    @property
    def holder(self) -> ValidatorIndex:
        """Whom to ask now: another one each time."""
        return self.holders[self.attempts % len(self.holders)]

    def hurry(self, due_ms: int) -> None:
        """Ask earlier for the first time; never oftener."""
        if not self.attempts:
            self.due_ms = min(self.due_ms, due_ms)

    @property
    def order(self) -> tuple[ValidatorIndex, ...]:
        """All of them, the one to ask now first."""
        start = self.attempts % len(self.holders)
        return self.holders[start:] + self.holders[:start]


@dataclass(slots=True)
class Requests:
    """All pursuits under way. blocks: by digest. payloads: by digest of the block that orders them."""

    blocks: dict[Digest, Pursuit] = field(default_factory=dict)
    payloads: dict[Digest, Pursuit] = field(default_factory=dict)
    certificates: Pursuit | None = None
    chain: Pursuit | None = None
    views: Pursuit | None = None

    def want_block(self, digest: Digest, view: View, holders: tuple[ValidatorIndex, ...], due_ms: int) -> None:
        if digest in self.blocks:
            self.blocks[digest].hurry(due_ms)
        elif len(self.blocks) < BLOCK_PURSUITS_MAX:
            self.blocks[digest] = Pursuit(view, holders, due_ms)

    def want_payloads(self, block: Digest, view: View, holders: tuple[ValidatorIndex, ...], due_ms: int) -> None:
        if block in self.payloads:
            self.payloads[block].hurry(due_ms)
        elif len(self.payloads) < PAYLOAD_PURSUITS_MAX:
            self.payloads[block] = Pursuit(view, holders, due_ms)

    def want_certificates(self, view: View, holders: tuple[ValidatorIndex, ...], due_ms: int) -> None:
        if self.certificates is None:
            self.certificates = Pursuit(view, holders, due_ms)
        else:
            self.certificates.hurry(due_ms)

    def want_chain(self, view: View, holders: tuple[ValidatorIndex, ...], due_ms: int) -> None:
        if self.chain is None:
            self.chain = Pursuit(view, holders, due_ms)
        else:
            self.chain.view = max(self.chain.view, view)

    def due_ms(self) -> int | None:
        """When the next of them is to be asked for."""
        pursuits = [*self.blocks.values(), *self.payloads.values(), self.certificates, self.chain, self.views]
        return min([p.due_ms for p in pursuits if p is not None], default=None)
