"""A consortium for the simulation: members with real keys, and statements, payloads and catalogues, good and bad.

Everything is signed with real Ed25519 keys from fixed seeds. What does not depend on a run is made once and shared by
all seeds, so that signing costs a run next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import Digest, Epoch, EpochParameters, PublicKey, ValidatorIndex
from ledger.catalogue import Catalogue, build_catalogue, split_body
from ledger.genesis import Genesis, Role, encode_genesis, parse_genesis
from ledger.payload import Payload, build_payload
from ledger.statement import Statement, parse_statement, sign_statement
from tests.ledger.builders import make_claim, make_member, private_key, public_key

ISSUER = "label"
"""Who makes the ordinary statements: a member without a seat, so that no change of the committee touches them."""
COURT, RIVAL = "court", "society"
"""Who orders, and who disputes: in scenarios where claims' rights are argued about."""
STANDING = frozenset({ISSUER, COURT, RIVAL})
"""Members without a machine, whom no vote touches."""
SPARES = 2
"""Members without a seat that run a node: observers, until they are voted into the committee."""
MACHINES_MAX = 12
EPOCHS_MAX = 8
PARAMETERS = EpochParameters(delta_ms=40, block_interval_ms=10, precision_ms=50)


def member_id(number: int) -> str:
    """Of the member that runs machine `number`."""
    return f"m{number}"


def machine_of(member: str) -> int:
    """Inverse of `member_id`."""
    return int(member[1:])


@cache
def genesis_of(size: int, argues: bool = False) -> Genesis:
    """A consortium of `size` validators, m0 and on, SPARES members after them without a seat, and the issuer.

    argues: with court and rival.
    """
    members = [make_member(member_id(i), Role.LABEL, validator=i < size) for i in range(size + SPARES)]
    members.append(make_member(ISSUER, Role.LABEL, validator=False))
    if argues:
        members += [make_member(COURT, Role.COURT, validator=False), make_member(RIVAL, Role.SOCIETY, validator=False)]
    data = encode_genesis(
        name="Simulated consortium", origin="sim.stretto.example/log", parameters=PARAMETERS, members=members
    )
    return parse_genesis(data)


def genesis_with(digest: Digest) -> Genesis:
    """The one of that digest."""
    sizes = range(4, MACHINES_MAX - SPARES + 1)
    found = (genesis_of(size, argues) for size in sizes for argues in (False, True))
    return next(genesis for genesis in found if genesis.digest == digest)


@cache
def secret(member: str, purpose: str) -> Ed25519PrivateKey:
    return private_key(member, purpose)


_CONSENSUS_SECRETS: dict[bytes, Ed25519PrivateKey] = {}


def secret_of(public: PublicKey) -> Ed25519PrivateKey:
    """The private half of a consensus key: of any member's first one, or of one that it changed to."""
    if public not in _CONSENSUS_SECRETS:
        for number in range(MACHINES_MAX):
            for purpose in ("consensus", *(f"consensus of epoch {epoch}" for epoch in range(EPOCHS_MAX))):
                _CONSENSUS_SECRETS[public_key(member_id(number), purpose)] = secret(member_id(number), purpose)
    return _CONSENSUS_SECRETS[public]


# ---- statements ------------------------------------------------------------------------------------------------------


def sign(content: object, ref: str, consortium: Digest, *, issuer: str = ISSUER, signer: str = ISSUER) -> bytes:
    return sign_statement(
        content,  # type: ignore[arg-type]
        client_ref=ref,
        issuer=issuer,
        public_key=public_key(issuer, "statement"),
        consortium=consortium,
        sign=secret(signer, "statement").sign,
    )


@lru_cache(maxsize=50_000)
def parsed(raw: bytes) -> Statement:
    """As `parse_statement`, which depends on nothing but the bytes. Raises: RequestError."""
    return parse_statement(raw)


@cache
def claim(consortium: Digest, number: int) -> bytes:
    """Statement `number`: a claim."""
    return sign(make_claim(number), f"claim {number}", consortium)


@cache
def forged_claim(consortium: Digest, number: int) -> bytes:
    """A claim in the issuer's name that somebody else signed."""
    return sign(make_claim(number), f"forged {number}", consortium, signer="impostor")


@cache
def foreign_claim(number: int) -> bytes:
    """A claim that is good in another consortium."""
    return sign(make_claim(number), f"foreign {number}", Digest(bytes(32)))


@cache
def repeated_claim(consortium: Digest, number: int) -> bytes:
    """A claim under a client reference that statement `number` uses too: recorded by whoever comes first."""
    return sign(make_claim(number + 5000), f"claim {number}", consortium)


@dataclass(frozen=True)
class SignedCatalogue:
    """A catalogue's statement and the body that its author gives out for it."""

    statement: bytes
    body: Catalogue

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.body.manifest, *self.body.chunks)

    @property
    def claims(self) -> tuple[bytes, ...]:
        return split_body(self.body.header, self.body.manifest, self.body.chunks)


@cache
def catalogue(consortium: Digest, number: int) -> SignedCatalogue:
    """A catalogue of two or three claims."""
    body = build_catalogue(make_claim(seed).encode() for seed in range(10 * number, 10 * number + 2 + number % 2))
    return SignedCatalogue(sign(body.header, f"catalogue {number}", consortium), body)


@cache
def false_catalogue(consortium: Digest, number: int) -> SignedCatalogue:
    """A catalogue whose signed root is not that of its claims, or one of whose claims is none."""
    good = build_catalogue(make_claim(seed).encode() for seed in range(7000 + 10 * number, 7002 + 10 * number))
    if number % 2:
        body = replace(good, header=replace(good.header, root=Digest(bytes(31) + b"\x01")))
    else:
        body = build_catalogue([make_claim(7000 + number).encode(), b"\xa1\x61a\x01"])
    return SignedCatalogue(sign(body.header, f"false catalogue {number}", consortium), body)


# ---- payloads --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """A payload as its author gives it out, with the catalogue bodies that are fetched apart.

    blobs: what the author serves by hash. wanted: statements that may stand on the log because of it.
    """

    payload: Payload
    blobs: tuple[bytes, ...] = ()

    @property
    def digest(self) -> Digest:
        return self.payload.digest

    @cached_property
    def frame(self) -> bytes:
        return self.payload.encode()


def parcel(
    statements: Sequence[bytes],
    *,
    consortium: Digest,
    epoch: Epoch,
    author: ValidatorIndex,
    key: Ed25519PrivateKey,
    sequence: int,
    blobs: tuple[bytes, ...] = (),
) -> Parcel:
    """key: what signs it, which need not be the author's."""
    unsigned = build_payload(
        statements, consortium=consortium, epoch=epoch, author=author, sequence=sequence, created_ms=0
    )
    return Parcel(unsigned.signed(key.sign(unsigned.signing_bytes)), blobs)
