"""What statements say about a claim's rights: disputes, orders, transfers, and mints. What they do is `ledger.rights`.

Each names one claim, by the digest of its statement and its position there. All but DISPUTE and MINT name the `head`
too: the statement that changed this claim's rights last, as their author saw it. If another came first they are
refused, so that nobody signs away what they did not know of (compare-and-set, design D7). A stranger must be able to
dispute at any time, so a DISPUTE names none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias, TypeVar

from consensus.types import Digest
from ledger.catalogue import CLAIMS_MAX
from ledger.cbor import CborInput, CborValue, decode, encode
from ledger.claim import Claim, parse_claim
from ledger.errors import MalformedCbor, MalformedClaim, MalformedRights
from ledger.member import read_member_id, read_object
from ledger.mint_terms import MintTerms, read_terms
from ledger.text import text_fault

POSITION_MAX: Final = CLAIMS_MAX - 1
WORDS_CHARACTERS_MAX: Final = 1_024
"""Of grounds, answers, reasons and references."""
UNTIL_MS_MAX: Final = 253_402_300_799_999
"""End of the year 9999, in milliseconds since the Unix epoch."""
_DIGEST_BYTES: Final = 32

_E = TypeVar("_E", bound=StrEnum)


class DisputeOutcome(StrEnum):
    """How a dispute ends without a court."""

    DROPPED = "dropped"
    """By who raised it: that dispute is closed."""
    CONCEDED = "conceded"
    """By the holder: the claim is revoked."""


class MintsFate(StrEnum):
    """What becomes of a superseded claim's mints."""

    KEEP = "keep"
    """They belong to the replacement from then on."""
    REVOKE = "revoke"


class CourtAction(StrEnum):
    """What a court orders."""

    STAY = "stay"
    """Disputed until lifted, or until a time."""
    LIFT = "lift"
    """The stay ends."""
    REVOKE = "revoke"
    REINSTATE = "reinstate"
    """Active again; open disputes are closed."""
    ASSIGN = "assign"
    """Another holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """Somebody other than the holder objects."""

    kind: ClassVar[str] = "DISPUTE"
    claim: Digest
    """SHA-256 of the statement with the claim: CLAIM, SUPERSEDE or CATALOGUE."""
    position: int
    """Of the claim in its catalogue; 0 for a claim of its own statement."""
    grounds: str

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_words("grounds", self.grounds)

    def encode(self) -> bytes:
        return _encode(self, {"grounds": self.grounds})

    def describe(self) -> str:
        return f"dispute {_named(self)}: {self.grounds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """The holder's answer to a dispute. Changes no state: it is on record."""

    kind: ClassVar[str] = "RESPOND"
    claim: Digest
    position: int
    head: Digest
    dispute: Digest
    """SHA-256 of the DISPUTE."""
    text: str

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)
        _check_digest("dispute", self.dispute)
        _check_words("text", self.text)

    def encode(self) -> bytes:
        return _encode(self, {"head": self.head, "dispute": self.dispute, "text": self.text})

    def describe(self) -> str:
        return f"answer dispute {_short(self.dispute)} of {_named(self)}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """The end of a dispute: dropped by who raised it, or conceded by the holder."""

    kind: ClassVar[str] = "RESOLVE"
    claim: Digest
    position: int
    head: Digest
    dispute: Digest
    outcome: DisputeOutcome

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)
        _check_digest("dispute", self.dispute)

    def encode(self) -> bytes:
        return _encode(self, {"head": self.head, "dispute": self.dispute, "outcome": self.outcome.value})

    def describe(self) -> str:
        return f"end dispute {_short(self.dispute)} of {_named(self)}: {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """The holder takes the claim back: it is revoked."""

    kind: ClassVar[str] = "WITHDRAW"
    claim: Digest
    position: int
    head: Digest
    reason: str

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)
        _check_words("reason", self.reason)

    def encode(self) -> bytes:
        return _encode(self, {"head": self.head, "reason": self.reason})

    def describe(self) -> str:
        return f"withdraw {_named(self)}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The holder makes another member the holder."""

    kind: ClassVar[str] = "TRANSFER"
    claim: Digest
    position: int
    head: Digest
    to: str
    """Member id."""

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)
        read_member_id(self.to, "to", MalformedRights)

    def encode(self) -> bytes:
        return _encode(self, {"head": self.head, "to": self.to})

    def describe(self) -> str:
        return f"transfer {_named(self)} to {self.to}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supersede:
    """The holder puts another claim in this one's place. It is found by its keys, at (digest of the SUPERSEDE, 0)."""

    kind: ClassVar[str] = "SUPERSEDE"
    claim: Digest
    position: int
    head: Digest
    replacement: Claim
    mints: MintsFate

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)

    @property
    def replacement_bytes(self) -> bytes:
        """As they stand in the statement. Raises: MalformedClaim over CLAIM_BYTES_MAX, never after parsing."""
        return self.replacement.encode()

    def encode(self) -> bytes:
        return _encode(
            self, {"head": self.head, "replacement": self.replacement_bytes, "mints": self.mints.value}
        )  # fmt: skip

    def describe(self) -> str:
        return f"put {self.replacement.title} in the place of {_named(self)} and {self.mints} its mints"


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtOrder:
    """What a court orders; it is named by `reference`, and the court may order in any state."""

    kind: ClassVar[str] = "COURT_ORDER"
    claim: Digest
    position: int
    head: Digest
    order: CourtAction
    reference: str
    """By which people find the order: court, case number, date."""
    until_ms: int = 0
    """Of a stay: it lapses with the first block whose time is at or after this; 0: it holds until lifted."""
    to: str | None = None
    """Of an assignment, and only there: the new holder's member id."""

    def __post_init__(self) -> None:
        _check_claim(self)
        _check_digest("head", self.head)
        _check_words("reference", self.reference)
        if not 0 <= self.until_ms <= UNTIL_MS_MAX:
            raise MalformedRights(
                "until_ms", self.until_ms, f"milliseconds since the Unix epoch, at most {UNTIL_MS_MAX}"
            )
        if self.until_ms and self.order is not CourtAction.STAY:
            raise MalformedRights("until_ms", self.until_ms, f"no time for {self.order}: only a stay has one")
        if self.order is CourtAction.ASSIGN:
            read_member_id(self.to, "to", MalformedRights)
        elif self.to is not None:
            raise MalformedRights("to", self.to, f"no member for {self.order}: only assign has one")

    def encode(self) -> bytes:
        rest: dict[str, CborInput] = {"head": self.head, "order": self.order.value, "reference": self.reference}
        if self.order is CourtAction.STAY:
            rest["until_ms"] = self.until_ms
        if self.to is not None:
            rest["to"] = self.to
        return _encode(self, rest)

    def describe(self) -> str:
        return f"{self.order} {_named(self)}{f' to {self.to}' if self.to else ''}: {self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """The holder's terms for one token of the claim that they name."""

    kind: ClassVar[str] = "MINT"
    terms: MintTerms

    def __post_init__(self) -> None:
        _check_claim(self)

    @property
    def claim(self) -> Digest:
        return self.terms.claim

    @property
    def position(self) -> int:
        return self.terms.position

    def encode(self) -> bytes:
        return encode({"terms": self.terms.value()})

    def describe(self) -> str:
        return f"mint edition {self.terms.edition} of {self.terms.editions} of {_named(self)}: {self.terms.title}"


