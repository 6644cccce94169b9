"""Which track a row is about: by a digest, by path or file name, by the ISRC in the file's tags. Never by guessing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from catalog.manifest import TrackRecord
from catalog.metadata.columns import KEYS
from catalog.metadata.findings import Findings
from catalog.metadata.rows import Row
from catalog.scan import LeftOut
from ledger.errors import InvalidIdentifier
from ledger.identifiers import ISRC

_NAMED_MAX: Final = 3
"""Candidates an error names."""


class Matcher:
    """The tracks of a manifest, found by what a row says. A track belongs to one row."""

    def __init__(self, tracks: Sequence[TrackRecord], left_out: Iterable[LeftOut], findings: Findings) -> None:
        self._tracks = tracks
        self._findings = findings
        self._rows: dict[int, Row] = {}
        self._paths: dict[str, int] = {}
        self._names: dict[str, list[int]] = {}
        self._digests: dict[str, int] = {}
        self._isrcs: dict[str, list[int]] = {}
        self._near: dict[str, int] | None = None
        for position, track in enumerate(tracks):
            path = _plain(track.path)
            self._paths[path] = position
            self._names.setdefault(path.rpartition("/")[2], []).append(position)
            # The same bytes twice: the first file stands for them, the check of the whole set names the second.
            self._digests.setdefault(track.blake3.hex(), position)
            self._digests.setdefault(track.sha256.hex(), position)
            for written in track.tags.isrc:
                self._add_isrc(written, position)
        self._left_out = {_plain(str(one.path)): one.reason for one in left_out}

    def _add_isrc(self, written: str, position: int) -> None:
        try:
            self._isrcs.setdefault(ISRC.parse(written), []).append(position)
        except InvalidIdentifier:
            return

    def find(self, row: Row) -> int | None:
        """Position of the row's track; None where there is not exactly one, or another row has it: reported then."""
        key = next((key for key in KEYS if row.one(key)), None)
        if key is None:
            wanted = "a file, digest or ISRC by which the row finds its track"
            row.error(self._findings, "no-key", "file", "", wanted)
            return None
        found = {"digest": self._by_digest, "file": self._by_file, "isrc": self._by_isrc}[key](row, row.one(key) or "")
        if found is None or not self._agrees(row, key, found):
            return None
        first = self._rows.get(found)
        if first is None:
            self._rows[found] = row.placed()
        else:
            expected = f"one row a track: {first.place()} is about {self._tracks[found].path} already"
            row.error(self._findings, "track-twice", key, row.one(key), expected)
            return None
        return found

    def unlisted(self) -> list[int]:
        """Positions of the tracks that no row found."""
        return [position for position in range(len(self._tracks)) if position not in self._rows]

    def _by_digest(self, row: Row, written: str) -> int | None:
        found = self._digests.get(written.lower().removeprefix("blake3:").removeprefix("sha256:"))
        if found is None:
            expected = f"the BLAKE3 or SHA-256 of a scanned file: none of the {len(self._tracks)} tracks has this one"
            row.error(self._findings, "no-track", "digest", written, expected)
        return found

    def _by_file(self, row: Row, written: str) -> int | None:
        path = _plain(written)
        if (found := self._paths.get(path)) is not None:
            return found
        parts = path.split("/")
        # Either may be given from further up: the label's own folders, or those of a DDEX delivery.
        named = [
            position
            for position in self._names.get(parts[-1], ())
            if _one_ends_the_other(parts, _plain(self._tracks[position].path).split("/"))
        ]
        if len(named) == 1:
            return named[0]
        if named:
            expected = f"a path that says which: {self._some(named)} have this name"
            row.error(self._findings, "ambiguous", "file", written, expected)
        else:
            row.error(self._findings, "no-track", "file", written, self._missing(path))
        return None

    def _missing(self, path: str) -> str:
        if (reason := self._left_out.get(path)) is not None:
            return f"a sound audio file: the scan left this one out ({reason})"
        if self._near is None:
            self._near = {}
            for position, track in enumerate(self._tracks):
                name = _plain(track.path).rpartition("/")[2].casefold()
                self._near.setdefault(name, position)
                self._near.setdefault(name.rpartition(".")[0] or name, position)
        name = path.rpartition("/")[2].casefold()
        near = self._near.get(name, self._near.get(name.rpartition(".")[0] or name))
        meant = "" if near is None else f"; did you mean {self._tracks[near].path}?"
        return f"the path or name of a scanned file: none of the {len(self._tracks)} tracks has this one{meant}"

    def _by_isrc(self, row: Row, written: str) -> int | None:
        try:
            isrc = ISRC.parse(written)
        except InvalidIdentifier as error:
            row.error(self._findings, "isrc-form", "isrc", written, error.expected)
            return None
        found = self._isrcs.get(isrc, [])
        if len(found) == 1:
            return found[0]
        expected = (
            f"a file or digest that says which: {self._some(found)} have this ISRC in their tags"
            if found
            else "a file or digest: no scanned file has this ISRC in its tags"
        )
        row.error(self._findings, "ambiguous" if found else "no-track", "isrc", written, expected)
        return None

    def _agrees(self, row: Row, key: str, found: int) -> bool:
        """Whether a file named beside a digest is the file that the digest found."""
        if key != "digest" or (named := row.one("file")) is None:
            return True
        track = self._tracks[found]
        path = _plain(named)
        if _one_ends_the_other(path.split("/"), _plain(track.path).split("/")):
            return True
        other = self._paths.get(path)
        if other is not None and self._tracks[other].blake3 == track.blake3:
            return True
        expected = f"the file that the row's digest is of, which is {track.path}"
        row.error(self._findings, "contradiction", "file", named, expected)
        return False

    def _some(self, positions: Sequence[int]) -> str:
        shown = ", ".join(self._tracks[position].path for position in positions[:_NAMED_MAX])
        more = len(positions) - _NAMED_MAX
        return f"{shown} and {more} more" if more > 0 else shown


def _plain(path: str) -> str:
    """One form for what macOS, Windows and a spreadsheet make of the same path."""
    plain = path if path.isascii() else unicodedata.normalize("NFC", path)
    return plain.replace("\\", "/").removeprefix("./").strip("/")


def _one_ends_the_other(one: Sequence[str], other: Sequence[str]) -> bool:
    length = min(len(one), len(other))
    return list(one[-length:]) == list(other[-length:])
