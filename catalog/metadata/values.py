"""From the cells of a row, and the tags of its track where a cell is empty, to valid values; faults are reported.

Each reader takes what stands in a cell and gives values in the form a claim holds them in, or reports what was expected
there and gives nothing: one row's check names all that is wrong in it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from catalog.claims import PARTIES_MAX
from catalog.metadata.columns import ORGANISATIONS, PEOPLE
from catalog.metadata.findings import Findings, Severity
from catalog.metadata.parts import (
    CellFault,
    read_ai,
    read_date,
    read_duration_ms,
    read_language,
    read_licence,
    read_own_id,
    read_p_line,
    read_role,
    read_share,
    read_training_use,
)
from catalog.metadata.rows import Row
from catalog.metadata.stated import CLAIMANT, Stated, StatedParty, StatedShare
from catalog.tags import Tags
from ledger.claim import PartyRole
from ledger.claim_parts import NAME_CHARACTERS_MAX
from ledger.claim_shares import sum_fault
from ledger.errors import InvalidIdentifier, MalformedClaim
from ledger.identifiers import GRID, IPI_BASE, IPI_NAME, ISNI, ISRC, ISWC, UPC, Scheme, isrc_warning
from ledger.text import text_fault

_SCHEMES: Final = {"isrc": ISRC, "iswc": ISWC, "upc": UPC, "grid": GRID}
_TAG_COLUMNS: Final = {
    PartyRole.ARTIST: "artists",
    PartyRole.COMPOSER: "composers",
    PartyRole.LYRICIST: "lyricists",
    PartyRole.ARRANGER: "arrangers",
    PartyRole.STUDIO_PRODUCER: "producers",
}
"""Which column takes the place of which people in tags; of others, `contributors`."""
_AUTHORS: Final = frozenset(
    {PartyRole.COMPOSER, PartyRole.LYRICIST, PartyRole.ARRANGER, PartyRole.COMPOSER_LYRICIST, PartyRole.AUTHOR}
)
_ARTISTS: Final = frozenset({PartyRole.ARTIST, PartyRole.MAIN_ARTIST, PartyRole.FEATURED_ARTIST})
_COMPANIES: Final = frozenset(
    {
        PartyRole.PRODUCTION_COMPANY,
        PartyRole.MUSIC_PUBLISHER,
        PartyRole.ORIGINAL_PUBLISHER,
        PartyRole.SUB_PUBLISHER,
        PartyRole.SUBSTITUTED_PUBLISHER,
    }
)
"""Contributors that are organisations: they stand open, as under `label` and `publishers`."""
_CLIENT_REF_CHARACTERS_MAX: Final = 128

_fault_of_text = lru_cache(maxsize=1 << 16)(text_fault)
"""A label's names recur in every row."""


@lru_cache(maxsize=1 << 16)
def _identifier(scheme: Scheme, text: str) -> tuple[str | None, str]:
    """(canonical form, "") or (None, what was expected)."""
    if scheme is UPC and len(text) == 14 and text.isdecimal() and text.startswith("0"):
        text = text[2:] if text.startswith("00") else text[1:]  # GTIN-14, as DDEX messages pad it
    try:
        return scheme.parse(text), ""
    except InvalidIdentifier as error:
        return None, error.expected


@lru_cache(maxsize=1 << 16)
def _party(role: PartyRole, name: str, personal: bool) -> StatedParty:
    """One object for all rows that name it."""
    return StatedParty(role=role, name=name, personal=personal)


@dataclass(slots=True)
class _Reading:
    """One row on its way: what it says, and where its faults go."""

    row: Row
    tags: Tags
    findings: Findings
    track: str

    def tell(self, severity: Severity, rule: str, column: str, value: object, expected: str) -> None:
        place = self.row.place(column)
        self.findings.report(severity, rule, expected, place=place, column=column, value=value, track=self.track)

    def error(self, rule: str, column: str, value: object, expected: str) -> None:
        self.tell(Severity.ERROR, rule, column, value, expected)

    def text(self, column: str, value: str, characters_max: int = NAME_CHARACTERS_MAX) -> str | None:
        if fault := _fault_of_text(value, characters_max):
            self.error("text", column, value, fault)
            return None
        return value

    def tag_text(self, what: str, value: str | None) -> str | None:
        """A tag is nobody's declaration: what is wrong with it is left out with a warning."""
        if value is None:
            return None
        fault = (
            "text in the encoding its tag claims" if "\ufffd" in value else _fault_of_text(value, NAME_CHARACTERS_MAX)
        )
        if fault:
            self.tell(Severity.WARNING, "tag", what, value, f"{fault}; the tag is left out")
            return None
        return value


