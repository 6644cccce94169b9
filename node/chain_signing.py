"""Signs checkpoints for public chains and gathers the others' signatures, up to a quorum (design D12).

Not every checkpoint, as secp256k1 would cost finality its CPU. All nodes take the same ones, so that a quorum meets:
the first whose block is of another second than the one before; the latest, once it has stood for a second; and the
end of every epoch, which names the next set. Who signs is a validator of the checkpoint's epoch, with its key in that.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from consensus.errors import InvalidSignature, MalformedMessage, PeerError
from consensus.types import ValidatorIndex
from ledger.chain_checkpoint import VALIDATORS_BRIDGED_MAX, ChainCheckpoint
from ledger.chain_misbehaviour import ChainMisbehaviour, SignedChainCheckpoint
from ledger.checkpoint import Checkpoint
from node.evidence import keep_chain_evidence
from node.rosters import Rosters
from node.signer import KeyRing
from node.store.chain import ChainStore
from node.store.chain_signatures import ChainSigned
from node.wire import ChainSignature, ChainSignatureRequest

log = logging.getLogger(__name__)

IDLE_MS = 1_000
"""The latest checkpoint is signed for once it has stood for so long."""
REPEAT_MS = 1_000
"""First pause before an incomplete checkpoint is signed for again and others' signatures are asked for; it doubles."""
REPEAT_MS_MAX = 60_000
"""A set that has lost its quorum may never sign the end of its epoch: it is asked for all the same, rarely."""
WRITE_WAIT_MS = 100
"""How long signatures wait in memory for a commit to take them to disk; then they get a transaction of their own."""
AHEAD_PER_MEMBER_MAX = 64
"""Signatures kept for sizes this node has not reached, for each member that sent them; the newest stay."""
DIFFERING_PER_MEMBER_MAX = 16
"""Valid signatures over what is not this node's log, kept of each validator to be held against its others."""
ENDS_OPEN_MAX = 16
"""Ends of epochs that are gathered at one time, the earliest first: a bridge needs them in order."""
SIZES_IN_MEMORY_MAX = 64
"""Newest sizes whose signatures are in memory; those of older ones are read from the store."""


class _Ahead(NamedTuple):
    """What a kept signature is found by. member: the name it claims, unchecked."""

    sender: str
    size: int
    member: str


@dataclass
class _Wanted:
    """A checkpoint whose signatures are gathered."""

    checkpoint: ChainCheckpoint
    repeat_at_ms: int
    pause_ms: int = REPEAT_MS


