"""What a validator checks once before it votes: the author, every statement, every catalogue body."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from consensus.types import Digest, Epoch, Signature, ValidatorIndex
from ledger.payload import Payload, build_payload, parse_payload
from node.validation import (
    BadPayload,
    DamagedBody,
    HeldPayload,
    MissingBlob,
    author_of,
    catalogues,
    check_author,
    check_statements,
    load_body,
    parse_statements,
)
from tests.ledger.builders import make_catalogue, make_claim, make_consortium
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, key

GOOD = [CONSORTIUM.sign(make_claim(number), ref=f"r{number}") for number in range(3)]
OTHER = make_consortium(name="Another consortium")


def payload(statements: list[bytes], *, author: int = 0, signer: str = "", consortium: Digest = GENESIS.digest,
            epoch: int = 0) -> Payload:  # fmt: skip
    unsigned = build_payload(
        statements,
        consortium=consortium,
        epoch=Epoch(epoch),
        author=ValidatorIndex(author),
        sequence=1,
        created_ms=0,
    )
    return unsigned.signed(key(signer or MEMBERS[author % 4], "consensus").sign(unsigned.signing_bytes))


def test_good_payload_passes_with_its_statements() -> None:
    good = parse_payload(payload(GOOD, author=2).encode())
    assert author_of(good, GENESIS.roster) == check_author(good, GENESIS.roster) == MEMBERS[2]
    assert [s.raw for s in check_statements(good, GENESIS.roster)] == GOOD
    assert parse_statements(good) == check_statements(good, GENESIS.roster)


@pytest.mark.parametrize(
    ("bad", "author"),
    [
        (payload(GOOD, consortium=OTHER.genesis.digest), "#0"),
        (payload(GOOD, author=4), "#4"),
        (payload(GOOD, author=65_535), "#65535"),
        (payload(GOOD, author=1, epoch=1), MEMBERS[1]),
    ],
    ids=["consortium", "no such author", "far from any author", "epoch"],
)
def test_payload_of_nobody_here_is_refused(bad: Payload, author: str) -> None:
    for check in (author_of, check_author, check_statements):
        with pytest.raises(BadPayload) as caught:
            check(bad, GENESIS.roster)
        assert caught.value.author == author


def test_signature_of_another_is_refused() -> None:
    with pytest.raises(BadPayload, match="does not verify"):
        check_author(payload(GOOD, author=0, signer=MEMBERS[1]), GENESIS.roster)
    signed = payload(GOOD)
    with pytest.raises(BadPayload):
        check_author(replace(signed, signature=Signature(bytes(64))), GENESIS.roster)


def test_key_of_another_purpose_does_not_sign_payloads() -> None:
    signed = payload(GOOD)
    wrong = key(MEMBERS[0], "cosign").sign(signed.header.encode())
    with pytest.raises(BadPayload):
        check_author(replace(signed, signature=Signature(wrong)), GENESIS.roster)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (b"\xd2\x84noise", "statement 1: "),
        (OTHER.sign(make_claim(7)), "statement 1: "),
        (CONSORTIUM.sign(make_claim(7), issuer="court"), "court"),
        (GOOD[1][:-1] + bytes([GOOD[1][-1] ^ 1]), "signature"),
    ],
    ids=["noise", "other consortium", "role", "signature"],
)
def test_one_bad_statement_refuses_the_payload_and_names_it(statement: bytes, reason: str) -> None:
    """A correct author would not have let it in: all of it is dropped (design D4)."""
    with pytest.raises(BadPayload) as caught:
        check_statements(payload([GOOD[0], statement, GOOD[2]], author=3), GENESIS.roster)
    assert caught.value.author == MEMBERS[3]
    assert "statement 1: " in str(caught.value)
    assert reason in str(caught.value)


def test_catalogues_are_those_with_a_body() -> None:
    built = make_catalogue(3)
    statements = check_statements(payload([GOOD[0], CONSORTIUM.sign(built.header, ref="c")]), GENESIS.roster)
    ((statement, header),) = catalogues(statements)
    assert (statement, header) == (statements[1], built.header)


def test_body_is_loaded_from_the_store() -> None:
    built = make_catalogue(5)
    blobs = {Digest(hashlib.sha256(blob).digest()): blob for blob in (built.manifest, *built.chunks)}
    assert load_body(built.header, blobs.get) == tuple(make_claim(n).encode() for n in range(5))
    for lost in blobs:
        kept = {digest: blob for digest, blob in blobs.items() if digest != lost}
        with pytest.raises(MissingBlob) as caught:
            load_body(built.header, kept.get)
        assert caught.value.digest == lost
        assert "stretto store check" in str(caught.value)


def test_body_that_changed_in_the_store_is_found_out() -> None:
    built = make_catalogue(5)
    blobs = {Digest(hashlib.sha256(blob).digest()): blob for blob in (built.manifest, *built.chunks)}
    chunk = Digest(hashlib.sha256(built.chunks[0]).digest())
    blobs[chunk] = bytes([blobs[chunk][0] ^ 1]) + blobs[chunk][1:]
    with pytest.raises(DamagedBody, match="stretto store check"):
        load_body(built.header, blobs.get)


def test_memory_counts_statements_and_bodies() -> None:
    signed = payload(GOOD[:1])
    statements = check_statements(signed, GENESIS.roster)
    bare = HeldPayload(payload=signed, statements=statements)
    with_body = HeldPayload(payload=signed, statements=statements, bodies={statements[0].digest: (b"12", b"345")})
    assert bare.memory_bytes == 2 * len(GOOD[0])
    assert with_body.memory_bytes == bare.memory_bytes + 5
