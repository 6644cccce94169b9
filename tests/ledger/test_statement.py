"""Statements: one accepted envelope, one leaf for one signature, and a reason for every refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import RequestError
from ledger.cbor import encode
from ledger.claim import Claim, Title
from ledger.errors import (
    InvalidIdentifier,
    InvalidStatementSignature,
    MalformedCatalogue,
    MalformedClaim,
    MalformedStatement,
    RoleForbids,
    StatementError,
    StatementTooLarge,
    UnknownMember,
    WrongConsortium,
)
from ledger.genesis import Role, key_id
from ledger.statement import (
    STATEMENT_BYTES_MAX,
    StatementKind,
    check_statement,
    parse_statement,
    sign_statement,
)
from tests.ledger.builders import (
    FOUR,
    make_catalogue,
    make_claim,
    make_consortium,
    make_member,
    private_key,
    public_key,
)

CONSORTIUM = make_consortium()
GENESIS = CONSORTIUM.genesis
VALID = CONSORTIUM.sign(make_claim())


def protected(**changes: Any) -> dict[Any, Any]:
    """The label's protected header, with changes by name; None drops an entry."""
    names: dict[str, Any] = {"alg": 1, "content_type": 3, "kid": 4, "cwt": 15, "consortium": "stretto-consortium"}
    values: dict[str, Any] = {
        "alg": -8,
        "content_type": "application/stretto-statement+cbor",
        "kid": key_id(public_key("label", "statement")),
        "cwt": {1: "label"},
        "consortium": bytes(GENESIS.digest),
    } | changes
    return {names.get(name, name): value for name, value in values.items() if value is not None}


def content(**changes: Any) -> dict[str, Any]:
    value = {"kind": "CLAIM", "ref": "ref-1", "body": make_claim().encode()} | changes
    return {key: item for key, item in value.items() if item is not None}


def envelope(
    header: dict[Any, Any] | bytes, body: dict[str, Any] | bytes, *, unprotected: bytes = b"\xa0", signer: str = "label"
) -> bytes:
    """A correctly signed COSE_Sign1 of whatever is given."""
    head = header if isinstance(header, bytes) else encode(header)
    data = body if isinstance(body, bytes) else encode(body)
    signature = private_key(signer, "statement").sign(encode(["Signature1", head, b"", data]))
    return b"\xd2\x84" + encode(head) + unprotected + encode(data) + encode(signature)


def refused(data: bytes) -> StatementError:
    with pytest.raises(StatementError) as caught:
        check_statement(parse_statement(data), GENESIS.roster)
    assert isinstance(caught.value, RequestError)
    return caught.value


# ---- what is accepted ------------------------------------------------------------------------------------------------


def test_a_signed_claim_is_read_and_holds() -> None:
    statement = parse_statement(VALID)
    check_statement(statement, GENESIS.roster)
    assert (statement.issuer, statement.client_ref, statement.kind) == ("label", "ref-1", StatementKind.CLAIM)
    assert statement.content == make_claim()
    assert statement.body == make_claim().encode()
    assert statement.raw == VALID
    assert statement.digest == hashlib.sha256(VALID).digest()
    assert statement.consortium == GENESIS.digest
    assert envelope(protected(), content()) == VALID


def test_a_signed_catalogue_is_read_and_holds() -> None:
    header = make_catalogue().header
    statement = CONSORTIUM.statement(header, issuer="society")
    check_statement(statement, GENESIS.roster)
    assert (statement.issuer, statement.kind, statement.content) == ("society", StatementKind.CATALOGUE, header)


def test_a_stranger_with_a_cbor_library_and_openssl_can_verify_it() -> None:
    """COSE_Sign1 by RFC 9052 alone, nothing of ours: cbor2 takes it apart, OpenSSL checks the signature."""
    outer = cbor2.loads(VALID)
    assert outer.tag == 18
    head, unprotected, body, signature = outer.value
    assert unprotected == {}
    assert cbor2.loads(head)[1] == -8
    signed = cbor2.dumps(["Signature1", head, b"", body])
    Ed25519PublicKey.from_public_bytes(public_key("label", "statement")).verify(signature, signed)
    statement = parse_statement(VALID)
    assert statement.signed_bytes == signed
    assert statement.signed_digest == hashlib.sha256(signed).digest()


@given(ref=st.text("abc-/äØ月 ", min_size=1, max_size=64).map(str.strip).filter(bool), seed=st.integers(0, 99_999))
def test_what_is_signed_is_read(ref: str, seed: int) -> None:
    statement = CONSORTIUM.statement(make_claim(seed), ref=ref)
    check_statement(statement, GENESIS.roster)
    assert (statement.client_ref, statement.content) == (ref, make_claim(seed))


# ---- envelopes -------------------------------------------------------------------------------------------------------

BODY = encode(content())
HEAD = encode(protected())


