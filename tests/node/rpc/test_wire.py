"""Values survive the way over protobuf, and the protobuf file fits the runtime."""

from __future__ import annotations

import google.protobuf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Digest
from node.rpc.calls import decode
from node.rpc.errors import MalformedRequest
from node.rpc.types import Latencies, NodeLive, PeerLive, Refusal, SubmissionResult, SubmissionState
from node.rpc.wire import live_from_wire, live_to_wire, result_from_wire, result_to_wire
from protos import stretto_pb2 as pb

u64 = st.integers(0, 2**64 - 1)
text = st.text(max_size=40)
digests = st.binary(min_size=32, max_size=32).map(Digest)
refusals = st.builds(
    Refusal, code=text, field=text, value=text, expected=text, retry_after_ms=st.none() | st.integers(1, 2**32 - 1)
)


@st.composite
def results(draw: st.DrawFn) -> SubmissionResult:
    state = draw(st.sampled_from(SubmissionState))
    return SubmissionResult(
        digest=draw(digests),
        state=state,
        index=draw(u64),
        height=draw(u64),
        block_time_ms=draw(u64),
        refusal=draw(refusals) if state is SubmissionState.REFUSED else None,
    )


@given(results())
def test_result_survives_the_wire(result: SubmissionResult) -> None:
    encoded = result_to_wire(result).SerializeToString()
    assert result_from_wire(pb.SubmissionResult.FromString(encoded)) == result


@given(
    st.builds(
        NodeLive,
        consensus_running=st.booleans(),
        view=u64,
        leader=text,
        finalized_view=u64,
        recovering=st.booleans(),
        pending_statements=u64,
        pending_payloads=u64,
        missing_payloads=u64,
        peers=st.lists(
            st.builds(
                PeerLive,
                member=text,
                connected=st.booleans(),
                last_view=u64,
                boot_generation=u64,
                rejected=u64,
                last_vote=text,
                timeouts=u64,
            ),
            max_size=5,
        ).map(tuple),
        quorum=u64,
        delta_ms=u64,
        leader_timeout_ms=u64,
        view_timeout_ms=u64,
        view_age_ms=u64,
        waiting_ms=u64,
        boot_generation=u64,
        epoch=u64,
        last_vote=text,
        timeouts=u64,
        timeouts_in_row=u64,
        missing_certificate=u64,
        missing_block=text,
        waits_for=text,
        clock_behind_ms=u64,
        stood_still_ms=u64,
        process_silent=st.booleans(),
        counters=st.dictionaries(text, u64, max_size=5),
        finality=st.builds(Latencies, counts=st.lists(u64, max_size=5).map(tuple), sum_ms=u64),
    )
)
def test_live_status_survives_the_wire(live: NodeLive) -> None:
    assert live_from_wire(pb.NodeStatusResponse.FromString(live_to_wire(live).SerializeToString())) == live


def test_state_of_a_newer_node_is_refused_not_guessed() -> None:
    with pytest.raises(ValueError, match="99"):
        result_from_wire(pb.SubmissionResult(statement_digest=bytes(32), state=99))  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused_as_malformed(data: bytes) -> None:
    try:
        message = decode(pb.SubmitStatementsRequest, data)
    except MalformedRequest:
        return
    assert decode(pb.SubmitStatementsRequest, message.SerializeToString()) == message


def test_generated_code_is_not_newer_than_the_runtime() -> None:
    # Source: protobuf.dev, "Cross-Version Runtime Guarantee": generated code must not be newer than its runtime.
    major = int(google.protobuf.__version__.partition(".")[0])
    assert major == 6, "raise the pins in pyproject.toml together (build-system.requires and dependencies)"
