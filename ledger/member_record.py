"""A member record: the public file by which an institution asks to be admitted. JSON, so that people can read it.

It is not signed: who votes to admit an institution has made sure, by other means, that this file is that institution's.
Whether the newcomer gets a seat in the committee is not in it, that is for the voters to say.
"""

from __future__ import annotations

import json
from typing import Final

from ledger.errors import MalformedMember
from ledger.member import CHAIN_PROOF, KEY_PURPOSES, Member, ReadKeys, read_member, read_object
from ledger.strict_json import load_json

FORMAT: Final = "stretto/member/v1"
MEMBER_RECORD_BYTES_MAX: Final = 16 << 10


def encode_member_record(member: Member) -> bytes:
    """The file, laid out for people; `member.validator` is left out. Raises: MalformedMember."""
    document = {
        "format": FORMAT,
        "id": member.id,
        "name": member.name,
        "role": str(member.role),
        "keys": {purpose: getattr(member.keys, purpose).hex() for purpose in (*KEY_PURPOSES, CHAIN_PROOF)},
    }
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    parse_member_record(data, validator=member.validator)
    return data


def parse_member_record(data: bytes, *, validator: bool) -> Member:
    """The institution of such a file. validator: whether it is to have a seat. Raises: MalformedMember."""
    loaded = load_json(data, "member", MEMBER_RECORD_BYTES_MAX, MalformedMember)
    found = read_object(loaded, "member", ("format", "id", "name", "role", "keys"), MalformedMember)
    if found.pop("format") != FORMAT:
        raise MalformedMember("member.format", "another", FORMAT)
    reader = ReadKeys(MalformedMember, hexadecimal=True)
    member = read_member({**found, "validator": validator}, "member", keys=reader, refuse=MalformedMember)
    keys: dict[bytes, str] = {}
    for purpose in KEY_PURPOSES:
        key = getattr(member.keys, purpose)
        if key in keys:
            raise MalformedMember(f"member.keys.{purpose}", key.hex(), f"a key of its own, {keys[key]} has the same")
        keys[key] = purpose
    return member
