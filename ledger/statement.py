"""A statement: what a member signs. COSE_Sign1 (RFC 9052) with exactly one accepted form (design D7).

    18([ protected, {}, content, signature ])

    protected = { 1: -8 (EdDSA), 3: "application/stretto-statement+cbor", 4: key id (8 bytes),
                  15: { 1: issuer (member id) }, "stretto-consortium": genesis digest (32 bytes) }
    content   = { "kind": text, "ref": client reference, "body": bytes, encoded as the kind says }

Everything is deterministic CBOR. Any other envelope is malformed, an unprotected entry above all: nobody signed it, so
it could be changed, and one signature must have one leaf. The bytes are stored and served verbatim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from consensus.types import Digest, PublicKey
from ledger.catalogue import CatalogueHeader, parse_catalogue_header
from ledger.cbor import CborValue, decode, encode
from ledger.claim import Claim, parse_claim
from ledger.ed25519 import verify_strict
from ledger.errors import (
    InvalidStatementSignature,
    MalformedCbor,
    MalformedStatement,
    RoleForbids,
    StatementError,
    StatementTooLarge,
    UnknownMember,
    WrongConsortium,
)
from ledger.governance import Change, parse_admit, parse_remove, parse_rotate_key, parse_set_policy
from ledger.member import KEY_ID_BYTES, MEMBER_ID, Member, Role, key_id
from ledger.rights_content import (
    RightsContent,
    Supersede,
    parse_court_order,
    parse_dispute,
    parse_mint,
    parse_resolve,
    parse_respond,
    parse_supersede,
    parse_transfer,
    parse_withdraw,
)
from ledger.roster import Roster
from ledger.text import text_fault

STATEMENT_BYTES_MAX: Final = 65_536
CLIENT_REF_CHARACTERS_MAX: Final = 64
CONTENT_TYPE: Final = "application/stretto-statement+cbor"

_ALG, _CONTENT_TYPE, _KID, _CWT_CLAIMS, _CONSORTIUM = 1, 3, 4, 15, "stretto-consortium"
_EDDSA: Final = -8
_ISSUER: Final = 1
_ENVELOPE: Final = b"\xd2\x84"
"""Tag 18, array of four."""
_SIGNATURE_BYTES: Final = 64
_SIG_STRUCTURE: Final = b"\x84\x6aSignature1"
"""Array of four, context string (RFC 9052, section 4.4)."""


class StatementKind(StrEnum):
    """What a statement does. Its value is what the content's `kind` says."""

    CLAIM = "CLAIM"
    CATALOGUE = "CATALOGUE"
    ADMIT = "ADMIT"
    REMOVE = "REMOVE"
    ROTATE_KEY = "ROTATE_KEY"
    SET_POLICY = "SET_POLICY"
    DISPUTE = "DISPUTE"
    RESPOND = "RESPOND"
    RESOLVE = "RESOLVE"
    WITHDRAW = "WITHDRAW"
    TRANSFER = "TRANSFER"
    SUPERSEDE = "SUPERSEDE"
    COURT_ORDER = "COURT_ORDER"
    MINT = "MINT"


Content = Claim | CatalogueHeader | Change | RightsContent


@dataclass(frozen=True, slots=True, kw_only=True)
class _KindRule:
    """All that distinguishes a kind in this module: another kind is another row of `_KINDS`."""

    parse: Callable[[bytes], Content]
    roles: frozenset[Role]
    """Who may make such statements."""
    within: str | None = None
    """What a fault of the content is said to lie in; None where its own paths name that."""
    needs_seat: bool = False
    """Whether the issuer must have a seat in the committee."""


