"""How a simulated node gets payloads and catalogue bodies held: what node/acquire.py does, one request at a time.

Payloads are pushed by their authors, bodies are fetched by hash; what passes the rules (`judge`) is stored and only
then reported to the engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consensus.errors import PeerError, RequestError
from consensus.types import Digest
from ledger.statement import Statement
from tests.simulation.judge import bodies_of

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

REQUEST_TIMEOUT_MS = 150
ROUNDS_MAX = 4
"""Rounds over everybody before a payload is given up; the engine asks again while it needs it."""
TOY = b""
"""Frame of a payload that is only a digest: tests of the engine alone need no statements."""


@dataclass(slots=True)
class Errand:
    """One payload on its way here. frame: None until it came. asked: requests sent, so that a late answer is known.

    is_own: it was cut here.
    """

    digest: Digest
    holders: tuple[int, ...]
    order: bool
    frame: bytes | None = None
    asked: int = 0
    is_own: bool = False


class Acquisition:
    """Of one life of a node: a crash loses it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._world = machine.world
        self._errands: dict[Digest, Errand] = {}

    def pushed(self, sender: int, digest: Digest, frame: bytes) -> None:
        """A payload arrived unasked."""
        self._take_up(sender, digest, frame)

    def cut(self, digest: Digest, frame: bytes) -> None:
        """A payload was cut here: it is on disk before anybody sees it, the engine included (node/author.py)."""
        self._take_up(self._machine.number, digest, frame, is_own=True)

    def _take_up(self, sender: int, digest: Digest, frame: bytes, *, is_own: bool = False) -> None:
        if digest in self._errands or digest in self._machine.disk.payloads:
            return
        if frame != TOY and not self._is_authentic(digest, frame):
            return
        self._errands[digest] = Errand(digest, (sender,), order=True, frame=frame, is_own=is_own)
        self._advance(digest)

    def fetch(self, digests: Iterable[Digest], holders: Sequence[int]) -> None:
        for digest in digests:
            if digest in self._machine.disk.payloads:
                # Held, though the engine forgot it: it is told once the step that asked is over.
                self._world.after(self._machine, 0, lambda d=digest: self._machine.hold(d, order=False))  # type: ignore[misc]
            elif digest not in self._errands:
                self._errands[digest] = Errand(digest, tuple(holders), order=self._world.consortium is not None)
                self._advance(digest)

    # ---- one errand --------------------------------------------------------------------------------------------------

    def _advance(self, digest: Digest) -> None:
        """Does what can be done now, and asks for what lacks next."""
        errand = self._errands[digest]
        if errand.frame is None:
            self._ask(errand, digest)
            return
        if errand.frame == TOY:
            self._finish(errand)
            return
        try:
            statements = self._machine.statements(errand.frame)
            lacking = self._lacking(statements)
        except (PeerError, RequestError) as error:
            del self._errands[digest]
            self._world.trace.note(self._world.now_ms, self._machine.number, f"drops a payload: {error}")
            return
        if lacking is not None:
            self._ask(errand, lacking)
        else:
            self._finish(errand)

    def _lacking(self, statements: Sequence[Statement]) -> Digest | None:
        """The first blob that is not here; bodies that are complete are checked."""
        blobs = self._machine.disk.blobs
        for _, header in bodies_of(statements):
            if header.manifest not in blobs:
                return header.manifest
            lacking = next((d for d in self._world.judge.chunks(header, blobs) if d not in blobs), None)
            if lacking is not None:
                return lacking
            self._world.judge.claims(header, blobs)
        return None

    def _finish(self, errand: Errand) -> None:
        del self._errands[errand.digest]
        assert errand.frame is not None, "only what came is finished"
        self._machine.disk.payloads[errand.digest] = errand.frame
        if errand.is_own:
            # A crash may come first: then it is taken up with what waits on the disk.
            self._world.after(self._machine, 0, lambda: self._machine.hold(errand.digest, order=errand.order))
        else:
            self._machine.hold(errand.digest, order=errand.order)

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, errand: Errand, content: Digest) -> None:
        order = [*errand.holders, *(n for n in self._machine.disk.term.members if n not in errand.holders)]
        order = [n for n in order if n != self._machine.number]
        if errand.asked >= ROUNDS_MAX * len(order):
            del self._errands[errand.digest]
            return
        holder = order[errand.asked % len(order)]
        errand.asked += 1
        asked = errand.asked

        def answered(data: bytes) -> None:
            if self._is_waiting(errand, asked) and self._take(errand, content, data):
                errand.asked = 0
                self._advance(errand.digest)

        def timed_out() -> None:
            if self._is_waiting(errand, asked):
                self._ask(errand, content)

        self._world.request(self._machine, holder, content, answered)
        self._world.after(self._machine, REQUEST_TIMEOUT_MS, timed_out)

    def _is_waiting(self, errand: Errand, asked: int) -> bool:
        return self._errands.get(errand.digest) is errand and errand.asked == asked

    def _take(self, errand: Errand, content: Digest, data: bytes) -> bool:
        """Whether `data` is what was asked for."""
        if content == errand.digest:
            if data != TOY and not self._is_authentic(content, data):
                return False
            errand.frame = data
            return True
        if hashlib.sha256(data).digest() != content:
            return False
        self._machine.disk.blobs[content] = data
        return True

    def _is_authentic(self, digest: Digest, frame: bytes) -> bool:
        """Whether these bytes are the payload of this name, signed by its author."""
        roster = self._machine.disk.term.roster
        assert roster is not None, "payloads with statements are a consortium's"
        try:
            return self._world.judge.signed(frame, roster).digest == digest
        except (PeerError, RequestError):
            return False