def read_stated(row: Row | None, tags: Tags, findings: Findings, track: str) -> Stated:
    """What is declared about the track at path `track`. row: None where only tags speak."""
    reading = _Reading(row or Row(source=""), tags, findings, track)
    if row is None and tags.unreadable is not None:
        said = f"tags cannot be read ({tags.unreadable}): claimed without them"
        reading.tell(Severity.WARNING, "tag", "", "", said)
    parties = _with_numbers(reading, _parties(reading))
    said_once: dict[str, Any] = {}
    for column, read in _SINGLE.items():
        if (value := reading.row.one(column)) is not None:
            try:
                said_once[_FIELDS.get(column, column)] = read(value)
            except (CellFault, MalformedClaim) as fault:
                reading.error("value", column, value, fault.expected)
    _check_dates(reading, said_once)
    said_once.pop("release_date", None)
    return Stated(
        title=_text_or_tag(reading, "title", tags.title),
        version=_text_or_tag(reading, "version", tags.version),
        isrc=_identifier_or_tag(reading, "isrc", tags.isrc),
        iswc=_identifier_or_tag(reading, "iswc", tags.iswc),
        upc=_identifier_or_tag(reading, "upc", tags.barcode),
        grid=_identifier_or_tag(reading, "grid", ()),
        parties=parties,
        shares=_shares(reading, parties),
        ai=_ai(reading),
        ids=_each(reading, "proprietary_ids", read_own_id),
        client_ref=_client_ref(reading),
        **said_once,
    )


_SINGLE: Final = {
    "language": read_language,
    "created_date": read_date,
    "release_date": read_date,
    "valid_from": read_date,
    "valid_until": read_date,
    "duration": read_duration_ms,
    "training_use": read_training_use,
    "licence": read_licence,
}
"""Columns of one value that no other column has a say in."""
_FIELDS: Final = {"created_date": "created", "duration": "duration_ms"}


def _each(reading: _Reading, column: str, read: Any) -> tuple[Any, ...]:
    found: dict[Any, None] = {}
    for value in reading.row.cells.get(column, ()):
        try:
            found[read(value)] = None
        except (CellFault, MalformedClaim) as fault:
            reading.error("value", column, value, fault.expected)
    return tuple(found)


def _text_or_tag(reading: _Reading, column: str, tag: str | None) -> str | None:
    if (values := reading.row.cells.get(column)) is not None:
        return reading.text(column, values[0]) if values else None
    return reading.tag_text(column, tag)


def _client_ref(reading: _Reading) -> str | None:
    value = reading.row.one("client_reference")
    return None if value is None else reading.text("client_reference", value, _CLIENT_REF_CHARACTERS_MAX)


def _identifier_or_tag(reading: _Reading, column: str, tags: Iterable[str]) -> str | None:
    scheme = _SCHEMES[column]
    if (values := reading.row.cells.get(column)) is not None:
        canonical, expected = _identifier(scheme, values[0]) if values else (None, "")
        if expected:
            reading.error(f"{column}-form", column, values[0], expected)
    else:
        canonical = _identifier_of_tags(reading, column, tags)
    if canonical is not None and scheme is ISRC and (doubt := _isrc_doubt(canonical)):
        reading.tell(Severity.WARNING, "isrc-prefix", column, canonical, doubt)
    return canonical


_isrc_doubt = lru_cache(maxsize=1 << 12)(isrc_warning)


def _identifier_of_tags(reading: _Reading, column: str, tags: Iterable[str]) -> str | None:
    chosen: str | None = None
    for value in tags:
        canonical, expected = _identifier(_SCHEMES[column], value)
        if canonical is None:
            reading.tell(Severity.WARNING, "tag", column, value, f"{expected}; the tag is left out")
        elif chosen is None:
            chosen = canonical
        elif canonical != chosen:
            reading.tell(Severity.WARNING, "tag", column, value, f"{chosen}, which came first; the tag is left out")
    return chosen


# ---- parties ---------------------------------------------------------------------------------------------------------


def _parties(reading: _Reading) -> tuple[StatedParty, ...]:
    """Who the row names, and who tags name under columns that it leaves empty; nobody twice in a role."""
    cells = reading.row.cells
    found: dict[tuple[PartyRole, str], StatedParty] = {}

    def add(role: PartyRole, name: str | None, *, personal: bool = True) -> None:
        if name is not None:
            found.setdefault((role, name), _party(role, name, personal))

    for column, role in PEOPLE.items():
        for name in cells.get(column, ()):
            add(role, reading.text(column, name))
    for value in cells.get("contributors", ()):
        try:
            role, name = read_role(value)
        except CellFault as fault:
            reading.error("value", "contributors", value, fault.expected)
            continue
        add(role, reading.text("contributors", name), personal=role not in _COMPANIES)
    for column, role in ORGANISATIONS.items():
        for name in cells.get(column, ()):
            shown = read_p_line(name) if column == "p_line" else name
            add(role, reading.text(column, shown), personal=False)
    _add_tagged(reading, found)
    return tuple(found.values())


