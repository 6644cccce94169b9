"""What minting and checking tokens ask of a node besides relaying; nothing is believed before it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bridge.checkpoints import SignedCheckpoint
from bridge.errors import NodeRefuses
from bridge.node_client import NONE_YET, GrpcNode
from consensus.types import Digest
from ledger.derived import derived_entry
from ledger.merkle import PROOF_HASHES_MAX
from protos import stretto_pb2 as pb

DISPUTES_MAX: Final = 16
MINTS_MAX: Final = 4_096
"""A claim has at most 256 live ones; replaced ones stay listed."""
STATES: Final[dict[int, str]] = {
    pb.CLAIM_STATE_ACTIVE: "active",
    pb.CLAIM_STATE_DISPUTED: "disputed",
    pb.CLAIM_STATE_REVOKED: "revoked",
    pb.CLAIM_STATE_SUPERSEDED: "superseded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A derived leaf. `entry` is the SHA-256 of `preimage`."""

    entry: Digest
    preimage: bytes
    index: int
    cause: Digest
    """The statement that it follows from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That an entry is in the log, by a node's word: checked where it is used."""

    entry: Digest
    path: tuple[bytes, ...]
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMint:
    """A mint as the ledger has it."""

    entry: Digest
    index: int
    edition: int
    state: str
    seq: int
    """Of its latest STATUS leaf; 0: none."""
    status_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRights:
    """Where a claim stands, by the node's word."""

    state: str
    holder: str
    head: Digest
    mints: tuple[LedgerMint, ...]

    def mint(self, entry: bytes) -> LedgerMint | None:
        return next((mint for mint in self.mints if mint.entry == entry), None)


class MintNode(GrpcNode):
    """Raises in every method: NodeRefuses."""

    def derived(self, *, entry: bytes | None = None, index: int = 0) -> Leaf | None:
        """By entry or index; None: the node's log has no such derived leaf."""
        request = pb.GetDerivedLeafRequest(index=index) if entry is None else pb.GetDerivedLeafRequest(entry=entry)
        answer = self._found("GetDerivedLeaf", request)
        if answer is None:
            return None
        leaf = answer.leaf
        self._check_length("entry", leaf.entry)
        self._check_length("cause", leaf.cause)
        if derived_entry(leaf.preimage) != leaf.entry or (entry is not None and leaf.entry != entry):
            self._refuse("INVALID", "preimage: it is of another entry")
        return Leaf(entry=Digest(leaf.entry), preimage=bytes(leaf.preimage), index=leaf.index, cause=Digest(leaf.cause))

    def covering(self, size: int) -> SignedCheckpoint | None:
        """The first complete checkpoint for chains of at least this size, waited for; None: there is none."""
        try:
            found = self._checkpoint(pb.GetChainCheckpointRequest(min_size=size, wait=True))
        except NodeRefuses as error:
            if error.cause in NONE_YET or error.code == "DEADLINE_EXCEEDED":
                return None
            raise
        return None if found is None else found.signed

    def inclusion(self, index: int, size: int) -> Proof:
        answer = self._call("GetInclusionProof", pb.GetInclusionProofRequest(index=index, size=size))
        self._check_length("entry", answer.entry)
        self._check_length("root", answer.root)
        if len(answer.hashes) > PROOF_HASHES_MAX or any(len(each) != 32 for each in answer.hashes):
            self._refuse("INVALID", "hashes: no inclusion proof has this form")
        return Proof(entry=Digest(answer.entry), path=tuple(answer.hashes), root=bytes(answer.root))

    def rights(self, claim: bytes, position: int) -> LedgerRights | None:
        """None: the node's log has no such claim."""
        request = pb.GetClaimRightsRequest(statement_digest=claim, position=position)
        answer = self._found("GetClaimRights", request)
        if answer is None:
            return None
        self._check_length("head", answer.head)
        if len(answer.mints) > MINTS_MAX or len(answer.disputes) > DISPUTES_MAX:
            self._refuse("INVALID", f"mints, disputes: over {MINTS_MAX}, over {DISPUTES_MAX}")
        return LedgerRights(
            state=self._state(answer.state),
            holder=answer.holder,
            head=Digest(answer.head),
            mints=tuple(map(self._mint, answer.mints)),
        )

    def statement(self, digest: bytes) -> bytes | None:
        """Verbatim; None: the node's log has no such statement."""
        answer = self._found("GetStatement", pb.GetStatementRequest(digest=digest))
        return None if answer is None else bytes(answer.statement)

    def _mint(self, mint: Any) -> LedgerMint:
        self._check_length("mints.entry", mint.entry)
        return LedgerMint(
            entry=Digest(mint.entry), index=mint.index, edition=mint.edition, state=self._state(mint.state),
            seq=mint.status_seq, status_index=mint.status_index,
        )  # fmt: skip

    def _state(self, value: int) -> str:
        if value not in STATES:
            self._refuse("INVALID", f"state: {value} is none that this version knows")
        return STATES[value]

    def _found(self, method: str, request: Any) -> Any:
        try:
            return self._call(method, request)
        except NodeRefuses as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    def _check_length(self, field: str, value: bytes) -> None:
        if len(value) != 32:
            self._refuse("INVALID", f"{field}: {len(value)} bytes, expected 32")
