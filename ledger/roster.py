"""A roster: who belongs to the consortium in one epoch, with which keys and parameters (design D4, membership).

Epoch 0's follows from the genesis. Every later one is named, by its digest, in the boundary block that ended the epoch
before, and a quorum of that epoch's validators made it final (`ledger.epochs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from consensus.types import Committee, Digest, Epoch, EpochParameters, PublicKey
from ledger import secp256k1
from ledger.cbor import CborInput, decode, encode
from ledger.errors import MalformedCbor, MalformedRoster
from ledger.member import (
    CHAIN_PROOF,
    KEY_PURPOSES,
    Member,
    ReadKeys,
    check_members,
    parameter_values,
    read_member,
    read_object,
    read_parameters,
    read_text,
)

ROSTER_BYTES_MAX: Final = 1 << 20
FORMAT: Final = "stretto/roster/v1"
ORIGIN_CHARACTERS_MAX: Final = 128
_EPOCH_MAX: Final = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The members of one epoch. `parse_roster`, `parse_genesis` and governance make it.

    Invariants: those of `check_members`: 4 to 512 members, 4 to 128 of them validators, ids and keys distinct.
    """

    consortium: Digest
    """SHA-256 of the genesis file."""
    origin: str
    """Name of the log (C2SP origin); the same in every epoch."""
    epoch: Epoch
    parameters: EpochParameters
    members: tuple[Member, ...]

    def encode(self) -> bytes:
        """Deterministic CBOR."""
        return encode(
            {
                "format": FORMAT,
                "consortium": bytes(self.consortium),
                "origin": self.origin,
                "epoch": self.epoch,
                "parameters": parameter_values(self.parameters),
                "members": [member_value(member) for member in self.members],
            }
        )

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of `encode()`: what a boundary block's `next_committee` names."""
        return Digest(hashlib.sha256(self.encode()).digest())

    @cached_property
    def _by_id(self) -> dict[str, Member]:
        return {member.id: member for member in self.members}

    @cached_property
    def _by_statement_key_id(self) -> dict[bytes, Member]:
        return {member.statement_key_id: member for member in self.members}

    @cached_property
    def _by_peer_key(self) -> dict[bytes, Member]:
        return {member.keys.peer: member for member in self.members}

    @cached_property
    def _validators(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.validator)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {member.id: index for index, member in enumerate(self._validators)}

    @cached_property
    def _committee(self) -> Committee:
        return Committee(
            consortium=self.consortium,
            epoch=self.epoch,
            validators=tuple(member.keys.consensus for member in self._validators),
            parameters=self.parameters,
        )

    def member(self, member_id: str) -> Member | None:
        return self._by_id.get(member_id)

    def member_by_statement_key_id(self, statement_key_id: bytes) -> Member | None:
        return self._by_statement_key_id.get(statement_key_id)

    def member_by_peer_key(self, peer_key: bytes) -> Member | None:
        return self._by_peer_key.get(peer_key)

    def validator_members(self) -> tuple[Member, ...]:
        """In the order of their validator index."""
        return self._validators

    def validator_index(self, member_id: str) -> int | None:
        """0-based index in the committee; None for a member that does not validate, or is none."""
        return self._indices.get(member_id)

    def committee(self) -> Committee:
        return self._committee

    @property
    def quorum(self) -> int:
        """n - f distinct validators."""
        return self._committee.quorum

    def log_keys(self) -> dict[str, PublicKey]:
        """Validator's member id -> its 0x01 note key; the key's name in notes is the origin."""
        return {member.id: member.keys.log for member in self._validators}

    def cosign_keys(self) -> dict[str, PublicKey]:
        """Validator's member id -> its 0x04 cosignature key; the key's name in notes is `cosign_name(member id)`."""
        return {member.id: member.keys.cosign for member in self._validators}

    @cached_property
    def chain_validators(self) -> Mapping[bytes, Member]:
        """Address on public chains -> validator, ascending by address (`ledger.chain_checkpoint`)."""
        return MappingProxyType(dict(sorted((secp256k1.address(each.keys.chain), each) for each in self._validators)))

    def cosign_name(self, member_id: str) -> str:
        return f"{self.origin}/{member_id}"


def member_value(member: Member) -> dict[str, CborInput]:
    """A member as it stands in CBOR."""
    return {
        "id": member.id,
        "name": member.name,
        "role": member.role.value,
        "validator": member.validator,
        "keys": {name: bytes(getattr(member.keys, name)) for name in (*KEY_PURPOSES, CHAIN_PROOF)},
    }


def parse_roster(data: bytes) -> Roster:
    """Inverse of `Roster.encode`. Raises: MalformedRoster."""
    if len(data) > ROSTER_BYTES_MAX:
        raise MalformedRoster("roster", f"{len(data)} bytes", f"at most {ROSTER_BYTES_MAX} bytes")
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise MalformedRoster(
            "roster", error.value, f"deterministic CBOR, at {error.field}: {error.expected}"
        ) from None
    names = ("format", "consortium", "origin", "epoch", "parameters", "members")
    found = read_object(value, "roster", names, MalformedRoster)
    if found["format"] != FORMAT:
        raise MalformedRoster("roster.format", found["format"], FORMAT)
    consortium, epoch, listed = found["consortium"], found["epoch"], found["members"]
    if not isinstance(consortium, bytes) or len(consortium) != 32:
        raise MalformedRoster("roster.consortium", consortium, "32 bytes: SHA-256 of the genesis file")
    if type(epoch) is not int or not 0 <= epoch <= _EPOCH_MAX:
        raise MalformedRoster("roster.epoch", epoch, "a whole number from 0 to 2^64 - 1")
    if not isinstance(listed, list):
        raise MalformedRoster("roster.members", listed, "a list of members")
    keys = ReadKeys(MalformedRoster, hexadecimal=False)
    members = tuple(
        read_member(entry, f"members[{i}]", keys=keys, refuse=MalformedRoster) for i, entry in enumerate(listed)
    )
    check_members(members, MalformedRoster)
    return Roster(
        consortium=Digest(consortium),
        origin=read_text(found["origin"], "roster.origin", ORIGIN_CHARACTERS_MAX, MalformedRoster),
        epoch=Epoch(epoch),
        parameters=read_parameters(found["parameters"], "roster.parameters", MalformedRoster),
        members=members,
    )
