"""Claims and their parts to deterministic CBOR values and back. One table per part: field name, codec, default.

A field at its default is absent, never written: one claim, one encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar, cast

from ledger.cbor import CborInput, CborValue
from ledger.claim_parts import Commitment, Personal
from ledger.errors import MalformedClaim

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a value stands in CBOR. `read` raises MalformedClaim with the path inside the value."""

    read: Callable[[CborValue], T]
    write: Callable[[T], CborInput]


def _read_text(value: CborValue) -> str:
    if type(value) is not str:
        raise MalformedClaim("", value, "text")
    return value


def _read_bytes(value: CborValue) -> bytes:
    if type(value) is not bytes:
        raise MalformedClaim("", value, "a byte string")
    return value


def _read_number(value: CborValue) -> int:
    if type(value) is not int:
        raise MalformedClaim("", value, "a whole number")
    return value


def _read_flag(value: CborValue) -> bool:
    if type(value) is not bool:
        raise MalformedClaim("", value, "true or false")
    return value


def _read_personal(value: CborValue) -> Personal:
    if type(value) is bytes:
        return Commitment(value)
    if type(value) is not str:
        raise MalformedClaim("", value, "text, or a commitment of 32 bytes")
    return value


def _write_personal(value: Personal) -> CborInput:
    return value.digest if isinstance(value, Commitment) else value


def _write_same(value: Any) -> CborInput:
    return cast("CborInput", value)


TEXT: Final = Codec[str](_read_text, _write_same)
BYTES: Final = Codec[bytes](_read_bytes, _write_same)
NUMBER: Final = Codec[int](_read_number, _write_same)
FLAG: Final = Codec[bool](_read_flag, _write_same)
PERSONAL: Final = Codec[Personal](_read_personal, _write_personal)


def word(words: type[E]) -> Codec[E]:
    """A word of a closed set."""
    known = {member.value: member for member in words}
    listed = ", ".join(known)

    def read(value: CborValue) -> E:
        if type(value) is not str or (member := known.get(value)) is None:
            raise MalformedClaim("", value, f"one of {listed}")
        return member

    return Codec(read, lambda member: member.value)


def items(codec: Codec[T], count_max: int) -> Codec[tuple[T, ...]]:
    """A list of 1 to count_max; an empty one is left out."""

    def read(value: CborValue) -> tuple[T, ...]:
        if type(value) is not list or not 0 < len(value) <= count_max:
            raise MalformedClaim("", value, f"a list of 1 to {count_max}; an empty list is left out")
        found: list[T] = []
        for item in value:
            try:
                found.append(codec.read(item))
            except MalformedClaim as error:
                raise error.within(f"[{len(found)}]") from None
        return tuple(found)

    def write(values: tuple[T, ...]) -> CborInput:
        return [codec.write(value) for value in values]

    return Codec(read, write)


def struct(made: type[T], codecs: Mapping[str, Codec[Any]]) -> Codec[T]:
    """A map of a dataclass's fields. `codecs` names every field; the dataclass itself checks what is said."""
    defaults: dict[str, object] = {
        field.name: field.default
        for field in fields(cast("Any", made))
        if field.default is not MISSING
    }  # fmt: skip
    assert codecs.keys() == {field.name for field in fields(cast("Any", made))}, (
        f"{made.__name__}: a field lacks a codec"
    )
    required = tuple(name for name in codecs if name not in defaults)
    readers = {name: codec.read for name, codec in codecs.items()}
    # No codec reads None or an empty tuple: only these can be written out where they should be left out.
    spoken_defaults = {name: default for name, default in defaults.items() if default is not None and default != ()}

    def read(value: CborValue) -> T:
        if type(value) is not dict:
            raise MalformedClaim("", value, "a map")
        found: dict[str, Any] = {}
        for key, item in value.items():
            reader = readers.get(key) if type(key) is str else None
            if reader is None or type(key) is not str:
                raise MalformedClaim(str(key), item, f"no such field; known are {', '.join(codecs)}")
            try:
                found[key] = reader(item)
            except MalformedClaim as error:
                raise error.within(key) from None
            if key in spoken_defaults and found[key] == spoken_defaults[key]:
                raise MalformedClaim(key, item, "the field left out, where it says what its absence says")
        for name in required:
            if name not in found:
                raise MalformedClaim(name, "", "a value: the field is missing")
        return made(**found)

    def write(value: T) -> CborInput:
        written: dict[str, CborInput] = {}
        for name, codec in codecs.items():
            held = getattr(value, name)
            if name in defaults and held == defaults[name]:
                continue
            written[name] = codec.write(held)
        return written

    return Codec(read, write)
