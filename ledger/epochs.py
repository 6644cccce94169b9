"""From one epoch to the next: proof that a committee handed over to the roster that follows, and the walk from genesis.

A boundary block names the next roster by its digest; a quorum of the old committee made that block final. Who holds
the genesis can so learn, from anybody and offline, who belonged to the consortium in every epoch (design D4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from consensus.certificates import check_certificate
from consensus.errors import MalformedMessage, PeerError
from consensus.types import ZERO_DIGEST, Block, Certificate, Digest, VoteKind
from ledger.cbor import CborValue, decode, encode
from ledger.ed25519 import verify_strict
from ledger.errors import MalformedCbor, MalformedRoster
from ledger.genesis import Genesis
from ledger.governance import seats_changed
from ledger.roster import Roster, parse_roster

FORMAT: Final = "stretto/epochs/v1"
HEADERS_MAX: Final = 1000
"""Headers between a boundary block and one with a finalization of its own. Usually none."""
EPOCH_PROOF_BYTES_MAX: Final = 2 << 20
EPOCHS_MAX: Final = 10_000
EPOCHS_BYTES_MAX: Final = 32 << 20
"""Of a file of proofs, and of that part of an evidence file."""


class EpochNotProven(PeerError):
    """Proofs that do not lead from the genesis to what they name. epoch: the one they fail to begin. reason: why."""

    def __init__(self, epoch: int, reason: str) -> None:
        super().__init__(f"the roster of epoch {epoch} is not proven: {reason}")
        self.epoch = epoch
        self.reason = reason


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("epoch proof", field, expected)


@dataclass(frozen=True, kw_only=True)
class EpochProof:
    """That the committee of an epoch made final the block that names the next one's roster.

    Invariant: at most HEADERS_MAX headers. Whether it proves anything is for `check_epoch` and `verify_epochs`.
    """

    boundary: Block
    headers: tuple[Block, ...]
    """The boundary's descendants, each the child of the one before, up to the one that is finalized."""
    finalization: Certificate
    """By the old committee, of the last of `headers`, or of the boundary where there are none."""
    roster: Roster
    """Of the new epoch."""

    def __post_init__(self) -> None:
        if len(self.headers) > HEADERS_MAX:
            raise _malformed("headers", f"at most {HEADERS_MAX}, got {len(self.headers)}")

    def encode(self) -> bytes:
        """Deterministic CBOR."""
        return encode(
            {
                "boundary": self.boundary.encode(),
                "headers": [header.encode() for header in self.headers],
                "finalization": self.finalization.encode(),
                "roster": self.roster.encode(),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> EpochProof:
        """Inverse of `encode`. Raises: MalformedMessage."""
        if len(data) > EPOCH_PROOF_BYTES_MAX:
            raise _malformed("length", f"at most {EPOCH_PROOF_BYTES_MAX} bytes, got {len(data)}")
        value = _map(data, "proof", ("boundary", "headers", "finalization", "roster"))
        boundary, headers = value["boundary"], value["headers"]
        finalization, roster = value["finalization"], value["roster"]
        if type(boundary) is not bytes or type(finalization) is not bytes or type(roster) is not bytes:
            raise _malformed("proof", "boundary, finalization and roster as byte strings")
        if type(headers) is not list or len(headers) > HEADERS_MAX:
            raise _malformed("headers", f"a list of at most {HEADERS_MAX}")
        try:
            parsed = parse_roster(roster)
        except MalformedRoster as error:
            raise _malformed("roster", str(error)) from None
        return cls(
            boundary=Block.decode(boundary),
            headers=tuple(Block.decode(_bytes(header, "headers")) for header in headers),
            finalization=Certificate.decode(finalization),
            roster=parsed,
        )


# ---- verification ----------------------------------------------------------------------------------------------------


def check_epoch(roster: Roster, proof: EpochProof) -> Roster:
    """The next roster, where the committee of `roster` made it final. Says nothing of heights below the boundary.

    Raises: EpochNotProven.
    """
    epoch, boundary, following = roster.epoch + 1, proof.boundary, proof.roster
    chain = (boundary, *proof.headers)
    if any(block.consortium != roster.consortium for block in chain):
        raise EpochNotProven(epoch, "a block is of another consortium")
    if any(block.epoch != roster.epoch for block in chain):
        raise EpochNotProven(epoch, f"a block is not of epoch {roster.epoch}, whose committee decides")
    if any(block.payloads for block in chain):
        raise EpochNotProven(epoch, "the boundary, or a block after it, orders payloads")
    if boundary.next_committee != following.digest:
        raise EpochNotProven(
            epoch, f"the boundary names {boundary.next_committee.hex()}, the roster is {following.digest.hex()}"
        )
    if any(block.next_committee != ZERO_DIGEST for block in proof.headers):
        raise EpochNotProven(epoch, "a block after the boundary names a roster again")
    for parent, child in pairwise(chain):
        linked = (child.parent, child.height, child.parent_view) == (parent.digest, parent.height + 1, parent.view)
        if not linked:
            raise EpochNotProven(epoch, f"block {child.height} is not the child of block {parent.height}")
    _check_follows(roster, following)
    vote, last = proof.finalization.vote, chain[-1]
    named = (vote.kind, vote.epoch, vote.view, vote.height, vote.block)
    if named != (VoteKind.FINALIZE, last.epoch, last.view, last.height, last.digest):
        raise EpochNotProven(epoch, f"the votes are not to finalize block {last.height}")
    try:
        check_certificate(proof.finalization, roster.committee(), verify_strict)
    except PeerError as error:
        raise EpochNotProven(epoch, str(error)) from error
    return following


def _check_follows(roster: Roster, following: Roster) -> None:
    """What no quorum with a correct member hands over to."""
    epoch = roster.epoch + 1
    if (following.consortium, following.origin) != (roster.consortium, roster.origin):
        raise EpochNotProven(epoch, "the roster is of another consortium or log")
    if following.epoch != epoch:
        raise EpochNotProven(epoch, f"the roster is of epoch {following.epoch}")
    changed, allowed = seats_changed(roster, following), roster.committee().faults_max
    if changed > allowed:
        raise EpochNotProven(epoch, f"{changed} seats change at once, at most {allowed} may")


def verify_epochs(genesis: Genesis, proofs: Sequence[EpochProof]) -> tuple[Roster, ...]:
    """The rosters of epochs 0 to len(proofs), each proven by the one before, the first by the genesis alone.

    proofs: from anywhere, one for each epoch that ended, in order. Raises: EpochNotProven.
    """
    rosters = [genesis.roster]
    height = view = 0
    for proof in proofs:
        rosters.append(check_epoch(rosters[-1], proof))
        if proof.boundary.height <= height or proof.boundary.view <= view:
            raise EpochNotProven(rosters[-1].epoch, "its boundary does not come after the one before")
        height, view = proof.boundary.height, proof.boundary.view
    return tuple(rosters)


# ---- the file --------------------------------------------------------------------------------------------------------


def encode_epochs(consortium: Digest, proofs: Sequence[EpochProof]) -> bytes:
    """A file of proofs: deterministic CBOR. Raises: MalformedMessage where they are too many for one file."""
    if len(proofs) > EPOCHS_MAX:
        raise _malformed("proofs", f"at most {EPOCHS_MAX}, got {len(proofs)}")
    data = encode(
        {"format": FORMAT, "consortium": bytes(consortium), "proofs": [proof.encode() for proof in proofs]}
    )  # fmt: skip
    if len(data) > EPOCHS_BYTES_MAX:
        raise _malformed("length", f"at most {EPOCHS_BYTES_MAX} bytes, got {len(data)}")
    return data


def parse_epochs(data: bytes) -> tuple[Digest, tuple[EpochProof, ...]]:
    """(consortium, proofs) of a file: the inverse of `encode_epochs`. Nothing is verified. Raises: MalformedMessage."""
    if len(data) > EPOCHS_BYTES_MAX:
        raise _malformed("length", f"at most {EPOCHS_BYTES_MAX} bytes, got {len(data)}")
    value = _map(data, "file", ("format", "consortium", "proofs"))
    if value["format"] != FORMAT:
        raise _malformed("format", FORMAT)
    consortium, proofs = value["consortium"], value["proofs"]
    if type(consortium) is not bytes or len(consortium) != 32:
        raise _malformed("consortium", "32 bytes: SHA-256 of the genesis file")
    if type(proofs) is not list or len(proofs) > EPOCHS_MAX:
        raise _malformed("proofs", f"a list of at most {EPOCHS_MAX}")
    return Digest(consortium), tuple(EpochProof.decode(_bytes(proof, "proofs")) for proof in proofs)


def _map(data: bytes, field: str, keys: Sequence[str]) -> dict[int | str, CborValue]:
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise _malformed(field, f"deterministic CBOR, at {error.field}: {error.expected}") from None
    if type(value) is not dict or value.keys() != set(keys):
        raise _malformed(field, f"a map of exactly {', '.join(keys)}")
    return value


def _bytes(value: CborValue, field: str) -> bytes:
    if type(value) is not bytes:
        raise _malformed(field, "byte strings")
    return value