_CLAIMANTS: Final = frozenset({Role.LABEL, Role.SOCIETY})
"""Who may hold a claim, and so do what only its holder may."""
_DISPUTANTS: Final = _CLAIMANTS | {Role.COURT}
_ANYBODY: Final = frozenset(Role)
_KINDS: Final[dict[StatementKind, _KindRule]] = {
    StatementKind.CLAIM: _KindRule(parse=parse_claim, roles=_CLAIMANTS),
    StatementKind.CATALOGUE: _KindRule(parse=parse_catalogue_header, roles=_CLAIMANTS, within="catalogue"),
    StatementKind.ADMIT: _KindRule(parse=parse_admit, roles=_ANYBODY, needs_seat=True),
    StatementKind.REMOVE: _KindRule(parse=parse_remove, roles=_ANYBODY, needs_seat=True),
    StatementKind.ROTATE_KEY: _KindRule(parse=parse_rotate_key, roles=_ANYBODY, needs_seat=True),
    StatementKind.SET_POLICY: _KindRule(parse=parse_set_policy, roles=_ANYBODY, needs_seat=True),
    StatementKind.DISPUTE: _KindRule(parse=parse_dispute, roles=_DISPUTANTS, within="dispute"),
    StatementKind.RESPOND: _KindRule(parse=parse_respond, roles=_CLAIMANTS, within="respond"),
    # A dispute is dropped by whoever raised it.
    StatementKind.RESOLVE: _KindRule(parse=parse_resolve, roles=_DISPUTANTS, within="resolve"),
    StatementKind.WITHDRAW: _KindRule(parse=parse_withdraw, roles=_CLAIMANTS, within="withdraw"),
    StatementKind.TRANSFER: _KindRule(parse=parse_transfer, roles=_CLAIMANTS, within="transfer"),
    StatementKind.SUPERSEDE: _KindRule(parse=parse_supersede, roles=_CLAIMANTS, within="supersede"),
    StatementKind.COURT_ORDER: _KindRule(parse=parse_court_order, roles=frozenset({Role.COURT}), within="court_order"),
    StatementKind.MINT: _KindRule(parse=parse_mint, roles=_CLAIMANTS, within="mint"),
}
_KIND_NAMES: Final = {kind.value: kind for kind in StatementKind}


def _kind_of(content: Content) -> StatementKind:
    if isinstance(content, Change | RightsContent):
        return StatementKind(content.kind)
    return StatementKind.CLAIM if isinstance(content, Claim) else StatementKind.CATALOGUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement of valid form. Whether its signature counts is for `check_statement`."""

    raw: bytes = field(repr=False)
    """As submitted, verbatim."""
    digest: Digest
    """SHA-256 of `raw`: its entry in the log."""
    signed_digest: Digest
    """SHA-256 of `signed_bytes`: two statements with the same were signed once."""
    signed_bytes: bytes = field(repr=False)
    """COSE Sig_structure: what the signature is over."""
    signature: bytes
    issuer: str
    """Member id."""
    key_id: bytes
    consortium: Digest
    kind: StatementKind
    client_ref: str
    """The issuer's own reference; never used twice by one issuer."""
    body: bytes = field(repr=False)
    """Encoded content: of a CLAIM the claim's bytes."""
    content: Content

    @property
    def own_claim(self) -> Claim | None:
        """The claim that stands in the statement itself: of a CLAIM, or what a SUPERSEDE puts in another's place."""
        if isinstance(self.content, Supersede):
            return self.content.replacement
        return self.content if isinstance(self.content, Claim) else None

    @property
    def own_claim_bytes(self) -> bytes | None:
        """Its bytes, which stand in `raw` as they are."""
        if isinstance(self.content, Supersede):
            return self.content.replacement_bytes
        return self.body if isinstance(self.content, Claim) else None


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse_statement(data: bytes) -> Statement:
    """Statement of untrusted bytes.

    Raises: MalformedStatement, StatementTooLarge; MalformedClaim, MalformedCatalogue, MalformedGovernance,
    MalformedRights or MalformedTerms where the envelope is right and its content is not.
    """
    if len(data) > STATEMENT_BYTES_MAX:
        raise StatementTooLarge("statement", f"{len(data)} bytes", f"at most {STATEMENT_BYTES_MAX} bytes")
    if data[:2] != _ENVELOPE:
        raise MalformedStatement("statement", data[:8], "a COSE_Sign1: tag 18 and an array of four (d284…)")
    protected, at = _byte_string(data, 2, "protected")
    if data[at : at + 1] != b"\xa0":
        raise MalformedStatement("unprotected", data[at : at + 8], "an empty map: what is not signed is not accepted")
    content_bytes, at = _byte_string(data, at + 1, "content")
    signature, at = _byte_string(data, at, "signature")
    if len(signature) != _SIGNATURE_BYTES:
        raise MalformedStatement("signature", signature, f"{_SIGNATURE_BYTES} bytes, got {len(signature)}")
    if at != len(data):
        raise MalformedStatement("statement", data[at:], f"the end, {len(data) - at} bytes are left over")
    header = _parse_protected(protected)
    kind, client_ref, body = _parse_content(content_bytes)
    signed = _sig_structure(protected, content_bytes)
    rule = _KINDS[kind]
    try:
        content = rule.parse(body)
    except StatementError as error:
        raise (error if rule.within is None else error.within(rule.within)) from None
    return Statement(
        raw=data,
        digest=Digest(hashlib.sha256(data).digest()),
        signed_digest=Digest(hashlib.sha256(signed).digest()),
        signed_bytes=signed,
        signature=signature,
        issuer=header.issuer,
        key_id=header.key_id,
        consortium=header.consortium,
        kind=kind,
        client_ref=client_ref,
        body=body,
        content=content,
    )