RightsChange: TypeAlias = Dispute | Respond | Resolve | Withdraw | Transfer | Supersede | CourtOrder
"""What changes the rights of a claim that is on record."""
RightsContent: TypeAlias = RightsChange | Mint


# ---- form ------------------------------------------------------------------------------------------------------------


def _encode(content: RightsChange, rest: Mapping[str, CborInput]) -> bytes:
    return encode({"claim": content.claim, "position": content.position, **rest})


def _short(digest: bytes) -> str:
    return f"{digest[:6].hex()}…"


def _named(content: RightsContent) -> str:
    """The claim, for people: short, and never to be parsed."""
    return f"claim {_short(content.claim)}" + (f" at {content.position}" if content.position else "")


def _check_claim(content: RightsContent) -> None:
    prefix = "terms." if isinstance(content, Mint) else ""
    _check_digest(f"{prefix}claim", content.claim)
    if not 0 <= content.position <= POSITION_MAX:
        raise MalformedRights(f"{prefix}position", content.position, f"a whole number from 0 to {POSITION_MAX}")


def _check_digest(field: str, value: bytes) -> None:
    if len(value) != _DIGEST_BYTES:
        raise MalformedRights(field, value, f"{_DIGEST_BYTES} bytes: a SHA-256, got {len(value)}")


def _check_words(field: str, value: str) -> None:
    if fault := text_fault(value, WORDS_CHARACTERS_MAX):
        raise MalformedRights(field, value, fault)


def _map(data: bytes) -> CborValue:
    try:
        return decode(data)
    except MalformedCbor as error:
        expected = f"deterministic CBOR, at {error.field}: {error.expected}"
        raise MalformedRights("", error.value, expected) from None


