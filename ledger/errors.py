"""What the ledger refuses, said so that the sender can mend it: a code for programs, the rest for people.

Each is a RequestError of the submitter. `code`, `field`, `value` and `expected` are the four fields of the service's
Refusal message. What a *peer* gets wrong (payloads) is a PeerError instead and lives beside its parser.
"""

from __future__ import annotations

from typing import ClassVar, Final, TypeVar

from consensus.errors import RequestError

VALUE_CHARACTERS_MAX: Final = 80
"""How much of an offending value an error repeats."""


def shorten(value: object) -> str:
    """An offending value as one short printable line: bytes as hex, unprintable text escaped, the rest cut off."""
    if isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value[: VALUE_CHARACTERS_MAX // 2 + 1]).hex()
        return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}… ({len(value)} bytes)"
    if isinstance(value, str):
        head = value[: VALUE_CHARACTERS_MAX + 1]
    elif isinstance(value, int | float | bool):
        head = str(value) if abs(value) < 10**VALUE_CHARACTERS_MAX else f"a {type(value).__name__} that large"
    else:
        return f"a {type(value).__name__}"
    if not head.isprintable():
        # A newline or a bidirectional override in a refused value must not forge a line of somebody's log.
        head = head.encode("unicode_escape").decode("ascii")
    return head if len(head) <= VALUE_CHARACTERS_MAX else f"{head[:VALUE_CHARACTERS_MAX]}…"


_Self = TypeVar("_Self", bound="StatementError")


class StatementError(RequestError):
    """Something submitted cannot be recorded.

    field: path in what was sent, such as claim.shares[1].bps. value: what stood there, shortened. expected: what would
    have been right.
    """

    code: ClassVar[str] = "REFUSED"

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = shorten(value)
        self.expected = expected
        super().__init__(field, self.value, expected)

    def __str__(self) -> str:
        return f"{self.code}: {self.field}: expected {self.expected}, got {self.value or 'nothing'}"

    def within(self: _Self, path: str) -> _Self:
        """The same error seen from the outside: `isrc` within `claims[17]` is `claims[17].isrc`."""
        joint = "" if not self.field or self.field.startswith("[") else "."
        return type(self)(f"{path}{joint}{self.field}", self.value, self.expected)


class MalformedCbor(StatementError):
    """Bytes that are not deterministic CBOR (RFC 8949, section 4.2.1) of the types Stretto uses."""

    code = "MALFORMED_CBOR"


class MalformedStatement(StatementError):
    """Not a statement: the envelope or its content breaks a rule of its form."""

    code = "MALFORMED_STATEMENT"


class StatementTooLarge(MalformedStatement):
    """Over STATEMENT_BYTES_MAX: a set of claims belongs in a catalogue, whose body travels apart."""

    code = "STATEMENT_TOO_LARGE"


class MalformedClaim(StatementError):
    """A claim breaks a rule of its form. A claim that *contradicts* another is no error: it is recorded (design D9)."""

    code = "MALFORMED_CLAIM"


class InvalidIdentifier(MalformedClaim):
    """An ISRC, ISWC, IPI, ISNI, GRid, UPC or EAN of wrong form or check digit."""

    code = "INVALID_IDENTIFIER"


class MalformedCatalogue(StatementError):
    """A catalogue's header or body breaks a rule of its form."""

    code = "MALFORMED_CATALOGUE"


class CatalogueBodyMismatch(MalformedCatalogue):
    """The body sent is not the body signed: manifest, chunk, length, count or root differs."""

    code = "CATALOGUE_BODY_MISMATCH"


class UnknownMember(StatementError):
    """The issuer is not a member of this consortium."""

    code = "UNKNOWN_MEMBER"


class WrongConsortium(StatementError):
    """Signed for another consortium: a signature counts only under the genesis it names."""

    code = "WRONG_CONSORTIUM"


class RoleForbids(StatementError):
    """The issuer's role may not make statements of this kind (design D7: roles bound powers)."""

    code = "ROLE_FORBIDS"


class InvalidStatementSignature(StatementError):
    """The signature does not verify under the issuer's statement key, or names another key."""

    code = "INVALID_SIGNATURE"


class MalformedGenesis(StatementError):
    """A genesis file breaks a rule of its form."""

    code = "MALFORMED_GENESIS"


class MalformedRoster(StatementError):
    """A roster breaks a rule of its form."""

    code = "MALFORMED_ROSTER"


class MalformedGovernance(StatementError):
    """A governance statement's change breaks a rule of its form."""

    code = "MALFORMED_GOVERNANCE"


class MalformedMember(StatementError):
    """A member record breaks a rule of its form."""

    code = "MALFORMED_MEMBER"


class MalformedMisbehaviour(StatementError):
    """Not evidence of misbehaviour: the bytes break a rule of its form."""

    code = "MALFORMED_MISBEHAVIOUR"


class MalformedRights(StatementError):
    """A statement about a claim's rights (a dispute, a transfer, an order, …) breaks a rule of its form."""

    code = "MALFORMED_RIGHTS"


class MalformedTerms(StatementError):
    """The terms of a mint break a rule of their form, or could not be carried out on a chain."""

    code = "MALFORMED_TERMS"
