"""A SoundRecording of a DDEX message as rows: its titles, people, files, rights and AI contributions in our columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from catalog.metadata.columns import BY_NAME
from catalog.metadata.findings import Findings, Severity
from catalog.metadata.rows import Row, clean
from ledger.claim import AiRole, PartyRole
from ledger.claim_parts import NAME_CHARACTERS_MAX

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHA256: Final = frozenset({"SHA256", "SHA2", "SHA2256"})
_COLUMNS_OF_ROLES: Final = {
    "Composer": "composers",
    "Lyricist": "lyricists",
    "Arranger": "arrangers",
    "StudioProducer": "producers",
    "Producer": "producers",
}
_PARTY_ROLES: Final = frozenset(PartyRole)
_AI_ROLES: Final[dict[AiRole, frozenset[str]]] = {
    AiRole.VOCALS: frozenset({"LeadVocalist", "Vocalist", "BackgroundVocalist", "Choir", "Narrator"}),
    AiRole.INSTRUMENTATION: frozenset(
        {"Musician", "StudioMusician", "PrimaryMusician", "Programmer", "Orchestra", "Ensemble", "Accompanyist"}
    ),
    AiRole.COMPOSITION: frozenset({"Composer", "Arranger", "MusicArranger", "ComposerLyricist"}),
    AiRole.LYRICS: frozenset({"Lyricist", "Author", "Librettist", "SubLyricist", "Translator"}),
    AiRole.POST_PRODUCTION: frozenset(
        {"Mixer", "MixingEngineer", "MasteringEngineer", "RemixingEngineer", "Engineer", "StudioProducer", "Remixer"}
    ),
}
"""Where a contributor's role is disclosed as platforms do it."""


def texts(element: Element, name: str, *, anywhere: bool = False) -> list[str]:
    """Texts of the children (or all descendants) called `name` that have any, in order."""
    found = element.iter(name) if anywhere else element.findall(name)
    return [text for child in found if (text := (child.text or "").strip())]


def _first(element: Element, *paths: str) -> str:
    return next((text for path in paths if (text := (element.findtext(path) or "").strip())), "")


