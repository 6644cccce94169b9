"""`stretto store check`: proves a whole store from its genesis. Nothing in it is believed, everything is recomputed.

Reads one snapshot, so it may run beside a running node; that node's file grows meanwhile, since the snapshot's pages
cannot be reused. Memory stays small whatever the size of the store.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import lmdb

from consensus.errors import StrettoError
from ledger.checkpoint import Checkpoint, check_cosignature, cosigner_key, log_key
from ledger.ed25519 import verify_strict
from ledger.genesis import Genesis
from ledger.merkle import root_at
from ledger.note import check_note_signature
from ledger.payload import check_payload, parse_payload
from node.rosters import Rosters
from node.store import chain_signatures, misbehaviour, schema
from node.store.errors import StoreNotReady
from node.store.index_check import check_rows
from node.store.reader import StoreReader
from node.store.replay import Replay
from node.store.replay_epochs import Contradiction
from node.store.schema import key, number
from node.store.view import View

Progress = Callable[[int, int], None]
"""(blocks replayed, blocks in all)."""

_ANY_FAULT: Final = (
    StrettoError, lmdb.Error, struct.error, ValueError, TypeError, ArithmeticError, LookupError, AssertionError
)  # fmt: skip
"""What reading or decoding spoilt bytes may raise: that it did is the finding."""


class Outcome(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """One thing that was checked. reason: how much is right, or what is wrong where, or why it was not looked at."""

    name: str
    outcome: Outcome
    reason: str


class _NotChecked(Exception):
    """Cannot be checked after what failed before."""


class _Checks:
    """Collects outcomes."""

    def __init__(self) -> None:
        self.results: list[StoreCheck] = []

    @contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """One check; the body fills in what it found, and whatever it raises is a finding too."""
        found: list[str] = []
        try:
            yield found
        except _NotChecked as error:
            self._add(name, Outcome.NOT_CHECKED, str(error))
        except Contradiction as error:
            self._add(name, Outcome.FAILED, str(error))
        except _ANY_FAULT as error:
            self._add(name, Outcome.FAILED, f"{type(error).__name__}: {error}")
        else:
            self._add(name, Outcome.PASSED, "; ".join(found))

    def _add(self, name: str, outcome: Outcome, reason: str) -> None:
        self.results.append(StoreCheck(name=name, outcome=outcome, reason=reason))


def _silent(_done: int, _of: int) -> None:
    pass


def check_store(path: Path, genesis: Genesis, progress: Progress = _silent) -> tuple[StoreCheck, ...]:
    """Every check with its outcome and reason; the store is right if all have passed."""
    checks = _Checks()
    reader = StoreReader(path, genesis)
    try:
        with reader.view() as view:
            _check_view(view, genesis, checks, progress)
    except StoreNotReady:
        raise
    except _ANY_FAULT as error:
        checks.results.append(StoreCheck(name="open", outcome=Outcome.FAILED, reason=str(error)))
    finally:
        reader.close()
    return tuple(checks.results)


def _check_view(view: View, genesis: Genesis, checks: _Checks, progress: Progress) -> None:
    with closing(Replay(view, genesis)) as replay:
        _check_replayed(view, genesis, replay, checks, progress)


def _check_replayed(view: View, genesis: Genesis, replay: Replay, checks: _Checks, progress: Progress) -> None:
    head = view.counters().height
    with checks.check("open") as found:
        found.append(f"schema {schema.SCHEMA}, genesis {genesis.digest.hex()}")
    with checks.check("replay from genesis") as found:
        replay.start()
        for height in range(1, head + 1):
            replay.block(height)
            progress(height, head)
        found.append(
            f"{head} blocks, {replay.finalizations} finalizations, {replay.payloads} payloads, "
            f"{replay.statements} statements with valid signatures, {replay.size - replay.statements} leaves that "
            f"follow from them, {replay.claims} claims, epoch {replay.rosters.epoch}"
        )
    done = replay.height == head
    with checks.check("state after the last block") as found:
        _require(done, replay)
        replay.check_end()
        found.append(f"root {replay.frontier.root().hex()}")
    with checks.check("cosignatures") as found:
        _require(done, replay)
        found.append(_check_cosignatures(view, replay.rosters))
    with checks.check("cosigned watermark") as found:
        found.append(_check_watermark(view))
    with checks.check("chain signatures") as found:
        _require(done, replay)
        found.append(_check_chain_signatures(view, replay.rosters))
    with checks.check("index") as found:
        _require(done, replay)
        found.append(check_rows(view, replay.rows))
    with checks.check("pending payloads") as found:
        _require(done, replay)
        found.append(_check_pending(view, replay))
    with checks.check("blobs") as found:
        _require(done, replay)
        found.append(_check_blobs(view, replay))
    with checks.check("misbehaviour") as found:
        _require(done, replay)
        found.append(_check_misbehaviour(view, replay.rosters))


def _require(done: bool, replay: Replay) -> None:
    if not done:
        raise _NotChecked(f"the replay stopped after block {replay.height}")


def _check_cosignatures(view: View, rosters: Rosters) -> str:
    """Every signature held is a validator's of that epoch over this store's own checkpoint; complete has a quorum."""
    held: dict[int, int] = {}
    for stored_key, _ in view.items(view.tables.cosignatures):
        size, member_id = number(stored_key), stored_key[8:].decode()
        held[size] = held.get(size, 0) + 1
        if held[size] > 1:
            continue
        checkpoint, roster = _own_checkpoint(view, size), rosters.of_size(size)
        for signer, log, cosignature in view.cosignatures(size):
            member = roster.member(signer)
            if member is None or not member.validator:
                raise Contradiction(f"cosignature of {member_id} at size {size}", "is of no validator")
            check_note_signature(checkpoint.body(), log, log_key(rosters.origin, member.keys.log))
            check_cosignature(checkpoint, cosignature, cosigner_key(rosters.origin, signer, member.keys.cosign))
    complete = [number(stored_key) for stored_key, _ in view.items(view.tables.complete)]
    quorate = sorted(size for size, count in held.items() if count >= rosters.of_size(size).quorum)
    if complete != quorate:
        odd = sorted(set(complete) ^ set(quorate))[0]
        raise Contradiction(f"checkpoint of size {odd}", "is marked complete without a quorum, or has one unmarked")
    return f"{sum(held.values())} over {len(held)} checkpoints, {len(complete)} complete"


def _own_checkpoint(view: View, size: int) -> Checkpoint:
    checkpoint = view.checkpoint_at(size)
    if checkpoint is None:
        raise Contradiction(f"cosignatures at size {size}", "are over no block boundary of this store")
    return checkpoint


def _check_watermark(view: View) -> str:
    signed = view.watermark()
    if signed is None:
        return "nothing was cosigned yet"
    size, root = signed
    if size > view.counters().size or root_at(size, view.tree_hash) != root:
        raise Contradiction(f"watermark at size {size}", "is not a tree of this store: do not let this node cosign")
    return f"size {size}"


def _check_pending(view: View, replay: Replay) -> str:
    """Payloads are numbered without gaps but for those dropped; pending are just those in no block, and valid."""
    count = view.counters().payloads
    waiting = dict(view.items(view.tables.pending))
    dropped = {} if view.tables.dropped is None else dict(view.items(view.tables.dropped))
    for stored_key, epoch in dropped.items():
        if replay.was_ordered(number(stored_key)) or number(epoch) >= replay.rosters.epoch:
            raise Contradiction(f"payload {number(stored_key)}", "was dropped before its epoch ended, or is in a block")
    seen, next_at = 0, 0
    for stored_key, data in view.items(view.tables.payloads):
        at = number(stored_key)
        if not all(key(gone) in dropped for gone in range(next_at, at)):
            raise Contradiction(f"payload {next_at}", "is missing")
        seen, next_at = seen + 1, at + 1
        digest = waiting.pop(stored_key, None)
        if (digest is None) != replay.was_ordered(at):
            raise Contradiction(f"payload {at}", "is in a block and pending, or in neither")
        if digest is not None:
            payload = parse_payload(data)
            check_payload(payload, replay.rosters.of_payload(payload).committee(), verify_strict)
            if payload.digest != digest or view.payload_number(digest) != at:
                raise Contradiction(f"payload {at}", "is not the one its digest names")
    if waiting or seen + len(dropped) != count or view.entries_in(view.tables.payload_numbers) != seen:
        raise Contradiction("payloads", f"{seen} are there and {len(dropped)} dropped, {count} were stored")
    return f"{seen - replay.payloads} of {seen} payloads, {len(dropped)} dropped"


def _check_misbehaviour(view: View, rosters: Rosters) -> str:
    """Every piece of evidence proves what it says: none accuses anybody by a damaged record."""
    count, fault = misbehaviour.check(view.txn, view.tables.misbehaviour, rosters)
    if fault is not None:
        raise Contradiction(f"evidence {count}", f"proves nothing: {fault}")
    return f"{count} proven"


def _check_chain_signatures(view: View, rosters: Rosters) -> str:
    """Every signature is a validator's over this store's own checkpoint; complete has a quorum; one end an epoch."""
    found, fault = chain_signatures.check(view, view.path, rosters)
    if fault is not None:
        raise Contradiction("signatures for public chains", fault)
    return found


def _check_blobs(view: View, replay: Replay) -> str:
    """Every blob is what its name says, and is either a recorded catalogue's or an upload."""
    uploads = {digest for digest, _ in view.items(view.tables.uploads)}
    count = 0
    for digest, data in view.items(view.tables.blobs):
        count += 1
        if hashlib.sha256(data).digest() != digest:
            raise Contradiction(f"blob {digest.hex()}", "has other bytes than its name says")
        if (digest in replay.blobs) == (digest in uploads):
            raise Contradiction(f"blob {digest.hex()}", "is needed and marked as upload, or neither")
    if count != len(replay.blobs | uploads):
        raise Contradiction("blobs", f"{len(replay.blobs | uploads)} are named, {count} are there")
    return f"{count}, of which {len(uploads)} uploads"
