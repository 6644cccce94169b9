"""A checkpoint that the operator pins: what a node that syncs may take on trust below it, until it has proven it.

The pin is a C2SP note, cosigned by a quorum. Statements below its size need no signature check of their own if the
whole log up to there has the pinned root. Until that was seen this node neither serves nor votes, and a file beside the
store says so: a restart without the pin must not forget that something was taken on trust.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from consensus.errors import LocalError, PeerError
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.note import NOTE_BYTES_MAX, Note, parse_note
from ledger.policy import consortium_policy
from ledger.roster import Roster
from node.store.chain import ChainStore

log = logging.getLogger(__name__)

MARKER = "unproven.checkpoint"
"""Beside the store's files, from before the first statement is taken on trust until the pinned root was met."""

COSIGNERS_MIN = 3
"""The quorum of the smallest committee: who has fewer needs no look at rosters that are not known yet."""


class PinUnusable(LocalError):
    """The pinned checkpoint cannot be used. reason: why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}; config.toml, sync.checkpoint: expected a checkpoint that a quorum cosigned"
        )
        self.path = path
        self.reason = reason


class PinMismatch(LocalError):
    """The log that was synced is not the one that was pinned. size: leaves. pinned, own: roots."""

    def __init__(self, folder: Path, size: int, pinned: bytes, own: bytes | None) -> None:
        here = "no block here ends there" if own is None else f"the root here is {own.hex()}"
        super().__init__(
            f"the pinned checkpoint of {size} leaves has the root {pinned.hex()}, but {here}: this node has served and "
            f"voted for nothing. Compare the checkpoint with other members; if the pin was right, delete {folder} and "
            "sync again from other peers; if it was wrong, delete the folder and sync with the right one"
        )
        self.size = size
        self.pinned = pinned
        self.own = own


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    path: Path
    note: Note
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """Leaves."""
        return self.checkpoint.size


def read_pin(path: Path, origin: str) -> Pin:
    """Reads a pinned checkpoint; who signed it is checked once the roster of its epoch is known.

    Raises: PinUnusable.
    """
    try:
        data = path.read_bytes()[: NOTE_BYTES_MAX + 1]
        note = parse_note(data)
        checkpoint = parse_checkpoint(note.text)
    except OSError as error:
        raise PinUnusable(path, error.strerror or "cannot be read") from error
    except PeerError as error:
        raise PinUnusable(path, str(error)) from error
    if len({signature.name for signature in note.signatures} - {origin}) < COSIGNERS_MIN:
        raise PinUnusable(path, f"fewer than {COSIGNERS_MIN} validators cosigned it")
    if checkpoint.origin != origin:
        raise PinUnusable(path, f"it is of the log {checkpoint.origin}, this consortium's is {origin}")
    return Pin(path=path, note=note, checkpoint=checkpoint)


class Pinning:
    """Invariant: while anything in the store was taken on trust and is not proven, `is_open`, also after a restart."""

    def __init__(self, folder: Path, store: ChainStore, pin: Pin | None) -> None:
        """folder: the store's. Raises: PinUnusable; PinMismatch where the store is beyond the pin and differs."""
        self._folder = folder
        self._store = store
        left = read_pin(self._marker, store.rosters.origin) if self._marker.exists() else None
        self._left_open = left is not None
        """Whether an earlier run took statements on trust and did not come to prove it."""
        self.pins = tuple(sorted({p.size: p for p in (left, pin) if p is not None}.values(), key=lambda p: p.size))
        self._proven: set[int] = set()
        if pin is not None and left is not None and pin.size == left.size and pin.checkpoint != left.checkpoint:
            raise PinMismatch(folder, pin.size, pin.checkpoint.root, left.checkpoint.root)
        self.prove()

    @property
    def _marker(self) -> Path:
        return self._folder / MARKER

    @property
    def is_open(self) -> bool:
        """Whether a pin is not proven yet: nothing may be served or voted for."""
        return len(self._proven) < len(self.pins)

    @property
    def size(self) -> int:
        """Leaves below which statements may be taken on trust; 0 without an open pin."""
        return self.pins[-1].size if self.is_open else 0

    def begin(self) -> None:
        """Before the first statement is taken on trust: remembers it durably."""
        if self._left_open:
            return
        note = self.pins[-1].note.encode()
        temporary = self._folder / f"{MARKER}.tmp"
        with temporary.open("wb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._marker)
        self._sync_folder()
        self._left_open = True

    def prove(self) -> None:
        """Compares what the store has with the pins. Raises: PinMismatch, PinUnusable."""
        for pin in self.pins:
            if pin.size in self._proven or self._store.size < pin.size:
                continue
            own = self._store.checkpoint_at(pin.size)
            if own != pin.checkpoint:
                raise PinMismatch(self._folder, pin.size, pin.checkpoint.root, None if own is None else own.root)
            _check_signers(pin, self._store.rosters.of_size(pin.size))
            self._proven.add(pin.size)
            log.info("the log of %d leaves has the pinned root %s", pin.size, pin.checkpoint.root.hex())
        if not self.is_open and self._marker.exists():
            self._marker.unlink()
            self._sync_folder()
            self._left_open = False

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_signers(pin: Pin, roster: Roster) -> None:
    """Raises: PinUnusable where no quorum of the roster's validators signed."""
    policy = consortium_policy(
        origin=roster.origin,
        validators=[(m.id, m.keys.log, m.keys.cosign) for m in roster.validator_members()],
        quorum=roster.quorum,
    )
    try:
        policy.check(pin.note)
    except PeerError as error:
        raise PinUnusable(pin.path, f"under the roster of epoch {roster.epoch}: {error}") from error