def _default(elements: list[Element]) -> Element | None:
    """The one marked as default, else the first."""
    return next((one for one in elements if one.get("IsDefault") == "true"), elements[0] if elements else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Somebody of the PartyList."""

    name: str
    isni: str = ""
    ipi: str = ""

    @classmethod
    def of(cls, element: Element) -> Party:
        named = _default(element.findall("PartyName"))
        name = "" if named is None else _first(named, "FullName", "KeyName")
        return cls(name=name, isni=_first(element, "PartyId/ISNI"), ipi=_first(element, "PartyId/IpiNameNumber"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a recording takes over from the release that lists it."""

    upc: str
    grid: str
    labels: tuple[str, ...]
    """References to parties."""
    date: str

    @classmethod
    def of(cls, element: Element) -> Release:
        return cls(
            upc=_first(element, "ReleaseId/ICPN"),
            grid=_first(element, "ReleaseId/GRid"),
            labels=tuple(texts(element, "ReleaseLabelReference")[:1]),
            date=_first(element, "OriginalReleaseDate", "ReleaseDate"),
        )


_NO_RELEASE: Final = Release(upc="", grid="", labels=(), date="")


@dataclass(slots=True)
class _Making:
    """A row on its way."""

    row: Row
    parties: Mapping[str, Party]
    findings: Findings

    def put(self, column: str, *values: str) -> None:
        """Adds values that are there, cleaned."""
        known = BY_NAME[column]
        # Long texts are broken into lines by whoever lays out the XML.
        unbroken = (" ".join(value.split()) for value in values)
        found = [text for value in unbroken if (text := clean(self.row, known, value, self.findings))]
        if found:
            have = self.row.cells.get(column, ())
            self.row.cells[column] = tuple(dict.fromkeys((*have, *found))) if known.several else (have or (found[0],))

    def name(self, reference: str, column: str) -> str:
        """The party's name; its numbers are put down beside it."""
        party = self.parties.get(reference)
        if party is None or not party.name:
            expected = "a reference to a party of the PartyList that has a name"
            self.row.error(self.findings, "party", column, reference, expected)
            return ""
        if party.isni:
            self.put("isni", f"{party.name}={party.isni}")
        if party.ipi:
            self.put("ipi", f"{party.name}={party.ipi}")
        return party.name

    def note(self, column: str, value: str, said: str) -> None:
        self.findings.report(
            Severity.NOTE, "not-imported", said, place=self.row.place(column), column=column, value=value
        )


def rows_of_recording(
    recording: Element,
    parties: Mapping[str, Party],
    releases: Mapping[str, Release],
    source: str,
    findings: Findings,
) -> Iterator[Row]:
    """A row for each file of each edition: ERN 4.2 has one edition, in the recording itself."""
    reference = _first(recording, "ResourceReference")
    shared = Row(source=source, element=f"SoundRecording {reference}")
    making = _Making(shared, parties, findings)
    _titles(recording, making)
    _people(recording, making)
    _ai(recording, making)
    _rights(recording, making)
    _release(releases.get(reference, _NO_RELEASE), making)
    making.put("duration", _first(recording, "Duration"))
    for column, date in (("created_date", _first(recording, "CreationDate")),):
        if date and not _DAY.fullmatch(date):
            making.note(column, date, "a whole date, YYYY-MM-DD; a year or month alone is not taken over")
        else:
            making.put(column, date)
    works = texts(recording, "WorkId/ISWC")
    making.put("iswc", *works[:1])
    if len(works) > 1:
        making.note("iswc", "; ".join(works), "one work: the first is taken over, others are claims of their own")
    for edition in recording.findall("SoundRecordingEdition") or [recording]:
        files = list(_files(edition)) or [("", "")]
        for uri, digest in files:
            row = Row(source=source, element=shared.element, cells=dict(shared.cells))
            one = _Making(row, parties, findings)
            one.put("isrc", *texts(edition, "ResourceId/ISRC"))
            one.put("file", uri)
            one.put("digest", digest)
            for own in edition.findall("ResourceId/ProprietaryId"):
                one.put("proprietary_ids", f"{own.get('Namespace') or 'DDEX'}:{(own.text or '').strip()}")
            one.put("proprietary_ids", *texts(edition, "ResourceId/CatalogNumber"))
            for line in edition.findall("PLine"):
                company = _first(line, "PLineCompany", "PLineText")
                if len(company) > NAME_CHARACTERS_MAX:
                    one.note("p_line", company, f"at most {NAME_CHARACTERS_MAX} characters; it is not taken over")
                else:
                    one.put("p_line", company)
            yield row


def _titles(recording: Element, making: _Making) -> None:
    title = _default(recording.findall("DisplayTitle"))
    if title is None:
        making.put("title", _first(recording, "DisplayTitleText"))
        return
    making.put("title", _first(title, "TitleText"))
    making.put("language", title.get("LanguageAndScriptCode") or "")
    making.put("version", " ".join(texts(title, "SubTitle")))


def _people(recording: Element, making: _Making) -> None:
    """Display artists in the order of their numbers, then contributors; roles of our own columns go there."""
    artists = sorted(recording.findall("DisplayArtist"), key=_sequence)
    for artist in artists:
        name = making.name(_first(artist, "ArtistPartyReference"), "artists")
        role = _first(artist, "DisplayArtistRole")
        if role in ("FeaturedArtist", "MainArtist", "Artist", ""):
            making.put("featured_artists" if role == "FeaturedArtist" else "artists", name)
        else:
            _contributor(role, name, making)
    if not artists:
        shown = _default(recording.findall("DisplayArtistName"))
        making.put("artists", (shown.text or "") if shown is not None else "")
    for contributor in sorted(recording.findall("Contributor"), key=_sequence):
        if contributor.find("SpecialContributor") is None:
            name = making.name(_first(contributor, "ContributorPartyReference"), "contributors")
            for role in _roles(contributor):
                _contributor(role, name, making)


def _contributor(role: str, name: str, making: _Making) -> None:
    if not name or (role == "Artist" and name in making.row.cells.get("artists", ())):
        return
    if (column := _COLUMNS_OF_ROLES.get(role)) is not None:
        making.put(column, name)
    elif role in _PARTY_ROLES:
        making.put("contributors", f"{role}: {name}")
    else:
        making.note("contributors", f"{role}: {name}", "a role that claims have; this one is not taken over")


def _roles(contributor: Element) -> list[str]:
    """4.2 and 4.3 write the role as text, 4.3.2 in an element of its own."""
    return [_first(role, "Value") or (role.text or "").strip() for role in contributor.findall("Role")]


def _sequence(element: Element) -> int:
    number = element.get("SequenceNumber", "")
    return int(number) if number.isdecimal() and len(number) < 10 else 10**9


def _files(edition: Element) -> Iterator[tuple[str, str]]:
    """(path, SHA-256 or nothing) of each audio file, previews and clips aside."""
    for details in edition.findall("TechnicalDetails"):
        if _first(details, "IsPreview", "IsClip") == "true":
            continue
        for file in (*details.findall("File"), *details.findall("DeliveryFile/File")):
            digest = next(
                (
                    _first(hashed, "HashSumValue").lower()
                    for hashed in file.findall("HashSum")
                    if re.sub(r"[^A-Z0-9]", "", _first(hashed, "Algorithm").upper()) in _SHA256
                    and len(_first(hashed, "HashSumValue")) == 64
                ),
                "",
            )
            yield _first(file, "URI", "FilePath", "FileName"), digest


def _release(release: Release, making: _Making) -> None:
    making.put("upc", release.upc)
    making.put("grid", release.grid)
    if _DAY.match(release.date):
        making.put("release_date", release.date[:10])
    for reference in release.labels:
        making.put("label", making.name(reference, "label"))


# ---- rights and AI ---------------------------------------------------------------------------------------------------


def _rights(recording: Element, making: _Making) -> None:
    """Shares in all rights of the recording, in the territories of their delegation; without a percentage: none."""
    for controller in recording.findall("ResourceRightsController"):
        percentage = controller.find("RightSharePercentage")
        name = making.name(_first(controller, "RightsControllerPartyReference"), "shares")
        if not name:
            continue
        making.put("p_line", name)  # who controls the rights in a recording owns the phonogram
        if percentage is None:
            continue
        try:
            share = Decimal((percentage.text or "").strip())
        except InvalidOperation:
            share = Decimal(-1)
        if percentage.get("HasMaxValueOfOne") == "true":
            share *= 100
        if not share.is_finite() or not 0 <= share <= 100:
            making.row.error(making.findings, "share", "shares", percentage.text or "", "a percentage from 0 to 100")
            continue
        territories = texts(controller, "TerritoryOfRightsDelegation", anywhere=True)
        territory = "Worldwide" if "Worldwide" in territories else "+".join(territories) or "Worldwide"
        making.put("shares", f"{name}: All: {territory}: {share:f}%")


def _ai(recording: Element, making: _Making) -> None:
    """ContainsAI and AiContribution (ERN 4.3.2), held against each other as DDEX wants them."""
    contains = _first(recording, "ContainsAI")
    making.put("ai", contains)
    found: dict[AiRole, set[str]] = {}
    people = 0
    for contributor in recording.findall("Contributor"):
        special = _first(contributor, "SpecialContributor") == "GenerativeAI"
        people += not special
        ai = _first(contributor, "AiContribution") or ("All" if special else "")
        if contains == "None" and ai in ("Partly", "All"):
            expected = "no contributor with AI, because ContainsAI is None"
            making.row.error(making.findings, "ai", "ai_roles", f"{'; '.join(_roles(contributor))}: {ai}", expected)
        for role in _roles(contributor) if ai else ():
            disclosed = next((kind for kind, roles in _AI_ROLES.items() if role in roles), None)
            if disclosed is None:
                making.note("ai_roles", f"{role}: {ai}", "a role in which AI is disclosed; this one is not taken over")
            else:
                found.setdefault(disclosed, set()).add(ai)
    if contains == "All" and people:
        expected = "no contributor but GenerativeAI, because ContainsAI is All"
        making.row.error(making.findings, "ai", "ai", contains, expected)
    if contains in ("Partly", "") and found:
        making.put("ai_roles", *(f"{role}={ai.pop() if len(ai) == 1 else 'Partly'}" for role, ai in found.items()))
