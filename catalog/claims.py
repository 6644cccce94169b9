"""From a track to a claim: what tags say becomes fields, what they get wrong becomes a warning, people stay hidden."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from catalog.examine import Track
from catalog.formats.facts import Pcm as DecodedPcm
from catalog.scan import LeftOut
from ledger.claim import (
    AiDisclosure,
    Claim,
    Commitment,
    Licence,
    MalformedClaim,
    Media,
    Party,
    PartyRole,
    Pcm,
    Personal,
    SampleFormat,
    Subject,
    TrainingUse,
)
from ledger.claim_parts import NAME_CHARACTERS_MAX, SALT_BYTES, check_date
from ledger.errors import InvalidIdentifier
from ledger.identifiers import ISRC, ISWC, UPC, Scheme, isrc_warning
from ledger.text import text_fault

PARTIES_MAX = 24
"""People and organisations taken from tags: keeps a claim well under its 4 KiB."""

_DISPLAYED = frozenset({PartyRole.ARTIST, PartyRole.MAIN_ARTIST, PartyRole.FEATURED_ARTIST})
"""Display artists, as tags, spreadsheets and DDEX call them."""

SaltSource = Callable[[bytes, PartyRole, str], bytes]
"""(BLAKE3 of the file, role, value) -> 32 bytes of salt for the commitment to `value`."""


class Names(StrEnum):
    """Whose names stand open in the record. Organisations' always do."""

    COMMITTED = "committed"
    """Nobody's: salted commitments, openable later by whoever holds the openings."""
    ARTISTS = "artists"
    """Display artists', who are known to the public by them."""
    OPEN = "open"
    """Everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the claimant declares about all tracks alike. Raises: MalformedClaim for a date that is none."""

    member: str
    """Who claims: a member id of the consortium."""
    names: Names = Names.COMMITTED
    ai: AiDisclosure | None = None
    """None: undeclared, which is not the same as none."""
    training_use: TrainingUse = TrainingUse.UNSTATED
    licence: Licence | None = None
    created: str | None = None
    """YYYY-MM-DD, declared."""

    def __post_init__(self) -> None:
        check_date("created", self.created)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a commitment in a claim hides. Never submitted; whoever loses it can no longer show whom the claim names."""

    party: int
    """Index into the claim's parties."""
    field: str = "name"
    """Which of the party's fields is committed."""
    value: str
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackClaim:
    """One track's claim, its encoding, what it hides, and what a person should look at."""

    path: Path
    claim: Claim
    encoded: bytes
    openings: tuple[Opening, ...]
    warnings: tuple[str, ...]


def derived_salts(secret: bytes) -> SaltSource:
    """Salts that the holder of `secret` can always make again, so that the same files give the same statement.

    Nobody else can compute them, so a commitment still hides its value from everybody else, and no two claims share a
    salt. The price: as long as `secret` (the statement key) exists, its holder can confirm a guessed name. Where data
    must be erasable against that holder too, take `random_salts`.
    """
    key = hmac.digest(secret, b"stretto/opening-salts/v1", hashlib.sha256)

    def salt(blake3: bytes, role: PartyRole, value: str) -> bytes:
        parts = b"".join(struct.pack(">I", len(part)) + part for part in (blake3, role.encode(), value.encode()))
        return hmac.digest(key, parts, hashlib.sha256)

    return salt


def random_salts(blake3: bytes, role: PartyRole, value: str) -> bytes:  # noqa: ARG001  a SaltSource
    """Random salts: once the openings are erased, nobody at all can confirm a name. Every run differs."""
    return secrets.token_bytes(SALT_BYTES)


