"""Values of JSON documents that programs exchange: whole numbers, and bytes as 0x and hexadecimal. Bounded, strict."""

from __future__ import annotations

import re
from typing import Final

from ledger.member import Refuse

HEX_CHARACTERS_MAX: Final = 2 << 20
"""Of one value; documents have bounds of their own below it."""
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")


def hex_text(data: bytes) -> str:
    """0x and lower-case digits."""
    return f"0x{bytes(data).hex()}"


class JsonValues:
    """The fields of one object. Every method raises what `refuse` makes, naming field and value."""

    def __init__(self, fields: dict[str, object], refuse: Refuse) -> None:
        """fields: all that are asked for are there."""
        self._fields = fields
        self._refuse = refuse

    def whole(self, field: str, least: int, most: int) -> int:
        value = self._fields[field]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._refuse(field, value, f"a whole number from {least} to {most}")
        return value

    def octets(self, field: str, length: int | None = None) -> bytes:
        """length: in bytes; None takes any."""
        return self._octets(field, self._fields[field], length)

    def octets_each(self, field: str, most: int, length: int | None = None) -> tuple[bytes, ...]:
        """Of a list of at most `most`."""
        value = self._fields[field]
        if not isinstance(value, list) or len(value) > most:
            raise self._refuse(field, value, f"a list of at most {most}")
        return tuple(self._octets(field, each, length) for each in value)

    def _octets(self, field: str, value: object, length: int | None) -> bytes:
        if not isinstance(value, str) or len(value) > HEX_CHARACTERS_MAX or not _HEX.fullmatch(value):
            raise self._refuse(field, value, "0x and lower-case hexadecimal digits, two for each byte")
        found = bytes.fromhex(value[2:])
        if length is not None and len(found) != length:
            raise self._refuse(field, value, f"{length} bytes")
        return found
