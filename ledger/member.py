"""A member: an institution of the consortium, its role, its seven keys; and what must hold of several together.

Members stand in a genesis (JSON, keys in hexadecimal), in rosters and in statements that admit them (CBOR, keys as
bytes). The rules are the same and stand here; who reads says which error it raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, TypeAlias

from consensus.types import VALIDATORS_MAX, VALIDATORS_MIN, EpochParameters, PublicKey
from ledger import secp256k1
from ledger.chain_key import CHAIN_KEY_BYTES, CHAIN_PROOF_BYTES, is_possession
from ledger.ed25519 import is_strict_key
from ledger.errors import StatementError
from ledger.text import text_fault

MEMBERS_MAX: Final = 512
KEY_ID_BYTES: Final = 8
KEY_BYTES: Final = 32
_NAME_CHARACTERS_MAX: Final = 128

MEMBER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
"""A slug of at most 32: names directories, log lines and keys of notes."""

PARAMETER_BOUNDS: Final = {
    "delta_ms": (10, 60_000),
    "delta_factor_max": (1, 64),
    "block_interval_ms": (1, 60_000),
    "precision_ms": (10, 60_000),
    "heartbeat_ms": (1_000, 86_400_000),
}
"""Smallest and largest value of each of the EpochParameters."""

Refuse: TypeAlias = Callable[[str, object, str], StatementError]
"""(field, value, expected) -> the error to raise."""


class ReadKeys:
    """Reads keys and proofs in one of their two forms: lower-case hexadecimal in JSON, bytes in CBOR."""

    def __init__(self, refuse: Refuse, *, hexadecimal: bool) -> None:
        """refuse: makes the error that every method raises."""
        self._refuse = refuse
        self._hexadecimal = hexadecimal

    def key(self, value: object, path: str) -> PublicKey:
        """An Ed25519 public key, strict."""
        key = self._bytes(value, path, KEY_BYTES, "an Ed25519 public key")
        if not is_strict_key(key):
            raise self._refuse(path, value, "a point of Ed25519's prime-order group in canonical encoding")
        return PublicKey(key)

    def chain_key(self, value: object, path: str) -> PublicKey:
        """A secp256k1 public key, strict. Says nothing about who has it: see `chain_proof`."""
        key = self._bytes(value, path, CHAIN_KEY_BYTES, "a compressed secp256k1 public key")
        if not secp256k1.is_strict_key(key):
            raise self._refuse(path, value, "a point of secp256k1 in compressed encoding: 02 or 03, then x")
        return PublicKey(key)

    def chain_proof(self, value: object, path: str, *, key: bytes, member_id: str) -> bytes:
        """That this member has this chain key."""
        proof = self._bytes(value, path, CHAIN_PROOF_BYTES, "a proof of possession of the chain key")
        if not is_possession(key, member_id, proof):
            made = f"made with that key for {member_id!r} ('stretto key show --prove {member_id}')"
            raise self._refuse(path, value, f"a proof of possession {made}")
        return proof

    def _bytes(self, value: object, path: str, count: int, what: str) -> bytes:
        if self._hexadecimal:
            if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{2 * count}}}", value):
                raise self._refuse(path, value, f"{what} as {2 * count} lower-case hexadecimal digits")
            return bytes.fromhex(value)
        if not isinstance(value, bytes) or len(value) != count:
            raise self._refuse(path, value, f"{what} of {count} bytes")
        return value


class Role(StrEnum):
    """What a member is, and so which statements it may make (design D7)."""

    LABEL = "label"
    COURT = "court"
    SOCIETY = "society"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberKeys:
    """A member's keys, one purpose each: no key of a roster occurs twice in it. All are Ed25519 but `chain`.

    Members without a node have all seven too: they may become validators without a new ceremony.
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
    chain: PublicKey
    """Signs checkpoints for public chains: secp256k1, 33 bytes (`ledger.chain_key`)."""
    chain_proof: bytes
    """64 bytes: that the member has that key. Whatever reads a key reads and checks this with it."""


