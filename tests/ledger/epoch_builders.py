"""A consortium over several epochs: rosters that follow each other, and the proofs that lead there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    EpochParameters,
    Height,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from ledger.epochs import EpochProof
from ledger.genesis import Role
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy, amend, conclude
from ledger.roster import Roster
from tests.ledger.builders import make_consortium, make_member, private_key, public_key

ROTATED = "court again"
"""Whose name the court's second keys are made under."""
GENESIS = make_consortium().genesis
CHANGES: tuple[Change, ...] = (
    Admit(epoch=Epoch(0), member=make_member("indie", Role.LABEL)),
    RotateKey(
        epoch=Epoch(1), member_id="court", purpose="consensus", key=public_key(ROTATED, "consensus")
    ),
    Remove(epoch=Epoch(2), member_id="platform", scope=Scope.CONSORTIUM),
    SetPolicy(epoch=Epoch(3), parameters=EpochParameters(delta_ms=200)),
)  # fmt: skip
"""What ends epochs 0, 1, 2 and 3."""


def rosters() -> tuple[Roster, ...]:
    """Of epochs 0 to 4: four founders; indie is admitted; the court's vote key replaced; platform removed; a policy."""
    found = [GENESIS.roster]
    for change in CHANGES:
        found.append(conclude(found[-1], amend(found[-1], change)))
    return tuple(found)


ROSTERS = rosters()


def signer_of(roster: Roster, index: int, purpose: str = "consensus") -> Any:
    """Private key of a validator for one purpose, as the roster has it."""
    member = roster.validator_members()[index]
    for name in (member.id, ROTATED, f"{member.id} again"):
        if public_key(name, purpose) == getattr(member.keys, purpose):
            return private_key(name, purpose)
    raise AssertionError(f"nobody knows the {purpose} key of {member.id}")


def boundary_of(roster: Roster, following: Roster, **changes: Any) -> Block:
    """The block that ends the roster's epoch; heights and views grow with the epochs."""
    at = 10 * (roster.epoch + 1)
    fields: dict[str, Any] = {
        "consortium": roster.consortium, "epoch": roster.epoch, "view": View(2 * at), "height": Height(at),
        "parent_view": View(2 * at - 1), "parent": Digest(b"p" * 32), "timestamp_ms": 1_000 * at,
        "proposer": ValidatorIndex(0), "payloads": (), "next_committee": following.digest,
    }  # fmt: skip
    return Block(**(fields | changes))


def child_of(parent: Block, **changes: Any) -> Block:
    fields: dict[str, Any] = {
        "view": View(parent.view + 1), "height": Height(parent.height + 1), "parent": parent.digest,
        "parent_view": parent.view, "timestamp_ms": parent.timestamp_ms + 1, "next_committee": Digest(bytes(32)),
    }  # fmt: skip
    return replace(parent, **(fields | changes))


def certify(roster: Roster, block: Block, signers: Sequence[int] | None = None, /, **changes: Any) -> Certificate:
    """Finalization of `block` by validators of `roster`, all of them unless told otherwise; changes: of the vote."""
    fields: dict[str, Any] = {
        "kind": VoteKind.FINALIZE, "epoch": block.epoch, "view": block.view, "height": block.height,
        "block": block.digest,
    }  # fmt: skip
    vote = Vote(**(fields | changes))
    listed = range(len(roster.validator_members())) if signers is None else signers
    message = vote.signing_bytes(roster.consortium)
    return Certificate(
        vote=vote,
        signers=tuple(ValidatorIndex(i) for i in listed),
        signatures=tuple(Signature(signer_of(roster, i).sign(message)) for i in listed),
    )


def handover(roster: Roster, following: Roster, *, headers: int = 0) -> EpochProof:
    """A correct proof, with so many blocks between the boundary and the one finalized."""
    chain = [boundary_of(roster, following)]
    for _ in range(headers):
        chain.append(child_of(chain[-1]))
    return EpochProof(
        boundary=chain[0], headers=tuple(chain[1:]), finalization=certify(roster, chain[-1]), roster=following
    )  # fmt: skip


def proofs(epochs: int = len(CHANGES)) -> tuple[EpochProof, ...]:
    """Of epochs 1 to `epochs`; each second one finalized through two descendants."""
    return tuple(
        handover(ROSTERS[epoch], ROSTERS[epoch + 1], headers=2 * (epoch % 2)) for epoch in range(epochs)
    )  # fmt: skip
