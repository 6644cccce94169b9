"""The parts of a claim: titles, parties, shares, media digests, AI disclosure, licence, references, exhibits.

A constructed value is valid: each checks itself and raises MalformedClaim with the field's path inside the part.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from ledger.claim_shares import WHOLE_BPS, territory_fault
from ledger.claim_vocabulary import (
    AiRole,
    ContainsAI,
    ExhibitKind,
    PartyRole,
    Relation,
    Right,
    RightsControl,
    SampleFormat,
    ShareType,
)
from ledger.errors import InvalidIdentifier, MalformedClaim
from ledger.genesis import MEMBER_ID
from ledger.identifiers import IPI_BASE, IPI_NAME, ISNI, LEI, Scheme
from ledger.text import text_fault

PARTIES_MAX: Final = 64
SALT_BYTES: Final = 32
SIZE_BYTES_MAX: Final = 2**48
NAME_CHARACTERS_MAX: Final = 256
_DIGEST_BYTES: Final = 32

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,4}")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")
_SPDX: Final = re.compile(r"[A-Za-z0-9.+-]{1,64}")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]{0,15}:[!-~]{1,512}")
_ISCC: Final = re.compile(r"ISCC:[A-Z2-7]{10,73}")


# ---- checks shared by the parts --------------------------------------------------------------------------------------


def check_text(field: str, value: str | None, characters_max: int) -> None:
    if value is not None and (fault := text_fault(value, characters_max)):
        raise MalformedClaim(field, value, fault)


def check_digest(field: str, value: bytes | None, length: int = _DIGEST_BYTES) -> None:
    if value is not None and len(value) != length:
        raise MalformedClaim(field, value, f"{length} bytes, got {len(value)}")


def check_range(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise MalformedClaim(field, value, f"a whole number from {low} to {high}")


def check_form(field: str, value: str | None, pattern: re.Pattern[str], form: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise MalformedClaim(field, value, form)


def check_identifier(field: str, value: str | None, scheme: Scheme) -> None:
    if value is not None and (fault := scheme.fault(value)):
        raise InvalidIdentifier(field, value, fault)


def check_language(field: str, value: str | None) -> None:
    check_form(field, value, _LANGUAGE, "a language tag (BCP 47), such as zh-Hans")


def check_date(field: str, value: str | None) -> None:
    if value is None:
        return
    check_form(field, value, _DATE, "a date YYYY-MM-DD")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise MalformedClaim(field, value, "a date that exists") from None


def check_instant(field: str, value: str | None) -> None:
    if value is None:
        return
    check_form(field, value, _INSTANT, "a time in UTC, YYYY-MM-DDThh:mm:ssZ")
    check_date(field, value[:10])


# ---- personal data ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commitment:
    """Stands for personal data that is not in the record: HMAC-SHA256(salt, value), 32 bytes.

    Who holds salt and value (the opening) can show what was committed; once every copy of the salt is erased, nobody
    can find the value by trying names (EDPB Guidelines 02/2025: a plain hash is no cure).
    """

    digest: bytes

    def __post_init__(self) -> None:
        check_digest("", self.digest)

    @classmethod
    def of(cls, salt: bytes, value: str) -> Commitment:
        """salt: SALT_BYTES fresh random bytes for each value, kept outside the record. Raises: ValueError."""
        if len(salt) != SALT_BYTES:
            raise ValueError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
        return cls(hmac.digest(salt, value.encode(), hashlib.sha256))

    def opens_to(self, salt: bytes, value: str) -> bool:
        return len(salt) == SALT_BYTES and hmac.compare_digest(self.digest, Commitment.of(salt, value).digest)


Personal = str | Commitment
"""Open, or committed. People's names and numbers are committed by default; artists' public names and organisations
may stand open. On the wire: text, or 32 bytes."""


def _check_personal_identifier(field: str, value: Personal | None, scheme: Scheme) -> None:
    if isinstance(value, str):
        check_identifier(field, value, scheme)


# ---- parts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """A further title: a translation, a transliteration, a working title."""

    text: str
    language: str | None = None
    """BCP 47, such as zh-Hans or ja-Latn."""

    def __post_init__(self) -> None:
        check_text("text", self.text, NAME_CHARACTERS_MAX)
        check_language("language", self.language)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProprietaryId:
    """An identifier in somebody's own numbering, such as a catalogue number."""

    namespace: str
    """Whose: a DDEX party id, a domain name or a member id."""
    value: str

    def __post_init__(self) -> None:
        check_text("namespace", self.namespace, 64)
        check_text("value", self.value, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Somebody with a role in the subject, named by at least one of the fields below `role`."""

    role: PartyRole
    name: Personal | None = None
    isni: Personal | None = None
    ipi_name: Personal | None = None
    ipi_base: Personal | None = None
    lei: str | None = None
    """Legal Entity Identifier: organisations only."""
    member: str | None = None
    """Member id in the consortium: organisations only."""

    def __post_init__(self) -> None:
        if isinstance(self.name, str):
            check_text("name", self.name, NAME_CHARACTERS_MAX)
        _check_personal_identifier("isni", self.isni, ISNI)
        _check_personal_identifier("ipi_name", self.ipi_name, IPI_NAME)
        _check_personal_identifier("ipi_base", self.ipi_base, IPI_BASE)
        check_identifier("lei", self.lei, LEI)
        check_form("member", self.member, MEMBER_ID, "a member id of a-z, 0-9 and inner hyphens, at most 32 characters")
        if not (self.name or self.isni or self.ipi_name or self.ipi_base or self.lei or self.member):
            raise MalformedClaim("", "", "a party with a name, ISNI, IPI, LEI or member id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A party's part of a right in a territory."""

    party: int
    """0-based index into the claim's parties."""
    right: Right
    territory: str
    """Worldwide, Worldwide-CN-US (without these), CN, CN+HK+MO (these)."""
    bps: int
    """Basis points, 0 to 10,000. Zero is a statement too: named, without a share."""
    type: ShareType | None = None
    control: RightsControl | None = None

    def __post_init__(self) -> None:
        check_range("party", self.party, 0, PARTIES_MAX - 1)
        check_range("bps", self.bps, 0, WHOLE_BPS)
        if fault := territory_fault(self.territory):
            raise MalformedClaim("territory", self.territory, fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcm:
    """Digest of a lossless source's samples, in a stated form: `ffmpeg -f hash` over it gives the same (design D7).

    Samples are little-endian and interleaved: signed integers at the source's own depth in whole bytes, or IEEE 754
    bit for bit.
    """

    sha256: bytes
    rate: int
    """Sample frames per second."""
    channels: int
    format: SampleFormat

    def __post_init__(self) -> None:
        check_digest("sha256", self.sha256)
        check_range("rate", self.rate, 1, 10_000_000)
        check_range("channels", self.channels, 1, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One file, by its digests. Two independent hash functions: a break of one leaves the other."""

    blake3: bytes
    sha256: bytes
    size: int
    """Bytes of the file."""
    media_type: str | None = None
    sm3: bytes | None = None
    """GB/T 32905, for courts in China."""
    pcm: Pcm | None = None
    flac_md5: bytes | None = None
    """16 bytes from a FLAC file's STREAMINFO: MD5 of its samples. Comparable, not secure."""
    iscc: str | None = None
    """ISCC Audio-Code (ISO 24138) in its text form: similarity, an opinion and never identity."""
    chromaprint: bytes | None = None
    """SHA-256 of the Chromaprint fingerprint kept beside the record."""
    c2pa: bytes | None = None
    """SHA-256 of the C2PA manifest store found in the file."""

    def __post_init__(self) -> None:
        check_digest("blake3", self.blake3)
        check_digest("sha256", self.sha256)
        check_range("size", self.size, 1, SIZE_BYTES_MAX)
        check_form("media_type", self.media_type, _MEDIA_TYPE, "a media type in lower case, such as audio/flac")
        check_digest("sm3", self.sm3)
        check_digest("flac_md5", self.flac_md5, 16)
        check_form("iscc", self.iscc, _ISCC, "an ISCC in text form, such as ISCC:EIAWUJFCEZZOJYVD")
        check_digest("chromaprint", self.chromaprint)
        check_digest("c2pa", self.c2pa)


@dataclass(frozen=True, slots=True, kw_only=True)
class AiContribution:
    """How much of one role generative AI contributed, and with what."""

    role: AiRole
    ai: ContainsAI
    tool: str | None = None

    def __post_init__(self) -> None:
        if self.ai is ContainsAI.UNDECLARED:
            raise MalformedClaim("ai", self.ai, "All, Partly or None; leave an undeclared role out")
        check_text("tool", self.tool, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class AiDisclosure:
    """What the claimant says about generative AI in the subject (DDEX ContainsAI and its consistency rules)."""

    contains: ContainsAI
    contributions: tuple[AiContribution, ...] = ()

    def __post_init__(self) -> None:
        if self.contains is ContainsAI.UNDECLARED:
            raise MalformedClaim("contains", self.contains, "All, Partly or None; undeclared is no disclosure at all")
        roles: set[AiRole] = set()
        for i, contribution in enumerate(self.contributions):
            field = f"contributions[{i}]"
            if contribution.role in roles:
                raise MalformedClaim(f"{field}.role", contribution.role, "each role once")
            roles.add(contribution.role)
            if self.contains is ContainsAI.ALL and contribution.ai is not ContainsAI.ALL:
                raise MalformedClaim(f"{field}.ai", contribution.ai, "All, because the whole is declared All")
            if self.contains is ContainsAI.NONE and contribution.ai is not ContainsAI.NONE:
                raise MalformedClaim(f"{field}.ai", contribution.ai, "None, because the whole is declared None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Under which terms the subject is offered, by at least one of identifier, address and digest of the text."""

    spdx: str | None = None
    uri: str | None = None
    text_sha256: bytes | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        check_form("spdx", self.spdx, _SPDX, "an SPDX licence identifier, such as CC-BY-4.0")
        check_form("uri", self.uri, _URI, "a URI in ASCII")
        check_digest("text_sha256", self.text_sha256)
        if not (self.spdx or self.uri or self.text_sha256):
            raise MalformedClaim("", "", "a licence with spdx, uri or text_sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How the subject relates to something on this record (statement, position) or elsewhere (external)."""

    relation: Relation
    statement: bytes | None = None
    """SHA-256 of a statement on this ledger."""
    position: int | None = None
    """0-based position of a claim in that statement's catalogue."""
    external: str | None = None
    """URI or identifier in another registry."""

    def __post_init__(self) -> None:
        if (self.statement is None) == (self.external is None):
            raise MalformedClaim("", "", "either a statement's digest or an external identifier")
        if self.position is not None and self.statement is None:
            raise MalformedClaim("position", self.position, "a position only with a statement")
        check_digest("statement", self.statement)
        check_range("position", self.position, 0, 2**32 - 1)
        check_text("external", self.external, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """Something that supports the claim, and its custody (Online Litigation Rules of China's courts, 2021, art. 18)."""

    kind: ExhibitKind
    sha256: bytes
    media_type: str | None = None
    captured_at: str | None = None
    """Declared, UTC: YYYY-MM-DDThh:mm:ssZ."""
    device: str | None = None
    software: str | None = None
    operator: Personal | None = None
    cleanliness: str | None = None
    """How the environment was known to be clean (清洁性)."""
    disclosed: bool = False
    """Whether the file itself travels with evidence."""

    def __post_init__(self) -> None:
        check_digest("sha256", self.sha256)
        check_form("media_type", self.media_type, _MEDIA_TYPE, "a media type in lower case, such as application/pdf")
        check_instant("captured_at", self.captured_at)
        check_text("device", self.device, 128)
        check_text("software", self.software, 128)
        if isinstance(self.operator, str):
            check_text("operator", self.operator, NAME_CHARACTERS_MAX)
        check_text("cleanliness", self.cleanliness, 512)
