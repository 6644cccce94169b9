"""The check of a catalogue: each row on its own, each claim as it would be signed, all of them against each other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from catalog.claims import Names, Terms
from catalog.manifest import Manifest, TrackRecord
from catalog.metadata.findings import Findings, Place, Severity
from catalog.metadata.matching import Matcher
from catalog.metadata.rows import Row
from catalog.metadata.stated import Stated, claim_bytes_at_most, make_claim
from catalog.metadata.values import read_stated
from catalog.tags import Tags
from ledger.claim import CLAIM_BYTES_MAX, LISTED_MAX, PartyRole, parse_claim
from ledger.claim_parts import SALT_BYTES
from ledger.errors import InvalidIdentifier, MalformedClaim
from ledger.identifiers import ISRC, UPC, Scheme

DURATION_TOLERANCE_MS: Final = 2_000
"""Lengths in spreadsheets are rounded, and players count the silence at the end differently."""
_LONGEST_ID: Final = "m" * 32
"""Of a member: a claim that fits for it fits for everybody."""
_ROOT: Final = Path()


class Unlisted(StrEnum):
    """What becomes of a track that no row is about."""

    ERROR = "error"
    TAGS = "tags"
    """Claimed by what its tags say."""
    SKIP = "skip"
    """Not claimed."""


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a check found out. The lists run in the order of the manifest."""

    tracks: list[TrackRecord]
    stated: list[Stated | None] = field(default_factory=list)
    """None: not to be claimed, or not known for an error."""
    findings: Findings
    rows: int = 0
    """Rows of metadata that said anything."""

    @property
    def to_claim(self) -> Iterator[tuple[TrackRecord, Stated]]:
        for track, stated in zip(self.tracks, self.stated, strict=True):
            if stated is not None:
                yield track, stated


def check_catalogue(
    manifest: Manifest,
    rows: Iterable[Row] | None,
    findings: Findings,
    *,
    unlisted: Unlisted = Unlisted.ERROR,
    names: Names = Names.COMMITTED,
    advance: Callable[[int], None] = lambda _: None,
) -> Checked:
    """Checks everything that can be checked before signing. rows: None where tags alone speak.

    names: whose are to stand open, which makes claims larger. advance: told how many rows or tracks are done.
    Raises: MalformedManifest, MalformedMetadata, OSError.
    """
    tracks = list(manifest.records())
    terms = Terms(member=_LONGEST_ID, names=names)
    checked = Checked(tracks=tracks, stated=[None] * len(tracks), findings=findings)
    places: dict[int, Row] = {}
    if rows is None:
        waiting = list(range(len(tracks)))
    else:
        matcher = Matcher(tracks, manifest.left_out(), findings)
        references: dict[str, Row] = {}
        for row in rows:
            checked.rows += 1
            _check_reference(row, references, findings)
            position = matcher.find(row)
            if position is not None:
                places[position] = row.placed()
                checked.stated[position] = _check_row(row, tracks[position], terms, findings)
            else:
                read_stated(row, Tags(), findings, "")  # what else is wrong in it is named all the same
            advance(1)
        waiting = matcher.unlisted()
    for position in waiting:
        track = tracks[position]
        if rows is not None and unlisted is Unlisted.ERROR:
            expected = "a row for this track (or --unlisted tags, --unlisted skip)"
            findings.report(Severity.ERROR, "no-row", expected, track=track.path)
        elif rows is None or unlisted is Unlisted.TAGS:
            checked.stated[position] = _check_row(None, track, terms, findings)
            advance(1)
    _check_together(checked, places)
    return checked


def _check_reference(row: Row, references: dict[str, Row], findings: Findings) -> None:
    reference = row.one("client_reference")
    if reference is None:
        return
    if (first := references.get(reference)) is None:
        references[reference] = row.placed()
        return
    expected = f"each reference once: {first.place()} has it already"
    row.error(findings, "reference-twice", "client_reference", reference, expected)


# ---- one track -------------------------------------------------------------------------------------------------------


def _check_row(row: Row | None, track: TrackRecord, terms: Terms, findings: Findings) -> Stated:
    errors = findings.errors
    stated = read_stated(row, track.tags, findings, track.path)
    if row is not None:
        _check_against_file(row, stated, track, findings)
    if findings.errors == errors:
        _check_claim(row or Row(source=""), stated, track, terms, findings)
    return stated


def _check_claim(row: Row, stated: Stated, track: TrackRecord, terms: Terms, findings: Findings) -> None:
    """The claim as it would be signed: valid, and not too large."""
    try:
        claim, _ = make_claim(track.track(_ROOT), stated, terms, _any_salt)
        # Only what is unusual is encoded and parsed, which takes ten times as long as all the rest of a row's check.
        if (
            claim_bytes_at_most(stated) > CLAIM_BYTES_MAX
            or max(map(len, (claim.parties, claim.shares, claim.ids))) > LISTED_MAX
        ):
            parse_claim(claim.encode())
    except MalformedClaim as error:
        match = _FIELD.match(error.field)
        column = _COLUMNS.get(match[1], match[1]) if match else ""
        expected = f"{error.expected} (the claim's {error.field})"
        findings.report(
            Severity.ERROR,
            "claim",
            expected,
            place=row.place(column),
            column=column,
            value=error.value,
            track=track.path,
        )


def _any_salt(_blake3: bytes, _role: PartyRole, _value: str) -> bytes:
    """Commitments have the same length whatever the salt."""
    return bytes(SALT_BYTES)


_FIELD: Final = re.compile(r"(?:claim\.)?([a-z_]+)")
_COLUMNS: Final = {"parties": "contributors", "ids": "proprietary_ids", "created": "created_date", "claim": ""}
"""Column in which a claim's field is declared, where the two have different names."""