class _Fields:
    """The fields of one content, each read as what it must be; a MalformedRights names the one that is not."""

    def __init__(self, value: CborValue, names: tuple[str, ...]) -> None:
        self._found = read_object(value, "", ("claim", "position", *names), MalformedRights)

    @property
    def claim(self) -> Digest:
        return self.digest("claim")

    @property
    def position(self) -> int:
        return self.number("position")

    @property
    def head(self) -> Digest:
        return self.digest("head")

    def digest(self, name: str) -> Digest:
        return Digest(self.bytes(name))

    def bytes(self, name: str) -> bytes:
        value = self._found[name]
        if type(value) is not bytes:
            raise MalformedRights(name, value, "a byte string")
        return value

    def number(self, name: str) -> int:
        value = self._found[name]
        if type(value) is not int:
            raise MalformedRights(name, value, "a whole number")
        return value

    def text(self, name: str) -> str:
        value = self._found[name]
        if type(value) is not str:
            raise MalformedRights(name, value, "text")
        return value

    def word(self, name: str, words: type[_E]) -> _E:
        value = self._found[name]
        if type(value) is not str or value not in set(words):
            raise MalformedRights(name, value, " | ".join(words))
        return words(value)


def parse_dispute(data: bytes) -> Dispute:
    """Inverse of `Dispute.encode`. Raises: MalformedRights, as all of these do, with the path inside the content."""
    found = _Fields(_map(data), ("grounds",))
    return Dispute(claim=found.claim, position=found.position, grounds=found.text("grounds"))


def parse_respond(data: bytes) -> Respond:
    found = _Fields(_map(data), ("head", "dispute", "text"))
    return Respond(
        claim=found.claim,
        position=found.position,
        head=found.head,
        dispute=found.digest("dispute"),
        text=found.text("text"),
    )


def parse_resolve(data: bytes) -> Resolve:
    found = _Fields(_map(data), ("head", "dispute", "outcome"))
    return Resolve(
        claim=found.claim,
        position=found.position,
        head=found.head,
        dispute=found.digest("dispute"),
        outcome=found.word("outcome", DisputeOutcome),
    )


def parse_withdraw(data: bytes) -> Withdraw:
    found = _Fields(_map(data), ("head", "reason"))
    return Withdraw(claim=found.claim, position=found.position, head=found.head, reason=found.text("reason"))


def parse_transfer(data: bytes) -> Transfer:
    found = _Fields(_map(data), ("head", "to"))
    return Transfer(claim=found.claim, position=found.position, head=found.head, to=found.text("to"))


def parse_supersede(data: bytes) -> Supersede:
    """Raises: MalformedRights; MalformedClaim from `replacement.claim` on, for whatever a CLAIM is refused for."""
    found = _Fields(_map(data), ("head", "replacement", "mints"))
    return Supersede(
        claim=found.claim,
        position=found.position,
        head=found.head,
        replacement=_replacement(found.bytes("replacement")),
        mints=found.word("mints", MintsFate),
    )


def _replacement(data: bytes) -> Claim:
    try:
        return parse_claim(data)
    except MalformedClaim as error:
        raise error.within("replacement") from None


_ORDER_EXTRA: Final[Mapping[str, tuple[str, ...]]] = {CourtAction.STAY: ("until_ms",), CourtAction.ASSIGN: ("to",)}


def parse_court_order(data: bytes) -> CourtOrder:
    value = _map(data)
    named = value.get("order") if isinstance(value, dict) else None
    extra = _ORDER_EXTRA.get(named, ()) if isinstance(named, str) else ()
    found = _Fields(value, ("head", "order", "reference", *extra))
    return CourtOrder(
        claim=found.claim,
        position=found.position,
        head=found.head,
        order=found.word("order", CourtAction),
        reference=found.text("reference"),
        until_ms=found.number("until_ms") if "until_ms" in extra else 0,
        to=found.text("to") if "to" in extra else None,
    )


def parse_mint(data: bytes) -> Mint:
    """Raises: MalformedRights; MalformedTerms from `terms` on."""
    found = read_object(_map(data), "", ("terms",), MalformedRights)
    return Mint(terms=read_terms(found["terms"], "terms"))


_PARSERS: Final[Mapping[str, Callable[[bytes], RightsContent]]] = {
    Dispute.kind: parse_dispute,
    Respond.kind: parse_respond,
    Resolve.kind: parse_resolve,
    Withdraw.kind: parse_withdraw,
    Transfer.kind: parse_transfer,
    Supersede.kind: parse_supersede,
    CourtOrder.kind: parse_court_order,
    Mint.kind: parse_mint,
}


def parse_rights(kind: str, data: bytes) -> RightsContent:
    """The content that a statement of this kind has as its body.

    Raises: MalformedRights, MalformedTerms, MalformedClaim.
    """
    parse = _PARSERS.get(kind)
    if parse is None:
        raise MalformedRights("kind", kind, " | ".join(_PARSERS))
    return parse(data)
