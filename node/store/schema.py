"""What is where on disk: databases, keys and fixed records of the chain store. Big-endian throughout, so keys sort.

A change to anything here is a new SCHEMA.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.types import Digest
from node.store.environment import Database
from node.store.index import Index

SCHEMA: Final = 1

META: Final = b"meta"
BLOCKS: Final = b"blocks"
"""height -> u64 leaves after it, u64 claims after it, the block's bytes. Height 0 is the genesis block."""
FINALIZATIONS: Final = b"finalizations"
"""height -> certificate, for blocks that have one of their own."""
BOUNDARIES: Final = b"boundaries"
"""size -> u64 height of the block that made it, 32 bytes root."""
PAYLOADS: Final = b"payloads"
"""payload number (order of arrival here) -> the payload, verbatim."""
PAYLOAD_NUMBERS: Final = b"payload_numbers"
"""payload digest -> u64 payload number."""
PENDING: Final = b"pending"
"""payload number -> digest of a payload that is in no committed block yet."""
BLOBS: Final = b"blobs"
"""SHA-256 -> the blob: manifests and chunks of catalogues."""
UPLOADS: Final = b"uploads"
"""SHA-256 -> u64 order of arrival, of blobs that no recorded statement needs yet."""
ENTRIES: Final = b"entries"
"""leaf index -> EntryRecord, of leaves that are statements."""
MARKS: Final = b"marks"
"""leaf index of a catalogue -> u32 offset in its body of every MARK_CLAIMS-th claim."""
RECEIPTS: Final = b"receipts"
"""receipt number -> receipt of a refused statement."""
HASHES: Final = b"hashes"
"""hash position -> 32 bytes: every perfect subtree, in the order they became full."""
INDEX_TABLE: Final = b"index_table"
INDEX_RUNS: Final = b"index_runs"
INDEX_HEADS: Final = b"index_heads"
COSIGNATURES: Final = b"cosignatures"
"""size, member id -> u16 length of the log's signature line, that line, the cosignature's line."""
COMPLETE: Final = b"complete"
"""size -> empty: checkpoints cosigned by a quorum."""
MISBEHAVIOUR: Final = b"misbehaviour"
"""epoch, validator, view -> evidence, as `ledger.misbehaviour` encodes it."""
ROSTERS: Final = b"rosters"
"""epoch, from 1 up -> what proves its roster under the one before, as `ledger.epochs.EpochProof` encodes it."""
VOTES: Final = b"governance_votes"
"""proposal, member id -> u64 leaf index of the vote. Of the current epoch only: votes lapse with it."""
DROPPED: Final = b"dropped_payloads"
"""payload number -> u64 epoch, of payloads that no block ordered before their epoch ended."""
CHAIN_SIGNATURES: Final = b"chain_signatures"
"""size, member id -> 64 bytes: a validator's signature for public chains."""
CHAIN_COMPLETE: Final = b"chain_complete"
"""size -> empty: checkpoints signed by a quorum for public chains."""
CHAIN_ENDS: Final = b"chain_ends"
"""epoch -> u64 size, 32 bytes root, 32 bytes successor: what this node signed, or was about to sign, as its end."""

DERIVED: Final = b"derived"
"""leaf index -> DerivedRecord, of leaves that follow from statements."""
DERIVED_INDEX: Final = b"derived_index"
"""entry of a derived leaf -> u64 leaf index."""
RIGHTS: Final = b"rights"
"""claim id -> rights, as `ledger.rights` encodes them, of claims that something has happened to."""
STAYS: Final = b"stays"
"""u64 block time in ms at which a stay lapses, claim id -> empty."""

DATABASES: Final = (
    META, BLOCKS, FINALIZATIONS, BOUNDARIES, PAYLOADS, PAYLOAD_NUMBERS, PENDING, BLOBS, UPLOADS, ENTRIES, MARKS,
    RECEIPTS, HASHES, INDEX_TABLE, INDEX_RUNS, INDEX_HEADS, COSIGNATURES, COMPLETE,
)  # fmt: skip
LATER_DATABASES: Final = (
    MISBEHAVIOUR, ROSTERS, VOTES, DROPPED, DERIVED, DERIVED_INDEX, RIGHTS, STAYS, CHAIN_SIGNATURES, CHAIN_COMPLETE,
    CHAIN_ENDS,
)  # fmt: skip
"""Added since SCHEMA was fixed: a store without them is whole, and the writer makes them when it opens it."""

META_SCHEMA: Final = b"schema"
META_GENESIS: Final = b"genesis"
META_COUNTERS: Final = b"counters"
META_FRONTIER: Final = b"frontier"
META_INDEX: Final = b"index"
META_COSIGNED: Final = b"cosigned"
META_NEXT_ROSTER: Final = b"next_roster"
"""While a change has passed and no block has put it into force: the roster it made."""

MARK_CLAIMS: Final = 16
"""Every how many claims of a catalogue an offset is kept: the claims between are walked over."""

