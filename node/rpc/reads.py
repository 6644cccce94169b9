"""The unary reads: each answers from one snapshot of the store and says how fresh that was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from consensus.types import Digest
from ledger import identifiers
from ledger.genesis import Genesis
from ledger.merkle import consistency_proof, root_at
from ledger.misbehaviour import Evidence, parse_misbehaviour
from node.disk import Disk
from node.rosters import Rosters
from node.rpc.calls import Call
from node.rpc.errors import BeyondLog, InvalidRequest, NotReadyYet, NotRecorded
from node.rpc.forward import NodeLink
from node.rpc.tail import LogTail
from node.rpc.wire import disk_to_wire
from node.store.reader import InvalidPage, ReadSnapshot, StoredClaim, StoreReader
from protos import stretto_pb2 as pb

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
ANSWER_BYTES_MAX: Final = 3 * 2**20
"""Claims in one answer: with their places they stay under the 4 MiB of a message."""
_BATCH: Final = 100
"""Claims taken from the store at once, so that an answer of large claims can stop in time."""
_TOKEN_BYTES: Final = 8
RETRY_CHECKPOINT_MS: Final = 200


class ReadService:
    """GetStatement, QueryClaims, GetCheckpoint, GetConsistencyProof, NodeStatus and ListMisbehaviour."""

    def __init__(
        self,
        store: StoreReader,
        tail: LogTail,
        link: NodeLink,
        *,
        genesis: Genesis,
        member: str,
        version: str,
        disk: Callable[[], Disk | None],
    ) -> None:
        """disk: looks at the store's disk."""
        self._store = store
        self._tail = tail
        self._genesis = genesis
        self._member = member
        self._version = version
        self._link = link
        self._disk = disk

    # ---- statements and claims ----

    async def get_statement(self, request: pb.GetStatementRequest, call: Call) -> Message:
        """Raises: InvalidRequest, NotRecorded, NotReadyYet."""
        await self._tail.reach(request.min_size, call.remaining_s())
        with self._store.snapshot() as snapshot:
            match request.WhichOneof("by"):
                case "digest":
                    check_digest("digest", request.digest)
                    found = snapshot.statement(Digest(request.digest))
                    asked = request.digest.hex()
                case "index":
                    found = snapshot.entry(request.index) if request.index < snapshot.size else None
                    asked = str(request.index)
                case _:
                    raise InvalidRequest("by", "nothing", "digest or index")
            if found is None:
                by = str(request.WhichOneof("by"))
                if by == "index" and snapshot.derived(request.index) is not None:
                    raise NotRecorded(by, asked, "a statement; this leaf follows from one: ask GetDerivedLeaf")
                raise NotRecorded(by, asked, f"one in this node's {snapshot.size} leaves")
            return pb.GetStatementResponse(
                statement=found.raw,
                index=found.index,
                height=found.height,
                block_time_ms=found.block_time_ms,
                as_of=freshness(snapshot),
                statement_digest=found.digest,
            )

    async def query_claims(self, request: pb.QueryClaimsRequest, call: Call) -> Message:
        """Raises: InvalidRequest, InvalidIdentifier, InvalidPage, NotReadyYet."""
        if request.limit > LIMIT_MAX:
            raise InvalidRequest("limit", str(request.limit), f"1 to {LIMIT_MAX}, or 0 for {LIMIT_DEFAULT}")
        kinds, key = _query_key(request)
        await self._tail.reach(request.min_size, call.remaining_s())
        with self._store.snapshot() as snapshot:
            kind, page = _open_page(kinds, key, request.page)
            claims, next_page = _read_page(snapshot, kind, key, request.limit or LIMIT_DEFAULT, page)
            if not claims and not request.page and len(kinds) > 1:
                kind = kinds[1]
                claims, next_page = _read_page(snapshot, kind, key, request.limit or LIMIT_DEFAULT, b"")
            return pb.QueryClaimsResponse(
                claims=[_record(claim) for claim in claims],
                next_page=_token(kind, key) + next_page if next_page else b"",
                as_of=freshness(snapshot),
            )

    # ---- the log ----

    async def get_checkpoint(self, request: pb.GetCheckpointRequest, _call: Call) -> Message:
        """Raises: BeyondLog, NotReadyYet."""
        with self._store.snapshot() as snapshot:
            if request.HasField("size"):
                wanted = max(request.size, 1)
                if wanted > snapshot.size:
                    raise BeyondLog("size", str(request.size), f"at most {snapshot.size}, this node's leaves")
                size = snapshot.checkpoint_covering(wanted - 1)
            else:
                size = snapshot.latest_checkpoint()
            if size is None:
                asked = str(request.size) if request.HasField("size") else "latest"
                raise NotReadyYet("size", asked, "a checkpoint that a quorum has cosigned", RETRY_CHECKPOINT_MS)
            checkpoint, note = snapshot.checkpoint(size), snapshot.note(size)
            assert checkpoint is not None, "a complete checkpoint is at a block boundary"
            assert note is not None, "a complete checkpoint has its signatures"
            signers = snapshot.signers(size)
        return pb.GetCheckpointResponse(note=note, size=size, root=checkpoint.root, signers=signers)

    async def get_consistency_proof(self, request: pb.GetConsistencyProofRequest, _call: Call) -> Message:
        """Raises: InvalidRequest, BeyondLog."""
        first, second = request.from_size, request.to_size
        if first < 1:
            raise InvalidRequest("from_size", str(first), "at least 1: every log extends the empty one")
        if second < first:
            raise InvalidRequest("to_size", str(second), f"at least from_size, {first}")
        with self._store.snapshot() as snapshot:
            if second > snapshot.size:
                raise BeyondLog("to_size", str(second), f"at most {snapshot.size}, this node's leaves")
            return pb.GetConsistencyProofResponse(
                hashes=consistency_proof(first, second, snapshot.tree_hash),
                from_root=root_at(first, snapshot.tree_hash),
                to_root=root_at(second, snapshot.tree_hash),
            )

    # ---- the node ----

    async def node_status(self, _request: pb.NodeStatusRequest, _call: Call) -> Message:
        """What the store says, and what the node process says where it runs."""
        return await self.status()

    async def status(self) -> pb.NodeStatusResponse:
        """The same, for this process's own use. Raises: StoreNotReady."""
        live, disk = await self._link.live(), self._disk()
        with self._store.snapshot() as snapshot:
            head = snapshot.head()
            size = snapshot.latest_checkpoint()
            own = snapshot.rosters().current.member(self._member)
            live.MergeFrom(
                pb.NodeStatusResponse(
                    member=self._member,
                    role=own.role.value if own else "",
                    genesis=self._genesis.digest,
                    origin=self._genesis.origin,
                    version=self._version,
                    height=head.block.height,
                    block_time_ms=head.block.timestamp_ms,
                    size=head.size,
                    root=snapshot.frontier().root(),
                    claims=head.claims,
                    checkpoint_size=size or 0,
                    checkpoint_signers=() if size is None else snapshot.signers(size),
                    chain_checkpoint_size=snapshot.latest_chain_checkpoint() or 0,
                    chain_signatures_missing=snapshot.chain_signatures_missing(),
                    chain_ends_missing=snapshot.open_chain_ends(),
                    misbehaviours=snapshot.misbehaviour_count(),
                    disk=None if disk is None else disk_to_wire(disk),
                )
            )
        return live

    async def list_misbehaviour(self, request: pb.ListMisbehaviourRequest, _call: Call) -> Message:
        """Raises: InvalidRequest, InvalidPage."""
        if request.limit > LIMIT_MAX:
            raise InvalidRequest("limit", str(request.limit), f"1 to {LIMIT_MAX}, or 0 for {LIMIT_DEFAULT}")
        with self._store.snapshot() as snapshot:
            found, next_page = snapshot.misbehaviours(request.limit or LIMIT_DEFAULT, request.page)
            total = snapshot.misbehaviour_count()
            rosters = snapshot.rosters()
        return pb.ListMisbehaviourResponse(
            records=[
                pb.MisbehaviourRecord(evidence=data, member=_accused(parse_misbehaviour(data), rosters))
                for data in found
            ],
            next_page=next_page,
            total=total,
        )