CHAIN: Final = "chain"
CHAIN_PROOF: Final = "chain_proof"
KEY_PURPOSES: Final = tuple(field.name for field in fields(MemberKeys) if field.name != CHAIN_PROOF)
"""Names of the keys, in the order in which files list them."""
ED25519_PURPOSES: Final = tuple(purpose for purpose in KEY_PURPOSES if purpose != CHAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An institution of the consortium."""

    id: str
    """Slug, unique in the roster: [a-z0-9-], at most 32."""
    name: str
    role: Role
    validator: bool
    """Whether its node votes. Validators are numbered in the order in which the roster lists them."""
    keys: MemberKeys

    @property
    def statement_key_id(self) -> bytes:
        return key_id(self.keys.statement)


def key_id(public_key: bytes) -> bytes:
    """8 bytes that name a statement key in an envelope: the start of SHA-256(public key)."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_object(value: object, path: str, keys: Sequence[str], refuse: Refuse) -> dict[str, object]:
    """A map of exactly these keys. path: of the map, in errors; empty where whoever catches them names it."""
    inside = f"{path}." if path else ""
    if not isinstance(value, dict):
        raise refuse(path, value, f"an object with {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise refuse(f"{inside}{key}", value[key], f"no such field; known are {', '.join(keys)}")
    for key in keys:
        if key not in value:
            raise refuse(f"{inside}{key}", "", "a value: the field is missing")
    return value


def read_text(value: object, path: str, characters_max: int, refuse: Refuse) -> str:
    if not isinstance(value, str):
        raise refuse(path, value, "text")
    if fault := text_fault(value, characters_max):
        raise refuse(path, value, fault)
    return value


def read_member_id(value: object, path: str, refuse: Refuse) -> str:
    if not isinstance(value, str) or not MEMBER_ID.fullmatch(value):
        raise refuse(path, value, "a slug of a-z, 0-9 and inner hyphens, at most 32 characters")
    return value


def read_member(value: object, path: str, *, keys: ReadKeys, refuse: Refuse) -> Member:
    """A member of its fields id, name, role, validator and keys."""
    found = read_object(value, path, ("id", "name", "role", "validator", "keys"), refuse)
    role, validator = found["role"], found["validator"]
    member_id = read_member_id(found["id"], f"{path}.id", refuse)
    if not isinstance(role, str) or role not in set(Role):
        raise refuse(f"{path}.role", role, " | ".join(Role))
    if not isinstance(validator, bool):
        raise refuse(f"{path}.validator", validator, "true or false")
    return Member(
        id=member_id,
        name=read_text(found["name"], f"{path}.name", _NAME_CHARACTERS_MAX, refuse),
        role=Role(role),
        validator=validator,
        keys=_read_keys(found["keys"], f"{path}.keys", member_id, keys, refuse),
    )


def _read_keys(value: object, path: str, member_id: str, keys: ReadKeys, refuse: Refuse) -> MemberKeys:
    if isinstance(value, dict) and CHAIN not in value and all(purpose in value for purpose in ED25519_PURPOSES):
        # What an operator sees who starts this program on a consortium of an earlier state of it.
        made = (
            "this was made before members had chain keys: found the consortium anew, or keep the program it came from"
        )
        raise refuse(f"{path}.{CHAIN}", "", f"a secp256k1 public key with its chain_proof; {made}")
    found = read_object(value, path, (*KEY_PURPOSES, CHAIN_PROOF), refuse)
    read = {name: keys.key(found[name], f"{path}.{name}") for name in ED25519_PURPOSES}
    chain = keys.chain_key(found[CHAIN], f"{path}.{CHAIN}")
    proof = keys.chain_proof(found[CHAIN_PROOF], f"{path}.{CHAIN_PROOF}", key=chain, member_id=member_id)
    return MemberKeys(**read, chain=chain, chain_proof=proof)


def read_parameters(value: object, path: str, refuse: Refuse) -> EpochParameters:
    found = read_object(value, path, tuple(PARAMETER_BOUNDS), refuse)
    checked: dict[str, int] = {}
    for name, (low, high) in PARAMETER_BOUNDS.items():
        number = found[name]
        if type(number) is not int or not low <= number <= high:
            raise refuse(f"{path}.{name}", number, f"a whole number from {low} to {high}")
        checked[name] = number
    return EpochParameters(**checked)


def parameter_values(parameters: EpochParameters) -> Mapping[str, int]:
    """Name -> value, in the order in which files list them."""
    return {name: getattr(parameters, name) for name in PARAMETER_BOUNDS}


def check_members(members: Sequence[Member], refuse: Refuse) -> None:
    """Counts, ids and keys. A key with two purposes lets a signature for one be shown as the other.

    Raises: what `refuse` makes, at the first member that is wrong.
    """
    if not VALIDATORS_MIN <= len(members) <= MEMBERS_MAX:
        raise refuse("members", members, f"a list of {VALIDATORS_MIN} to {MEMBERS_MAX} members")
    ids: dict[str, int] = {}
    keys: dict[bytes, str] = {}
    key_ids: dict[bytes, str] = {}
    for i, member in enumerate(members):
        if member.id in ids:
            raise refuse(f"members[{i}].id", member.id, f"an id not used by members[{ids[member.id]}]")
        ids[member.id] = i
        for name in KEY_PURPOSES:
            path, key = f"members[{i}].keys.{name}", getattr(member.keys, name)
            if key in keys:
                raise refuse(path, key.hex(), f"a key of its own, {keys[key]} has the same")
            keys[key] = path
        if member.statement_key_id in key_ids:
            # 8 bytes can be ground into a collision; then an envelope's key id would name two members.
            raise refuse(f"members[{i}].keys.statement", member.statement_key_id, "a key id of its own")
        key_ids[member.statement_key_id] = member.id
    validators = sum(member.validator for member in members)
    if not VALIDATORS_MIN <= validators <= VALIDATORS_MAX:
        raise refuse("members", f"{validators} validators", f"{VALIDATORS_MIN} to {VALIDATORS_MAX} validators")
