"""What is declared about one track, in valid values, and the claim that is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from catalog.claims import Names, Opening, SaltSource, Terms, TrackClaim, file_media, file_title, stands_open
from catalog.examine import Track
from ledger.claim import (
    AiDisclosure,
    Claim,
    Commitment,
    Licence,
    Party,
    PartyRole,
    Personal,
    ProprietaryId,
    Right,
    Share,
    ShareType,
    Subject,
    TrainingUse,
)

CLAIMANT = "claimant"
"""Whom a share names that is the member's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedParty:
    """Somebody with a role. personal: a person, or what may be one: hidden unless names stand open."""

    role: PartyRole
    name: str
    personal: bool = True
    isni: str | None = None
    ipi_name: str | None = None
    ipi_base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedShare:
    """A part of a right, of somebody named by `party`: CLAIMANT or the name of a party."""

    party: str
    right: Right
    territory: str
    bps: int
    type: ShareType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One track's declared metadata. Every value is in the form a claim holds it in."""

    title: str | None = None
    language: str | None = None
    version: str | None = None
    isrc: str | None = None
    iswc: str | None = None
    upc: str | None = None
    grid: str | None = None
    ids: tuple[tuple[str, str], ...] = ()
    """(namespace, value); an empty namespace is the member's own."""
    parties: tuple[StatedParty, ...] = ()
    shares: tuple[StatedShare, ...] = ()
    ai: AiDisclosure | None = None
    training_use: TrainingUse | None = None
    licence: Licence | None = None
    created: str | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    duration_ms: int | None = None
    """Compared with the file's; the claim has the file's."""
    client_ref: str | None = None
    """The row's own reference: an id in the member's namespace."""

    def differences(self, other: Stated) -> list[str]:
        """Names of the fields in which the two differ, the row's own reference aside."""
        names = (one.name for one in fields(self) if one.name != "client_ref")
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def stated_claim(track: Track, stated: Stated, terms: Terms, salts: SaltSource) -> TrackClaim:
    """The claim on one recording. Raises: MalformedClaim with the claim's field."""
    claim, openings = make_claim(track, stated, terms, salts)
    return TrackClaim(path=track.path, claim=claim, encoded=claim.encode(), openings=openings, warnings=())


def make_claim(track: Track, stated: Stated, terms: Terms, salts: SaltSource) -> tuple[Claim, tuple[Opening, ...]]:
    """The claim before it is encoded, and what opens its commitments. Raises: MalformedClaim, but not for its size."""
    parties, openings = _parties(track, stated.parties, terms, salts)
    positions = {CLAIMANT: 0}
    for i, party in enumerate(stated.parties, 1):
        positions.setdefault(party.name, i)
    own_ids = () if stated.client_ref is None else (("", stated.client_ref),)
    claim = Claim(
        subject=Subject.RECORDING,
        title=stated.title or file_title(track),
        language=stated.language,
        version=stated.version,
        duration_ms=track.facts.duration_ms or None,
        isrc=stated.isrc,
        iswc=stated.iswc,
        upc=stated.upc,
        grid=stated.grid,
        ids=tuple(
            ProprietaryId(namespace=namespace or terms.member, value=value)
            for namespace, value in (*stated.ids, *own_ids)
        ),
        parties=parties,
        shares=tuple(
            Share(party=positions[share.party], right=share.right, territory=share.territory, bps=share.bps)
            for share in stated.shares
        ),
        media=(file_media(track),),
        ai=stated.ai or terms.ai,
        training_use=stated.training_use or terms.training_use,
        licence=stated.licence or terms.licence,
        created=stated.created or terms.created,
        valid_from=stated.valid_from,
        valid_until=stated.valid_until,
    )
    return claim, tuple(openings)


def claim_bytes_at_most(stated: Stated) -> int:
    """No encoding of the claim is larger: far quicker to have than the encoding. Text counts four bytes a character."""
    texts = (stated.title, stated.version, stated.language, stated.client_ref)
    size = 900 + 4 * sum(len(text) for text in texts if text)  # the rest of a claim, its media at their longest
    size += sum(200 + 4 * len(party.name) for party in stated.parties)
    size += sum(100 + len(share.territory) for share in stated.shares)
    size += sum(40 + 4 * (len(namespace) + len(value)) for namespace, value in stated.ids)
    if stated.ai is not None:
        size += sum(60 + 4 * len(contribution.tool or "") for contribution in stated.ai.contributions)
    if stated.licence is not None:
        size += 100 + len(stated.licence.uri or "")
    return size


def _parties(
    track: Track, stated: Iterable[StatedParty], terms: Terms, salts: SaltSource
) -> tuple[tuple[Party, ...], list[Opening]]:
    """The claimant, then who is named; and the openings of what is committed: names, and the numbers of people."""
    parties = [Party(role=PartyRole.COPYRIGHT_CLAIMANT, member=terms.member)]
    openings: list[Opening] = []
    blake3 = track.digests.blake3

    def shown(role: PartyRole, field: str, value: str | None, *, hidden: bool) -> Personal | None:
        if value is None or not hidden:
            return value
        salt = salts(blake3, role, value)
        openings.append(Opening(party=len(parties), field=field, value=value, salt=salt))
        return Commitment.of(salt, value)

    for party in stated:
        hidden = party.personal and not stands_open(party.role, terms.names)
        # A number leads to more than a name does: of an artist who stands open by name, it is hidden all the same.
        hide_numbers = party.personal and terms.names is not Names.OPEN
        parties.append(
            Party(
                role=party.role,
                name=shown(party.role, "name", party.name, hidden=hidden),
                isni=shown(party.role, "isni", party.isni, hidden=hide_numbers),
                ipi_name=shown(party.role, "ipi_name", party.ipi_name, hidden=hide_numbers),
                ipi_base=shown(party.role, "ipi_base", party.ipi_base, hidden=hide_numbers),
            )
        )
    return tuple(parties), openings