def _accused(evidence: Evidence, rosters: Rosters) -> str:
    """Member id of the validator, in the epoch of what it signed."""
    roster = rosters.of_epoch(evidence.epoch)
    assert roster is not None, "evidence is kept of epochs this node has been in"
    return roster.validator_members()[evidence.voter].id


def check_digest(field: str, value: bytes) -> None:
    """Raises: InvalidRequest unless `value` has the length of a digest."""
    if len(value) != 32:
        raise InvalidRequest(field, f"{len(value)} bytes", "32 bytes")


def freshness(snapshot: ReadSnapshot) -> pb.Freshness:
    head = snapshot.head()
    return pb.Freshness(size=head.size, height=head.block.height, block_time_ms=head.block.timestamp_ms)


def _record(claim: StoredClaim) -> pb.ClaimRecord:
    return pb.ClaimRecord(
        claim=claim.claim,
        statement_digest=claim.statement_digest,
        index=claim.index,
        position=claim.position,
        catalogue=claim.catalogue,
        issuer=claim.issuer,
        height=claim.height,
        block_time_ms=claim.block_time_ms,
    )


# ---- pages of claims ----


def _query_key(request: pb.QueryClaimsRequest) -> tuple[tuple[str, ...], bytes]:
    """The index kinds to look in, the first that has something counts, and the key."""
    match request.WhichOneof("by"):
        case "media_digest":
            check_digest("media_digest", request.media_digest)
            return ("blake3", "sha256"), request.media_digest
        case "statement_digest":
            check_digest("statement_digest", request.statement_digest)
            return ("statement",), request.statement_digest
        case "isrc":
            return ("isrc",), identifiers.ISRC.parse(request.isrc, "isrc").encode()
        case "iswc":
            return ("iswc",), identifiers.ISWC.parse(request.iswc, "iswc").encode()
        case _:
            raise InvalidRequest("by", "nothing", "media_digest, isrc, iswc or statement_digest")


def _token(kind: str, key: bytes) -> bytes:
    """What a page token starts with: it belongs to one query, and another query's is noticed."""
    return hashlib.sha256(kind.encode() + b"/" + key).digest()[:_TOKEN_BYTES]


def _open_page(kinds: tuple[str, ...], key: bytes, page: bytes) -> tuple[str, bytes]:
    """The kind a page token belongs to, and the store's part of it. Raises: InvalidPage."""
    if not page:
        return kinds[0], b""
    for kind in kinds:
        if page[:_TOKEN_BYTES] == _token(kind, key) and len(page) > _TOKEN_BYTES:
            return kind, page[_TOKEN_BYTES:]
    raise InvalidPage(page)


def _read_page(
    snapshot: ReadSnapshot, kind: str, key: bytes, limit: int, page: bytes
) -> tuple[list[StoredClaim], bytes]:
    """Up to `limit` claims or ANSWER_BYTES_MAX, and where the next page starts; empty at the end."""
    claims: list[StoredClaim] = []
    size = 0
    while len(claims) < limit and size < ANSWER_BYTES_MAX - _BATCH * 4096:
        more, page = snapshot.claims_by(kind, key, min(_BATCH, limit - len(claims)), page)
        claims.extend(more)
        size += sum(len(claim.claim) for claim in more)
        if not page:
            break
    return claims, page