def build_claim(track: Track, terms: Terms, salts: SaltSource) -> TrackClaim:
    """The claim on one recording. Raises: LeftOut where no valid claim can be made of it."""
    tags = track.tags
    warnings = [] if tags.unreadable is None else [f"tags cannot be read ({tags.unreadable}): claimed without them"]
    parties, openings = _parties(track, terms, salts, warnings)
    try:
        claim = Claim(
            subject=Subject.RECORDING,
            title=_text("title", tags.title, warnings) or file_title(track),
            version=_text("version", tags.version, warnings),
            duration_ms=track.facts.duration_ms or None,
            isrc=_identifier(ISRC, tags.isrc, warnings),
            iswc=_identifier(ISWC, tags.iswc, warnings),
            upc=_identifier(UPC, tags.barcode, warnings),
            parties=tuple(parties),
            media=(file_media(track),),
            ai=terms.ai,
            training_use=terms.training_use,
            licence=terms.licence,
            created=terms.created,
        )
        if claim.isrc and (doubt := isrc_warning(claim.isrc)):
            warnings.append(doubt)
        encoded = claim.encode()
    except MalformedClaim as error:
        raise LeftOut(track.path, f"no claim can be made of it: {error}") from error
    return TrackClaim(path=track.path, claim=claim, encoded=encoded, openings=tuple(openings), warnings=tuple(warnings))


def file_media(track: Track) -> Media:
    """The file's digests. Raises: MalformedClaim."""
    digests, facts = track.digests, track.facts
    return Media(
        blake3=digests.blake3,
        sha256=digests.sha256,
        size=digests.size_bytes,
        media_type=facts.media_type,
        pcm=_pcm(facts.pcm),
        flac_md5=facts.flac_md5,
        chromaprint=track.chromaprint.sha256 if track.chromaprint else None,
    )


def _parties(track: Track, terms: Terms, salts: SaltSource, warnings: list[str]) -> tuple[list[Party], list[Opening]]:
    """The claimant, then who the tags name; and the openings of the names that are committed."""
    parties = [Party(role=PartyRole.COPYRIGHT_CLAIMANT, member=terms.member)]
    openings: list[Opening] = []
    named = [*((role, name, True) for role, name in track.tags.people)]
    named += [(PartyRole.PRODUCTION_COMPANY, name, False) for name in track.tags.organisations]
    if len(named) > PARTIES_MAX:
        warnings.append(f"its tags name {len(named)} parties: only the first {PARTIES_MAX} are claimed")
    for role, name, personal in named[:PARTIES_MAX]:
        if _text(role.lower(), name, warnings) is None:
            continue
        shown: Personal = name
        if personal and not stands_open(role, terms.names):
            salt = salts(track.digests.blake3, role, name)
            openings.append(Opening(party=len(parties), value=name, salt=salt))
            shown = Commitment.of(salt, name)
        parties.append(Party(role=role, name=shown))
    return parties, openings


def _pcm(pcm: DecodedPcm | None) -> Pcm | None:
    if pcm is None:
        return None
    return Pcm(sha256=pcm.sha256, rate=pcm.rate_hz, channels=pcm.channels, format=SampleFormat(pcm.format))


def stands_open(role: PartyRole, names: Names) -> bool:
    """Whether a person with this role is named in the open."""
    return names is Names.OPEN or (names is Names.ARTISTS and role in _DISPLAYED)


def file_title(track: Track) -> str:
    """The title of a track that nobody gave one: its file's name, else a name that at least finds the file again."""
    stem = unicodedata.normalize("NFC", track.path.stem).strip()  # macOS writes names decomposed
    if stem and text_fault(stem, NAME_CHARACTERS_MAX) is None:
        return stem
    return f"Untitled {track.digests.blake3[:4].hex()}"


def _text(field: str, value: str | None, warnings: list[str]) -> str | None:
    """`value` where it may be recorded; else None, and a warning."""
    if value is None:
        return None
    fault = text_fault(value, NAME_CHARACTERS_MAX)
    if "\ufffd" in value:  # what tinytag puts for bytes that are not text in the encoding the tag claims
        fault = "text in the encoding its tag claims"
    if fault:
        warnings.append(f"{field} {value[:60]!r} left out: expected {fault}")
        return None
    return value


def _identifier(scheme: Scheme, written: Iterable[str], warnings: list[str]) -> str | None:
    """The first valid one, in canonical form; every other one is named in a warning."""
    chosen: str | None = None
    for value in written:
        try:
            canonical = scheme.parse(value)
        except InvalidIdentifier as error:
            warnings.append(f"{scheme.name} {value[:60]!r} left out: expected {error.expected}")
            continue
        if chosen is None:
            chosen = canonical
        elif canonical != chosen:
            warnings.append(f"{scheme.name} {canonical} left out: {chosen} came first")
    return chosen
