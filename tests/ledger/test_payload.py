"""Payloads: a header that binds its statements, signed by a validator of the epoch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import InvalidSignature, PeerError
from consensus.types import Digest, Epoch, Signature, ValidatorIndex
from ledger import merkle
from ledger.ed25519 import verify_strict
from ledger.payload import (
    BODY_BYTES_MAX,
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    STATEMENTS_MAX,
    MalformedPayload,
    Payload,
    PayloadHeader,
    build_payload,
    check_payload,
    parse_payload,
    parse_payload_header,
)
from ledger.statement import STATEMENT_BYTES_MAX
from tests.ledger.builders import make_claim, make_consortium, private_key

CONSORTIUM = make_consortium()
COMMITTEE = CONSORTIUM.genesis.committee()
STATEMENTS = tuple(CONSORTIUM.sign(make_claim(seed), ref=f"r{seed}") for seed in range(3))
PAYLOAD = CONSORTIUM.payload(STATEMENTS)


def build(statements: list[bytes]) -> Payload:
    return CONSORTIUM.payload(statements)


def test_a_payload_is_read_as_it_was_built() -> None:
    parsed = parse_payload(PAYLOAD.encode())
    assert parsed == PAYLOAD
    assert parsed.statements == STATEMENTS
    assert parsed.digest == hashlib.sha256(PAYLOAD.header.encode()).digest()
    assert parse_payload_header(PAYLOAD.header.encode()) == PAYLOAD.header
    assert check_payload(parsed, COMMITTEE, verify_strict) == COMMITTEE.validators[0]


def test_the_root_is_over_the_statements_entries_in_the_log() -> None:
    entries = [hashlib.sha256(statement).digest() for statement in STATEMENTS]
    assert PAYLOAD.header.root == merkle.root(entries)


def test_the_header_starts_with_its_domain_tag() -> None:
    assert PAYLOAD.header.encode().startswith(b"stretto/payload/v1" + CONSORTIUM.genesis.digest)
    assert len(PAYLOAD.header.encode()) == HEADER_BYTES == 18 + 32 + 8 + 2 + 8 + 8 + 2 + 32 + 4


@given(st.lists(st.binary(min_size=1, max_size=2_000), min_size=1, max_size=40))
def test_any_statements_come_back(statements: list[bytes]) -> None:
    payload = build(statements)
    assert parse_payload(payload.encode()) == payload


@given(at=st.integers(0, len(PAYLOAD.encode()) - 1), bit=st.integers(0, 7))
@settings(max_examples=300)
def test_a_flipped_bit_anywhere_is_refused(at: int, bit: int) -> None:
    data = PAYLOAD.encode()
    with pytest.raises(PeerError):
        check_payload(
            parse_payload(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]), COMMITTEE, verify_strict
        )


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedPayload):
        parse_payload(data)


def framed(*statements: bytes, **changes: Any) -> bytes:
    """Header, signature and body that fit each other, apart from `changes` to the header."""
    body = b"".join(len(statement).to_bytes(4, "big") + statement for statement in statements)
    values: dict[str, Any] = {
        "count": len(statements),
        "body_bytes": len(body),
        "root": Digest(merkle.root([hashlib.sha256(statement).digest() for statement in statements])),
    } | changes
    return replace(PAYLOAD.header, **values).encode() + bytes(64) + body


def test_the_frame_below_is_a_payload() -> None:
    assert parse_payload(framed(b"one", b"two")).statements == (b"one", b"two")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "length"),
        (PAYLOAD.encode()[: HEADER_BYTES + 64], "length"),
        (bytes(PAYLOAD_BYTES_MAX + 1), "length"),
        (b"stretto/payload/v2" + PAYLOAD.encode()[18:], "tag"),
        (PAYLOAD.encode() + b"\x00", "body_bytes"),
        (PAYLOAD.encode()[:-1], "body_bytes"),
        (framed(b"one", b"two", count=1), "count"),
        (framed(b"one", b"two", count=3, body_bytes=15)[:-1] + b"", "body_bytes"),
        (framed(b"one", b"two", root=Digest(bytes(32))), "root"),
        (framed(b"one", b"two")[:-7] + b"\x00\x00\x00\x04two", "statements[1]"),
        (framed(b"one", b"two")[:-7] + b"\x00\x00\x00\x02two", "statements[2]"),
        (framed(b"one" * 3, b"two")[:-7] + b"\x00\x00\x00\x00two", "statements[1]"),
        (framed(bytes(STATEMENT_BYTES_MAX + 1)), "statements[0]"),
    ],
)
def test_any_other_layout_is_refused(data: bytes, field: str) -> None:
    with pytest.raises(MalformedPayload) as caught:
        parse_payload(data)
    assert caught.value.field == field


def test_statements_in_another_order_are_another_payload() -> None:
    swapped = framed(b"two", b"one", root=Digest(merkle.root([hashlib.sha256(s).digest() for s in (b"one", b"two")])))
    with pytest.raises(MalformedPayload, match="root"):
        parse_payload(swapped)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epoch": -1}, "epoch"),
        ({"author": 2**16}, "author"),
        ({"sequence": 2**64}, "sequence"),
        ({"created_ms": -1}, "created_ms"),
        ({"count": 0}, "count"),
        ({"count": STATEMENTS_MAX + 1}, "count"),
        ({"body_bytes": 14}, "body_bytes"),
        ({"body_bytes": BODY_BYTES_MAX + 1}, "body_bytes"),
        ({"root": bytes(31)}, "root"),
        ({"consortium": bytes(33)}, "consortium"),
    ],
)
def test_a_header_out_of_bounds_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedPayload) as caught:
        replace(PAYLOAD.header, **changes)
    assert caught.value.field == field


def test_a_full_payload_fits_its_bound() -> None:
    full = build([bytes(BODY_BYTES_MAX // 4 - 4)] * 4)
    assert PAYLOAD_BYTES_MAX - 4 < len(full.encode()) <= PAYLOAD_BYTES_MAX
    assert parse_payload(full.encode()) == full
    assert len(build([b"x"] * STATEMENTS_MAX).statements) == STATEMENTS_MAX
    with pytest.raises(MalformedPayload, match="count"):
        build([b"x"] * (STATEMENTS_MAX + 1))
    with pytest.raises(MalformedPayload, match="count"):
        build([])


# ---- who signed ------------------------------------------------------------------------------------------------------


def changed(**changes: Any) -> Payload:
    """PAYLOAD with another header, correctly signed by validator 0."""
    header: PayloadHeader = replace(PAYLOAD.header, **changes)
    signature = Signature(private_key("label", "consensus").sign(header.encode()))
    return Payload(header=header, signature=signature, statements=STATEMENTS)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"consortium": Digest(bytes(32))}, "consortium"),
        ({"epoch": Epoch(1)}, "epoch"),
        ({"author": ValidatorIndex(4)}, "author"),
    ],
)
def test_a_payload_for_somebody_else_is_refused(changes: dict[str, Any], field: str) -> None:
    check_payload(changed(sequence=9), COMMITTEE, verify_strict)
    with pytest.raises(MalformedPayload) as caught:
        check_payload(changed(**changes), COMMITTEE, verify_strict)
    assert caught.value.field == field


def test_a_payload_is_signed_by_its_author_and_nobody_else() -> None:
    with pytest.raises(InvalidSignature, match="validator 1"):
        check_payload(changed(author=ValidatorIndex(1)), COMMITTEE, verify_strict)
    wrong_key = replace(PAYLOAD, signature=Signature(private_key("label", "log").sign(PAYLOAD.header.encode())))
    with pytest.raises(InvalidSignature):
        check_payload(wrong_key, COMMITTEE, verify_strict)


def test_a_signature_has_its_length() -> None:
    unsigned = build_payload(
        STATEMENTS,
        consortium=CONSORTIUM.genesis.digest,
        epoch=Epoch(0),
        author=ValidatorIndex(0),
        sequence=1,
        created_ms=1,
    )
    assert unsigned.digest == unsigned.signed(bytes(64)).digest
    with pytest.raises(MalformedPayload, match="64 bytes"):
        unsigned.signed(bytes(63))
