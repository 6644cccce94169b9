"""A claim: what one claimant declares about one recording, work, release or link between them (design D7).

We record what is declared and prove that it has not changed since. Whether it is true, and who owns what, is for
others: a claim is refused only for its form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cbor2

from ledger.cbor import CborInput, CborValue, decode, encode
from ledger.claim_codec import BYTES, FLAG, NUMBER, PERSONAL, TEXT, Codec, items, struct, word
from ledger.claim_parts import (
    NAME_CHARACTERS_MAX,
    PARTIES_MAX,
    AiContribution,
    AiDisclosure,
    Commitment,
    Exhibit,
    Licence,
    Media,
    Party,
    Pcm,
    Personal,
    ProprietaryId,
    Reference,
    Share,
    Title,
    check_date,
    check_identifier,
    check_language,
    check_range,
    check_text,
)
from ledger.claim_shares import TERRITORIES_MAX, sum_fault
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
    Subject,
    TrainingUse,
)
from ledger.errors import InvalidIdentifier, MalformedCbor, MalformedClaim
from ledger.identifiers import GRID, ISRC, ISWC, UPC

__all__ = [
    "CLAIM_BYTES_MAX",
    "AiContribution",
    "AiDisclosure",
    "AiRole",
    "Claim",
    "ClaimKeys",
    "Commitment",
    "ContainsAI",
    "Exhibit",
    "ExhibitKind",
    "InvalidIdentifier",
    "Licence",
    "MalformedClaim",
    "Media",
    "Party",
    "PartyRole",
    "Pcm",
    "Personal",
    "ProprietaryId",
    "Reference",
    "Relation",
    "Right",
    "RightsControl",
    "SampleFormat",
    "Share",
    "ShareType",
    "Subject",
    "Title",
    "TrainingUse",
    "claim_keys",
    "claim_value",
    "decode_claim",
    "parse_claim",
    "read_claim",
    "read_claim_keys",
]

CLAIM_BYTES_MAX: Final = 4096
DURATION_MS_MAX: Final = 30 * 24 * 3_600_000
SHARES_MAX: Final = 64
MEDIA_MAX: Final = 16
LISTED_MAX: Final = 16
"""Further titles, proprietary ids, references, exhibits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a claimant declares. A constructed claim is valid, except that only `encode` knows its size.

    The least a claim says: a subject, a title and, of a recording, one file's digests.
    """

    subject: Subject
    title: str
    language: str | None = None
    """Of the title, BCP 47."""
    titles: tuple[Title, ...] = ()
    """Further titles."""
    version: str | None = None
    """Such as Live at Budokan, Radio Edit."""
    duration_ms: int | None = None
    isrc: str | None = None
    """Canonical form (ledger.identifiers): 12 characters, no hyphens."""
    iswc: str | None = None
    """T and 10 digits."""
    upc: str | None = None
    grid: str | None = None
    ids: tuple[ProprietaryId, ...] = ()
    parties: tuple[Party, ...] = ()
    shares: tuple[Share, ...] = ()
    media: tuple[Media, ...] = ()
    ai: AiDisclosure | None = None
    """None: undeclared."""
    training_use: TrainingUse = TrainingUse.UNSTATED
    licence: Licence | None = None
    references: tuple[Reference, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    created: str | None = None
    """Declared date of creation, YYYY-MM-DD: a statement of the claimant's, no proof."""
    valid_from: str | None = None
    """First day the shares hold. A claim speaks of one period; other periods are other claims."""
    valid_until: str | None = None
    """First day the shares no longer hold."""

    def __post_init__(self) -> None:
        check_text("title", self.title, NAME_CHARACTERS_MAX)
        check_language("language", self.language)
        check_text("version", self.version, NAME_CHARACTERS_MAX)
        check_range("duration_ms", self.duration_ms, 1, DURATION_MS_MAX)
        check_identifier("isrc", self.isrc, ISRC)
        check_identifier("iswc", self.iswc, ISWC)
        check_identifier("upc", self.upc, UPC)
        check_identifier("grid", self.grid, GRID)
        self._check_subject()
        if len(self.parties) > 1:
            _check_distinct("parties", self.parties)
        if self.shares:
            self._check_shares()
        if len(self.media) > 1:
            _check_distinct("media", tuple(media.sha256 for media in self.media))
        check_date("created", self.created)
        check_date("valid_from", self.valid_from)
        check_date("valid_until", self.valid_until)
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise MalformedClaim("valid_until", self.valid_until, f"a day after valid_from {self.valid_from}")

    def _check_subject(self) -> None:
        """What a claim on each subject cannot do without."""
        match self.subject:
            case Subject.RECORDING:
                if not self.media:
                    raise MalformedClaim("media", "", "digests of at least one file of the recording")
            case Subject.WORK:
                if self.isrc:
                    raise MalformedClaim("isrc", self.isrc, "no ISRC on a work: it names a recording; claim a Link")
                if not (self.iswc or self.ids or self.parties):
                    raise MalformedClaim("iswc", "", "an ISWC, a proprietary id or a party to know the work by")
            case Subject.RELEASE:
                if not (self.upc or self.grid or self.ids):
                    raise MalformedClaim("upc", "", "a UPC, GRid or proprietary id to know the release by")
            case Subject.LINK:
                if not self.iswc:
                    raise MalformedClaim("iswc", "", "the ISWC of the work that is linked")
                if not (self.isrc or self.media):
                    raise MalformedClaim("isrc", "", "the ISRC or media digests of the recording that is linked")

    def _check_shares(self) -> None:
        seen = set()
        for i, share in enumerate(self.shares):
            if share.party >= len(self.parties):
                raise MalformedClaim(f"shares[{i}].party", share.party, f"an index into {len(self.parties)} parties")
            line = (share.party, share.right, share.territory, share.type)
            if line in seen:
                raise MalformedClaim(f"shares[{i}]", "", "one share per party, right, territory and type")
            seen.add(line)
        territories = {share.territory for share in self.shares}
        if len(territories) > TERRITORIES_MAX:
            raise MalformedClaim("shares", f"{len(territories)} territories", f"at most {TERRITORIES_MAX} territories")
        if found := sum_fault(self.shares):
            index, expected = found
            raise MalformedClaim(f"shares[{index}].bps", self.shares[index].bps, expected)

    @property
    def contains_ai(self) -> ContainsAI:
        """Undeclared where nothing is disclosed."""
        return self.ai.contains if self.ai else ContainsAI.UNDECLARED

    def encode(self) -> bytes:
        """The one deterministic encoding. Raises: MalformedClaim over CLAIM_BYTES_MAX."""
        data = encode(_CLAIM.write(self))
        if len(data) > CLAIM_BYTES_MAX:
            raise MalformedClaim("claim", f"{len(data)} bytes", f"at most {CLAIM_BYTES_MAX} bytes")
        return data


