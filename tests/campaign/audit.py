"""What must hold after every fault, looked up in the nodes' own stores and logs; nothing a node says is believed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import lmdb

from consensus.types import Certificate, Epoch, View, Vote, VoteKind
from ledger.merkle import root_at
from node.store.check import Outcome, check_store
from node.store.environment import LIB_VERSION
from node.store.errors import StoreError
from node.store.reader import StoreReader
from node.store.view import View as StoreView
from node.store.voting import _decode_vote
from tests.campaign.field import COMPLAINT, Field
from tests.campaign.load import Load
from tests.campaign.patience import Deadline, Expectation, until

FIRST_EPOCH = Epoch(0)
LOOK_S = 0.15
"""The witness looks so often: a voting store forgets what is final, but keeps at least the last views."""
CONVERGE_S = 30.0
CHECKPOINT_S = 20.0
CONTRADICTION_LOGGED = "two contradicting votes"


class Witness:
    """Remembers every vote seen in any voting store or certificate, and finds contradictions between them.

    A store refuses contradicting votes by itself; this one remembers across rolled back, lost and doubled stores.
    """

    def __init__(self, field: Field) -> None:
        self._members = [member.id for member in field.genesis.validator_members()]
        self._lock = threading.Lock()
        self._votes: dict[tuple[str, Epoch, View], dict[VoteKind, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        self._sources = [(node.member, node.config.voting_path) for node in field.devnet.nodes]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._thread.start()

    def also(self, member: str, path: Path) -> None:
        """Another voting store of the same member."""
        self._sources.append((member, path))

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(5)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """It looks at no store meanwhile: opening one leaves a lock file in a folder that is just being removed."""
        with self._lock:
            yield

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            for member, path in list(self._sources):
                self.look(member, path)

    def look(self, member: str, path: Path) -> None:
        """Takes in what a voting store holds now; one that is not there, or just being replaced, holds nothing."""
        with self._lock:
            try:
                with lmdb.open(str(path), readonly=True, create=False, max_dbs=4, lib_version=LIB_VERSION) as env:
                    votes, certificates = (
                        env.open_db(b"votes", create=False),
                        env.open_db(b"certificates", create=False),
                    )
                    with env.begin() as txn:
                        own = [_decode_vote(key, value) for key, value in txn.cursor(votes)]
                        proofs = [Certificate.decode(value) for _, value in txn.cursor(certificates)]
            except (lmdb.Error, OSError):
                return
            for vote in own:
                self._note(member, vote)
            for certificate in proofs:
                self._note_certificate(certificate)

    def certificate(self, certificate: Certificate) -> None:
        with self._lock:
            self._note_certificate(certificate)

    def _note_certificate(self, certificate: Certificate) -> None:
        """Of the first epoch only: who signs under which number later is not known here."""
        if certificate.vote.epoch == FIRST_EPOCH:
            for signer in certificate.signers:
                self._note(self._members[signer], certificate.vote)

    def _note(self, member: str, vote: Vote) -> None:
        self._votes[member, vote.epoch, vote.view][vote.kind].add(vote.block)

    def seen(self) -> int:
        """Votes remembered."""
        with self._lock:
            return sum(len(blocks) for kinds in self._votes.values() for blocks in kinds.values())

    def contradictions(self) -> list[str]:
        """Two digests of one kind in one view, or nullify and finalize (design D4)."""
        found = []
        with self._lock:
            for (member, epoch, view), kinds in sorted(self._votes.items()):
                where = f"in view {view} of epoch {epoch}"
                found += [f"{member}: two {kind.name} {where}" for kind, b in kinds.items() if len(b) > 1]
                if VoteKind.NULLIFY in kinds and VoteKind.FINALIZE in kinds:
                    found.append(f"{member}: NULLIFY and FINALIZE {where}")
        return found


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one node's log stands."""

    size: int
    root: bytes
    checkpoint: int


@contextmanager
def store_view(field: Field, member: str) -> Iterator[StoreView]:
    """Raises: StoreError."""
    reader = StoreReader(field[member].config.chain_path, field.genesis)
    try:
        with reader.view() as view:
            yield view
    finally:
        reader.close()


def standing(field: Field, member: str) -> Standing | None:
    """None where there is no store yet."""
    try:
        with store_view(field, member) as view:
            size = view.counters().size
            return Standing(size, root_at(size, view.tree_hash), view.latest_complete() or 0)
    except (StoreError, lmdb.Error):
        return None


