"""What a node answers, as frozen values for its clients, and how each is read from its message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from consensus.types import Digest
from node.disk import Disk
from node.rpc.types import NodeLive
from node.rpc.wire import disk_from_wire, live_from_wire
from protos import stretto_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The log an answer was read from: what it cannot know is newer."""

    size: int
    """Leaves."""
    height: int
    block_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStatement:
    """A statement in the log; `raw` is verbatim what was submitted."""

    raw: bytes
    digest: Digest
    index: int
    height: int
    block_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedClaim:
    """A claim in the log. position: its place in a catalogue, 0-based; 0 where it stands alone."""

    claim: bytes
    statement: Digest
    index: int
    position: int
    catalogue: bool
    issuer: str
    height: int
    block_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsPage:
    claims: tuple[RecordedClaim, ...]
    next_page: bytes
    """Empty on the last page."""
    as_of: Freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """note: a C2SP signed note. signers: member ids of the validators that cosigned."""

    note: bytes
    size: int
    root: Digest
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    hashes: tuple[bytes, ...]
    from_root: Digest
    to_root: Digest


class CheckOutcome(Enum):
    """The values are those of stretto.v1.CheckOutcome."""

    PASSED = 1
    FAILED = 2
    NOT_CHECKED = 3


class EvidenceVerdict(Enum):
    """The values are those of stretto.v1.EvidenceVerdict."""

    VERIFIED = 1
    REFUSED = 2
    INCOMPLETE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceCheck:
    name: str
    outcome: CheckOutcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """genesis: digest of the one it was verified against, the answering node's."""

    verdict: EvidenceVerdict
    checks: tuple[EvidenceCheck, ...]
    genesis: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """live: what the node process says; consensus_running is False and the rest empty where only the reader answers."""

    member: str
    role: str
    genesis: Digest
    origin: str
    version: str
    height: int
    block_time_ms: int
    size: int
    root: bytes
    claims: int
    checkpoint_size: int
    checkpoint_signers: tuple[str, ...]
    live: NodeLive
    misbehaviours: int = 0
    """Pieces of evidence the node holds."""
    chain_checkpoint_size: int = 0
    """Of the newest checkpoint that a quorum signed for public chains; 0 before the first."""
    chain_signatures_missing: int = 0
    """Signatures for public chains that the newest checkpoint lacks of its quorum."""
    chain_ends_missing: int = 0
    """Epochs whose end no quorum has signed for public chains yet."""
    disk: Disk | None = None
    """Of the node's store; None where it could not be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMisbehaviour:
    """evidence: as `ledger.misbehaviour` encodes it. member: whose validator it is, by the node's word."""

    evidence: bytes
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MisbehaviourPage:
    records: tuple[RecordedMisbehaviour, ...]
    next_page: bytes
    """Empty on the last page."""
    total: int


def statement_from_wire(message: pb.GetStatementResponse) -> RecordedStatement:
    return RecordedStatement(
        raw=message.statement,
        digest=Digest(message.statement_digest),
        index=message.index,
        height=message.height,
        block_time_ms=message.block_time_ms,
    )


def watched_from_wire(message: pb.WatchStatementsResponse) -> RecordedStatement:
    return RecordedStatement(
        raw=message.statement,
        digest=Digest(message.statement_digest),
        index=message.index,
        height=message.height,
        block_time_ms=message.block_time_ms,
    )


def claims_from_wire(message: pb.QueryClaimsResponse) -> ClaimsPage:
    claims = tuple(
        RecordedClaim(
            claim=record.claim,
            statement=Digest(record.statement_digest),
            index=record.index,
            position=record.position,
            catalogue=record.catalogue,
            issuer=record.issuer,
            height=record.height,
            block_time_ms=record.block_time_ms,
        )
        for record in message.claims
    )
    as_of = Freshness(size=message.as_of.size, height=message.as_of.height, block_time_ms=message.as_of.block_time_ms)
    return ClaimsPage(claims=claims, next_page=message.next_page, as_of=as_of)


def checkpoint_from_wire(message: pb.GetCheckpointResponse) -> SignedCheckpoint:
    return SignedCheckpoint(
        note=message.note, size=message.size, root=Digest(message.root), signers=tuple(message.signers)
    )


def proof_from_wire(message: pb.GetConsistencyProofResponse) -> ConsistencyProof:
    return ConsistencyProof(
        hashes=tuple(message.hashes), from_root=Digest(message.from_root), to_root=Digest(message.to_root)
    )


def report_from_wire(message: pb.VerifyEvidenceResponse) -> EvidenceReport:
    """Raises: ValueError for an outcome or a verdict that this version does not know."""
    return EvidenceReport(
        verdict=EvidenceVerdict(message.verdict),
        checks=tuple(
            EvidenceCheck(name=check.name, outcome=CheckOutcome(check.outcome), reason=check.reason)
            for check in message.checks
        ),
        genesis=Digest(message.genesis),
    )


def status_from_wire(message: pb.NodeStatusResponse) -> NodeStatus:
    return NodeStatus(
        member=message.member,
        role=message.role,
        genesis=Digest(message.genesis),
        origin=message.origin,
        version=message.version,
        height=message.height,
        block_time_ms=message.block_time_ms,
        size=message.size,
        root=message.root,
        claims=message.claims,
        checkpoint_size=message.checkpoint_size,
        checkpoint_signers=tuple(message.checkpoint_signers),
        live=live_from_wire(message),
        misbehaviours=message.misbehaviours,
        chain_checkpoint_size=message.chain_checkpoint_size,
        chain_signatures_missing=message.chain_signatures_missing,
        chain_ends_missing=message.chain_ends_missing,
        disk=disk_from_wire(message.disk) if message.HasField("disk") else None,
    )


def misbehaviour_from_wire(message: pb.ListMisbehaviourResponse) -> MisbehaviourPage:
    records = tuple(RecordedMisbehaviour(evidence=r.evidence, member=r.member) for r in message.records)
    return MisbehaviourPage(records=records, next_page=message.next_page, total=message.total)
