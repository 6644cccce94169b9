"""What a node answers about the rights of one claim, for its clients: plain values instead of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.types import Digest
from ledger.rights import ClaimState, OpenDispute
from ledger.rights_content import UNTIL_MS_MAX
from node.rpc.answers import Freshness
from protos import stretto_pb2 as pb

_DIGEST_BYTES: Final = 32
_STATES: Final = {
    pb.CLAIM_STATE_ACTIVE: ClaimState.ACTIVE,
    pb.CLAIM_STATE_DISPUTED: ClaimState.DISPUTED,
    pb.CLAIM_STATE_REVOKED: ClaimState.REVOKED,
    pb.CLAIM_STATE_SUPERSEDED: ClaimState.SUPERSEDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMint:
    """One token that may be, or was, minted against the claim."""

    entry: Digest
    """Of the MINT leaf: the token's id."""
    index: int
    """Of the MINT leaf."""
    edition: int
    state: ClaimState
    status_seq: int
    """Of the latest STATUS leaf; 0: there is none yet."""
    status_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRights:
    """By the node's word; each statement it names can be asked for, and proven."""

    state: ClaimState
    holder: str
    """Member id."""
    head: Digest
    """Of the statement that changed the claim's rights last: what the next change must name."""
    disputes: tuple[OpenDispute, ...]
    """Open ones, oldest first."""
    stay: Digest | None
    """The COURT_ORDER that stays the claim."""
    stay_until_ms: int
    """Block time at which the stay lapses; 0: not before it is lifted."""
    superseded_by: Digest | None
    mints: tuple[RecordedMint, ...]
    as_of: Freshness


def rights_from_wire(message: pb.GetClaimRightsResponse) -> RecordedRights:
    """Raises: ValueError for a digest or a time that is none, or a state that this version does not know."""
    return RecordedRights(
        state=_state(message.state),
        holder=message.holder,
        head=_digest("head", message.head),
        disputes=tuple(
            OpenDispute(
                statement=_digest("disputes", dispute.statement_digest),
                disputant=dispute.disputant,
                responded=dispute.responded,
            )
            for dispute in message.disputes
        ),
        stay=_digest("stay", message.stay) if message.stay else None,
        stay_until_ms=_until(message.stay_until_ms),
        superseded_by=_digest("superseded_by", message.superseded_by) if message.superseded_by else None,
        mints=tuple(
            RecordedMint(
                entry=_digest("mints", mint.entry),
                index=mint.index,
                edition=mint.edition,
                state=_state(mint.state),
                status_seq=mint.status_seq,
                status_index=mint.status_index,
            )
            for mint in message.mints
        ),
        as_of=Freshness(
            size=message.as_of.size, height=message.as_of.height, block_time_ms=message.as_of.block_time_ms
        ),
    )


def _until(value: int) -> int:
    if value > UNTIL_MS_MAX:
        raise ValueError(f"stay_until_ms {value} is over {UNTIL_MS_MAX}")
    return value


def _state(value: pb.ClaimState.ValueType) -> ClaimState:
    if value not in _STATES:
        raise ValueError(f"state {value} is none that this version knows")
    return _STATES[value]


def _digest(field: str, value: bytes) -> Digest:
    if len(value) != _DIGEST_BYTES:
        raise ValueError(f"{field} has {len(value)} bytes where a digest has {_DIGEST_BYTES}")
    return Digest(value)
