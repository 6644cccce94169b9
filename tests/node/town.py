"""Four loops in one thread: frames travel through queues, time moves when the test says so. Every run is the same."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from consensus.types import Digest
from ledger.payload import Payload, parse_payload
from ledger.statement import Statement
from node.acquire import answer_fetch
from node.former import FormerMembers
from node.network.peer_id import peer_id_of
from node.rpc.types import OnResult
from node.validation import HeldPayload, catalogues, check_author, check_statements
from node.wire import Fetch
from tests.ledger.builders import public_key
from tests.node.nodes import MEMBERS, Bench, FakeClock, Results, Said, make_folder

STEPS_MAX = 200_000


class Wires(Said):
    """An outbox whose frames arrive at the other loops, in order, when the town delivers them."""

    def __init__(self, town: Town, member: str) -> None:
        super().__init__()
        self._town = town
        self._member = member

    def _say(self, to: str, frame: bytes) -> None:
        self.consensus.append((to, frame))
        for other in self._town.validators(self._member) if to == "*" else (to,):
            self._town.post(self._member, other, lambda node, sender, f=frame: node.loop.frame(sender, f))

    def broadcast_payload(self, frame: bytes) -> None:
        self.payloads.append(frame)
        for other in self._town.configs:
            self._town.post(self._member, other, lambda node, _sender, f=frame: self._town.take_payload(node, f))


class Town:
    """The nodes by member id; `None` where one is down. Fetching is one hop: from the first who has it."""

    def __init__(self, folder: Path, members: Sequence[str] = MEMBERS) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.nodes: dict[str, Bench] = {}
        self.configs = {member: make_folder(folder / member, member) for member in dict.fromkeys((*MEMBERS, *members))}
        self._mail: deque[tuple[str, str, Callable[[Bench, str], None]]] = deque()
        self.lost: set[tuple[str, str]] = set()
        """(sender, receiver) pairs whose frames are dropped."""
        self.payloads_pushed = True
        for member in members:
            self.start(member)
        self.run()

    # ---- nodes -------------------------------------------------------------------------------------------------------

    def start(self, member: str, *, hear_first: int = 0) -> Bench:
        def fetch(digests: Iterable[Digest], holders: Sequence[str]) -> None:
            for digest in digests:
                self.post(member, member, lambda node, _sender, d=digest: self._fetch(node, d))

        node = Bench(
            self.configs[member], clock=self.clock, said=Wires(self, member), fetch=fetch, hear_first=hear_first
        )
        self.nodes[member] = node
        node.loop.start()
        self.connect(member)
        return node

    def connect(self, member: str) -> None:
        """Lets the node and all others know that they can reach each other, those that can."""
        for other in self.nodes:
            if other != member:
                self.post(other, member, lambda node, sender: node.loop.connected(sender))
                self.post(member, other, lambda node, sender: node.loop.connected(sender))

    def validators(self, member: str) -> tuple[str, ...]:
        """To whom a node's broadcast goes: it may be in an earlier epoch than others."""
        return tuple(each.id for each in self.nodes[member].store.rosters.current.validator_members())

    def tell(self, member: str, by: str) -> None:
        """A node that has gone on proves so to one whose member was removed, as the network does when that dials."""
        node = self.nodes[by]
        for frame in FormerMembers(node.store)(peer_id_of(public_key(member, "peer"))):
            self.nodes[member].loop.told(by, frame)

    def can_talk(self, sender: str, receiver: str) -> bool:
        """Whether each is a member as far as the other knows, so that the network lets them speak."""
        return sender == receiver or all(
            one not in self.nodes or self.nodes[one].store.rosters.current.member(other) is not None
            for one, other in ((sender, receiver), (receiver, sender))
        )

    def stop(self, member: str) -> None:
        """As kill -9 would: what is not on disk is gone, and so are the frames on their way."""
        self.nodes.pop(member).close()
        self._mail = deque(item for item in self._mail if member not in item[:2])

    def restart(self) -> None:
        """All at once, as after a power cut."""
        members = list(self.nodes)
        for member in members:
            self.stop(member)
        for member in members:
            self.start(member)

    def close(self) -> None:
        for member in list(self.nodes):
            self.stop(member)

    def __getitem__(self, member: str) -> Bench:
        return self.nodes[member]

    # ---- mail and time -----------------------------------------------------------------------------------------------

    def post(self, sender: str, receiver: str, deliver: Callable[[Bench, str], None]) -> None:
        if (sender != receiver or sender in self.nodes) and (sender, receiver) not in self.lost:
            self._mail.append((sender, receiver, deliver))

    def deliver(self) -> None:
        """Everything that is on its way, and what comes of it."""
        for _ in range(STEPS_MAX):
            if not self._mail:
                return
            sender, receiver, deliver = self._mail.popleft()
            node = self.nodes.get(receiver)
            if node is not None and self.can_talk(sender, receiver):
                deliver(node, sender)
        raise AssertionError(f"still not quiet after {STEPS_MAX} frames")

    def run(self, until: Callable[[], bool] | None = None, *, for_ms: int = 20_000) -> None:
        """Delivers and lets time pass, from one due moment to the next; until nothing is due, or `until` holds."""
        end_ms = self.clock.now_ms + for_ms
        while True:
            self.deliver()
            if until is not None and until():
                return
            dues = [due for node in self.nodes.values() if (due := node.loop.due_ms()) is not None]
            if not dues or min(dues) > end_ms:
                assert until is None, f"not within {for_ms} ms"
                return
            # Every frame takes a millisecond: time passes even where everything is due at once.
            self.clock.now_ms = max(self.clock.now_ms + 1, min(dues))
            for node in list(self.nodes.values()):
                node.loop.tick()

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def take_payload(self, node: Bench, frame: bytes) -> None:
        payload = parse_payload(frame)
        if self.payloads_pushed and not node.store.has_payload(payload.digest):
            self._hold(node, payload)

    def _fetch(self, node: Bench, digest: Digest) -> None:
        if node.store.has_payload(digest):
            return
        for other in self.nodes.values():
            (found,) = answer_fetch(other.store, Fetch(payloads=True, digests=(digest,)), 2**22)
            if found is not None:
                self._hold(node, parse_payload(found))
                return

    def _hold(self, node: Bench, payload: Payload) -> None:
        roster = node.store.rosters.of_payload(payload)
        check_author(payload, roster)
        statements = check_statements(payload, roster)
        bodies = {s.digest: self._body(node, s) for s, _ in catalogues(statements)}
        node.store.put_payloads([payload])
        node.loop.held(HeldPayload(payload=payload, statements=statements, bodies=bodies))

    def _body(self, node: Bench, statement: Statement) -> tuple[bytes, ...]:
        from node.validation import load_body

        ((_, header),) = catalogues([statement])
        holder = next(n for n in self.nodes.values() if n.store.blob(header.manifest) is not None)
        manifest = holder.store.blob(header.manifest)
        assert manifest is not None
        digests = [Digest(manifest[at : at + 32]) for at in range(0, len(manifest), 32)]
        chunks = [blob for d in digests if (blob := holder.store.blob(d)) is not None]
        assert [hashlib.sha256(c).digest() for c in chunks] == digests
        node.store.put_blobs([manifest, *chunks])
        return load_body(header, node.store.blob)

    # ---- using it ----------------------------------------------------------------------------------------------------

    def submit(self, member: str, statement: Statement, body: tuple[bytes, ...] = ()) -> Results:
        results = Results()
        self.nodes[member].loop.accept(statement, body, results)
        return results

    def submit_to(self, member: str, statement: Statement, on_result: OnResult) -> None:
        self.nodes[member].loop.accept(statement, (), on_result)

    def sizes(self) -> dict[str, int]:
        return {member: node.store.size for member, node in self.nodes.items()}

    def roots(self) -> set[tuple[int, bytes]]:
        """(size, root) of every running node's log."""
        return {(f.size, f.root()) for f in (node.store.frontier() for node in self.nodes.values())}

    def is_complete(self, size: int) -> bool:
        """Whether every running node has a checkpoint of `size` leaves that a quorum signed."""
        return all(node.store.latest_complete() == size for node in self.nodes.values())
