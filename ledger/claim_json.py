"""A claim for people and programs that do not read CBOR: what `stretto` prints and evidence shows beside the bytes.

One way only. The record is the CBOR; this is a view of it.
"""

from __future__ import annotations

from typing import Final, TypeAlias, Union

from ledger.claim import Claim, claim_value

JsonValue: TypeAlias = Union[bool, int, str, list["JsonValue"], dict[str, "JsonValue"]]  # noqa: UP007

_COMMITTED: Final = frozenset({"name", "isni", "ipi_name", "ipi_base", "operator"})
"""Fields in which bytes are a commitment; everywhere else they are a digest."""


def claim_to_json(claim: Claim) -> dict[str, JsonValue]:
    """Fields in the order of the claim's definition; digests in hexadecimal; commitments as {"commitment": …}.

    The AI disclosure is always there: where nobody disclosed anything, the reader sees "Undeclared", not silence.
    """
    shown = {name: _shown(name, value) for name, value in claim_value(claim).items()}
    shown.setdefault("ai", {"contains": claim.contains_ai.value})
    return shown


def _shown(name: str, value: object) -> JsonValue:
    match value:
        case bytes():
            return {"commitment": value.hex()} if name in _COMMITTED else value.hex()
        case dict():
            return {key: _shown(key, item) for key, item in value.items()}
        case list():
            return [_shown(name, item) for item in value]
        case bool() | int() | str():
            return value
        case _:  # pragma: no cover
            raise AssertionError(f"a claim holds no {type(value).__name__}")