def long_form(data: bytes, size: int = 2) -> bytes:
    """The byte string with a head longer than needed: its length in `size` bytes."""
    return {2: b"\x59", 4: b"\x5a", 8: b"\x5b"}[size] + len(data).to_bytes(size, "big") + data


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "statement"),
        (VALID[1:], "statement"),
        (b"\xd1" + VALID[1:], "statement"),
        (b"\xd8\x12" + VALID[1:], "statement"),
        (b"\xd9\xd9\xf7" + VALID, "statement"),
        (b"\xd2\x9f" + VALID[2:] + b"\xff", "statement"),
        (b"\xd2\x85" + VALID[2:] + b"\x00", "statement"),
        (VALID + b"\x00", "statement"),
        (VALID[:-1], "signature"),
        (VALID[:60], "protected"),
        (envelope(HEAD, BODY, unprotected=b"\xa1\x04\x41\x00"), "unprotected"),
        (envelope(HEAD, BODY, unprotected=b"\xb8\x00"), "unprotected"),
        (envelope(HEAD, BODY, unprotected=b"\xf6"), "unprotected"),
        (b"\xd2\x84" + encode(HEAD) + b"\xa0\xf6" + VALID[-66:], "content"),
        (b"\xd2\x84" + long_form(HEAD) + VALID[2 + 2 + len(HEAD) :], "protected"),
        (VALID.replace(encode(BODY), long_form(BODY)), "content"),
        (VALID.replace(encode(BODY), long_form(BODY, 4)), "content"),
        (VALID.replace(encode(BODY), long_form(BODY, 8)), "content"),
        (VALID[:-66] + b"\x59\x00\x40" + VALID[-64:], "signature"),
        (VALID[:-66] + b"\x58\x3f" + VALID[-63:], "signature"),
        (VALID[:-66] + b"\x58\x41" + VALID[-64:] + b"\x00", "signature"),
        (VALID[:-66] + b"\x40", "signature"),
        (VALID[:-66] + b"\x5f\x58\x40" + VALID[-64:] + b"\xff", "signature"),
    ],
)
def test_any_other_envelope_is_malformed(data: bytes, field: str) -> None:
    error = refused(data)
    assert isinstance(error, MalformedStatement)
    assert error.field == field


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (protected(alg=-7), "protected.alg"),
        (protected(alg=-19), "protected.alg"),
        (protected(alg=None), "protected"),
        (protected(content_type="application/cbor"), "protected.content_type"),
        (protected(content_type=60), "protected.content_type"),
        (protected(kid=bytes(7)), "protected.kid"),
        (protected(kid="label"), "protected.kid"),
        (protected(cwt={}), "protected.cwt_claims"),
        (protected(cwt={1: "label", 2: "x"}), "protected.cwt_claims"),
        (protected(cwt="label"), "protected.cwt_claims"),
        (protected(cwt={1: b"label"}), "protected.issuer"),
        (protected(cwt={1: "The Label"}), "protected.issuer"),
        (protected(cwt={1: ""}), "protected.issuer"),
        (protected(consortium=bytes(31)), "protected.stretto-consortium"),
        (protected(consortium="x" * 32), "protected.stretto-consortium"),
        (protected(extra=1), "protected"),
        (protected(crit=None) | {2: [1]}, "protected"),
        (encode([]), "protected"),
        (b"", "protected"),
        (encode(protected()) + b"\x00", "protected"),
        (cbor2.dumps(dict(reversed(protected().items()))), "protected"),
    ],
)
def test_any_other_protected_header_is_malformed(header: dict[Any, Any] | bytes, field: str) -> None:
    assert header != HEAD, "the case is no other header"
    error = refused(envelope(header, content()))
    assert isinstance(error, MalformedStatement)
    assert error.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (content(kind="PROPHECY"), "content.kind"),
        (content(kind="LICENCE"), "content.kind"),
        (content(kind="claim"), "content.kind"),
        (content(kind=1), "content.kind"),
        (content(kind=None), "content"),
        (content(note="x"), "content"),
        (content(ref=""), "content.ref"),
        (content(ref="x" * 65), "content.ref"),
        (content(ref=" x"), "content.ref"),
        (content(ref="a\nb"), "content.ref"),
        (content(ref=7), "content.ref"),
        (content(body="x"), "content.body"),
        (content(body={}), "content.body"),
        (encode([1]), "content"),
        (b"", "content"),
        (b"\xf6", "content"),
    ],
)
def test_any_other_content_is_malformed(body: dict[str, Any] | bytes, field: str) -> None:
    error = refused(envelope(protected(), body))
    assert isinstance(error, MalformedStatement)
    assert error.field == field


def test_an_unknown_kind_is_told_the_known_ones() -> None:
    assert (
        refused(envelope(protected(), content(kind="PROPHECY"))).expected
        == "one of CLAIM, CATALOGUE, ADMIT, REMOVE, ROTATE_KEY, SET_POLICY, DISPUTE, RESPOND, RESOLVE, WITHDRAW, "
        "TRANSFER, SUPERSEDE, COURT_ORDER, MINT"
    )