def _byte_string(data: bytes, at: int, field: str) -> tuple[bytes, int]:
    """Byte string in shortest form at `at`, and the offset behind it."""
    length, start = data[at] - 0x40 if at < len(data) else -1, at + 1
    if length == 24:
        length, start = (data[start] if start < len(data) else 0), start + 1
        length = length if length >= 24 else -1
    elif length == 25:
        length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        length = length if length >= 256 else -1
    elif length == 26:
        length, start = int.from_bytes(data[start : start + 4], "big"), start + 4
        length = length if length >= 65536 else -1
    elif length > 23:
        length = -1
    if length < 0 or start + length > len(data):
        raise MalformedStatement(field, data[at : at + 8], "a byte string of definite, shortest length, all there")
    return data[start : start + length], start + length


@dataclass(frozen=True, slots=True, kw_only=True)
class _Protected:
    issuer: str
    key_id: bytes
    consortium: Digest


@lru_cache(maxsize=1024)
def _parse_protected(data: bytes) -> _Protected:
    """Cached: a member's statements all have the same protected header."""
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise MalformedStatement("protected", error.value, _not_cbor(error)) from None
    known = (_ALG, _CONTENT_TYPE, _KID, _CWT_CLAIMS, _CONSORTIUM)
    if type(value) is not dict or set(value) != set(known):
        raise MalformedStatement("protected", data, "a map of exactly 1, 3, 4, 15 and stretto-consortium")
    if value[_ALG] != _EDDSA:
        raise MalformedStatement("protected.alg", value[_ALG], "-8 (EdDSA)")
    if value[_CONTENT_TYPE] != CONTENT_TYPE:
        raise MalformedStatement("protected.content_type", value[_CONTENT_TYPE], CONTENT_TYPE)
    key, cwt, consortium = value[_KID], value[_CWT_CLAIMS], value[_CONSORTIUM]
    if type(key) is not bytes or len(key) != KEY_ID_BYTES:
        raise MalformedStatement("protected.kid", key, f"{KEY_ID_BYTES} bytes: the start of SHA-256(public key)")
    if type(cwt) is not dict or set(cwt) != {_ISSUER}:
        raise MalformedStatement("protected.cwt_claims", cwt, "a map of exactly 1: issuer")
    issuer = cwt[_ISSUER]
    if type(issuer) is not str or not MEMBER_ID.fullmatch(issuer):
        raise MalformedStatement("protected.issuer", issuer, "a member id")
    if type(consortium) is not bytes or len(consortium) != 32:
        raise MalformedStatement("protected.stretto-consortium", consortium, "32 bytes: SHA-256 of the genesis file")
    return _Protected(issuer=issuer, key_id=key, consortium=Digest(consortium))


