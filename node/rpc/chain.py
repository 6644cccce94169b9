"""GetChainCheckpoint: checkpoints with a quorum of signatures for public chains, as contracts take them."""

from __future__ import annotations

import asyncio
from typing import Final

from google.protobuf.message import Message

from ledger import secp256k1
from ledger.chain_checkpoint import ChainCheckpoint, bridge_set
from ledger.roster import Roster
from node.rpc.calls import Call
from node.rpc.errors import BeyondLog, NotReadyYet
from node.rpc.reads import freshness
from node.rpc.tail import LogTail
from node.store.reader import ReadSnapshot, StoreReader
from protos import stretto_pb2 as pb

RETRY_MS: Final = 1_000
"""Signatures for chains are made about once a second."""


class ChainService:
    """Each answer from one snapshot of the store."""

    def __init__(self, store: StoreReader, tail: LogTail) -> None:
        self._store = store
        self._tail = tail

    async def get_chain_checkpoint(self, request: pb.GetChainCheckpointRequest, call: Call) -> Message:
        """Raises: SetNotBridgeable; BeyondLog, NotReadyYet where there is none, or none within the call's deadline."""
        try:
            async with asyncio.timeout(call.remaining_s()):
                while True:
                    # Before the snapshot: what comes between the two is news then, and not missed.
                    state = self._tail.now()
                    answer = self._find(request, is_waiting=request.wait)
                    if answer is not None:
                        return answer
                    seen = (state.chain_checkpoints, state.epoch)
                    await self._tail.until(lambda news: (news.chain_checkpoints, news.epoch) != seen)  # noqa: B023
        except TimeoutError:
            field, value = _asked(request)
            raise NotReadyYet(field, value, "a checkpoint signed by a quorum within the deadline", RETRY_MS) from None

    def _find(self, request: pb.GetChainCheckpointRequest, *, is_waiting: bool) -> pb.GetChainCheckpointResponse | None:
        """None where it is not there yet and the caller waits."""
        with self._store.snapshot() as snapshot:
            rosters = snapshot.rosters()
            if request.WhichOneof("which") == "ends_epoch":
                size = _end(snapshot, request.ends_epoch, is_waiting=is_waiting)
            else:
                size = _at_least(snapshot, request.min_size, is_waiting=is_waiting)
            if size is None:
                return None
            checkpoint = snapshot.chain_checkpoint(size)
            assert checkpoint is not None, "a complete checkpoint is one of this log"
            following = rosters.of_epoch(checkpoint.epoch + 1) if checkpoint.ends_epoch else None
            return _answer(snapshot, checkpoint, rosters.of_size(size), following)


def _end(snapshot: ReadSnapshot, epoch: int, *, is_waiting: bool) -> int | None:
    """Size of the complete checkpoint that ends an epoch. Raises: SetNotBridgeable, NotReadyYet."""
    rosters = snapshot.rosters()
    size = rosters.end_of(epoch)
    if size is None:
        if is_waiting:
            return None
        raise NotReadyYet("ends_epoch", str(epoch), f"an epoch that has ended, below {rosters.epoch}", RETRY_MS)
    for each in (rosters.of_epoch(epoch), rosters.of_epoch(epoch + 1)):
        assert each is not None, "it has ended, so the next one has begun"
        bridge_set(each)
    return _complete(snapshot, size, "ends_epoch", str(epoch), is_waiting=is_waiting)


def _at_least(snapshot: ReadSnapshot, min_size: int, *, is_waiting: bool) -> int | None:
    """Size of the first complete one from `min_size` on; of the latest, where that is 0. Raises: SetNotBridgeable."""
    size = snapshot.chain_complete_from(min_size) if min_size else snapshot.latest_chain_checkpoint()
    if size is not None or is_waiting:
        if size is None:
            bridge_set(snapshot.rosters().current)
        return size
    if min_size > snapshot.size:
        raise BeyondLog("min_size", str(min_size), f"at most {snapshot.size}, this node's leaves")
    bridge_set(snapshot.rosters().current)
    raise NotReadyYet("min_size", str(min_size or "latest"), "a checkpoint signed by a quorum for chains", RETRY_MS)


def _complete(snapshot: ReadSnapshot, size: int, field: str, value: str, *, is_waiting: bool) -> int | None:
    if snapshot.chain_complete_from(size) == size:
        return size
    if is_waiting:
        return None
    held = len(snapshot.chain_signatures(size))
    quorum = snapshot.rosters().of_size(size).quorum
    raise NotReadyYet(field, value, f"{quorum} signatures, {held} are here", RETRY_MS)


def _asked(request: pb.GetChainCheckpointRequest) -> tuple[str, str]:
    if request.WhichOneof("which") == "ends_epoch":
        return "ends_epoch", str(request.ends_epoch)
    return "min_size", str(request.min_size or "latest")


def _answer(
    snapshot: ReadSnapshot, checkpoint: ChainCheckpoint, roster: Roster, following: Roster | None
) -> pb.GetChainCheckpointResponse:
    by_member = dict(snapshot.chain_signatures(checkpoint.size))
    return pb.GetChainCheckpointResponse(
        consortium=roster.consortium,
        epoch=checkpoint.epoch,
        size=checkpoint.size,
        root=checkpoint.root,
        successor=checkpoint.successor,
        validators=roster.chain_validators,
        signatures=[
            pb.ChainSignature(
                member=member.id, address=secp256k1.address(member.keys.chain), signature=by_member[member.id]
            )
            for member in roster.chain_validators.values()
            if member.id in by_member
        ],
        next_validators=() if following is None else following.chain_validators,
        current_epoch=snapshot.rosters().epoch,
        as_of=freshness(snapshot),
    )
