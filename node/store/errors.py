"""What can go wrong with the store, each with what its operator should do."""

from __future__ import annotations

from pathlib import Path

from consensus.errors import LocalError


class StoreError(LocalError):
    """Root of the store's errors. path: the environment's folder."""

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(f"{path}: {sentence}")
        self.path = path


class StoreLocked(StoreError):
    """Another process writes this store. pid: which, or None where it did not say."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(path, f"{who} has this store open for writing; stop it first, two nodes must never share one")
        self.pid = pid


class StoreNotReady(StoreError):
    """The store does not exist yet: its writer has not made it. Try again once the node runs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is no store here yet; start the node that writes it, then try again")


class SchemaTooNew(StoreError):
    """Written by a newer Stretto. found, supported: schema versions."""

    def __init__(self, path: Path, found: int, supported: int) -> None:
        super().__init__(
            path,
            f"this store has schema {found}, this program knows up to {supported}; install the Stretto release that "
            "wrote it, or let this one start with an empty data folder and fetch the log from its peers",
        )
        self.found = found
        self.supported = supported


class OtherConsortium(StoreError):
    """The store belongs to another genesis. found, expected: genesis digests."""

    def __init__(self, path: Path, found: bytes, expected: bytes) -> None:
        super().__init__(
            path,
            f"this store belongs to the genesis {found.hex()}, not to {expected.hex()}; "
            "put the right genesis.json beside it, or name another data folder",
        )
        self.found = found
        self.expected = expected


class StoreFull(StoreError):
    """No room: the disk, a quota, or the configured limit. Nothing was written. reason: which of them."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            path,
            f"no room to write ({reason}); nothing was written. Free space on that disk, or move the data folder to a "
            "larger one (or raise store_bytes_max in config.toml), then start the node again",
        )
        self.reason = reason


class DiskFailed(StoreError):
    """The disk under the store reports an error. What was written last is not acknowledged."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "the disk reports an input/output error; the node must stop. See the kernel's log, replace the disk, then "
            "restore a backup or fetch the log from the peers into an empty data folder",
        )


class StoreCorrupt(StoreError):
    """The store contradicts itself or cannot be read. what: the record. reason: one clause."""

    def __init__(self, path: Path, what: str, reason: str) -> None:
        super().__init__(
            path,
            f"{what}: {reason}; run `stretto store check`, and restore a backup or fetch the log from the peers again",
        )
        self.what = what
        self.reason = reason


class StoreMisused(StoreError):
    """The caller broke the order of things, and nothing was written. what: what was refused and why."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            path, f"refused: {what}; this is an error in the program, please report it with the node's log"
        )
        self.what = what


class CosignRefused(StoreError):
    """This node cosigned a later or another tree before: signing this one could prove a fork (design D8).

    size, root: asked for. signed_size, signed_root: the watermark.
    """

    def __init__(self, path: Path, size: int, root: bytes, signed_size: int, signed_root: bytes) -> None:
        super().__init__(
            path,
            f"refused to cosign size {size} root {root.hex()}: size {signed_size} root {signed_root.hex()} was "
            "cosigned before; where this follows a restore, fetch the log from the peers before this node signs again",
        )
        self.size = size
        self.root = root
        self.signed_size = signed_size
        self.signed_root = signed_root


class ChainEndRefused(StoreError):
    """This node signed another end of that epoch for public chains before: two would prove a fork (design D12)."""

    def __init__(self, path: Path, epoch: int, asked: str, signed: str) -> None:
        super().__init__(
            path,
            f"refused to sign the end of epoch {epoch} for public chains as {asked}: {signed} was signed before; run "
            "`stretto store check` and compare with the others before this node signs again",
        )
        self.epoch = epoch


class CheckpointDiffers(StoreError):
    """A checkpoint that is not one of this node's own tree: either ahead of it, or of another history.

    size, root: offered. own_root: this node's at that size, or None where it has no block boundary there.
    """

    def __init__(self, path: Path, size: int, root: bytes, own_root: bytes | None) -> None:
        own = "has no checkpoint of that size" if own_root is None else f"has the root {own_root.hex()} there"
        super().__init__(path, f"checkpoint of size {size} with root {root.hex()} is not ours: this node {own}")
        self.size = size
        self.root = root
        self.own_root = own_root


class VotingStateMissing(StoreError):
    """There is no voting state: a node without memory of its votes must not vote (design D4)."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "no voting state here: it was lost, or never made. Restore nothing: the node asks the others where they "
            "are, and votes again once that is safe",
        )


class Equivocation(StoreError):
    """The vote contradicts one already on disk; it was not written and must not be signed. first, second: in words."""

    def __init__(self, path: Path, first: str, second: str) -> None:
        super().__init__(
            path,
            f"refused the vote {second}: {first} stands on disk; halt this node and report it with the node's log, "
            "and make sure that no second node runs with the same keys",
        )
        self.first = first
        self.second = second
