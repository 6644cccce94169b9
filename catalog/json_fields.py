"""Fields of JSON files that this program wrote, read back as if anybody had: a ValueError says what was expected."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

WHOLE_MAX: Final = 2**63 - 1


def load(data: bytes | bytearray | str) -> Any:
    """Its value; we write no fractions. Raises: ValueError."""

    def refuse(number: str) -> NoReturn:
        raise ValueError(f"a whole number, got {number[:40]}")

    try:
        return json.loads(data, parse_float=refuse, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("JSON of a few levels") from error


def read_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"an object, got {str(value)[:40]}")  # noqa: TRY004  one kind of error for what is malformed
    return value


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text, got {value!r}")  # noqa: TRY004
    value.encode()  # a lone surrogate, which JSON can write and UTF-8 cannot, is a ValueError
    return value


def read_whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= WHOLE_MAX:
        raise ValueError(f"a whole number, got {str(value)[:40]}")
    return value


def read_digest(value: object, length: int = 32) -> bytes:
    data = bytes.fromhex(read_text(value))
    if len(data) != length:
        raise ValueError(f"a digest of {length} bytes in hexadecimal, got {value!r}")
    return data
