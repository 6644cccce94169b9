"""A catalogue: up to 16,384 claims under one signature, each provable alone (design D7).

The statement signs a small header: how many claims, the RFC 6962 root over them, and the digest of the body's manifest.
The body travels apart, in chunks fetched by SHA-256: claim after claim, each as u16 big-endian length and bytes, the
whole cut every CHUNK_BYTES. The manifest is the chunks' SHA-256 digests, one after the other.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.types import Digest
from ledger import merkle
from ledger.cbor import decode, encode
from ledger.claim import CLAIM_BYTES_MAX
from ledger.claim_check import BodyKeys, check_claims
from ledger.errors import CatalogueBodyMismatch, MalformedCatalogue, MalformedCbor, MalformedClaim

CLAIMS_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 32 << 20
CHUNK_BYTES: Final = 65_536
CHUNKS_MAX: Final = BODY_BYTES_MAX // CHUNK_BYTES
MANIFEST_BYTES_MAX: Final = CHUNKS_MAX * 32
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueHeader:
    """What a catalogue statement signs.

    Invariants: (1) 1 to CLAIMS_MAX claims; (2) body_bytes holds them, at most BODY_BYTES_MAX; (3) digests of 32 bytes.
    """

    count: int
    """Claims in the body."""
    root: Digest
    """RFC 6962 root over the claims' bytes, in the body's order."""
    body_bytes: int
    manifest: Digest
    """SHA-256 of the manifest: with it every chunk can be fetched by hash."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= CLAIMS_MAX:
            raise MalformedCatalogue(
                "count", self.count, f"1 to {CLAIMS_MAX} claims; a larger set is several statements"
            )
        body_min = 3 * self.count  # a length and at least one byte each
        if not body_min <= self.body_bytes <= min(BODY_BYTES_MAX, self.count * (CLAIM_BYTES_MAX + _LENGTH.size)):
            raise MalformedCatalogue(
                "body_bytes", self.body_bytes, f"the length of {self.count} claims, at most 32 MiB"
            )
        for name in ("root", "manifest"):
            if len(getattr(self, name)) != 32:
                raise MalformedCatalogue(name, getattr(self, name), "32 bytes")

    @property
    def chunk_count(self) -> int:
        return -(-self.body_bytes // CHUNK_BYTES)

    def encode(self) -> bytes:
        """Deterministic CBOR map."""
        return encode(
            {"count": self.count, "root": self.root, "body_bytes": self.body_bytes, "manifest": self.manifest}
        )  # fmt: skip


def parse_catalogue_header(data: bytes) -> CatalogueHeader:
    """Inverse of `CatalogueHeader.encode`. Raises: MalformedCatalogue."""
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise MalformedCatalogue("", error.value, f"deterministic CBOR, at {error.field}: {error.expected}") from None
    if type(value) is not dict or value.keys() != {"count", "root", "body_bytes", "manifest"}:
        raise MalformedCatalogue("", data, "a map of count, root, body_bytes and manifest")
    count, root, body_bytes, manifest = value["count"], value["root"], value["body_bytes"], value["manifest"]
    if type(count) is not int or type(body_bytes) is not int:
        raise MalformedCatalogue("count", data, "whole numbers as count and body_bytes")
    if type(root) is not bytes or type(manifest) is not bytes:
        raise MalformedCatalogue("root", data, "byte strings as root and manifest")
    return CatalogueHeader(count=count, root=Digest(root), body_bytes=body_bytes, manifest=Digest(manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A header and the body it commits to, cut for the journey."""

    header: CatalogueHeader
    manifest: bytes
    chunks: tuple[bytes, ...]


def build_catalogue(claims: Iterable[bytes]) -> Catalogue:
    """Catalogue of encoded claims, in this order. The claims themselves are not parsed: `Claim.encode` made them.

    Raises: MalformedCatalogue over a bound; MalformedClaim for a claim over CLAIM_BYTES_MAX.
    """
    parts: list[bytes] = []
    leaves: list[bytes] = []
    body_bytes = 0
    for i, claim in enumerate(claims):
        if i == CLAIMS_MAX:
            raise MalformedCatalogue("count", f"over {CLAIMS_MAX}", f"at most {CLAIMS_MAX} claims; split the set")
        if not 0 < len(claim) <= CLAIM_BYTES_MAX:
            raise MalformedClaim(f"claims[{i}]", f"{len(claim)} bytes", f"1 to {CLAIM_BYTES_MAX} bytes")
        parts += (_LENGTH.pack(len(claim)), claim)
        leaves.append(claim)
        body_bytes += _LENGTH.size + len(claim)
        if body_bytes > BODY_BYTES_MAX:
            raise MalformedCatalogue("body_bytes", f"over {BODY_BYTES_MAX}", "at most 32 MiB of claims; split the set")
    body = b"".join(parts)
    chunks = tuple(body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))
    manifest = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    header = CatalogueHeader(
        count=len(leaves),
        root=Digest(merkle.root(leaves)),
        body_bytes=len(body),
        manifest=Digest(hashlib.sha256(manifest).digest()),
    )
    return Catalogue(header=header, manifest=manifest, chunks=chunks)


def parse_manifest(header: CatalogueHeader, manifest: bytes) -> tuple[Digest, ...]:
    """SHA-256 digests of the chunks, in order: what to fetch. Raises: CatalogueBodyMismatch."""
    if len(manifest) != 32 * header.chunk_count:
        raise CatalogueBodyMismatch(
            "manifest", f"{len(manifest)} bytes", f"{32 * header.chunk_count} bytes, one digest a chunk"
        )  # fmt: skip
    if hashlib.sha256(manifest).digest() != header.manifest:
        raise CatalogueBodyMismatch("manifest", hashlib.sha256(manifest).digest(), f"SHA-256 {header.manifest.hex()}")
    return tuple(Digest(manifest[at : at + 32]) for at in range(0, len(manifest), 32))


def split_body(header: CatalogueHeader, manifest: bytes, chunks: Sequence[bytes]) -> tuple[bytes, ...]:
    """The claims' bytes out of a body that is exactly the one signed; the claims are not parsed yet.

    chunks: all of them, in the manifest's order. Raises: CatalogueBodyMismatch.
    """
    digests = parse_manifest(header, manifest)
    if len(chunks) != len(digests):
        raise CatalogueBodyMismatch("chunks", f"{len(chunks)} chunks", f"{len(digests)} chunks")
    for i, (chunk, digest) in enumerate(zip(chunks, digests, strict=True)):
        # All but the last are full, so that one body has one set of chunks.
        length = min(CHUNK_BYTES, header.body_bytes - i * CHUNK_BYTES)
        if len(chunk) != length:
            raise CatalogueBodyMismatch(f"chunks[{i}]", f"{len(chunk)} bytes", f"{length} bytes")
        if hashlib.sha256(chunk).digest() != digest:
            raise CatalogueBodyMismatch(f"chunks[{i}]", hashlib.sha256(chunk).digest(), f"SHA-256 {digest.hex()}")
    claims = _split(b"".join(chunks), header.count)
    root = merkle.root(claims)
    if root != header.root:
        raise CatalogueBodyMismatch("root", root, f"the signed root {header.root.hex()}")
    return claims


def _split(body: bytes, count: int) -> tuple[bytes, ...]:
    claims: list[bytes] = []
    at, end = 0, len(body)
    while at < end:
        start = at + _LENGTH.size
        length = int.from_bytes(body[at:start], "big")
        at = start + length
        if not 0 < length <= CLAIM_BYTES_MAX or at > end:
            expected = f"1 to {CLAIM_BYTES_MAX} bytes of claim, within the body"
            raise CatalogueBodyMismatch(f"claims[{len(claims)}]", f"{length} bytes", expected)
        claims.append(body[start:at])
    if len(claims) != count:
        raise CatalogueBodyMismatch("count", f"{len(claims)} claims", f"the signed count {count}")
    return tuple(claims)


class CheckedBody(tuple[bytes, ...]):
    """The claims of a body that was found valid, and by what they are found: nobody has to look into them again."""

    keys: BodyKeys

    @classmethod
    def of(cls, claims: tuple[bytes, ...]) -> CheckedBody:
        """Raises: MalformedClaim of the first claim that is not valid."""
        body = cls(claims)
        body.keys = check_claims(claims)
        return body


def check_catalogue(header: CatalogueHeader, manifest: bytes, chunks: Sequence[bytes]) -> CheckedBody:
    """All claims' bytes, where the body is the one signed and every claim is valid.

    Takes some 60 ms for the largest catalogue of claims that are alike, over half a second where none is like another:
    whoever must not stand still that long has a thread do it. Raises: CatalogueBodyMismatch, MalformedClaim.
    """
    return CheckedBody.of(split_body(header, manifest, chunks))