def _add_tagged(reading: _Reading, found: dict[tuple[PartyRole, str], StatedParty]) -> None:
    """Adds who the tags name where the row is silent: as many as leave PARTIES_MAX, which no honest tag comes near."""
    cells, tags = reading.row.cells, reading.tags
    named = [(role, name, True) for role, name in tags.people if _TAG_COLUMNS.get(role, "contributors") not in cells]
    if "label" not in cells:
        named += [(PartyRole.PRODUCTION_COMPANY, name, False) for name in tags.organisations]
    if len(named) > PARTIES_MAX:
        said = f"at most {PARTIES_MAX} parties in tags, they name {len(named)}: only the first are claimed"
        reading.tell(Severity.WARNING, "tag", "contributors", "", said)
    for role, name, personal in named[:PARTIES_MAX]:
        if (shown := reading.tag_text(role.lower(), name)) is not None:
            found.setdefault((role, shown), _party(role, shown, personal))


def _with_numbers(reading: _Reading, parties: tuple[StatedParty, ...]) -> tuple[StatedParty, ...]:
    """The parties with the IPI and ISNI numbers that the row gives them."""
    numbers: dict[str, dict[str, str]] = {}
    for column, roles in (("ipi", _AUTHORS), ("isni", _ARTISTS)):
        for value in reading.row.cells.get(column, ()):
            written_name, _, number = value.rpartition("=")
            name = written_name.strip() or _only_one(parties, roles)
            if name is None or name not in {party.name for party in parties}:
                known = ", ".join(dict.fromkeys(party.name for party in parties)) or "nobody"
                expected = f"Name=number with a name of this row's; it names {known[:200]}"
                reading.error("party", column, value, expected)
                continue
            scheme, field = _number_scheme(column, number)
            canonical, expected = _identifier(scheme, number.strip())
            if canonical is None:
                reading.error(f"{column}-form", column, value, expected)
                continue
            if numbers.setdefault(name, {}).setdefault(field, canonical) != canonical:
                reading.error("party", column, value, f"one {scheme.name} of {name}: {numbers[name][field]} came first")
    if not numbers:
        return parties
    return tuple(_numbered(party, numbers.get(party.name, {})) for party in parties)


def _number_scheme(column: str, number: str) -> tuple[Scheme, str]:
    if column == "isni":
        return ISNI, "isni"
    plain = number.strip().upper()
    return (IPI_BASE, "ipi_base") if plain.startswith("I") and not plain.startswith("IPI") else (IPI_NAME, "ipi_name")


def _numbered(party: StatedParty, numbers: dict[str, str]) -> StatedParty:
    return StatedParty(role=party.role, name=party.name, personal=party.personal, **numbers) if numbers else party


def _only_one(parties: tuple[StatedParty, ...], roles: frozenset[PartyRole]) -> str | None:
    names = {party.name for party in parties if party.role in roles}
    return names.pop() if len(names) == 1 else None


# ---- shares, AI, dates -----------------------------------------------------------------------------------------------


def _shares(reading: _Reading, parties: tuple[StatedParty, ...]) -> tuple[StatedShare, ...]:
    values = reading.row.cells.get("shares", ())
    if not values:
        return ()
    names = {party.name for party in parties}
    shares: list[StatedShare] = []
    lines = set()
    for value in values:
        try:
            share = read_share(value)
        except CellFault as fault:
            reading.error("share", "shares", value, fault.expected)
            continue
        if share.party not in names and share.party != CLAIMANT:
            known = ", ".join([*sorted(names), CLAIMANT])
            reading.error("share", "shares", value, f"the share of somebody the row names: {known[:200]}")
        elif (line := (share.party, share.right, share.territory)) in lines:
            reading.error("share", "shares", value, "one share per name, right and territory")
        else:
            lines.add(line)
            shares.append(share)
    if found := sum_fault(shares):
        index, expected = found
        reading.error(
            "share-sum", "shares", values[index] if len(shares) == len(values) else "; ".join(values), expected
        )
        return ()
    return tuple(shares)


def _ai(reading: _Reading) -> Any:
    contains, roles = reading.row.one("ai"), reading.row.cells.get("ai_roles", ())
    if contains is None and not roles:
        return None
    try:
        return read_ai(contains or "", roles)
    except (CellFault, MalformedClaim) as fault:
        of_role = roles and (contains is not None or isinstance(fault, MalformedClaim))
        column = getattr(fault, "column", "") or ("ai_roles" if of_role else "ai")
        reading.error("ai", column, "; ".join(roles) if column == "ai_roles" else contains or "", fault.expected)
        return None


def _check_dates(reading: _Reading, said: dict[str, Any]) -> None:
    created, released = said.get("created"), said.get("release_date")
    if created and released and created > released:
        expected = f"a date of creation before the release on {released}"
        reading.tell(Severity.WARNING, "dates", "created_date", created, expected)
    start, end = said.get("valid_from"), said.get("valid_until")
    if start and end and start >= end:
        reading.error("dates", "valid_until", end, f"a day after valid_from {start}")
        said.pop("valid_until")
