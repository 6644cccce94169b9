"""A light, continuous load, and the memory of every statement a node acknowledged as final."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from itertools import pairwise

import grpc

from cli.client import NodeClient, NodeError, NodeUnreachable, Submission
from consensus.types import Digest
from ledger.claim import Claim, ProprietaryId, Subject
from ledger.statement import sign_statement
from node.keys import load_private_key, public_bytes
from node.rpc.types import SubmissionResult, SubmissionState
from tests.campaign.field import Field
from tests.campaign.patience import until

TRY_S = 3.0
"""How long one call may take before its statements are sent again: sending again is safe."""
BURST = 16
BURST_EVERY = 8
"""Every so many calls a submitter sends a burst by stream instead of one statement."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A statement that a node called final. at: monotonic seconds when its submitter heard of it."""

    digest: Digest
    index: int
    member: str
    at: float


class Load:
    """One submitter a node, each waiting for its own statement before it sends the next."""

    def __init__(self, field: Field, pause_s: float = 0.05) -> None:
        """pause_s: of each submitter, between an answer and its next statement."""
        self._field = field
        self._pause_s = pause_s
        self._key = load_private_key(field["label"].config.key_path("statement"))
        self._public = public_bytes(self._key)
        self._lock = threading.Lock()
        self._numbers = 0
        self._acknowledged: list[Acknowledged] = []
        self.refused: list[str] = []
        """Valid statements that were refused: there should be none."""
        self.troubles = 0
        """Calls that gave no answer in time, or an error; their statements were sent again."""
        self._stopped = threading.Event()
        self._going = threading.Event()
        self._busy: set[str] = set()
        self._threads = [
            threading.Thread(target=self._submit, args=(member,), name=f"load {member}", daemon=True)
            for member in field.members
        ]
        for thread in self._threads:
            thread.start()

    @property
    def acknowledged(self) -> tuple[Acknowledged, ...]:
        with self._lock:
            return tuple(self._acknowledged)

    def go(self) -> None:
        self._going.set()

    def pause(self) -> None:
        """Returns when nobody waits for an answer any more."""
        self._going.clear()
        until(lambda: not self._busy, "the submitters to come to rest", 5 * TRY_S)

    def close(self) -> None:
        self._stopped.set()
        self._going.set()
        for thread in self._threads:
            thread.join(3 * TRY_S)

    def since(self, at: float, *, to: tuple[str, ...] = ()) -> int:
        """How many were acknowledged since, by those nodes (any, unless named)."""
        return sum(one.at >= at and (not to or one.member in to) for one in self.acknowledged)

    def until_more(self, count: int, within_s: float, *, to: tuple[str, ...] = ()) -> float:
        """Waits until so many more are acknowledged; gives the seconds it took. Raises: Expectation."""
        begun = time.monotonic()
        until(lambda: self.since(begun, to=to) >= count, f"{count} acknowledgements of {to or 'any node'}", within_s)
        return time.monotonic() - begun

    def longest_gap_s(self, begin: float, end: float) -> float:
        """Longest time without an acknowledgement that touches [begin, end], by the clock of the submitters."""
        times = sorted(one.at for one in self.acknowledged)
        before = max((at for at in times if at <= begin), default=begin)
        after = min((at for at in times if at >= end), default=end)
        points = [before, *(at for at in times if begin < at < end), after]
        return max(later - sooner for sooner, later in pairwise(points))

    # ---- a submitter's thread ----------------------------------------------------------------------------------------

    def statement(self) -> bytes:
        """A new one, of the label."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
        claim = Claim(
            subject=Subject.WORK,
            title=f"Study {number}",
            ids=(ProprietaryId(namespace="campaign", value=str(number)),),
        )
        return sign_statement(
            claim,
            client_ref=f"campaign-{number}",
            issuer="label",
            public_key=self._public,
            consortium=self._field.genesis.digest,
            sign=self._key.sign,
        )

    def _submit(self, member: str) -> None:
        calls = 0
        open_statements: list[bytes] = []
        with NodeClient(self._field[member].config.rpc, deadline_s=TRY_S) as client:
            while not self._stopped.is_set():
                if not self._going.wait(0.2) or self._stopped.is_set():
                    continue
                self._busy.add(member)
                if not open_statements:
                    calls += 1
                    open_statements = [self.statement() for _ in range(1 if calls % BURST_EVERY else BURST)]
                open_statements = self._send(client, member, open_statements)
                self._busy.discard(member)
                self._stopped.wait(self._pause_s)

    def _send(self, client: NodeClient, member: str, statements: list[bytes]) -> list[bytes]:
        """Sends them; gives those without an answer, to be sent again."""
        left = {hashlib.sha256(statement).digest(): statement for statement in statements}
        try:
            if len(statements) == 1:
                self._note(client.submit(statements[0]), member)
                return []
            for result in client.submit_many((Submission(statement=s) for s in statements), deadline_s=TRY_S):
                if result.ends:
                    self._note(result, member)
                    left.pop(result.digest, None)
        except (NodeError, NodeUnreachable, grpc.RpcError, ValueError):
            self.troubles += 1
            return list(left.values())
        return list(left.values())

    def _note(self, result: SubmissionResult, member: str) -> None:
        if result.state is SubmissionState.REFUSED:
            self.refused.append(f"{member}: {result.refusal}")
            return
        one = Acknowledged(result.digest, result.index, member, time.monotonic())
        with self._lock:
            self._acknowledged.append(one)
