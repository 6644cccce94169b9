"""The genesis: who founded a consortium, with which keys and rules. Everything signed names the digest of this file.

A JSON file, so that a judge can read it. Its digest is the SHA-256 of the exact bytes: nobody has to canonicalise JSON
to check it, `sha256sum genesis.json` does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final

from consensus.types import VALIDATORS_MIN, Committee, Digest, Epoch, EpochParameters
from ledger.errors import MalformedGenesis
from ledger.member import (
    KEY_ID_BYTES,
    MEMBER_ID,
    MEMBERS_MAX,
    Member,
    MemberKeys,
    ReadKeys,
    Role,
    check_members,
    key_id,
    parameter_values,
    read_member,
    read_object,
    read_parameters,
    read_text,
)
from ledger.roster import ORIGIN_CHARACTERS_MAX, Roster
from ledger.strict_json import load_json

__all__ = [
    "FORMAT",
    "GENESIS_BYTES_MAX",
    "KEY_ID_BYTES",
    "MEMBERS_MAX",
    "MEMBER_ID",
    "Genesis",
    "Member",
    "MemberKeys",
    "Role",
    "encode_genesis",
    "key_id",
    "parse_genesis",
]

GENESIS_BYTES_MAX: Final = 1 << 20
FORMAT: Final = "stretto/genesis/v1"
_NAME_CHARACTERS_MAX: Final = 128

_ORIGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?:/[a-z0-9._-]+)*")
"""A URL without scheme (C2SP tlog-checkpoint: origin): host, then path. No blank, no plus sign (key names of notes)."""


@dataclass(frozen=True, kw_only=True)
class Genesis:
    """A parsed genesis file. `parse_genesis` makes it; invariants are those it checks."""

    raw: bytes
    """The file, verbatim."""
    name: str
    origin: str
    """Name of the log (C2SP origin), such as devnet.stretto.example/3f2a91c0."""
    parameters: EpochParameters
    members: tuple[Member, ...]

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the file: the consortium's identity."""
        return Digest(hashlib.sha256(self.raw).digest())

    @cached_property
    def roster(self) -> Roster:
        """Of epoch 0."""
        return Roster(
            consortium=self.digest,
            origin=self.origin,
            epoch=Epoch(0),
            parameters=self.parameters,
            members=self.members,
        )

    # What follows is said of epoch 0 alone. Whoever works in a later epoch asks its roster.

    def member(self, member_id: str) -> Member | None:
        return self.roster.member(member_id)

    def validator_members(self) -> tuple[Member, ...]:
        """In the order of their validator index."""
        return self.roster.validator_members()

    def validator_index(self, member_id: str) -> int | None:
        """0-based index in the committee; None for a member that does not validate."""
        return self.roster.validator_index(member_id)

    def committee(self) -> Committee:
        return self.roster.committee()

    @property
    def quorum(self) -> int:
        """n - f distinct validators."""
        return self.roster.quorum


# ---- encoding --------------------------------------------------------------------------------------------------------


def encode_genesis(*, name: str, origin: str, parameters: EpochParameters, members: Sequence[Member]) -> bytes:
    """A genesis file, laid out for people. Raises: MalformedGenesis where the result would not parse."""
    document = {
        "format": FORMAT,
        "name": name,
        "origin": origin,
        "parameters": parameter_values(parameters),
        "members": [
            {
                "id": member.id,
                "name": member.name,
                "role": member.role.value,
                "validator": member.validator,
                "keys": {field.name: getattr(member.keys, field.name).hex() for field in fields(MemberKeys)},
            }
            for member in members
        ],
    }
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    parse_genesis(data)
    return data


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse_genesis(data: bytes) -> Genesis:
    """Genesis of a file's exact bytes. Unknown fields, duplicate keys, repeated keys or ids: all refused.

    Raises: MalformedGenesis.
    """
    names = ("format", "name", "origin", "parameters", "members")
    loaded = load_json(data, "genesis", GENESIS_BYTES_MAX, MalformedGenesis)
    document = read_object(loaded, "genesis", names, MalformedGenesis)
    if document["format"] != FORMAT:
        raise MalformedGenesis("format", document["format"], FORMAT)
    name = read_text(document["name"], "name", _NAME_CHARACTERS_MAX, MalformedGenesis)
    origin = read_text(document["origin"], "origin", ORIGIN_CHARACTERS_MAX, MalformedGenesis)
    if not _ORIGIN.fullmatch(origin):
        raise MalformedGenesis("origin", origin, "host/path in lower case, such as log.example.org/music")
    listed = document["members"]
    if not isinstance(listed, list) or not VALIDATORS_MIN <= len(listed) <= MEMBERS_MAX:
        raise MalformedGenesis("members", listed, f"a list of {VALIDATORS_MIN} to {MEMBERS_MAX} members")
    keys = ReadKeys(MalformedGenesis, hexadecimal=True)
    members = tuple(
        read_member(entry, f"members[{i}]", keys=keys, refuse=MalformedGenesis) for i, entry in enumerate(listed)
    )
    check_members(members, MalformedGenesis)
    parameters = read_parameters(document["parameters"], "parameters", MalformedGenesis)
    return Genesis(raw=data, name=name, origin=origin, parameters=parameters, members=members)
