"""JSON files that people write and programs must not read in two ways: no repeated key, no fraction, bounded.

What is accepted is a matter of agreement between programs: a file that two of them read differently names two things.
"""

from __future__ import annotations

import json
from typing import Final

from ledger.member import Refuse

_JSON_DEPTH_MAX: Final = 8


def load_json(data: bytes, what: str, bytes_max: int, refuse: Refuse) -> object:
    """The value of a JSON file. what: names the file in errors. refuse: makes the error to raise."""
    if len(data) > bytes_max:
        raise refuse(what, f"{len(data)} bytes", f"at most {bytes_max} bytes")

    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise refuse(key, key, "each key once in an object")
            found[key] = value
        return found

    def no_fraction(number: str) -> object:
        raise refuse(what, number, "whole numbers only")

    def whole(number: str) -> int:
        if len(number) > 16:
            raise refuse(what, number, "whole numbers below 2^53")
        return int(number)

    try:
        parsed: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=no_duplicates, parse_float=no_fraction, parse_constant=no_fraction, parse_int=whole,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise refuse(what, data[error.start : error.start + 8], f"UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise refuse(what, f"line {error.lineno}, column {error.colno}", f"JSON: {error.msg}") from None
    except RecursionError:
        raise refuse(what, "deeper nesting", f"at most {_JSON_DEPTH_MAX} levels") from None
    return parsed