def _parse_content(data: bytes) -> tuple[StatementKind, str, bytes]:
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise MalformedStatement("content", error.value, _not_cbor(error)) from None
    if type(value) is not dict or set(value) != {"kind", "ref", "body"}:
        raise MalformedStatement("content", data, "a map of exactly kind, ref and body")
    kind = _KIND_NAMES.get(name) if isinstance(name := value["kind"], str) else None
    if kind is None:
        raise MalformedStatement("content.kind", value["kind"], f"one of {', '.join(StatementKind)}")
    body = value["body"]
    if type(body) is not bytes:
        raise MalformedStatement("content.body", body, "a byte string")
    return kind, _client_ref(value["ref"]), body


def _client_ref(value: CborValue) -> str:
    if type(value) is not str:
        raise MalformedStatement("content.ref", value, "text")
    if fault := text_fault(value, CLIENT_REF_CHARACTERS_MAX):
        raise MalformedStatement("content.ref", value, fault)
    return value


def _not_cbor(error: MalformedCbor) -> str:
    return f"deterministic CBOR, at {error.field}: {error.expected}"


def _sig_structure(protected: bytes, content: bytes) -> bytes:
    """["Signature1", protected, external_aad, payload] of RFC 9052, section 4.4; external_aad is empty."""
    return b"".join((_SIG_STRUCTURE, encode(protected), b"\x40", encode(content)))


# ---- checking --------------------------------------------------------------------------------------------------------


def check_authority(statement: Statement, roster: Roster) -> Member:
    """The issuer, where it is a member that may make this kind of statement with the key it names. No signature yet.

    roster: of the epoch of the block that orders the statement, or that is to.
    Raises: WrongConsortium, UnknownMember, RoleForbids, InvalidStatementSignature.
    """
    if statement.consortium != roster.consortium:
        raise WrongConsortium("protected.stretto-consortium", statement.consortium, roster.consortium.hex())
    member = roster.member(statement.issuer)
    if member is None:
        raise UnknownMember("protected.issuer", statement.issuer, "the id of a member of this consortium")
    rule = _KINDS[statement.kind]
    if member.role not in rule.roles:
        allowed = ", ".join(sorted(rule.roles))
        raise RoleForbids("protected.issuer", f"{member.id} ({member.role})", f"one of {allowed} for {statement.kind}")
    if rule.needs_seat and not member.validator:
        expected = f"a member with a seat in the committee for {statement.kind}"
        raise RoleForbids("protected.issuer", f"{member.id} (no seat)", expected)
    if statement.key_id != member.statement_key_id:
        raise InvalidStatementSignature("protected.kid", statement.key_id, member.statement_key_id.hex())
    return member


def check_statement(statement: Statement, roster: Roster) -> None:
    """Whether the statement may be ordered, as far as the roster alone can say: member, role, seat, key, signature.

    Raises: WrongConsortium, UnknownMember, RoleForbids, InvalidStatementSignature.
    """
    member = check_authority(statement, roster)
    if not verify_strict(member.keys.statement, statement.signed_bytes, statement.signature):
        raise InvalidStatementSignature("signature", statement.signature, f"a signature of {member.id}'s statement key")


# ---- making ----------------------------------------------------------------------------------------------------------


def sign_statement(
    content: Content,
    *,
    client_ref: str,
    issuer: str,
    public_key: PublicKey | bytes,
    consortium: Digest | bytes,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """A statement's bytes. sign: Ed25519 over its argument with the private half of `public_key`; 64 bytes.

    client_ref: the issuer's own reference, 1 to 64 characters, new for each statement. Raises: MalformedStatement,
    StatementTooLarge, MalformedClaim (a claim over its size).
    """
    protected = encode(
        {
            _ALG: _EDDSA,
            _CONTENT_TYPE: CONTENT_TYPE,
            _KID: key_id(public_key),
            _CWT_CLAIMS: {_ISSUER: issuer},
            _CONSORTIUM: bytes(consortium),
        }
    )
    body = content.encode()
    content_bytes = encode({"kind": _kind_of(content).value, "ref": _client_ref(client_ref), "body": body})
    signature = sign(_sig_structure(protected, content_bytes))
    data = b"".join((_ENVELOPE, encode(protected), b"\xa0", encode(content_bytes), encode(signature)))
    parse_statement(data)  # whoever signs should learn at once that nobody would take it
    return data
