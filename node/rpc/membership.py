"""What a node answers about epochs and open votes, for its clients: plain values instead of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.types import Digest
from protos import stretto_pb2 as pb

EPOCHS_PER_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpoch:
    """By the node's word, until the proofs are verified."""

    epoch: int
    roster: bytes
    proof: bytes
    """Empty for epoch 0."""
    start_height: int
    start_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochsPage:
    """current: the node's newest epoch."""

    epochs: tuple[RecordedEpoch, ...]
    current: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProposal:
    """voters: member ids in the order of their votes. index: leaf of the first vote."""

    proposal: Digest
    kind: str
    change: bytes
    voters: tuple[str, ...]
    index: int
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVotes:
    """seats: ids of those who may vote. quorum: votes that pass. seats_max: seats that may change in one epoch."""

    epoch: int
    proposals: tuple[OpenProposal, ...]
    seats: tuple[str, ...]
    quorum: int
    seats_max: int
    ending: bool


def epochs_from_wire(message: pb.ListEpochsResponse) -> EpochsPage:
    return EpochsPage(
        epochs=tuple(
            RecordedEpoch(
                epoch=record.epoch, roster=record.roster, proof=record.proof, start_height=record.start_height,
                start_time_ms=record.start_time_ms,
            )
            for record in message.epochs
        ),
        current=message.current,
    )  # fmt: skip


def votes_from_wire(message: pb.GetGovernanceResponse) -> OpenVotes:
    return OpenVotes(
        epoch=message.epoch,
        proposals=tuple(
            OpenProposal(
                proposal=Digest(record.proposal), kind=record.kind, change=record.change, voters=tuple(record.voters),
                index=record.index, passed=record.passed,
            )
            for record in message.proposals
        ),
        seats=tuple(message.seats),
        quorum=message.quorum,
        seats_max=message.seats_max,
        ending=message.ending,
    )  # fmt: skip
