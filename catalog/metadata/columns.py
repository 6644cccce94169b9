"""The columns of a metadata table: what each is called, what it holds, and what it says in the template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from ledger.claim import PartyRole

SEPARATOR: Final = ";"
r"""Between several values of one cell; `\;` is a semicolon inside a value."""
NOTHING: Final = "-"
"""A cell that says: nothing, not even what the tags say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. Its name is what reports call it."""

    name: str
    holds: str
    """What a cell holds, for the documentation and for errors."""
    example: str = ""
    """In the template's example row."""
    aliases: tuple[str, ...] = ()
    """Other headers that mean it, in the normal form of `_normal`."""
    several: bool = False
    """Whether a cell may hold several values."""
    identifier: bool = False
    """Whether a number here has probably lost leading zeros, and full-width digits mean plain ones."""
    date: bool = False


def _column(name: str, holds: str, example: str = "", *aliases: str, **flags: bool) -> Column:
    return Column(name=name, holds=holds, example=example, aliases=aliases, **flags)


COLUMNS: Final[tuple[Column, ...]] = (
    # How a row finds its track.
    _column("file", "path under the scanned folder, or the file's name alone", "disc 1/01 Rain.flac",
            "path", "filename", "audiofile", "track file", "file path"),
    _column("digest", "BLAKE3 or SHA-256 of the file, 64 hexadecimal digits", "", "sha256", "blake3", "hash"),
    # What it is.
    _column("title", "title of the recording", "Rain", "track title", "recording title", "name"),
    _column("language", "language of the title (BCP 47)", "en", "title language"),
    _column("version", "subtitle or version", "Radio Edit", "subtitle", "mix", "version title"),
    _column("isrc", "ISRC of the recording", "USSKG1912345", "recording id", identifier=True),
    _column("iswc", "ISWC of the work", "T-034.524.680-1", "work id", identifier=True),
    _column("upc", "UPC or EAN of the release", "036000291452", "ean", "upc ean", "barcode", "icpn", "gtin",
            identifier=True),
    _column("grid", "GRid of the release", "A1-2425G-ABC1234002-M", identifier=True),
    _column("duration", "length: m:ss, h:mm:ss, seconds, or PT3M25S; compared with the file, not recorded", "3:25",
            "length", "time"),
    # Who.
    _column("artists", "display artists", "Ana Sol; The Weather", "artist", "main artist", "main artists",
            "display artist", several=True),
    _column("featured_artists", "featured artists", "", "featured artist", "feat", "featuring", several=True),
    _column("composers", "composers", "Jane Doe", "composer", several=True),
    _column("lyricists", "lyricists", "John Roe", "lyricist", "author", "authors", several=True),
    _column("arrangers", "arrangers", "", "arranger", several=True),
    _column("producers", "studio producers", "", "producer", several=True),
    _column("contributors", "others, each as Role: Name, roles as DDEX has them", "Mixer: Max Moe", "contributor",
            several=True),
    _column("label", "labels", "Aurora Records", "labels", "record label", several=True),
    _column("publishers", "music publishers", "", "publisher", "music publisher", several=True),
    _column("p_line", "who owns the phonogram, or the line: ℗ 2026 Aurora Records", "", "p line", "phonogram owner",
            several=True),
    _column("ipi", "IPI name or base numbers, each as Name=number (the number alone where one author is named)",
            "Jane Doe=00014107338", "ipi number", "cae", "ipi name number", several=True, identifier=True),
    _column("isni", "ISNIs, each as Name=number (the number alone where one artist is named)",
            "Ana Sol=0000 0001 2103 2683", several=True, identifier=True),
    _column("shares", "each as Name: Right: Territory: Share; right All and territory Worldwide may be left out",
            "Jane Doe: Mechanical: Worldwide: 50%; John Roe: Mechanical: Worldwide: 50%", "share", "splits",
            several=True),
    # When, and on which terms.
    _column("created_date", "date of creation you declare, YYYY-MM-DD", "2026-03-01", "created", "creation date",
            date=True),
    _column("release_date", "date of release, YYYY-MM-DD; checked, not recorded", "2026-09-01", "released", date=True),
    _column("valid_from", "first day the shares hold, YYYY-MM-DD", "", date=True),
    _column("valid_until", "first day they no longer hold, YYYY-MM-DD", "", date=True),
    _column("ai", "generative AI in the recording: All, Partly, None; empty is undeclared", "None",
            "contains ai", "ai disclosure"),
    _column("ai_roles", "each as Role=All, Partly or None (tool); roles Vocals, Instrumentation, Composition, Lyrics, "
            "PostProduction", "", "ai contribution", "ai contributions", several=True),
    _column("training_use", "use for training generative AI: Allowed or Reserved; empty is unstated", "Reserved",
            "ai training", "training"),
    _column("licence", "SPDX identifier or address of the terms", "", "license"),
    # Your own.
    _column("proprietary_ids", "your own identifiers, each as namespace:value", "catalogue:AUR-0042", "proprietary id",
            "catalogue number", "catalog number", several=True),
    _column("client_reference", "your own reference for the row, never used twice", "AUR-0042-01", "client ref",
            "reference", "client_ref"),
)  # fmt: skip

BY_NAME: Final = {column.name: column for column in COLUMNS}

PEOPLE: Final = {
    "artists": PartyRole.ARTIST,
    "featured_artists": PartyRole.FEATURED_ARTIST,
    "composers": PartyRole.COMPOSER,
    "lyricists": PartyRole.LYRICIST,
    "arrangers": PartyRole.ARRANGER,
    "producers": PartyRole.STUDIO_PRODUCER,
}
"""Columns that name people, and as what. A band's name cannot be told from a person's, so it counts as one."""
ORGANISATIONS: Final = {
    "label": PartyRole.PRODUCTION_COMPANY,
    "publishers": PartyRole.MUSIC_PUBLISHER,
    "p_line": PartyRole.COPYRIGHT_HOLDER,
}
KEYS: Final = ("digest", "file", "isrc")
"""Columns by which a row finds its track; the first that a row fills decides."""

_COMMENT: Final = ("#", "//")
"""How the header of a column begins that is the label's own business."""


def _normal(header: str) -> str:
    return re.sub(r"[\s_\-/.]+", " ", header).strip().casefold()


_KNOWN: Final[dict[str, Column]] = {
    key: column for column in COLUMNS for key in (_normal(column.name), *map(_normal, column.aliases))
}


def is_comment(header: str) -> bool:
    """Whether a column is none of ours and says so: no header at all, or one that begins with # or //."""
    return not header.strip() or header.strip().startswith(_COMMENT)


def column_of(header: str) -> Column | None:
    return _KNOWN.get(_normal(header))


def nearest(header: str) -> str | None:
    """The column somebody probably meant."""
    near = get_close_matches(_normal(header), _KNOWN, n=1, cutoff=0.7)
    return _KNOWN[near[0]].name if near else None


def split_cell(text: str) -> tuple[str, ...]:
    r"""Several values of one cell, without empty ones: `Jane; John\; Jr.` -> ("Jane", "John; Jr.")."""
    if SEPARATOR not in text:
        return (text,)
    parts = re.split(r"(?<!\\);", text)
    return tuple(part for part in (part.replace("\\;", ";").strip() for part in parts) if part)