def _check_distinct(field: str, values: tuple[object, ...]) -> None:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise MalformedClaim(f"{field}[{i}]", "", f"no repetition of {field}[{values.index(value)}]")


_MEDIA: Final = struct(
    Media,
    {
        "blake3": BYTES,
        "sha256": BYTES,
        "size": NUMBER,
        "media_type": TEXT,
        "sm3": BYTES,
        "pcm": struct(Pcm, {"sha256": BYTES, "rate": NUMBER, "channels": NUMBER, "format": word(SampleFormat)}),
        "flac_md5": BYTES,
        "iscc": TEXT,
        "chromaprint": BYTES,
        "c2pa": BYTES,
    },
)
_PARTY: Final = struct(
    Party,
    {
        "role": word(PartyRole),
        "name": PERSONAL,
        "isni": PERSONAL,
        "ipi_name": PERSONAL,
        "ipi_base": PERSONAL,
        "lei": TEXT,
        "member": TEXT,
    },
)
_SHARE: Final = struct(
    Share,
    {
        "party": NUMBER,
        "right": word(Right),
        "territory": TEXT,
        "bps": NUMBER,
        "type": word(ShareType),
        "control": word(RightsControl),
    },
)
_AI: Final = struct(
    AiDisclosure,
    {
        "contains": word(ContainsAI),
        "contributions": items(
            struct(AiContribution, {"role": word(AiRole), "ai": word(ContainsAI), "tool": TEXT}), len(AiRole)
        ),
    },
)
_EXHIBIT: Final = struct(
    Exhibit,
    {
        "kind": word(ExhibitKind),
        "sha256": BYTES,
        "media_type": TEXT,
        "captured_at": TEXT,
        "device": TEXT,
        "software": TEXT,
        "operator": PERSONAL,
        "cleanliness": TEXT,
        "disclosed": FLAG,
    },
)
_REFERENCE: Final = struct(
    Reference, {"relation": word(Relation), "statement": BYTES, "position": NUMBER, "external": TEXT}
)
_LICENCE: Final = struct(Licence, {"spdx": TEXT, "uri": TEXT, "text_sha256": BYTES, "exclusive": FLAG})
_CLAIM: Final[Codec[Claim]] = struct(
    Claim,
    {
        "subject": word(Subject),
        "title": TEXT,
        "language": TEXT,
        "titles": items(struct(Title, {"text": TEXT, "language": TEXT}), LISTED_MAX),
        "version": TEXT,
        "duration_ms": NUMBER,
        "isrc": TEXT,
        "iswc": TEXT,
        "upc": TEXT,
        "grid": TEXT,
        "ids": items(struct(ProprietaryId, {"namespace": TEXT, "value": TEXT}), LISTED_MAX),
        "parties": items(_PARTY, PARTIES_MAX),
        "shares": items(_SHARE, SHARES_MAX),
        "media": items(_MEDIA, MEDIA_MAX),
        "ai": _AI,
        "training_use": word(TrainingUse),
        "licence": _LICENCE,
        "references": items(_REFERENCE, LISTED_MAX),
        "exhibits": items(_EXHIBIT, LISTED_MAX),
        "created": TEXT,
        "valid_from": TEXT,
        "valid_until": TEXT,
    },
)


