"""What a file says about itself, read with tinytag. Tags are claims of whoever wrote them: cleaned, never believed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from catalog.scan import LeftOut
from ledger.claim import PartyRole

VALUES_MAX = 16
"""Values read of one tag. Nobody credits more, and a hostile file may hold a million."""
VALUE_CHARACTERS_MAX = 1024

_PEOPLE = (
    ("artist", PartyRole.ARTIST),
    ("composer", PartyRole.COMPOSER),
    ("lyricist", PartyRole.LYRICIST),
    ("arranger", PartyRole.ARRANGER),
    ("conductor", PartyRole.CONDUCTOR),
    ("remixer", PartyRole.REMIXER),
    ("producer", PartyRole.STUDIO_PRODUCER),
)
"""Tags that name people. A band's name cannot be told from a person's, so it counts as one."""
_ORGANISATIONS = ("publisher", "label", "organization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Values as written, in NFC, without blanks at the ends; nothing validated."""

    title: str | None = None
    version: str | None = None
    people: tuple[tuple[PartyRole, str], ...] = ()
    organisations: tuple[str, ...] = ()
    """Labels and publishers."""
    isrc: tuple[str, ...] = ()
    iswc: tuple[str, ...] = ()
    barcode: tuple[str, ...] = ()
    unreadable: str | None = None
    """Why there are none, where the tags could not be read at all."""


def read_tags(path: Path) -> Tags:
    """The tags of an audio file; broken tags are no fault of the audio's and give an empty result that says why.

    Raises: LeftOut where the file itself cannot be read.
    """
    from tinytag import TinyTag, TinyTagException  # noqa: PLC0415  only those who claim pay for it

    try:
        # By content, not by name: tinytag would otherwise believe the extension.
        with path.open("rb") as file:
            tag = TinyTag.get(file_obj=file, duration=False)
    except OSError as error:
        raise LeftOut.of(path, error) from error
    except TinyTagException as error:
        return Tags(unreadable=str(error) or type(error).__name__)
    other: dict[str, list[str]] = dict(tag.other)

    def values(name: str) -> tuple[str, ...]:
        first = getattr(tag, name, None)
        return _clean([*([first] if isinstance(first, str) else []), *other.get(name, [])])

    people = ((role, value) for name, role in _PEOPLE for value in values(name))
    organisations = (value for name in _ORGANISATIONS for value in values(name))
    return Tags(
        title=next(iter(values("title")), None),
        version=next(iter((*values("version"), *values("subtitle"))), None),
        people=tuple(dict.fromkeys(people)),
        organisations=tuple(dict.fromkeys(organisations)),
        isrc=values("isrc"),
        iswc=values("iswc"),
        barcode=values("barcode"),
    )


def _clean(values: Iterable[str]) -> tuple[str, ...]:
    """Several values of one tag: also those that ID3v2.4 and tinytag join with a zero byte."""
    cleaned: dict[str, None] = {}
    for value in values:
        for part in value[:VALUE_CHARACTERS_MAX].split("\0"):
            text = unicodedata.normalize("NFC", part).strip()
            if text and len(cleaned) < VALUES_MAX:
                cleaned[text] = None
    return tuple(cleaned)
