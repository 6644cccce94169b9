"""A node's gRPC service over a synthetic log with synthetic validators: honest, or lying as a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bridge.checkpoints import SignedCheckpoint
from bridge.errors import NodeRefuses
from bridge.node_client import NodeCheckpoint, NodeLog
from consensus.types import Digest, Epoch
from ledger.chain_checkpoint import ChainCheckpoint
from protos import stretto_pb2 as pb
from protos.stretto_pb2_grpc import StrettoServicer, add_StrettoServicer_to_server
from tests.contracts.deployed import EPOCH, GENESIS
from tests.contracts.log import Log, numbered
from tests.contracts.signers import Checkpoint, Signers, make_signers


def _raw(addresses: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(each[2:]) for each in addresses)


@dataclass
class Ledger:
    """A log that grows, and the checkpoints that its validators sign. Usable as a `bridge.node_client.Node` itself."""

    validators: Signers = field(default_factory=lambda: make_signers(4))
    consortium: bytes = GENESIS
    epoch: int = EPOCH
    entries: Log = field(default_factory=lambda: Log(numbered(1)))
    alter: Callable[[NodeCheckpoint], NodeCheckpoint] = lambda found: found
    """What a lying node makes of its answer."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._signed: NodeCheckpoint | None = None
        self._ends: dict[int, NodeCheckpoint] = {}
        self.sizes: list[int] = []

    def grow(self, leaves: int = 1) -> int:
        """Appends, and signs a checkpoint. The size."""
        with self._lock:
            self.entries.extend(numbered(leaves, f"at {self.entries.size}"))
            self.sizes.append(self.entries.size)
            self._signed = self._sign()
            return self.entries.size

    def end_epoch(self, following: Signers) -> None:
        """The committee changes at the log's size as it is."""
        with self._lock:
            self._ends[self.epoch] = self._sign(following)
            self.epoch, self.validators = self.epoch + 1, following
            self._ends = {key: replace(each, current_epoch=self.epoch) for key, each in self._ends.items()}
            self._signed = self._ends[self.epoch - 1]

    def _sign(self, following: Signers | None = None) -> NodeCheckpoint:
        successor = following.hash(self.epoch + 1) if following else bytes(32)
        point = Checkpoint(self.epoch, self.entries.size, self.entries.root(), successor)
        signed = self.validators.signed(self.consortium, point)
        return NodeCheckpoint(
            signed=SignedCheckpoint(
                consortium=self.consortium,
                checkpoint=ChainCheckpoint(
                    epoch=Epoch(point.epoch), size=point.size, root=point.root, successor=Digest(successor)
                ),
                validators=_raw(self.validators.addresses),
                signatures=tuple(r + vs for r, vs in signed.signatures),
                next_validators=_raw(following.addresses) if following else (),
            ),
            current_epoch=self.epoch,
        )

    # ---- bridge.node_client.Node ----

    def latest(self) -> NodeCheckpoint | None:
        with self._lock:
            found = self._signed
        return None if found is None else self.alter(found)

    def ending(self, epoch: int) -> NodeCheckpoint | None:
        with self._lock:
            found = self._ends.get(epoch)
        return None if found is None else self.alter(found)

    def consistency(self, size1: int, size2: int) -> tuple[bytes, ...]:
        with self._lock:
            if not 0 < size1 <= size2 <= self.entries.size:
                raise NodeRefuses("test", "OUT_OF_RANGE", "size")
            return tuple(self.entries.consistency(size1, size2))

    def log(self) -> NodeLog:
        return NodeLog(consortium=self.consortium, size=self.entries.size, first_entry=self.entries.entries[0])


def _none_yet() -> status_pb2.Status:
    """As real nodes say it."""
    said = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="no checkpoint for chains yet")
    said.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_READY_YET", domain="stretto"))
    return said


class _Service(StrettoServicer):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.asked = 0

    def GetChainCheckpoint(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        ends = request.WhichOneof("which") == "ends_epoch"
        found = self._ledger.ending(request.ends_epoch) if ends else self._ledger.latest()
        if found is None:
            context.abort_with_status(rpc_status.to_status(_none_yet()))
            raise AssertionError
        signed, point = found.signed, found.signed.checkpoint
        return pb.GetChainCheckpointResponse(
            consortium=signed.consortium,
            epoch=point.epoch,
            size=point.size,
            root=point.root,
            successor=point.successor,
            validators=signed.validators,
            signatures=[pb.ChainSignature(signature=each) for each in signed.signatures],
            next_validators=signed.next_validators,
            current_epoch=found.current_epoch,
        )

    def GetConsistencyProof(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            return pb.GetConsistencyProofResponse(hashes=self._ledger.consistency(request.from_size, request.to_size))
        except NodeRefuses as error:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, str(error))

    def NodeStatus(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        found = self._ledger.log()
        return pb.NodeStatusResponse(genesis=found.consortium, size=found.size)

    def GetStatement(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return pb.GetStatementResponse(statement_digest=self._ledger.log().first_entry, index=0)


class LedgerService:
    """The ledger's gRPC service on a free port of this machine."""

    def __init__(self, ledger: Ledger) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        self.service = _Service(ledger)
        """With `asked`: how often it was asked for a checkpoint."""
        add_StrettoServicer_to_server(self.service, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @staticmethod
    @contextmanager
    def patched(service: LedgerService) -> Iterator[str]:
        """Address of another server over the same service object, whose methods a test has replaced."""
        server = grpc.server(ThreadPoolExecutor(2))
        add_StrettoServicer_to_server(service.service, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield address
        finally:
            server.stop(0).wait()

    def close(self) -> None:
        self._server.stop(0).wait()