def claim_value(claim: Claim) -> dict[str, CborInput]:
    """The CBOR map of a claim: fields at their default left out, words and digests as they stand in the record."""
    value = _CLAIM.write(claim)
    assert isinstance(value, dict), "a struct is written as a map"
    return value


def parse_claim(data: bytes) -> Claim:
    """Inverse of `Claim.encode`, for bytes from anywhere: `parse_claim(data).encode() == data` or it raises.

    Raises: MalformedClaim (InvalidIdentifier where an identifier is wrong) with the path from `claim.` on.
    """
    return read_claim(decode_claim(data))


def decode_claim(data: bytes) -> CborValue:
    """The first half of `parse_claim`: some value whose one encoding `data` is. Raises: MalformedClaim."""
    if len(data) > CLAIM_BYTES_MAX:
        raise MalformedClaim("claim", f"{len(data)} bytes", f"at most {CLAIM_BYTES_MAX} bytes")
    try:
        return decode(data)
    except MalformedCbor as error:
        raise MalformedClaim("claim", error.value, f"deterministic CBOR, at {error.field}: {error.expected}") from None


def read_claim(value: CborValue) -> Claim:
    """The second half: that the value is a claim. Raises: MalformedClaim."""
    try:
        return _CLAIM.read(value)
    except MalformedClaim as error:
        raise error.within("claim") from None


# ---- index keys ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKeys:
    """By what a claim is found: every file's digests, and its ISRC and ISWC in canonical ASCII."""

    blake3: tuple[bytes, ...] = ()
    sha256: tuple[bytes, ...] = ()
    isrc: tuple[bytes, ...] = ()
    iswc: tuple[bytes, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """(kind, key) pairs, in the order of the fields."""
        for key in self.blake3:
            yield "blake3", key
        for key in self.sha256:
            yield "sha256", key
        for key in self.isrc:
            yield "isrc", key
        for key in self.iswc:
            yield "iswc", key


def claim_keys(claim: Claim) -> ClaimKeys:
    return ClaimKeys(
        blake3=tuple(media.blake3 for media in claim.media),
        sha256=tuple(media.sha256 for media in claim.media),
        isrc=(claim.isrc.encode(),) if claim.isrc else (),
        iswc=(claim.iswc.encode(),) if claim.iswc else (),
    )


def read_claim_keys(data: bytes) -> ClaimKeys:
    """`claim_keys(parse_claim(data))` of bytes already known to be a valid claim, at a fraction of the cost.

    For what has been checked once. Here, and only here, may a library decode: nothing is decided by it.
    """
    value: dict[str, str | list[dict[str, bytes]]] = cbor2.loads(data)
    media, isrc, iswc = value.get("media", ()), value.get("isrc"), value.get("iswc")
    return ClaimKeys(
        blake3=tuple(item["blake3"] for item in media if isinstance(item, dict)),
        sha256=tuple(item["sha256"] for item in media if isinstance(item, dict)),
        isrc=(isrc.encode(),) if isinstance(isrc, str) else (),
        iswc=(iswc.encode(),) if isinstance(iswc, str) else (),
    )
