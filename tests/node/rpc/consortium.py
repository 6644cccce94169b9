"""A small consortium for the gRPC tests: four validators, one of each role, keys from seeds; and their statements."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import EpochParameters
from ledger.catalogue import Catalogue, build_catalogue
from ledger.claim import Claim, Media, Subject
from ledger.genesis import Member, Role, encode_genesis, parse_genesis
from ledger.statement import Content, sign_statement
from tests.ledger.keys import TestChainKey, TestKey, member_keys

ROLES = {"label": Role.LABEL, "court": Role.COURT, "society": Role.SOCIETY, "platform": Role.PLATFORM}


def key(member: str, name: str) -> TestKey:
    return TestKey(f"{member}/{name}")


def private_key(member: str, name: str) -> Ed25519PrivateKey:
    """The same key, for a file: TestKey makes it from the SHA-256 of its seed."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{member}/{name}".encode()).digest())


def chain_key(member: str) -> TestChainKey:
    return TestChainKey(f"{member}/chain")


def members() -> tuple[Member, ...]:
    return tuple(
        Member(
            id=member,
            name=member.title(),
            role=role,
            validator=True,
            keys=member_keys(member, lambda name, of=member: key(of, name).public, chain_key(member)),
        )
        for member, role in ROLES.items()
    )


GENESIS = parse_genesis(
    encode_genesis(name="Rpc tests", origin="rpc.stretto.example/1", parameters=EpochParameters(), members=members())
)


def claim(number: int, *, isrc: str | None = None) -> Claim:
    """A recording whose file digests follow from its number."""
    text = str(number).encode()
    media = Media(
        blake3=hashlib.sha256(b"blake3" + text).digest(), sha256=hashlib.sha256(b"sha256" + text).digest(), size=1000
    )
    return Claim(subject=Subject.RECORDING, title=f"Track {number}", isrc=isrc, media=(media,))


def sign(
    content: Content, ref: str, *, issuer: str = "label", signer: str | None = None, consortium: bytes = b""
) -> bytes:
    """A statement of `issuer`, by the key of `signer` where that is another."""
    private = key(signer or issuer, "statement")
    return sign_statement(
        content,
        client_ref=ref,
        issuer=issuer,
        public_key=private.public,
        consortium=consortium or GENESIS.digest,
        sign=private.sign,
    )


def statement(number: int) -> bytes:
    return sign(claim(number), f"ref-{number}")


def catalogue(first: int, count: int) -> tuple[bytes, Catalogue]:
    """A signed catalogue of `count` claims and its body."""
    built = build_catalogue(claim(number).encode() for number in range(first, first + count))
    return sign(built.header, f"catalogue-{first}-{count}"), built


def blobs(built: Catalogue) -> tuple[bytes, ...]:
    return (built.manifest, *built.chunks)