def converge(field: Field, size: int) -> tuple[float, Standing]:
    """Waits until all that ought to run have the same log of at least `size` leaves. Raises: Expectation."""
    begun, deadline = time.monotonic(), Deadline(CONVERGE_S)
    while True:
        found = {member: standing(field, member) for member in field.running}
        first = next(iter(found.values()))
        if first is not None and first.size >= size and len({s and (s.size, s.root) for s in found.values()}) == 1:
            return time.monotonic() - begun, first
        if deadline.is_over():
            sizes = ", ".join(f"{member} {s.size if s else 'no store'}" for member, s in found.items())
            raise Expectation(
                f"logs did not meet at {size} leaves or more within {deadline.allowed_s():.0f} s: {sizes}"
            )
        time.sleep(0.05)


class Check(StrEnum):
    """What is looked at after every fault."""

    KEPT = "nothing acknowledged lost"
    PREFIXES = "logs equal or prefixes"
    STORES = "stretto store check"
    CHECKPOINT = "last checkpoint cosigned"
    VOTES = "no votes contradict"
    PROCESSES = "nobody ended or complained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """failed: what is wrong, under the check that found it; empty is good. The rest: how much was looked at."""

    failed: Mapping[Check, tuple[str, ...]]
    acknowledged: int
    leaves: int
    votes: int
    catch_up_s: float


Finding = tuple[Check, str]


def audit(field: Field, load: Load, witness: Witness, *, silent: frozenset[str] = frozenset()) -> Audit:
    """Every check, on every node, with the load at rest. silent: members whose log may hold a critical line now."""
    found: list[Finding] = []
    acknowledged = load.acknowledged
    least = max((one.index + 1 for one in acknowledged), default=0)
    catch_up, agreed = 0.0, Standing(0, b"", 0)
    try:
        catch_up, agreed = converge(field, least)
    except Expectation as error:
        found.append((Check.PREFIXES, str(error)))
    try:
        _await_checkpoint(field, agreed.size)
    except Expectation as error:
        found.append((Check.CHECKPOINT, str(error)))
    found += [(Check.KEPT, f"refused: {refusal}") for refusal in load.refused]
    found += [(Check.PROCESSES, f"ended by itself: {gone}") for gone in field.died()]
    for member in field.members:
        found += _check_logs(field, member, critical_is_fine=member in silent)
        try:
            found += _check_member(field, load, witness, member, agreed)
        except (StoreError, lmdb.Error) as error:
            found.append((Check.STORES, f"{member}: {error}"))
    found += [(Check.VOTES, contradiction) for contradiction in witness.contradictions()]
    return Audit(
        failed={check: told for check in Check if (told := tuple(text for which, text in found if which is check))},
        acknowledged=len(acknowledged), leaves=agreed.size, votes=witness.seen(), catch_up_s=catch_up,
    )  # fmt: skip


def _await_checkpoint(field: Field, size: int) -> None:
    """The last checkpoint becomes complete at every running node: only then can evidence be handed out."""

    def behind() -> list[str]:
        return [m for m in field.running if (s := standing(field, m)) is None or s.checkpoint < size]

    until(lambda: not behind(), f"a complete checkpoint of {size} leaves at every node that runs", CHECKPOINT_S)


def _check_logs(field: Field, member: str, *, critical_is_fine: bool) -> Iterator[Finding]:
    for line in field.new_log(member).splitlines():
        if CONTRADICTION_LOGGED in line:
            yield Check.VOTES, f"log of {member}: {line[:400]}"
        elif COMPLAINT.search(line) and not critical_is_fine:
            yield Check.PROCESSES, f"log of {member}: {line[:400]}"


def _check_member(field: Field, load: Load, witness: Witness, member: str, agreed: Standing) -> Iterator[Finding]:
    """A node that ought not to run now is held to what it had: its log must be a prefix."""
    with store_view(field, member) as view:
        size = view.counters().size
        root = root_at(min(size, agreed.size), view.tree_hash)
        for one in load.acknowledged:
            if one.index < size and view.index_of_statement(one.digest) != one.index:
                named = one.digest.hex()[:16]
                yield Check.KEPT, f"{member}: acknowledged statement {named} is not at leaf {one.index}"
            if one.index >= size and member in field.running:
                yield Check.KEPT, f"{member}: acknowledged leaf {one.index} is beyond its {size}"
        head = view.counters().height
        for height in range(1, head + 1):
            if (finalization := view.finalization(height)) is not None:
                witness.certificate(finalization)
    if size >= agreed.size and root != agreed.root:
        yield Check.PREFIXES, f"{member}: another root at {agreed.size} leaves"
    if size < agreed.size and member in field.running:
        yield Check.PREFIXES, f"{member}: {size} leaves, the others have {agreed.size}"
    if size < agreed.size and field.running:
        with store_view(field, field.running[0]) as view:
            if root_at(size, view.tree_hash) != root:
                yield Check.PREFIXES, f"{member}: its log is no prefix of {field.running[0]}'s"
    for check in check_store(field[member].config.chain_path, field.genesis):
        if check.outcome is not Outcome.PASSED:
            yield Check.STORES, f"{member}: {check.name}: {check.outcome.value}: {check.reason}"