class ChainSigning:
    """Signs this node's checkpoints for public chains, gathers the others' signatures, completes them at a quorum.

    Invariant: nothing is signed that the cosigning watermark does not cover, or that contradicts what was signed
    before, also after a restart; of an epoch's end the store remembers what was signed, for good.
    """

    def __init__(
        self,
        *,
        rosters: Rosters,
        store: ChainStore,
        keys: KeyRing,
        broadcast: Callable[[ChainSignature | ChainSignatureRequest], None],
        reject: Callable[[str, PeerError], None],
    ) -> None:
        self._rosters = rosters
        self._store = store
        self._keys = keys
        self._broadcast = broadcast
        self._reject = reject
        self._may_sign = False
        self._now_ms = 0
        """Of the last tick."""
        self._wanted: dict[int, _Wanted] = {}
        """By size: ends of epochs, and the newest other one."""
        self._idle: int | None = None
        """Size of the latest checkpoint while nobody has begun to sign it, and when that has stood long enough."""
        self._idle_at_ms = 0
        self._second: int | None = None
        """Of the newest checkpoint's block time."""
        self._gathered: dict[int, dict[str, bytes]] = {}
        """By size and member: signatures held, written or not."""
        self._unwritten: list[ChainSigned] = []
        self._write_at_ms: int | None = None
        self._ahead: OrderedDict[_Ahead, ChainSignature] = OrderedDict()
        self._differing: dict[str, OrderedDict[ChainCheckpoint, bytes]] = {}
        self._is_end_settled = False
        """Whether there is room to gather the end of another epoch."""
        self._unbridged = -1
        """Newest epoch of which the log says that it has no bridge."""

    # ---- what happens here -------------------------------------------------------------------------------------------

    def resume(self, *, sign: bool) -> None:
        """After a start, or a sync: takes up what lacks, the newest checkpoint among it."""
        self.write()
        self._may_sign = sign
        self._wanted.clear()
        self._gathered.clear()
        size = self._store.size
        time_ms = self._store.checkpoint_time_ms(size)
        self._second = None if time_ms is None else time_ms // 1000
        self._idle, self._idle_at_ms = size or None, self._now_ms
        self._want_ends()

    def reached(self, checkpoints: Iterable[Checkpoint], *, ended: bool, sign: bool) -> None:
        """This node's log has come to these sizes, ascending. ended: and with the last block the epoch.

        sign: whether this node may sign; else it gathers.
        """
        self._may_sign = sign
        for checkpoint in checkpoints:
            time_ms = self._store.checkpoint_time_ms(checkpoint.size)
            assert time_ms is not None, "a checkpoint is of a block that was just committed"
            is_new_second, self._second = time_ms // 1000 != self._second, time_ms // 1000
            self._idle = None
            if is_new_second:
                self._want(checkpoint.size)
            if checkpoint.size not in self._wanted:
                self._idle, self._idle_at_ms = checkpoint.size, self._now_ms + IDLE_MS
        if ended:
            self._idle = None
            self._want_ends()

    def tick(self, now_ms: int) -> None:
        """Signs what has stood long enough, writes what waited long enough, repeats what is incomplete."""
        self._now_ms = now_ms
        if self._write_at_ms is not None and now_ms >= self._write_at_ms:
            self.write()
        if self._idle is not None and now_ms >= self._idle_at_ms:
            size, self._idle = self._idle, None
            self._want(size)
        if self._is_end_settled and not self._unwritten:
            self._is_end_settled = False
            self._want_ends()
        for wanted in list(self._wanted.values()):
            if now_ms >= wanted.repeat_at_ms:
                self._repeat(wanted)

    def due_ms(self) -> int | None:
        """When `tick` has something to do."""
        dues = [wanted.repeat_at_ms for wanted in self._wanted.values()]
        dues += [] if self._write_at_ms is None else [self._write_at_ms]
        dues += [] if self._idle is None else [self._idle_at_ms]
        return min(dues, default=None)

    def take_unwritten(self) -> tuple[ChainSigned, ...]:
        """Signatures not on disk yet, for a transaction that the caller is about to make."""
        taken, self._unwritten, self._write_at_ms = tuple(self._unwritten), [], None
        return taken

    def write(self) -> None:
        """Puts on disk what is only in memory."""
        unwritten = self.take_unwritten()
        if unwritten:
            self._store.put_chain_signatures(unwritten)

    # ---- what others say ---------------------------------------------------------------------------------------------

    def received(self, sender: str, message: ChainSignature) -> None:
        """A validator's signature, first hand or passed on. Raises: PeerError where it is not valid, or differs."""
        claimed = message.checkpoint
        if claimed.epoch < self._rosters.epoch or self._is_decided(claimed.size):
            self._take(message)
            return
        # This node is behind: keep it until it gets there. Each member has room of its own: a flood costs only itself.
        self._ahead[_Ahead(sender, claimed.size, message.member)] = message
        kept = [key for key in self._ahead if key.sender == sender]
        if len(kept) > AHEAD_PER_MEMBER_MAX:
            del self._ahead[kept[0]]

    def answer(self, request: ChainSignatureRequest) -> tuple[ChainSignature, ...]:
        """All signatures held for this node's checkpoint of that size."""
        checkpoint = self._store.chain_checkpoint_at(request.size)
        if checkpoint is None:
            return ()
        return tuple(
            ChainSignature(checkpoint=checkpoint, member=member, signature=signature)
            for member, signature in sorted(self._signatures(checkpoint).items())
        )

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _is_decided(self, size: int) -> bool:
        """Whether the log has this size, and whether its epoch ends there is known."""
        held = self._store.size
        return size < held or (size == held and self._store.next_roster is None)

    def _want_ends(self) -> None:
        for size in self._store.open_chain_ends(ENDS_OPEN_MAX):
            self._want(size)
        newest = self._rosters.current
        if newest.epoch > self._unbridged and len(newest.chain_validators) > VALIDATORS_BRIDGED_MAX:
            self._unbridged = newest.epoch
            log.warning(
                "epoch %d has %d validators, contracts take up to %d: its checkpoints are signed for no public chain",
                newest.epoch, len(newest.chain_validators), VALIDATORS_BRIDGED_MAX,
            )  # fmt: skip

    def _want(self, size: int) -> None:
        """Signs for this size where it may, and gathers. Nothing where it is complete, not decided, or not bridged."""
        checkpoint = self._store.chain_checkpoint_at(size)
        if checkpoint is None or size in self._wanted:
            return
        if not checkpoint.ends_epoch:
            for other in [at for at, wanted in self._wanted.items() if not wanted.checkpoint.ends_epoch]:
                del self._wanted[other]  # the newer one subsumes it
        self._wanted[size] = _Wanted(checkpoint, self._now_ms + REPEAT_MS)
        self._sign(checkpoint)
        self._settle(checkpoint)
        self._take_kept(size)

    def _sign(self, checkpoint: ChainCheckpoint) -> None:
        signer = self._keys.signer(self._rosters.of_size(checkpoint.size)) if self._may_sign else None
        if signer is None or signer.member.id in self._signatures(checkpoint):
            return
        # Persist first: a crash between signature and record would let another log, or another end, be signed.
        self._store.cover_cosigned(checkpoint.size, checkpoint.root)
        if checkpoint.ends_epoch:
            self._store.record_chain_end(checkpoint)
        signature = signer.chain_checkpoint(checkpoint)
        self._keep(checkpoint, signature.member, signature.signature)
        self._broadcast(signature)

    def _repeat(self, wanted: _Wanted) -> None:
        wanted.repeat_at_ms = self._now_ms + wanted.pause_ms
        wanted.pause_ms = min(2 * wanted.pause_ms, REPEAT_MS_MAX)
        checkpoint = wanted.checkpoint
        signer = self._keys.signer(self._rosters.of_size(checkpoint.size))
        own = None if signer is None else self._signatures(checkpoint).get(signer.member.id)
        if signer is not None and own is not None:
            self._broadcast(ChainSignature(checkpoint=checkpoint, member=signer.member.id, signature=own))
        self._broadcast(ChainSignatureRequest(size=checkpoint.size))

    def _take_kept(self, size: int) -> None:
        """Nothing that a peer sent ahead of time may be raised here: a commit is on its way."""
        for key in [key for key in self._ahead if key.size <= size]:
            message = self._ahead.pop(key)
            if key.size == size:
                try:
                    self._take(message)
                except PeerError as error:
                    self._reject(key.sender, error)

    def _take(self, message: ChainSignature) -> None:
        """Raises: PeerError."""
        claimed, own = message.checkpoint, self._store.chain_checkpoint_at(message.checkpoint.size)
        if claimed == own and message.member in self._signatures(claimed):
            return  # everybody repeats itself and passes on what it holds: only news is worth checking
        roster = self._rosters.of_epoch(claimed.epoch)
        member = None if roster is None else roster.member(message.member)
        if member is None or not member.validator:
            raise MalformedMessage("chain signature", "member", f"a validator of epoch {claimed.epoch}")
        if not claimed.is_signed_by(member.keys.chain, self._rosters.digest, message.signature):
            raise InvalidSignature(member.id, f"the checkpoint of {claimed.size} leaves for public chains")
        self._hold_against(message)
        if claimed != own:
            self._remember(message)
            raise PeerError(f"{member.id} signed another checkpoint than this node's: {claimed.sentence()}")
        self._keep(claimed, member.id, message.signature)

    def _keep(self, checkpoint: ChainCheckpoint, member: str, signature: bytes) -> None:
        held = self._signatures(checkpoint)
        if member not in held:
            held[member] = signature
            self._unwritten.append(ChainSigned(checkpoint=checkpoint, member=member, signature=signature))
            if self._write_at_ms is None:
                self._write_at_ms = self._now_ms + WRITE_WAIT_MS
        self._settle(checkpoint)

    def _settle(self, checkpoint: ChainCheckpoint) -> None:
        """A quorum is enough: no more is asked for."""
        if len(self._signatures(checkpoint)) < self._rosters.of_size(checkpoint.size).quorum:
            return
        if self._wanted.pop(checkpoint.size, None) is not None and checkpoint.ends_epoch:
            self._is_end_settled = True

    def _signatures(self, checkpoint: ChainCheckpoint) -> dict[str, bytes]:
        """By member: all that is held for one of this node's checkpoints."""
        found = self._gathered.get(checkpoint.size)
        if found is None:
            waiting = {s.member: s.signature for s in self._unwritten if s.checkpoint == checkpoint}
            found = dict(self._store.chain_signatures(checkpoint.size)) | waiting
            self._gathered[checkpoint.size] = found
            if len(self._gathered) > SIZES_IN_MEMORY_MAX:
                del self._gathered[min(self._gathered)]
        return found

    # ---- equivocation ------------------------------------------------------------------------------------------------

    def _hold_against(self, message: ChainSignature) -> None:
        """Compares a valid signature with its validator's others; two that contradict are kept as evidence."""
        claimed = message.checkpoint
        for other, signature in self._others(message.member, claimed):
            if claimed.contradicts(other):
                roster = self._rosters.of_epoch(claimed.epoch)
                index = None if roster is None else roster.validator_index(message.member)
                assert index is not None, "its signature was checked with that roster's key"
                evidence = ChainMisbehaviour.of(
                    self._rosters.digest,
                    ValidatorIndex(index),
                    SignedChainCheckpoint(checkpoint=claimed, signature=message.signature),
                    SignedChainCheckpoint(checkpoint=other, signature=signature),
                )
                keep_chain_evidence(evidence, message.member, self._store)
                return

    def _others(self, member: str, claimed: ChainCheckpoint) -> list[tuple[ChainCheckpoint, bytes]]:
        """What a validator signed for the same size or for the end of the same epoch, as far as this node knows."""
        found = list(self._differing.get(member, {}).items())
        end = self._rosters.end_of(claimed.epoch)
        for size in {claimed.size, claimed.size if end is None else end}:
            own = self._store.chain_checkpoint_at(size)
            signature = None if own is None else self._signatures(own).get(member)
            if own is not None and signature is not None:
                found.append((own, signature))
        return found

    def _remember(self, message: ChainSignature) -> None:
        kept = self._differing.setdefault(message.member, OrderedDict())
        kept[message.checkpoint] = message.signature
        if len(kept) > DIFFERING_PER_MEMBER_MAX:
            kept.popitem(last=False)
