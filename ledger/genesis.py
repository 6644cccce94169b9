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
from enum import StrEnum
from functools import cached_property
from typing import Final

from consensus.types import VALIDATORS_MAX, VALIDATORS_MIN, Committee, Digest, Epoch, EpochParameters, PublicKey
from ledger.ed25519 import is_strict_key
from ledger.errors import MalformedGenesis
from ledger.text import text_fault

GENESIS_BYTES_MAX: Final = 1 << 20
MEMBERS_MAX: Final = 512
FORMAT: Final = "stretto/genesis/v1"
KEY_ID_BYTES: Final = 8
_NAME_CHARACTERS_MAX: Final = 128
_ORIGIN_CHARACTERS_MAX: Final = 128
_JSON_DEPTH_MAX: Final = 8

MEMBER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
"""A slug of at most 32: names directories, log lines and keys of notes."""
_ORIGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?:/[a-z0-9._-]+)*")
"""A URL without scheme (C2SP tlog-checkpoint: origin): host, then path. No blank, no plus sign (key names of notes)."""

_PARAMETER_BOUNDS: Final = {
    "delta_ms": (10, 60_000),
    "delta_factor_max": (1, 64),
    "block_interval_ms": (1, 60_000),
    "precision_ms": (10, 60_000),
    "heartbeat_ms": (1_000, 86_400_000),
}


class Role(StrEnum):
    """What a member is, and so which statements it may make (design D7)."""

    LABEL = "label"
    COURT = "court"
    SOCIETY = "society"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberKeys:
    """A member's Ed25519 keys, one purpose each: no key of a genesis occurs twice in it.

    Members without a node have all six too: they may become validators without a new ceremony.
    """

    consensus: PublicKey
    """Signs votes and payloads."""
    log: PublicKey
    """Signs checkpoints as the log itself: note signature type 0x01 under the origin's name."""
    cosign: PublicKey
    """Cosigns checkpoints with a time: type 0x04 under the name origin/member."""
    export: PublicKey
    """Signs the manifests of evidence bundles."""
    peer: PublicKey
    """Identity in the peer-to-peer network (libp2p)."""
    statement: PublicKey
    """Signs statements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An institution of the consortium."""

    id: str
    """Slug, unique in the genesis: [a-z0-9-], at most 32."""
    name: str
    role: Role
    validator: bool
    """Whether its node votes. Validators are numbered in the order in which the genesis lists them."""
    keys: MemberKeys

    @property
    def statement_key_id(self) -> bytes:
        return key_id(self.keys.statement)


