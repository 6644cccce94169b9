"""The gRPC edge between protobuf and our values: one function per direction and type."""

from __future__ import annotations

from consensus.types import Digest
from node.disk import Disk
from node.rpc.types import Latencies, NodeLive, PeerLive, Refusal, SubmissionResult, SubmissionState
from protos import stretto_pb2 as pb


def refusal_to_wire(refusal: Refusal) -> pb.Refusal:
    return pb.Refusal(
        code=refusal.code,
        field=refusal.field,
        value=refusal.value,
        expected=refusal.expected,
        retry_after_ms=refusal.retry_after_ms or 0,
    )


def refusal_from_wire(message: pb.Refusal) -> Refusal:
    return Refusal(
        code=message.code,
        field=message.field,
        value=message.value,
        expected=message.expected,
        retry_after_ms=message.retry_after_ms or None,
    )


def result_to_wire(result: SubmissionResult) -> pb.SubmissionResult:
    return pb.SubmissionResult(
        statement_digest=result.digest,
        state=pb.SubmissionState.ValueType(result.state.value),
        index=result.index,
        height=result.height,
        block_time_ms=result.block_time_ms,
        refusal=None if result.refusal is None else refusal_to_wire(result.refusal),
    )


def result_from_wire(message: pb.SubmissionResult) -> SubmissionResult:
    """Raises: ValueError for a state that this version does not know."""
    return SubmissionResult(
        digest=Digest(message.statement_digest),
        state=SubmissionState(message.state),
        index=message.index,
        height=message.height,
        block_time_ms=message.block_time_ms,
        refusal=refusal_from_wire(message.refusal) if message.HasField("refusal") else None,
    )


def live_to_wire(live: NodeLive) -> pb.NodeStatusResponse:
    """The part of NodeStatus that only the node process knows; the reader adds what the store says."""
    return pb.NodeStatusResponse(
        consensus_running=live.consensus_running,
        view=live.view,
        leader=live.leader,
        finalized_view=live.finalized_view,
        recovering=live.recovering,
        pending_statements=live.pending_statements,
        pending_payloads=live.pending_payloads,
        missing_payloads=live.missing_payloads,
        peers=[
            pb.PeerStatus(
                member=p.member,
                connected=p.connected,
                last_view=p.last_view,
                boot_generation=p.boot_generation,
                rejected=p.rejected,
                last_vote=p.last_vote,
                timeouts=p.timeouts,
            )
            for p in live.peers
        ],
        quorum=live.quorum,
        delta_ms=live.delta_ms,
        leader_timeout_ms=live.leader_timeout_ms,
        view_timeout_ms=live.view_timeout_ms,
        view_age_ms=live.view_age_ms,
        waiting_ms=live.waiting_ms,
        boot_generation=live.boot_generation,
        epoch=live.epoch,
        part=live.part,
        last_vote=live.last_vote,
        timeouts=live.timeouts,
        timeouts_in_row=live.timeouts_in_row,
        missing_certificate=live.missing_certificate,
        missing_block=live.missing_block,
        waits_for=live.waits_for,
        clock_behind_ms=live.clock_behind_ms,
        stood_still_ms=live.stood_still_ms,
        process_silent=live.process_silent,
        counters=live.counters,
        finality=pb.Latencies(counts=live.finality.counts, sum_ms=live.finality.sum_ms),
    )


def live_from_wire(message: pb.NodeStatusResponse) -> NodeLive:
    return NodeLive(
        consensus_running=message.consensus_running,
        view=message.view,
        leader=message.leader,
        finalized_view=message.finalized_view,
        recovering=message.recovering,
        pending_statements=message.pending_statements,
        pending_payloads=message.pending_payloads,
        missing_payloads=message.missing_payloads,
        peers=tuple(
            PeerLive(
                member=p.member,
                connected=p.connected,
                last_view=p.last_view,
                boot_generation=p.boot_generation,
                rejected=p.rejected,
                last_vote=p.last_vote,
                timeouts=p.timeouts,
            )
            for p in message.peers
        ),
        quorum=message.quorum,
        delta_ms=message.delta_ms,
        leader_timeout_ms=message.leader_timeout_ms,
        view_timeout_ms=message.view_timeout_ms,
        view_age_ms=message.view_age_ms,
        waiting_ms=message.waiting_ms,
        boot_generation=message.boot_generation,
        epoch=message.epoch,
        part=message.part,
        last_vote=message.last_vote,
        timeouts=message.timeouts,
        timeouts_in_row=message.timeouts_in_row,
        missing_certificate=message.missing_certificate,
        missing_block=message.missing_block,
        waits_for=message.waits_for,
        clock_behind_ms=message.clock_behind_ms,
        stood_still_ms=message.stood_still_ms,
        process_silent=message.process_silent,
        counters=dict(message.counters),
        finality=Latencies(counts=tuple(message.finality.counts), sum_ms=message.finality.sum_ms),
    )


def disk_to_wire(disk: Disk) -> pb.DiskStatus:
    return pb.DiskStatus(store_bytes=disk.store_bytes, store_bytes_max=disk.store_bytes_max, free_bytes=disk.free_bytes)


def disk_from_wire(message: pb.DiskStatus) -> Disk:
    return Disk(store_bytes=message.store_bytes, store_bytes_max=message.store_bytes_max, free_bytes=message.free_bytes)
