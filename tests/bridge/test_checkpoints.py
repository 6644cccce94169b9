"""What a node gives is checked as the contract would check it, and refused by name before anything is paid."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import grpc
import pytest

from bridge.checkpoints import BridgeState, SignedCheckpoint, check_extends, check_first_entry, check_signed
from bridge.errors import CheckpointRefused, NodeRefuses
from bridge.node_client import GrpcNode, NodeCheckpoint
from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch
from ledger.chain_checkpoint import set_commitment
from protos import stretto_pb2 as pb
from tests.bridge.service import Ledger, LedgerService
from tests.bridge.world import addresses
from tests.contracts.log import Log, numbered
from tests.contracts.signers import ORDER, make_signers


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.grow(6)
    return made


@pytest.fixture
def signed(ledger: Ledger) -> SignedCheckpoint:
    found = ledger.latest()
    assert found is not None
    return found.signed


def check(ledger: Ledger, signed: SignedCheckpoint) -> None:
    committee = addresses(ledger.validators)
    check_signed(
        signed, consortium=ledger.consortium, epoch=ledger.epoch, validator_set=set_commitment(ledger.epoch, committee)
    )


def test_honest_checkpoint_passes(ledger: Ledger, signed: SignedCheckpoint) -> None:
    check(ledger, signed)


def _high(signature: bytes) -> bytes:
    """The smallest s above the lower half: nearly all others do not fit beside the recovery bit at all."""
    return signature[:32] + (ORDER // 2 + 1).to_bytes(32, "big")


Alter = Callable[[SignedCheckpoint], SignedCheckpoint]
STRANGERS = make_signers(4, "strangers")


def _signatures(alter: Callable[[list[bytes]], list[bytes]]) -> Alter:
    return lambda signed: dataclasses.replace(signed, signatures=tuple(alter(list(signed.signatures))))


def _point(**other: object) -> Alter:
    return lambda signed: dataclasses.replace(
        signed,
        checkpoint=dataclasses.replace(signed.checkpoint, **other),  # type: ignore[arg-type]
    )


def _foreign(signed: SignedCheckpoint) -> SignedCheckpoint:
    digest = signed.checkpoint.digest(signed.consortium)
    made = tuple(r + vs for r, vs in STRANGERS.sign(digest))
    return dataclasses.replace(signed, signatures=made)


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda signed: dataclasses.replace(signed, consortium=b"\x05" * 32), "WrongConsortium"),
        (_point(epoch=Epoch(0)), "StaleEpoch"),
        (_point(epoch=Epoch(2)), "StaleEpoch"),
        (lambda signed: dataclasses.replace(signed, validators=addresses(STRANGERS)), "ForeignSet"),
        (lambda signed: dataclasses.replace(signed, validators=signed.validators[::-1]), "ForeignSet"),
        (_point(root=b"\x09" * 32), "InvalidSignatures"),
        (_point(size=8), "InvalidSignatures"),
        (_signatures(lambda given: given[:-1]), "3 or more of 4"),
        (_signatures(lambda given: given[::-1]), "ascending"),
        (_signatures(lambda given: [given[0], given[0], given[1]]), "ascending, once"),
        (_signatures(lambda given: [_high(given[0]), *given[1:]]), "lower s"),
        (_signatures(lambda given: [bytes(64), *given[1:]]), "EIP-2098"),
        (_signatures(lambda given: [given[0][:-1], *given[1:]]), "EIP-2098"),
        (_foreign, "InvalidSignatures"),
        (_point(successor=Digest(b"\x01" * 32)), "SetSize"),
    ],
)  # fmt: skip
def test_what_the_contract_would_refuse_is_refused_by_name(
    ledger: Ledger, signed: SignedCheckpoint, alter: Alter, said: str
) -> None:
    with pytest.raises(CheckpointRefused, match=said):
        check(ledger, alter(signed))


def test_zero_root_and_zero_size_are_no_checkpoints(signed: SignedCheckpoint) -> None:
    for other in ({"root": bytes(32)}, {"size": 0}, {"size": 2**63}):
        with pytest.raises(MalformedMessage):
            _point(**other)(signed)


def test_boundary_must_name_the_set_that_it_brings(ledger: Ledger) -> None:
    following = make_signers(5, "next")
    before = dataclasses.replace(ledger)
    before.grow(1)
    before.end_epoch(following)
    found = before.ending(1)
    assert found is not None
    check(ledger, found.signed)
    for wrong, said in (
        (addresses(following)[:4], "WrongSuccessor"),
        (addresses(following)[:3], "SetSize"),
        (addresses(following)[::-1], "SetNotAscending"),
        (addresses(make_signers(65, "many")), "SetSize"),
    ):
        with pytest.raises(CheckpointRefused, match=said):
            check(ledger, dataclasses.replace(found.signed, next_validators=wrong))


def _state(log: Log, size: int) -> BridgeState:
    return BridgeState(size=size, root=log.root(size), epoch=1, validator_set=bytes(32), frozen=False, block=1)


def test_checkpoint_must_extend_what_is_recorded(ledger: Ledger, signed: SignedCheckpoint) -> None:
    check_extends(signed, _state(ledger.entries, 3), ledger.consistency(3, 7))
    other = Log([*numbered(1), *numbered(8, "forged")])
    for state, proof, said in (
        (_state(other, 3), ledger.consistency(3, 7), "WrongRoot"),
        (_state(ledger.entries, 3), other.consistency(3, 7), "WrongRoot"),
        (_state(ledger.entries, 3), (), "WrongRoot"),
        (_state(ledger.entries, 7), (), "StaleSize"),
        (_state(other, 9), (), "StaleSize"),
    ):
        with pytest.raises(CheckpointRefused, match=said):
            check_extends(signed, state, proof)


def test_first_entry_is_proved_by_the_quorums_checkpoint(ledger: Ledger, signed: SignedCheckpoint) -> None:
    proof = ledger.consistency(1, 7)
    check_first_entry(ledger.entries.entries[0], signed.checkpoint, proof)
    with pytest.raises(CheckpointRefused, match="WrongRoot"):
        check_first_entry(b"\x01" * 32, signed.checkpoint, proof)


# ---- over gRPC -------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(ledger: Ledger) -> Iterator[LedgerService]:
    made = LedgerService(ledger)
    yield made
    made.close()


def test_checkpoint_travels_unchanged(ledger: Ledger, service: LedgerService) -> None:
    with GrpcNode(service.address) as node:
        assert node.latest() == ledger.latest()
        assert node.ending(1) is None
        assert node.consistency(3, 7) == ledger.consistency(3, 7)
        assert node.log() == ledger.log()
        with pytest.raises(NodeRefuses, match="OUT_OF_RANGE"):
            node.consistency(3, 70)


def test_node_that_answers_another_question_is_refused(ledger: Ledger, service: LedgerService) -> None:
    ledger.end_epoch(make_signers(4, "next"))
    honest = ledger.ending(1)
    ledger.alter = lambda _: dataclasses.replace(honest, signed=_plain(honest))  # type: ignore[type-var, arg-type]
    with GrpcNode(service.address) as node, pytest.raises(NodeRefuses, match="end of epoch 1"):
        node.ending(1)


def _plain(found: NodeCheckpoint | None) -> SignedCheckpoint:
    assert found is not None
    return dataclasses.replace(
        found.signed, checkpoint=dataclasses.replace(found.signed.checkpoint, successor=Digest(bytes(32)))
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"consortium": b"\x01" * 31},
        {"root": b"\x01" * 33},
        {"successor": b"\x01"},
        {"validators": [b"\x01" * 19]},
        {"validators": [b"\x01" * 20] * 65},
        {"signatures": [pb.ChainSignature(signature=b"\x01" * 65)]},
        {"next_validators": [b"\x01" * 21]},
    ],
)
def test_malformed_answers_are_refused_by_field(
    service: LedgerService, answer: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    right: dict[str, object] = {"consortium": b"\x01" * 32, "root": b"\x01" * 32, "size": 1}

    def altered(request: object, context: object) -> object:
        return pb.GetChainCheckpointResponse(**{**right, **answer})  # type: ignore[arg-type]

    monkeypatch.setattr(service.service, "GetChainCheckpoint", altered)
    said = pytest.raises(NodeRefuses, match=next(iter(answer)).removeprefix("next_"))
    with LedgerService.patched(service) as address, GrpcNode(address) as node, said:
        node.latest()


def test_unreachable_node_is_said_within_the_deadline() -> None:
    with GrpcNode("127.0.0.1:9", deadline_s=0.5) as node, pytest.raises(NodeRefuses) as said:
        node.latest()
    assert said.value.code in (grpc.StatusCode.UNAVAILABLE.name, grpc.StatusCode.DEADLINE_EXCEEDED.name)
