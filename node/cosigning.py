"""Turns executed blocks into checkpoints that a quorum of institutions has signed (design D8).

Who signs a checkpoint is a validator of the epoch of its block, with the keys of that epoch, whenever it signs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from consensus.errors import InvalidSignature, LocalError, MalformedMessage, PeerError
from consensus.types import Digest
from ledger.checkpoint import Checkpoint, check_cosignature, cosigner_key, log_key
from ledger.genesis import Member
from ledger.note import check_note_signature
from node.rosters import Rosters
from node.signer import KeyRing
from node.store.chain import ChainStore, Cosigned
from node.wire import Cosignature, CosignatureRequest

log = logging.getLogger(__name__)

AHEAD_PER_MEMBER_MAX = 64
"""Cosignatures kept for sizes this node has not reached, for each member that sent them; the newest stay."""
DIFFERING_SIZES_MAX = 1024
"""Incomplete checkpoints for which validators that signed another root are remembered; the newest stay."""
REPEAT_MS = 1_000
"""How often an incomplete latest checkpoint is signed for again, and others' signatures asked for."""
WRITE_WAIT_MS = 25
"""How long signatures wait in memory for the next commit to take them to disk; then they get a transaction of their
own. Whoever loses them by a crash signs its own again and asks for the others': a transaction each was waiting half
of a node's time for the disk."""
SIZES_IN_MEMORY_MAX = 64
"""Newest checkpoints whose signatures are in memory; those of older ones are read from the store."""


class LogDiverged(LocalError):
    """So many validators signed another root for the same size that this node's own log must be wrong. It halts."""

    def __init__(self, size: int, members: Iterable[str]) -> None:
        super().__init__(
            f"at size {size} the validators {', '.join(sorted(members))} signed another root than this node's: "
            "it has stopped; run `stretto store check` on its data folder and compare with the others"
        )
        self.size = size


class _Ahead(NamedTuple):
    """What a kept cosignature is found by. cosigner: the name it claims, unchecked."""

    sender: str
    size: int
    cosigner: str