U64: Final = struct.Struct(">Q")
BLOCK_HEAD: Final = struct.Struct(">QQ")
BOUNDARY: Final = struct.Struct(">Q32s")
COSIGNED: Final = struct.Struct(">Q32s")
_COUNTERS: Final = struct.Struct(">QQQQQQ")
_ENTRY: Final = struct.Struct(">32sQQQQIIIII")
_DERIVED: Final = struct.Struct(">QQ32s")


def key(number: int) -> bytes:
    """A number as a key that sorts."""
    return U64.pack(number)


def number(data: bytes | memoryview) -> int:
    return int.from_bytes(data[:8], "big")


def hash_position(level: int, index: int) -> int:
    """Where perfect subtree (level, index) stands among all, in the order they become full as leaves are appended.

    Source: golang.org/x/mod/sumdb/tlog, StoredHashIndex.
    """
    last_leaf = (index + 1 << level) - 1
    return 2 * last_leaf - last_leaf.bit_count() + level


class Tables:
    """Handles of the chain environment's databases."""

    def __init__(self, databases: Mapping[bytes, Database]) -> None:
        self.meta = databases[META]
        self.blocks = databases[BLOCKS]
        self.finalizations = databases[FINALIZATIONS]
        self.boundaries = databases[BOUNDARIES]
        self.payloads = databases[PAYLOADS]
        self.payload_numbers = databases[PAYLOAD_NUMBERS]
        self.pending = databases[PENDING]
        self.blobs = databases[BLOBS]
        self.uploads = databases[UPLOADS]
        self.entries = databases[ENTRIES]
        self.marks = databases[MARKS]
        self.receipts = databases[RECEIPTS]
        self.hashes = databases[HASHES]
        self.cosignatures = databases[COSIGNATURES]
        self.complete = databases[COMPLETE]
        # None where a reader found a store whose writer is older than the table.
        self.misbehaviour = databases.get(MISBEHAVIOUR)
        self.rosters = databases.get(ROSTERS)
        self.votes = databases.get(VOTES)
        self.dropped = databases.get(DROPPED)
        self.chain_signatures = databases.get(CHAIN_SIGNATURES)
        self.chain_complete = databases.get(CHAIN_COMPLETE)
        self.chain_ends = databases.get(CHAIN_ENDS)
        self.derived = databases.get(DERIVED)
        self.derived_index = databases.get(DERIVED_INDEX)
        self.rights = databases.get(RIGHTS)
        self.stays = databases.get(STAYS)
        self.index = Index(databases[INDEX_TABLE], databases[INDEX_RUNS], databases[INDEX_HEADS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Where everything stands; written with whatever moves it."""

    height: int = 0
    size: int = 0
    """Leaves."""
    claims: int = 0
    receipts: int = 0
    payloads: int = 0
    """Payloads ever stored: the next payload number."""
    uploads: int = 0

    def encode(self) -> bytes:
        return _COUNTERS.pack(self.height, self.size, self.claims, self.receipts, self.payloads, self.uploads)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Counters:
        height, size, claims, receipts, payloads, uploads = _COUNTERS.unpack(data)
        return cls(height=height, size=size, claims=claims, receipts=receipts, payloads=payloads, uploads=uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRecord:
    """A leaf: where its statement's bytes are. The statement itself stays in its payload, as it arrived."""

    digest: Digest
    height: int
    block_time_ms: int
    claims_before: int
    """Claims in all entries before it."""
    payload: int
    """Payload number."""
    offset: int
    """Of the statement in the payload's bytes."""
    length: int
    claims: int
    claim_offset: int
    """Of a single claim within the statement; 0 in a catalogue."""
    claim_length: int
    issuer: str

    def encode(self) -> bytes:
        return _ENTRY.pack(
            self.digest, self.height, self.block_time_ms, self.claims_before, self.payload, self.offset, self.length,
            self.claims, self.claim_offset, self.claim_length,
        ) + self.issuer.encode()  # fmt: skip

    @classmethod
    def decode(cls, data: bytes | memoryview) -> EntryRecord:
        digest, height, time, before, payload, offset, length, claims, at, claim = _ENTRY.unpack_from(data)
        return cls(
            digest=Digest(digest), height=height, block_time_ms=time, claims_before=before, payload=payload,
            offset=offset, length=length, claims=claims, claim_offset=at, claim_length=claim,
            issuer=bytes(data[_ENTRY.size :]).decode(),
        )  # fmt: skip

    @property
    def catalogue(self) -> bool:
        return self.claim_length == 0 and self.claims > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedRecord:
    """A leaf that follows from a statement: its preimage, which nothing else in the store holds."""

    height: int
    block_time_ms: int
    cause: Digest
    preimage: bytes

    def encode(self) -> bytes:
        return _DERIVED.pack(self.height, self.block_time_ms, self.cause) + self.preimage

    @classmethod
    def decode(cls, data: bytes | memoryview) -> DerivedRecord:
        height, time, cause = _DERIVED.unpack_from(data)
        return cls(height=height, block_time_ms=time, cause=Digest(cause), preimage=bytes(data[_DERIVED.size :]))