def test_what_is_wrong_in_the_content_is_named_from_the_outside() -> None:
    good = make_claim().encode()
    error = refused(envelope(protected(), content(body=good.replace(b"USSKG1900000", b"USSKG19000X0"))))
    assert isinstance(error, InvalidIdentifier)
    assert (error.field, error.value) == ("claim.isrc", "USSKG19000X0")
    error = refused(envelope(protected(), content(kind="CATALOGUE")))
    assert isinstance(error, MalformedCatalogue)
    assert error.field == "catalogue"
    header = {"count": 0, "root": bytes(32), "body_bytes": 9, "manifest": bytes(32)}
    error = refused(envelope(protected(), content(kind="CATALOGUE", body=encode(header))))
    assert error.field == "catalogue.count"


def test_a_statement_over_its_size_is_refused_before_it_is_read() -> None:
    error = refused(bytes(STATEMENT_BYTES_MAX + 1))
    assert isinstance(error, StatementTooLarge)
    assert error.code == "STATEMENT_TOO_LARGE"


# ---- who signed ------------------------------------------------------------------------------------------------------


def test_another_consortium_is_refused() -> None:
    other = make_consortium(name="Another consortium")
    error = refused(other.sign(make_claim()))
    assert isinstance(error, WrongConsortium)
    assert error.expected == GENESIS.digest.hex()


def test_a_stranger_is_refused() -> None:
    stranger = key_id(public_key("stranger", "statement"))
    error = refused(envelope(protected(cwt={1: "stranger"}, kid=stranger), content(), signer="stranger"))
    assert isinstance(error, UnknownMember)


@pytest.mark.parametrize("issuer", ["court", "platform"])
@pytest.mark.parametrize("made", [make_claim(), make_catalogue().header])
def test_courts_and_platforms_may_not_claim(issuer: str, made: Any) -> None:
    error = refused(CONSORTIUM.sign(made, issuer=issuer))
    assert isinstance(error, RoleForbids)
    assert error.expected.startswith("one of label, society for ")


@pytest.mark.parametrize("issuer", ["label", "society"])
def test_labels_and_societies_may_claim(issuer: str) -> None:
    check_statement(CONSORTIUM.statement(make_claim(), issuer=issuer), GENESIS.roster)


def test_another_members_key_is_refused() -> None:
    society = key_id(public_key("society", "statement"))
    assert refused(envelope(protected(kid=society), content(), signer="society")).field == "protected.kid"
    error = refused(envelope(protected(), content(), signer="society"))
    assert isinstance(error, InvalidStatementSignature)
    assert (error.field, error.code) == ("signature", "INVALID_SIGNATURE")


@pytest.mark.parametrize("purpose", ["consensus", "log", "cosign", "export", "peer"])
def test_a_members_other_keys_do_not_sign_statements(purpose: str) -> None:
    data = sign_statement(
        make_claim(),
        client_ref="r",
        issuer="label",
        public_key=public_key("label", "statement"),
        consortium=GENESIS.digest,
        sign=private_key("label", purpose).sign,
    )
    assert isinstance(refused(data), InvalidStatementSignature)


def test_a_member_that_does_not_validate_may_claim() -> None:
    members = [make_member(member_id, role) for member_id, role in FOUR]
    consortium = make_consortium([*members, make_member("indie", Role.LABEL, validator=False)])
    check_statement(consortium.statement(make_claim(), issuer="indie"), consortium.genesis.roster)


@given(at=st.integers(0, len(VALID) - 1), bit=st.integers(0, 7))
@settings(max_examples=400)
def test_a_flipped_bit_anywhere_is_refused(at: int, bit: int) -> None:
    refused(VALID[:at] + bytes((VALID[at] ^ 1 << bit,)) + VALID[at + 1 :])


def test_a_malleable_signature_is_refused() -> None:
    """S + L verifies under a lax verifier: it would give one signed content a second leaf."""
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(VALID[-32:], "little") + order
    assert refused(VALID[:-32] + s.to_bytes(32, "little")).code == "INVALID_SIGNATURE"


@given(st.binary(max_size=120))
def test_any_bytes_are_a_statement_or_malformed(data: bytes) -> None:
    assert isinstance(refused(data), MalformedStatement)
    assert isinstance(refused(b"\xd2\x84" + data), MalformedStatement)


# ---- signing ---------------------------------------------------------------------------------------------------------


def signing(made: Claim, ref: str, sign: Callable[[bytes], bytes]) -> bytes:
    return sign_statement(
        made,
        client_ref=ref,
        issuer="label",
        public_key=public_key("label", "statement"),
        consortium=GENESIS.digest,
        sign=sign,
    )


def test_signing_refuses_what_nobody_would_take() -> None:
    key = private_key("label", "statement")
    with pytest.raises(MalformedStatement, match=r"content\.ref"):
        signing(make_claim(), "", key.sign)
    with pytest.raises(MalformedStatement, match="signature"):
        signing(make_claim(), "r", lambda _: b"short")
    with pytest.raises(MalformedClaim, match="4096"):
        signing(make_claim(titles=tuple(Title(text="月" * 200 + str(i)) for i in range(8))), "r", key.sign)
