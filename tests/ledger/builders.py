"""Small real things for tests: a consortium of four with real keys, claims, signed statements, catalogues.

Keys come from fixed seeds, so that a failing test fails again. They protect nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import Digest, Epoch, EpochParameters, PublicKey, ValidatorIndex
from ledger.apply import Applied, DerivedEntry, claims_in
from ledger.catalogue import Catalogue, CatalogueHeader, build_catalogue
from ledger.claim import Claim, Media, Subject
from ledger.genesis import Genesis, Member, MemberKeys, Role, encode_genesis, parse_genesis
from ledger.governance import Change, proposal_id
from ledger.member import CHAIN
from ledger.payload import Payload, build_payload
from ledger.rights import ClaimId, ClaimRights
from ledger.roster import Roster
from ledger.statement import Content, Statement, parse_statement, sign_statement
from tests.ledger.keys import TestChainKey, member_keys

FOUR = (("label", Role.LABEL), ("court", Role.COURT), ("society", Role.SOCIETY), ("platform", Role.PLATFORM))


def private_key(member: str, purpose: str) -> Ed25519PrivateKey:
    """The same key for the same words, always."""
    return Ed25519PrivateKey.from_private_bytes(
        hashlib.sha256(f"stretto test key {member} {purpose}".encode()).digest()
    )


def chain_key(member: str) -> TestChainKey:
    return TestChainKey(f"stretto test key {member} chain")


def public_key(member: str, purpose: str) -> PublicKey:
    if purpose == CHAIN:
        return PublicKey(chain_key(member).public)
    return PublicKey(private_key(member, purpose).public_key().public_bytes_raw())


def make_keys(member_id: str, seed: str = "") -> MemberKeys:
    """A member's keys. seed: what they are made of, where that is not its id."""
    seed = seed or member_id
    return member_keys(member_id, lambda purpose: public_key(seed, purpose), chain_key(seed))


def make_member(member_id: str, role: Role, *, validator: bool = True) -> Member:
    return Member(
        id=member_id,
        name=f"The {member_id.capitalize()}",
        role=role,
        validator=validator,
        keys=make_keys(member_id),
    )


@dataclass(frozen=True)
class Consortium:
    """A genesis and everybody's private keys."""

    genesis: Genesis

    def key(self, member: str, purpose: str) -> Ed25519PrivateKey:
        return private_key(member, purpose)

    def sign(self, content: Content, *, ref: str = "ref-1", issuer: str = "label") -> bytes:
        """A statement's bytes."""
        return sign_statement(
            content,
            client_ref=ref,
            issuer=issuer,
            public_key=public_key(issuer, "statement"),
            consortium=self.genesis.digest,
            sign=private_key(issuer, "statement").sign,
        )

    def statement(self, content: Content, *, ref: str = "ref-1", issuer: str = "label") -> Statement:
        return parse_statement(self.sign(content, ref=ref, issuer=issuer))

    def payload(self, statements: Sequence[bytes], *, author: int = 0, sequence: int = 1) -> Payload:
        unsigned = build_payload(
            statements,
            consortium=self.genesis.digest,
            epoch=Epoch(0),
            author=ValidatorIndex(author),
            sequence=sequence,
            created_ms=1_000,
        )
        member = self.genesis.validator_members()[author]
        return unsigned.signed(private_key(member.id, "consensus").sign(unsigned.signing_bytes))


def make_consortium(members: Sequence[Member] | None = None, *, name: str = "Test consortium") -> Consortium:
    """label, court, society, platform, all validating, unless told otherwise."""
    listed = [make_member(member_id, role) for member_id, role in FOUR] if members is None else list(members)
    data = encode_genesis(name=name, origin="test.stretto.example/log", parameters=EpochParameters(), members=listed)
    return Consortium(parse_genesis(data))


def make_media(seed: int | str = 0, **changes: Any) -> Media:
    """Different seeds, different files."""
    data = f"audio {seed}".encode()
    media = Media(
        blake3=hashlib.sha256(b"blake3 " + data).digest(), sha256=hashlib.sha256(data).digest(), size=1_000_000
    )  # fmt: skip
    return replace(media, **changes)


def make_claim(seed: int = 0, **changes: Any) -> Claim:
    """A small claim of a label's catalogue; different seeds, different recordings."""
    values: dict[str, Any] = {
        "subject": Subject.RECORDING,
        "title": f"Track {seed}",
        "isrc": f"USSKG19{seed % 100_000:05d}",
        "media": (make_media(seed),),
    }
    return Claim(**(values | changes))


def make_catalogue(count: int = 3, first: int = 0) -> Catalogue:
    return build_catalogue(make_claim(seed).encode() for seed in range(first, first + count))


class MemoryView:
    """A LedgerView over dictionaries: the naive twin of the store."""

    def __init__(self, roster: Roster | None = None) -> None:
        self.statements: list[Statement] = []
        self.derived: dict[int, DerivedEntry] = {}
        self.rights: dict[ClaimId, ClaimRights] = {}
        self.is_ending = False
        self.roster = make_consortium().genesis.roster if roster is None else roster

    @property
    def size(self) -> int:
        """Leaves."""
        return len(self.statements) + len(self.derived)

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return frozenset(
            s.issuer for s in self.statements if isinstance(s.content, Change) and proposal_id(s.content) == proposal
        )

    def votes_by(self, voter: str) -> int:
        epoch = self.roster.epoch
        return sum(
            s.issuer == voter and isinstance(s.content, Change) and s.content.epoch == epoch for s in self.statements
        )

    def record(self, applied: Applied) -> None:
        """Takes up what a block added."""
        self.statements += [entry.statement for entry in applied.entries]
        self.derived |= {leaf.index: leaf for leaf in applied.derived}
        self.rights |= {rights.claim: rights for rights in applied.rights}
        self.is_ending |= applied.next_roster is not None

    def _find(self, match: Callable[[Statement], bool]) -> int | None:
        indices = (index for index in range(self.size) if index not in self.derived)
        return next((index for index, each in zip(indices, self.statements, strict=True) if match(each)), None)

    def index_of_statement(self, digest: Digest) -> int | None:
        return self._find(lambda s: s.digest == digest)

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        return self._find(lambda s: s.signed_digest == signed_digest)

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        return self._find(lambda s: (s.issuer, s.client_ref) == (issuer, client_ref))

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        return self._find(
            lambda s: isinstance(s.content, CatalogueHeader) and (s.issuer, s.content.root) == (issuer, root)
        )

    def issuer_of(self, claim: ClaimId) -> str | None:
        found = next((s for s in self.statements if s.digest == claim.statement), None)
        return None if found is None or claim.position >= claims_in(found) else found.issuer

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        return self.rights.get(claim)

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        stays = ((rights.stay, claim) for claim, rights in self.rights.items())
        yield from sorted((stay.until_ms, claim) for stay, claim in stays if stay and 0 < stay.until_ms <= time_ms)
