"""GetDerivedLeaf, GetInclusionProof and GetClaimRights: what contracts are shown, and where a claim's rights stand."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from consensus.types import Digest
from ledger.derived import DerivedKind
from ledger.merkle import inclusion_proof, root_at
from ledger.rights import ClaimId, ClaimRights, ClaimState
from node.rpc.calls import Call
from node.rpc.errors import BeyondLog, InvalidRequest, NotRecorded
from node.rpc.reads import check_digest, freshness
from node.rpc.tail import LogTail
from node.store.reader import StoredDerived, StoreReader
from protos import stretto_pb2 as pb

_KINDS: Final = {DerivedKind.MINT: pb.DERIVED_KIND_MINT, DerivedKind.STATUS: pb.DERIVED_KIND_STATUS}
_STATES: Final = {
    ClaimState.ACTIVE: pb.CLAIM_STATE_ACTIVE,
    ClaimState.DISPUTED: pb.CLAIM_STATE_DISPUTED,
    ClaimState.REVOKED: pb.CLAIM_STATE_REVOKED,
    ClaimState.SUPERSEDED: pb.CLAIM_STATE_SUPERSEDED,
}
POSITION_MAX: Final = 2**32 - 1


class DerivedService:
    """Each answer from one snapshot of the store."""

    def __init__(self, store: StoreReader, tail: LogTail) -> None:
        self._store = store
        self._tail = tail

    async def get_derived_leaf(self, request: pb.GetDerivedLeafRequest, _call: Call) -> Message:
        """Raises: InvalidRequest, NotRecorded."""
        with self._store.snapshot() as snapshot:
            match request.WhichOneof("by"):
                case "entry":
                    check_digest("entry", request.entry)
                    index, field, asked = snapshot.index_of_derived(request.entry), "entry", request.entry.hex()
                case "index":
                    index = request.index if request.index < snapshot.size else None
                    field, asked = "index", str(request.index)
                case _:
                    raise InvalidRequest("by", "nothing", "entry or index")
            found = None if index is None else snapshot.derived(index)
            if found is None:
                raise NotRecorded(field, asked, f"a derived leaf in this node's {snapshot.size} leaves")
            return pb.GetDerivedLeafResponse(leaf=leaf_to_wire(found), as_of=freshness(snapshot))

    async def get_inclusion_proof(self, request: pb.GetInclusionProofRequest, _call: Call) -> Message:
        """Raises: BeyondLog."""
        with self._store.snapshot() as snapshot:
            size = request.size or snapshot.size
            if size > snapshot.size:
                raise BeyondLog("size", str(request.size), f"at most {snapshot.size}, this node's leaves")
            if request.index >= size:
                raise BeyondLog("index", str(request.index), f"below {size}, the size asked for")
            return pb.GetInclusionProofResponse(
                entry=snapshot.leaf_entry(request.index),
                hashes=inclusion_proof(request.index, size, snapshot.tree_hash),
                size=size,
                root=root_at(size, snapshot.tree_hash),
            )

    async def get_claim_rights(self, request: pb.GetClaimRightsRequest, call: Call) -> Message:
        """Raises: InvalidRequest, NotRecorded, NotReadyYet."""
        check_digest("statement_digest", request.statement_digest)
        if request.position > POSITION_MAX:
            raise InvalidRequest("position", str(request.position), f"at most {POSITION_MAX}")
        await self._tail.reach(request.min_size, call.remaining_s())
        with self._store.snapshot() as snapshot:
            rights = snapshot.rights(ClaimId(Digest(request.statement_digest), request.position))
            if rights is None:
                asked = f"{request.statement_digest.hex()} at {request.position}"
                raise NotRecorded("statement_digest", asked, f"a claim in this node's {snapshot.size} leaves")
            answer = rights_to_wire(rights)
            answer.as_of.CopyFrom(freshness(snapshot))
            return answer


def leaf_to_wire(leaf: StoredDerived) -> pb.DerivedLeaf:
    return pb.DerivedLeaf(
        kind=_KINDS[leaf.kind],
        preimage=leaf.preimage,
        entry=leaf.entry,
        index=leaf.index,
        cause=leaf.cause,
        height=leaf.height,
        block_time_ms=leaf.block_time_ms,
    )


def rights_to_wire(rights: ClaimRights) -> pb.GetClaimRightsResponse:
    stay, superseded = rights.stay, rights.superseded
    return pb.GetClaimRightsResponse(
        state=_STATES[rights.state],
        holder=rights.holder,
        head=rights.head,
        disputes=[
            pb.DisputeRecord(statement_digest=each.statement, disputant=each.disputant, responded=each.responded)
            for each in rights.disputes
        ],
        stay=b"" if stay is None else stay.order,
        stay_until_ms=0 if stay is None else stay.until_ms,
        superseded_by=b"" if superseded is None else superseded.by,
        mints=[
            pb.MintRecord(
                entry=each.entry,
                index=each.leaf_index,
                edition=each.edition,
                state=_STATES[rights.state],
                status_seq=each.seq,
                status_index=each.status_index,
            )
            for each in rights.mints
        ],
    )