def _check_against_file(row: Row, stated: Stated, track: TrackRecord, findings: Findings) -> None:
    """What the row says and the file says otherwise: one of the two is about another recording."""

    def warn(column: str, value: object, expected: str) -> None:
        findings.report(
            Severity.WARNING,
            "tag-differs" if column != "duration" else "duration",
            expected,
            place=row.place(column),
            column=column,
            value=value,
            track=track.path,
        )

    tags, cells = track.tags, row.cells
    if stated.isrc and "isrc" in cells and tags.isrc and stated.isrc not in (known := _parsed(ISRC, tags.isrc)):
        warn("isrc", stated.isrc, f"the ISRC in the file's tags, {', '.join(known)}")
    if stated.upc and "upc" in cells and tags.barcode and stated.upc not in (known := _parsed(UPC, tags.barcode)):
        warn("upc", stated.upc, f"the barcode in the file's tags, {', '.join(known)}")
    if stated.title and tags.title and "title" in cells and _letters(stated.title) != _letters(tags.title):
        warn("title", stated.title, f"the title in the file's tags, {tags.title[:80]}")
    tagged = {_letters(name) for role, name in tags.people if role is PartyRole.ARTIST}
    if tagged and cells.get("artists") and tagged.isdisjoint(map(_letters, cells["artists"])):
        names = ", ".join(name for role, name in tags.people if role is PartyRole.ARTIST)
        warn("artists", "; ".join(cells["artists"]), f"an artist of the file's tags, {names[:80]}")
    length = track.facts.duration_ms
    if stated.duration_ms is not None and abs(stated.duration_ms - length) > DURATION_TOLERANCE_MS:
        warn("duration", row.one("duration"), f"the file's length, {clock(length)}")


def _parsed(scheme: Scheme, written: Iterable[str]) -> list[str]:
    """Canonical forms; of what has none, what is written."""
    found = []
    for value in written:
        try:
            found.append(scheme.parse(value))
        except InvalidIdentifier:
            found.append(value[:40])
    return found


def _letters(text: str) -> str:
    """For comparing: letters and digits alone, without case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum()) or text


def clock(duration_ms: int) -> str:
    """205000 -> 3:25."""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes}:{seconds:02}"


# ---- all of them together --------------------------------------------------------------------------------------------


def _check_together(checked: Checked, places: dict[int, Row]) -> None:
    """The same audio twice, and one ISRC on different audio. Each track is compared with the first of its kind."""
    by_file: dict[bytes, int] = {}
    by_audio: dict[bytes, int] = {}
    by_isrc: dict[str, int] = {}
    tracks = checked.tracks

    def report(severity: Severity, rule: str, position: int, column: str, expected: str, *, value: object) -> None:
        place = places[position].place(column) if position in places else Place()
        checked.findings.report(
            severity, rule, expected, place=place, column=column, value=value, track=tracks[position].path
        )

    def named(position: int) -> str:
        where = str(places[position].place()) if position in places else ""
        return f"{tracks[position].path}{f' ({where})' if where else ''}"

    for position, stated in enumerate(checked.stated):
        if stated is None:
            continue
        track = tracks[position]
        first = by_file.setdefault(track.blake3, position)
        if first != position:
            if differing := stated.differences(_there(checked, first)):
                expected = f"what is declared of {named(first)}, which has the same bytes; different: {differing[0]}"
                report(
                    Severity.ERROR, "audio-twice", position, differing[0], expected, value=getattr(stated, differing[0])
                )
            else:
                expected = f"each file once: {named(first)} has the same bytes; claimed once"
                report(Severity.WARNING, "audio-twice", position, "file", expected, value=track.path)
                checked.stated[position] = None
            continue
        if track.facts.pcm is not None:
            first = by_audio.setdefault(track.facts.pcm.sha256, position)
            other = _there(checked, first).isrc
            if first != position and stated.isrc and other and stated.isrc != other:
                expected = f"{other}, the ISRC of {named(first)}: it is the same audio, sample by sample"
                report(Severity.ERROR, "audio-twice", position, "isrc", expected, value=stated.isrc)
            elif first != position:
                expected = f"each recording once, or both on purpose: {named(first)} is the same audio in another file"
                report(Severity.NOTE, "audio-twice", position, "file", expected, value=track.path)
        if stated.isrc is not None and (first := by_isrc.setdefault(stated.isrc, position)) != position:
            found = _compare_audio(tracks[first], track)
            if found is not None:
                severity, why = found
                expected = f"an ISRC of its own, or the audio of {named(first)}, which has this one: {why}"
                report(severity, "isrc-twice", position, "isrc", expected, value=stated.isrc)


def _there(checked: Checked, position: int) -> Stated:
    stated = checked.stated[position]
    assert stated is not None, "only tracks that are claimed are compared"
    return stated


def _compare_audio(one: TrackRecord, other: TrackRecord) -> tuple[Severity, str] | None:
    """How bad it is that the two have one ISRC; None where they are the same recording."""
    lengths = one.facts.duration_ms, other.facts.duration_ms
    if abs(lengths[0] - lengths[1]) > DURATION_TOLERANCE_MS:
        return Severity.ERROR, f"one lasts {clock(lengths[0])}, the other {clock(lengths[1])}"
    first, second = one.facts.pcm, other.facts.pcm
    if first is None or second is None:
        return Severity.WARNING, "whether a lossy file is the same recording cannot be told from its bytes"
    if first.sha256 == second.sha256:
        return None
    if (first.rate_hz, first.channels, first.format) == (second.rate_hz, second.channels, second.format):
        return Severity.ERROR, "their samples differ"
    return Severity.WARNING, "they differ in resolution or channels"
