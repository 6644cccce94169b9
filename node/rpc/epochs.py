"""ListEpochs and GetGovernance: who belonged to the consortium when, proven; and what its members vote on now."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from consensus.types import Digest
from ledger.apply import CountedVote
from ledger.governance import Change
from node.rpc.calls import Call
from node.rpc.errors import InvalidRequest
from node.rpc.reads import ANSWER_BYTES_MAX
from node.store.reader import ReadSnapshot, StoreReader
from protos import stretto_pb2 as pb

EPOCHS_DEFAULT: Final = 100
EPOCHS_MAX: Final = 1000
PROPOSALS_MAX: Final = 1000


class EpochService:
    """Each answer from one snapshot of the store."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store

    async def list_epochs(self, request: pb.ListEpochsRequest, _call: Call) -> Message:
        """Raises: InvalidRequest."""
        if request.limit > EPOCHS_MAX:
            raise InvalidRequest("limit", str(request.limit), f"1 to {EPOCHS_MAX}, or 0 for {EPOCHS_DEFAULT}")
        with self._store.snapshot() as snapshot:
            starts = snapshot.rosters().starts
            records: list[pb.EpochRecord] = []
            room = ANSWER_BYTES_MAX
            for start in starts[request.from_epoch :][: request.limit or EPOCHS_DEFAULT]:
                epoch = start.roster.epoch
                proof = snapshot.epoch_proof(epoch)
                record = pb.EpochRecord(
                    epoch=epoch,
                    roster=start.roster.encode(),
                    proof=b"" if proof is None else proof.encode(),
                    start_height=start.height,
                    start_time_ms=0 if proof is None else proof.boundary.timestamp_ms,
                )
                room -= record.ByteSize()
                if room < 0 and records:
                    break
                records.append(record)
        return pb.ListEpochsResponse(epochs=records, current=starts[-1].roster.epoch)

    async def get_governance(self, _request: pb.GetGovernanceRequest, _call: Call) -> Message:
        with self._store.snapshot() as snapshot:
            roster = snapshot.rosters().current
            proposals = sorted(_by_proposal(snapshot.votes()).items(), key=lambda item: item[1][0].index)
            return pb.GetGovernanceResponse(
                epoch=roster.epoch,
                proposals=[
                    _record(snapshot, proposal, votes, roster.quorum) for proposal, votes in proposals[:PROPOSALS_MAX]
                ],
                seats=[member.id for member in roster.validator_members()],
                quorum=roster.quorum,
                seats_max=roster.committee().faults_max,
                ending=snapshot.next_roster() is not None,
            )


def _by_proposal(votes: tuple[CountedVote, ...]) -> dict[Digest, list[CountedVote]]:
    found: dict[Digest, list[CountedVote]] = {}
    for vote in sorted(votes, key=lambda vote: vote.index):
        found.setdefault(vote.proposal, []).append(vote)
    return found


def _record(snapshot: ReadSnapshot, proposal: Digest, votes: list[CountedVote], quorum: int) -> pb.ProposalRecord:
    change = snapshot.change(votes[0].index)
    assert isinstance(change, Change), "a vote that counts is a statement in the log"
    return pb.ProposalRecord(
        proposal=proposal,
        kind=change.kind,
        change=change.encode(),
        voters=[vote.voter for vote in votes],
        index=votes[0].index,
        passed=len(votes) >= quorum,
    )
