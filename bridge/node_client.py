"""What a relayer asks of a node, over gRPC: bounded, with a deadline, and read into values that are checked elsewhere.

A node can lie: nothing here is believed before bridge/checkpoints.py has checked it against the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, Self

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bridge.checkpoints import SignedCheckpoint
from bridge.errors import NodeRefuses
from consensus.types import Digest, Epoch
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint
from ledger.merkle import PROOF_HASHES_MAX
from protos import stretto_pb2 as pb
from protos.stretto_pb2_grpc import StrettoStub

DEADLINE_S: Final = 10.0
MESSAGE_BYTES_MAX: Final = 2**20
VALIDATORS_MAX: Final = 64
MESSAGE_CHARACTERS_MAX: Final = 200
NONE_YET: Final = frozenset({"NOT_READY_YET", "BEYOND_LOG"})
"""How nodes say that a checkpoint is not there, and will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCheckpoint:
    """A checkpoint as a node has it, and the epoch that this node is in."""

    signed: SignedCheckpoint
    current_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLog:
    """Where a node's log stands. first_entry: digest of the statement at leaf 0, or None while the log is empty."""

    consortium: bytes
    size: int
    first_entry: bytes | None


class Node(Protocol):
    """Raises in every method: NodeRefuses, MalformedMessage."""

    def latest(self) -> NodeCheckpoint | None:
        """The newest complete checkpoint for chains; None while there is none."""
        ...

    def ending(self, epoch: int) -> NodeCheckpoint | None:
        """The boundary checkpoint of an epoch; None while it has not ended."""
        ...

    def consistency(self, size1: int, size2: int) -> tuple[bytes, ...]: ...

    def log(self) -> NodeLog: ...


class GrpcNode:
    """A node by its address. Safe to use from several threads."""

    def __init__(
        self,
        address: str,
        *,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """ca: PEM file with who signed the node's certificate; without it there is no TLS. cert, key: for mTLS."""
        self._address, self._deadline_s = address, deadline_s
        options = (
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.keepalive_time_ms", 30_000),
        )
        if ca is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            own_cert, own_key = (None if path is None else path.read_bytes() for path in (cert, key))
            credentials = grpc.ssl_channel_credentials(ca.read_bytes(), own_key, own_cert)
            self._channel = grpc.secure_channel(address, credentials, options)
        self._stub = StrettoStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def latest(self) -> NodeCheckpoint | None:
        return self._checkpoint(pb.GetChainCheckpointRequest())

    def ending(self, epoch: int) -> NodeCheckpoint | None:
        found = self._checkpoint(pb.GetChainCheckpointRequest(ends_epoch=epoch))
        if found is not None and (found.signed.checkpoint.epoch != epoch or not found.signed.checkpoint.ends_epoch):
            self._refuse("INVALID", f"asked for the end of epoch {epoch}, it gives something else")
        return found

    def consistency(self, size1: int, size2: int) -> tuple[bytes, ...]:
        answer = self._call("GetConsistencyProof", pb.GetConsistencyProofRequest(from_size=size1, to_size=size2))
        if len(answer.hashes) > PROOF_HASHES_MAX or any(len(each) != 32 for each in answer.hashes):
            self._refuse("INVALID", "hashes: no consistency proof has this form")
        return tuple(answer.hashes)

    def log(self) -> NodeLog:
        status = self._call("NodeStatus", pb.NodeStatusRequest())
        if len(status.genesis) != 32:
            self._refuse("INVALID", f"genesis: {len(status.genesis)} bytes, expected 32")
        first = None
        if status.size:
            first = bytes(self._call("GetStatement", pb.GetStatementRequest(index=0)).statement_digest)
            if len(first) != 32:
                self._refuse("INVALID", f"statement_digest: {len(first)} bytes, expected 32")
        return NodeLog(consortium=bytes(status.genesis), size=status.size, first_entry=first)

    def _checkpoint(self, request: Any) -> NodeCheckpoint | None:
        try:
            answer = self._call("GetChainCheckpoint", request)
        except NodeRefuses as error:
            if error.cause in NONE_YET:
                return None
            raise
        for name, length in (("consortium", 32), ("root", 32), ("successor", 32)):
            got = len(getattr(answer, name))
            if got != length and not (name == "successor" and got == 0):
                self._refuse("INVALID", f"{name}: {got} bytes, expected {length}")
        for name in ("validators", "next_validators", "signatures"):
            if len(getattr(answer, name)) > VALIDATORS_MAX:
                self._refuse("INVALID", f"{name}: {len(getattr(answer, name))} of at most {VALIDATORS_MAX}")
        if any(len(each) != 20 for each in (*answer.validators, *answer.next_validators)):
            self._refuse("INVALID", "validators: an address that is not 20 bytes")
        if any(len(each.signature) != 64 for each in answer.signatures):
            self._refuse("INVALID", "signatures: one that is not 64 bytes")
        signed = SignedCheckpoint(
            consortium=bytes(answer.consortium),
            checkpoint=ChainCheckpoint(
                epoch=Epoch(answer.epoch),
                size=answer.size,
                root=bytes(answer.root),
                successor=Digest(bytes(answer.successor) or NO_SUCCESSOR),
            ),
            validators=tuple(answer.validators),
            signatures=tuple(bytes(each.signature) for each in answer.signatures),
            next_validators=tuple(answer.next_validators),
        )
        return NodeCheckpoint(signed=signed, current_epoch=answer.current_epoch)

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=self._deadline_s)
        except grpc.RpcError as error:
            text = (error.details() or "")[:MESSAGE_CHARACTERS_MAX].encode("unicode_escape").decode()
            raise NodeRefuses(self._address, error.code().name, text, _cause(error)) from error

    def _refuse(self, code: str, reason: str) -> NoReturn:
        raise NodeRefuses(self._address, code, reason)


def _cause(error: grpc.RpcError) -> str:
    """The reason that our nodes give besides gRPC's word; empty where there is none."""
    assert isinstance(error, grpc.Call), "errors of calls are calls themselves"
    info = error_details_pb2.ErrorInfo()
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            if detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
    except (ValueError, DecodeError):  # details of another error than the call's, or no protobuf at all
        return ""
    return str(info.reason[:MESSAGE_CHARACTERS_MAX])
