"""Catalogues: thousands of claims under one signature, and no body but the one that was signed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Digest
from ledger import merkle
from ledger.catalogue import (
    BODY_BYTES_MAX,
    CHUNK_BYTES,
    CLAIMS_MAX,
    Catalogue,
    CatalogueHeader,
    build_catalogue,
    check_catalogue,
    parse_catalogue_header,
    parse_manifest,
    split_body,
)
from ledger.cbor import encode
from ledger.claim import CLAIM_BYTES_MAX, claim_keys, parse_claim
from ledger.claim_check import body_keys
from ledger.errors import CatalogueBodyMismatch, InvalidIdentifier, MalformedCatalogue, MalformedClaim
from tests.ledger.builders import make_catalogue, make_claim

SMALL = make_catalogue(3)
LARGE = build_catalogue(make_claim(seed, version="x" * 250).encode() for seed in range(400))


def test_the_body_comes_back_claim_by_claim() -> None:
    claims = tuple(make_claim(seed).encode() for seed in range(3))
    assert check_catalogue(SMALL.header, SMALL.manifest, SMALL.chunks) == claims
    assert SMALL.header.count == 3
    assert SMALL.header.root == merkle.root(claims)


def test_a_large_body_is_cut_into_full_chunks() -> None:
    assert LARGE.header.chunk_count == len(LARGE.chunks) == 3
    assert [len(chunk) for chunk in LARGE.chunks[:-1]] == [CHUNK_BYTES] * 2
    assert LARGE.manifest == b"".join(hashlib.sha256(chunk).digest() for chunk in LARGE.chunks)
    assert LARGE.header.manifest == hashlib.sha256(LARGE.manifest).digest()
    assert parse_manifest(LARGE.header, LARGE.manifest) == tuple(
        hashlib.sha256(chunk).digest() for chunk in LARGE.chunks
    )
    assert len(check_catalogue(LARGE.header, LARGE.manifest, LARGE.chunks)) == 400


def test_the_body_is_length_and_claim_over_and_over() -> None:
    claim = make_claim(1).encode()
    catalogue = build_catalogue([claim])
    assert catalogue.chunks == (len(claim).to_bytes(2, "big") + claim,)


@given(st.lists(st.binary(min_size=1, max_size=CLAIM_BYTES_MAX), min_size=1, max_size=60))
def test_any_claims_survive_the_cutting(claims: list[bytes]) -> None:
    catalogue = build_catalogue(claims)
    assert split_body(catalogue.header, catalogue.manifest, catalogue.chunks) == tuple(claims)
    assert parse_catalogue_header(catalogue.header.encode()) == catalogue.header


def test_each_claim_is_provable_alone() -> None:
    claims = check_catalogue(LARGE.header, LARGE.manifest, LARGE.chunks)
    levels = [[merkle.leaf_hash(claim) for claim in claims]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([merkle.node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    proof = merkle.inclusion_proof(123, 400, lambda level, index: levels[level][index])
    merkle.verify_inclusion(
        leaf=merkle.leaf_hash(claims[123]), index=123, size=400, proof=proof, root=LARGE.header.root
    )


# ---- bodies that are not the one signed ------------------------------------------------------------------------------


def recut(body: bytes, **changes: Any) -> Catalogue:
    """A body with header and manifest that fit it, apart from the root and count of SMALL and `changes`."""
    chunks = tuple(body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))
    manifest = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    values: dict[str, Any] = {"body_bytes": len(body), "manifest": Digest(hashlib.sha256(manifest).digest())} | changes
    return Catalogue(header=replace(SMALL.header, **values), manifest=manifest, chunks=chunks)


def mismatch(header: CatalogueHeader, manifest: bytes, chunks: tuple[bytes, ...]) -> CatalogueBodyMismatch:
    with pytest.raises(CatalogueBodyMismatch) as caught:
        check_catalogue(header, manifest, chunks)
    assert caught.value.code == "CATALOGUE_BODY_MISMATCH"
    return caught.value


def test_another_manifest_is_refused() -> None:
    assert mismatch(SMALL.header, bytes(32), SMALL.chunks).field == "manifest"
    assert mismatch(SMALL.header, SMALL.manifest + bytes(32), SMALL.chunks).field == "manifest"
    assert mismatch(SMALL.header, b"", SMALL.chunks).field == "manifest"


def test_another_chunk_is_refused_by_its_number() -> None:
    swapped = (LARGE.chunks[1], LARGE.chunks[0], LARGE.chunks[2])
    assert mismatch(LARGE.header, LARGE.manifest, swapped).field == "chunks[0]"
    changed = (*LARGE.chunks[:2], LARGE.chunks[2][:-1] + b"\x00")
    assert mismatch(LARGE.header, LARGE.manifest, changed).field == "chunks[2]"
    short = (*LARGE.chunks[:2], LARGE.chunks[2][:-1])
    assert mismatch(LARGE.header, LARGE.manifest, short).field == "chunks[2]"
    assert mismatch(LARGE.header, LARGE.manifest, LARGE.chunks[:2]).field == "chunks"
    assert mismatch(LARGE.header, LARGE.manifest, (*LARGE.chunks, b"x")).field == "chunks"


def test_a_body_cut_elsewhere_is_refused() -> None:
    """Same bytes, same root, other chunks: one body has one set of chunks, or its manifest would not be unique."""
    body = b"".join(LARGE.chunks)
    chunks = (body[:1000], body[1000 : 1000 + CHUNK_BYTES], body[1000 + CHUNK_BYTES :])
    manifest = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    header = replace(LARGE.header, manifest=Digest(hashlib.sha256(manifest).digest()))
    assert mismatch(header, manifest, chunks).field == "chunks[0]"


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda body: body + body[: 2 + int.from_bytes(body[:2], "big")], "count"),
        (lambda body: body[2 + int.from_bytes(body[:2], "big") :], "count"),
        (lambda body: body[:-1], "claims[2]"),
        (lambda body: body + b"\x00", "claims[3]"),
        (lambda body: body + b"\x00\x00", "claims[3]"),
        (lambda body: body + b"\x10\x01" + bytes(4097), "claims[3]"),
        (lambda body: body.replace(b"Track 1", b"Trick 1"), "root"),
    ],
)
def test_a_body_that_is_another_set_of_claims_is_refused(edit: Any, field: str) -> None:
    catalogue = recut(edit(SMALL.chunks[0]))
    assert mismatch(catalogue.header, catalogue.manifest, catalogue.chunks).field == field


def test_claims_in_another_order_are_another_catalogue() -> None:
    claims = check_catalogue(SMALL.header, SMALL.manifest, SMALL.chunks)
    catalogue = recut(b"".join(len(c).to_bytes(2, "big") + c for c in reversed(claims)))
    assert mismatch(catalogue.header, catalogue.manifest, catalogue.chunks).field == "root"


# ---- claims ----------------------------------------------------------------------------------------------------------


def test_a_wrong_claim_is_named_by_its_position() -> None:
    claims = [make_claim(seed).encode() for seed in range(3)]
    claims[1] = claims[1].replace(b"USSKG1900001", b"USSKG19000X1")
    catalogue = build_catalogue(claims)
    with pytest.raises(InvalidIdentifier) as caught:
        check_catalogue(catalogue.header, catalogue.manifest, catalogue.chunks)
    assert caught.value.field == "claims[1].isrc"


def test_the_claims_of_a_checked_body_come_with_their_keys() -> None:
    body = check_catalogue(LARGE.header, LARGE.manifest, LARGE.chunks)
    assert body == split_body(LARGE.header, LARGE.manifest, LARGE.chunks)
    assert body.keys == body_keys(claim_keys(parse_claim(claim)) for claim in body)


# ---- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": CLAIMS_MAX + 1, "body_bytes": BODY_BYTES_MAX}, "count"),
        ({"body_bytes": 8}, "body_bytes"),
        ({"body_bytes": 3 * (CLAIM_BYTES_MAX + 2) + 1}, "body_bytes"),
        ({"count": CLAIMS_MAX, "body_bytes": BODY_BYTES_MAX + 1}, "body_bytes"),
        ({"root": bytes(31)}, "root"),
        ({"manifest": bytes(33)}, "manifest"),
    ],
)
def test_a_header_out_of_bounds_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedCatalogue) as caught:
        replace(SMALL.header, **changes)
    assert caught.value.field == field


def test_the_largest_header_is_accepted() -> None:
    largest = replace(SMALL.header, count=CLAIMS_MAX, body_bytes=BODY_BYTES_MAX)
    assert largest.chunk_count == 512
    assert parse_catalogue_header(largest.encode()) == largest


def test_other_header_bytes_are_refused() -> None:
    fields: dict[str, Any] = {"count": 3, "root": bytes(32), "body_bytes": 300, "manifest": bytes(32)}
    parse_catalogue_header(encode(fields))
    for wrong in (
        encode(fields | {"note": 1}),
        encode({key: value for key, value in fields.items() if key != "root"}),
        encode(fields | {"count": True}),
        encode(fields | {"count": "3"}),
        encode(fields | {"root": "x" * 32}),
        encode([]),
        encode(fields) + b"\x00",
        b"",
    ):
        with pytest.raises(MalformedCatalogue):
            parse_catalogue_header(wrong)


def test_building_refuses_what_exceeds_a_bound() -> None:
    with pytest.raises(MalformedCatalogue, match="1 to 16384 claims"):
        build_catalogue([])
    with pytest.raises(MalformedCatalogue, match="split the set"):
        build_catalogue(b"x" for _ in range(CLAIMS_MAX + 1))
    with pytest.raises(MalformedCatalogue, match="32 MiB"):
        build_catalogue(bytes(CLAIM_BYTES_MAX) for _ in range(8_190))
    with pytest.raises(MalformedClaim, match=r"claims\[1\]"):
        build_catalogue([b"x", bytes(CLAIM_BYTES_MAX + 1)])
    with pytest.raises(MalformedClaim, match=r"claims\[0\]"):
        build_catalogue([b""])
