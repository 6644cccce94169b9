"""From claims to one signed statement, and the openings of what its claims hide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.claims import TrackClaim
from catalog.submission import Submission
from consensus.types import PublicKey
from ledger.catalogue import build_catalogue
from ledger.claim import Claim, ProprietaryId, Subject
from ledger.roster import Roster
from ledger.statement import Statement, check_authority, check_statement, parse_statement, sign_statement

OPENINGS_FORMAT: Final = "stretto/openings/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedClaims:
    """A statement ready to submit."""

    submission: Submission
    statement: Statement
    claims: tuple[TrackClaim, ...]
    """In the order of their positions."""

    @property
    def catalogue(self) -> bool:
        return bool(self.submission.manifest)


def client_reference(claims: Sequence[TrackClaim]) -> str:
    """The issuer's reference for these files, made of their digests and not of their order or names.

    The ledger records a reference once, so the same files claimed again, by whatever version of this program and with
    whatever further declarations, are recognised instead of recorded twice. Who means to say something new about
    them says so with a reference of their own.
    """
    digest = hashlib.sha256(b"".join(sorted(claim.claim.media[0].blake3 for claim in claims))).hexdigest()
    return f"{'claim' if len(claims) == 1 else f'{len(claims)}-claims'}-{digest[:40]}"


def check_claimant(roster: Roster, member: str, public_key: PublicKey, *, as_catalogue: bool) -> None:
    """Whether a statement of `member` under this key could be recorded at all, asked before an hour of hashing.

    Raises: UnknownMember, RoleForbids, InvalidStatementSignature (the key is not this member's).
    """
    probe = Claim(subject=Subject.WORK, title="-", ids=(ProprietaryId(namespace="-", value="-"),))
    unsigned = sign_statement(
        build_catalogue([probe.encode()]).header if as_catalogue else probe,
        client_ref="-",
        issuer=member,
        public_key=public_key,
        consortium=roster.consortium,
        sign=lambda _: bytes(64),  # never signed: only what stands before the signature is looked at
    )
    check_authority(parse_statement(unsigned), roster)


def sign_claims(
    claims: Sequence[TrackClaim],
    *,
    roster: Roster,
    member: str,
    public_key: PublicKey,
    sign: Callable[[bytes], bytes],
    client_ref: str | None = None,
    as_catalogue: bool = False,
) -> SignedClaims:
    """One statement: a single CLAIM of one claim, unless `as_catalogue`; else a CATALOGUE of all of them.

    roster: of the epoch in which it is to be recorded.
    sign: Ed25519 with the private half of `public_key`, deterministic (RFC 8032). Same input, same bytes.
    Raises: StatementError where the roster would not let `member` sign this with this key, or a bound is passed.
    """
    assert claims, "a statement says at least one thing"
    single = len(claims) == 1 and not as_catalogue
    catalogue = None if single else build_catalogue(claim.encoded for claim in claims)
    data = sign_statement(
        catalogue.header if catalogue else claims[0].claim,
        client_ref=client_ref or client_reference(claims),
        issuer=member,
        public_key=public_key,
        consortium=roster.consortium,
        sign=sign,
    )
    submission = (
        Submission(statement=data, manifest=catalogue.manifest, chunks=catalogue.chunks)
        if catalogue
        else Submission(statement=data)
    )
    statement = parse_statement(data)
    check_statement(statement, roster)  # learn here, not from a node, that the key or the role is the wrong one
    return SignedClaims(submission=submission, statement=statement, claims=tuple(claims))


def encode_openings(signed: SignedClaims) -> bytes:
    """JSON that opens every commitment of the statement: to keep, to disclose one by one, and never to submit.

    A commitment is HMAC-SHA256(salt, value); `field` is where in the claim it stands.
    """
    document = {
        "format": OPENINGS_FORMAT,
        "statement": signed.statement.digest.hex(),
        "openings": [
            {
                "position": position,
                "field": f"parties[{opening.party}].{opening.field}",
                "value": opening.value,
                "salt": opening.salt.hex(),
            }
            for position, claim in enumerate(signed.claims)
            for opening in claim.openings
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