def key_id(public_key: bytes) -> bytes:
    """8 bytes that name a statement key in an envelope: the start of SHA-256(public key)."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


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
    def _committee(self) -> Committee:
        return Committee(
            consortium=self.digest,
            epoch=Epoch(0),
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
        """0-based index in the committee; None for a member that does not validate."""
        return next((i for i, member in enumerate(self._validators) if member.id == member_id), None)

    def committee(self) -> Committee:
        """Of epoch 0."""
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

    def cosign_name(self, member_id: str) -> str:
        return f"{self.origin}/{member_id}"


# ---- encoding --------------------------------------------------------------------------------------------------------


def encode_genesis(*, name: str, origin: str, parameters: EpochParameters, members: Sequence[Member]) -> bytes:
    """A genesis file, laid out for people. Raises: MalformedGenesis where the result would not parse."""
    document = {
        "format": FORMAT,
        "name": name,
        "origin": origin,
        "parameters": {field.name: getattr(parameters, field.name) for field in fields(EpochParameters)},
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
    document = _object(_load(data), "genesis", ("format", "name", "origin", "parameters", "members"))
    if document["format"] != FORMAT:
        raise MalformedGenesis("format", document["format"], FORMAT)
    name = _text(document["name"], "name", _NAME_CHARACTERS_MAX)
    origin = _text(document["origin"], "origin", _ORIGIN_CHARACTERS_MAX)
    if not _ORIGIN.fullmatch(origin):
        raise MalformedGenesis("origin", origin, "host/path in lower case, such as log.example.org/music")
    listed = document["members"]
    if not isinstance(listed, list) or not VALIDATORS_MIN <= len(listed) <= MEMBERS_MAX:
        raise MalformedGenesis("members", listed, f"a list of {VALIDATORS_MIN} to {MEMBERS_MAX} members")
    members = tuple(_member(entry, f"members[{i}]") for i, entry in enumerate(listed))
    _check_distinct(members)
    validators = sum(member.validator for member in members)
    if not VALIDATORS_MIN <= validators <= VALIDATORS_MAX:
        raise MalformedGenesis(
            "members", f"{validators} validators", f"{VALIDATORS_MIN} to {VALIDATORS_MAX} validators"
        )
    return Genesis(
        raw=data, name=name, origin=origin, parameters=_parameters(document["parameters"]), members=members
    )  # fmt: skip


def _load(data: bytes) -> object:
    if len(data) > GENESIS_BYTES_MAX:
        raise MalformedGenesis("genesis", f"{len(data)} bytes", f"at most {GENESIS_BYTES_MAX} bytes")

    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise MalformedGenesis(key, key, "each key once in an object")
            found[key] = value
        return found

    def no_fraction(number: str) -> object:
        raise MalformedGenesis("genesis", number, "whole numbers only")

    def whole(number: str) -> int:
        if len(number) > 16:
            raise MalformedGenesis("genesis", number, "whole numbers below 2^53")
        return int(number)

    try:
        parsed: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=no_duplicates, parse_float=no_fraction, parse_constant=no_fraction, parse_int=whole,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise MalformedGenesis("genesis", data[error.start : error.start + 8], f"UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise MalformedGenesis("genesis", f"line {error.lineno}, column {error.colno}", f"JSON: {error.msg}") from None
    except RecursionError:
        raise MalformedGenesis("genesis", "deeper nesting", f"at most {_JSON_DEPTH_MAX} levels") from None
    return parsed


def _object(value: object, path: str, keys: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MalformedGenesis(path, value, f"an object with {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise MalformedGenesis(f"{path}.{key}", value[key], f"no such field; known are {', '.join(keys)}")
    for key in keys:
        if key not in value:
            raise MalformedGenesis(f"{path}.{key}", "", "a value: the field is missing")
    return value


def _text(value: object, path: str, characters_max: int) -> str:
    if not isinstance(value, str):
        raise MalformedGenesis(path, value, "text")
    if fault := text_fault(value, characters_max):
        raise MalformedGenesis(path, value, fault)
    return value


def _parameters(value: object) -> EpochParameters:
    found = _object(value, "parameters", tuple(_PARAMETER_BOUNDS))
    checked: dict[str, int] = {}
    for name, (low, high) in _PARAMETER_BOUNDS.items():
        number = found[name]
        if type(number) is not int or not low <= number <= high:
            raise MalformedGenesis(f"parameters.{name}", number, f"a whole number from {low} to {high}")
        checked[name] = number
    return EpochParameters(**checked)


def _member(value: object, path: str) -> Member:
    found = _object(value, path, ("id", "name", "role", "validator", "keys"))
    member_id, role, validator = found["id"], found["role"], found["validator"]
    if not isinstance(member_id, str) or not MEMBER_ID.fullmatch(member_id):
        raise MalformedGenesis(f"{path}.id", member_id, "a slug of a-z, 0-9 and inner hyphens, at most 32 characters")
    if not isinstance(role, str) or role not in set(Role):
        raise MalformedGenesis(f"{path}.role", role, " | ".join(Role))
    if not isinstance(validator, bool):
        raise MalformedGenesis(f"{path}.validator", validator, "true or false")
    names = tuple(field.name for field in fields(MemberKeys))
    keys = _object(found["keys"], f"{path}.keys", names)
    return Member(
        id=member_id,
        name=_text(found["name"], f"{path}.name", _NAME_CHARACTERS_MAX),
        role=Role(role),
        validator=validator,
        keys=MemberKeys(**{name: _key(keys[name], f"{path}.keys.{name}") for name in names}),
    )


def _key(value: object, path: str) -> PublicKey:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise MalformedGenesis(path, value, "an Ed25519 public key as 64 lower-case hexadecimal digits")
    key = bytes.fromhex(value)
    if not is_strict_key(key):
        raise MalformedGenesis(path, value, "a point of Ed25519's prime-order group in canonical encoding")
    return PublicKey(key)


def _check_distinct(members: tuple[Member, ...]) -> None:
    """Ids and keys occur once: a key with two purposes lets a signature for one be shown as the other."""
    ids: dict[str, int] = {}
    keys: dict[bytes, str] = {}
    key_ids: dict[bytes, str] = {}
    for i, member in enumerate(members):
        if member.id in ids:
            raise MalformedGenesis(f"members[{i}].id", member.id, f"an id not used by members[{ids[member.id]}]")
        ids[member.id] = i
        for field in fields(MemberKeys):
            path, key = f"members[{i}].keys.{field.name}", getattr(member.keys, field.name)
            if key in keys:
                raise MalformedGenesis(path, key.hex(), f"a key of its own, {keys[key]} has the same")
            keys[key] = path
        if member.statement_key_id in key_ids:
            # 8 bytes can be ground into a collision; then an envelope's key id would name two members.
            raise MalformedGenesis(f"members[{i}].keys.statement", member.statement_key_id, "a key id of its own")
        key_ids[member.statement_key_id] = member.id