class Cosigning:
    """Signs this node's checkpoints, gathers the others', completes them at a quorum of distinct validators.

    Invariant: nothing is signed below, or in contradiction to, the watermark in the store, also after a restart.
    """

    def __init__(
        self,
        *,
        rosters: Rosters,
        store: ChainStore,
        keys: KeyRing,
        broadcast: Callable[[Cosignature | CosignatureRequest], None],
        reject: Callable[[str, PeerError], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self._rosters = rosters
        self._store = store
        self._keys = keys
        self._broadcast = broadcast
        self._reject = reject
        self._wall_ms = wall_ms
        self._ahead: OrderedDict[_Ahead, Cosignature] = OrderedDict()
        self._differing: dict[int, set[str]] = {}
        self._gathered: dict[int, dict[str, Cosignature]] = {}
        """By size and the cosigner's name: signatures held, written or not."""
        self._unwritten: list[Cosigned] = []
        self._write_at_ms: int | None = None
        self._latest: Cosignature | None = None
        self._latest_size = 0
        self._latest_complete = store.latest_complete() or 0
        self._now_ms = 0
        """Of the last tick: a signature is repeated some time after it, not at once."""
        self._repeat_at_ms = 0

    @property
    def latest_complete(self) -> int:
        """Leaves in the newest checkpoint with a quorum; 0 before the first."""
        return self._latest_complete

    def sign(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Signs each, ascending, and tells the others. The watermark is on disk before a signature leaves.

        It covers them all at once: a crash in between costs signatures of sizes that the last one's subsumes.
        """
        reached = tuple(checkpoints)
        signing = tuple(each for each in reached if self._keys.signer(self._rosters.of_size(each.size)) is not None)
        if signing and self._store.cosigned_watermark() != (signing[-1].size, signing[-1].root):
            # Else it moved with the commit that made them.
            self._store.record_cosigned(signing[-1].size, signing[-1].root)
        for checkpoint in signing:
            signer = self._keys.signer(self._rosters.of_size(checkpoint.size))
            assert signer is not None, "the others were left out"
            cosignature = signer.checkpoint(checkpoint, self._wall_ms() // 1000)
            self._keep(checkpoint, signer.member.id, cosignature)
            self._latest = cosignature
            self._broadcast(cosignature)
        self.reached(reached)

    def reached(self, checkpoints: Iterable[Checkpoint]) -> None:
        """This node's log has come to these sizes, ascending; whether it signs them or not, it wants all signatures."""
        for checkpoint in checkpoints:
            self._latest_size = checkpoint.size
            self._repeat_at_ms = self._now_ms + REPEAT_MS
            self._take_kept(checkpoint)
        for key in [k for k in self._ahead if k.size <= self._latest_size]:
            del self._ahead[key]  # a size between this node's block boundaries: no correct node signs it

    def _take_kept(self, checkpoint: Checkpoint) -> None:
        """Nothing that a peer sent ahead of time may be raised here: a commit is on its way."""
        for key in [k for k in self._ahead if k.size == checkpoint.size]:
            try:
                self._take(checkpoint, self._ahead.pop(key))
            except PeerError as error:
                self._reject(key.sender, error)

    def resume(self, *, sign: bool = True) -> None:
        """After a start: signs the newest boundary again where it is not complete yet (the same size, so allowed).

        sign: False where this node may not: then it gathers the others'.
        """
        size = self._store.head().size
        checkpoint = self._store.checkpoint_at(size) if size else None
        if checkpoint is not None and size > self._latest_complete:
            self.sign([checkpoint]) if sign else self.reached([checkpoint])

    def received(self, sender: str, cosignature: Cosignature) -> None:
        """Another validator's signatures, first hand or passed on. Raises: PeerError where they are not valid."""
        checkpoint = self._store.checkpoint_at(cosignature.size)
        if checkpoint is not None:
            self._take(checkpoint, cosignature)
            return
        if cosignature.size <= self._store.head().size:
            raise MalformedMessage("cosignature", "size", f"a block boundary, got {cosignature.size} from {sender}")
        # This node is behind: keep it until it gets there. Each member has room of its own: a flood costs only itself.
        self._ahead[_Ahead(sender, cosignature.size, cosignature.cosignature.name)] = cosignature
        kept = [key for key in self._ahead if key.sender == sender]
        if len(kept) > AHEAD_PER_MEMBER_MAX:
            del self._ahead[kept[0]]

    def answer(self, request: CosignatureRequest) -> tuple[Cosignature, ...]:
        """All signatures held for the checkpoint of that size."""
        checkpoint = self._store.checkpoint_at(request.size)
        if checkpoint is None:
            return ()
        return tuple(cosignature for _, cosignature in sorted(self._signatures(checkpoint).items()))

    def tick(self, now_ms: int) -> None:
        """Writes what waited long enough. While the latest checkpoint is incomplete: repeats the own signature, asks
        for the others'."""
        self._now_ms = now_ms
        if self._write_at_ms is not None and now_ms >= self._write_at_ms:
            self.write()
        if self._latest_size <= self._latest_complete or now_ms < self._repeat_at_ms:
            return
        self._repeat_at_ms = now_ms + REPEAT_MS
        if self._latest is not None and self._latest.size == self._latest_size:
            self._broadcast(self._latest)
        self._broadcast(CosignatureRequest(size=self._latest_size))

    def due_ms(self) -> int | None:
        """When `tick` has something to do."""
        if self._latest_size <= self._latest_complete:
            return self._write_at_ms
        return self._repeat_at_ms if self._write_at_ms is None else min(self._repeat_at_ms, self._write_at_ms)

    def take_unwritten(self) -> tuple[Cosigned, ...]:
        """Signatures not on disk yet, for a transaction that the caller is about to make."""
        taken, self._unwritten, self._write_at_ms = tuple(self._unwritten), [], None
        return taken

    def write(self) -> None:
        """Puts on disk what is only in memory."""
        unwritten = self.take_unwritten()
        if unwritten:
            self._store.put_cosignatures(unwritten)

    def _take(self, checkpoint: Checkpoint, cosignature: Cosignature) -> None:
        """Raises: PeerError; LogDiverged."""
        claimed = Checkpoint(origin=checkpoint.origin, size=cosignature.size, root=cosignature.root)
        if claimed == checkpoint and cosignature.cosignature.name in self._signatures(checkpoint):
            return  # everybody repeats itself and passes on what it holds: only news is worth checking
        member = self._cosigner(claimed, cosignature).id
        if claimed != checkpoint:
            self._differs(checkpoint.size, member)
            raise PeerError(f"{member} signed another root than this node's for size {checkpoint.size}")
        self._keep(checkpoint, member, cosignature)

    def _signatures(self, checkpoint: Checkpoint) -> dict[str, Cosignature]:
        """By cosigner's name: all that is held for one of this node's checkpoints."""
        found = self._gathered.get(checkpoint.size)
        if found is None:
            waiting = [(c.log, c.cosignature) for c in self._unwritten if c.checkpoint.size == checkpoint.size]
            found = {
                cosignature.name: Cosignature(
                    size=checkpoint.size, root=Digest(checkpoint.root), log=log, cosignature=cosignature
                )
                for log, cosignature in (*self._store.cosignatures(checkpoint.size), *waiting)
            }
            self._gathered[checkpoint.size] = found
            if len(self._gathered) > SIZES_IN_MEMORY_MAX:
                del self._gathered[min(self._gathered)]
        return found

    def _differs(self, size: int, member: str) -> None:
        """Raises: LogDiverged."""
        if size <= self._latest_complete:
            return  # a quorum signed what this node has: who differs there is wrong, however many they are
        differing = self._differing.setdefault(size, set())
        differing.add(member)
        # f + 1 include an honest one: then the log that differs is this node's own (design D4).
        if len(differing) > self._rosters.of_size(size).committee().faults_max:
            raise LogDiverged(size, differing)
        if len(self._differing) > DIFFERING_SIZES_MAX:
            del self._differing[min(self._differing)]

    def _cosigner(self, checkpoint: Checkpoint, cosignature: Cosignature) -> Member:
        """The validator whose two valid signatures these are. Raises: InvalidSignature."""
        roster = self._rosters.of_size(checkpoint.size)
        for member in roster.validator_members():
            if cosignature.cosignature.name == roster.cosign_name(member.id):
                origin = checkpoint.origin
                check_cosignature(
                    checkpoint, cosignature.cosignature, cosigner_key(origin, member.id, member.keys.cosign)
                )
                check_note_signature(checkpoint.body(), cosignature.log, log_key(origin, member.keys.log))
                return member
        raise InvalidSignature(cosignature.cosignature.name, f"the checkpoint of {checkpoint.size} leaves")

    def _keep(self, checkpoint: Checkpoint, member: str, cosignature: Cosignature) -> None:
        held = self._signatures(checkpoint)
        if cosignature.cosignature.name not in held:
            held[cosignature.cosignature.name] = cosignature
            self._unwritten.append(
                Cosigned(checkpoint=checkpoint, member=member, log=cosignature.log, cosignature=cosignature.cosignature)
            )
            if self._write_at_ms is None:
                self._write_at_ms = self._now_ms + WRITE_WAIT_MS
        if len(held) >= self._rosters.of_size(checkpoint.size).quorum and checkpoint.size > self._latest_complete:
            self._latest_complete = checkpoint.size
            self._differing = {size: who for size, who in self._differing.items() if size > checkpoint.size}
