"""The manifest of a scanned folder: what every sound audio file is, one JSON line each, in the byte order of paths.

It holds what depends on the files (and on the algorithms its first line names) alone: no time, no machine, no backend.
So the same files give the same bytes, whoever scans them, with however many workers and wherever.

    {"algorithms":{…},"stretto_manifest":1}
    {"bits":16,"blake3":"…","bytes":176444,…,"path":"disc 1/01 Rain.flac",…}

Keys are sorted, the text is compact UTF-8, absent facts are left out. A path that is not UTF-8 is shown with U+FFFD and
given exactly, in hexadecimal, as `path_hex`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from catalog.digests import FileDigests
from catalog.examine import Track
from catalog.fingerprint import Fingerprint
from catalog.formats.facts import AudioFacts, Pcm
from catalog.json_fields import load, read_digest, read_text, read_whole
from catalog.scan import LeftOut
from catalog.tags import Tags
from consensus.errors import RequestError
from ledger.claim import PartyRole

MANIFEST_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.jsonl"
LEFT_OUT_NAME: Final = "left_out.jsonl"
LINE_BYTES_MAX: Final = 1 << 18
"""A path and 16 values of each tag at their longest stay under it."""

_PCM_FORMAT: Final = re.compile(r"(?=s8$|s16le|s24le|s32le|f32le|f64le)([sf])(\d+)(?:le)?")
_TAG_LISTS: Final = ("organisations", "isrc", "iswc", "barcode")
_TAG_TEXTS: Final = ("title", "version", "unreadable")


class MalformedManifest(RequestError):
    """Not a manifest as `stretto catalog scan` writes them. line: 1-based; 0 where it is not about one."""

    def __init__(self, path: Path, line: int, expected: str) -> None:
        where = f", line {line}" if line else ""
        super().__init__(f"{path}{where}: expected {expected}; scan the folder again to write it anew")
        self.path = path
        self.line = line
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """One sound audio file, by its path under the folder that was scanned."""

    path: str
    """Relative, parts joined by "/"; bytes that are no UTF-8 as os.fsdecode carries them."""
    size_bytes: int
    blake3: bytes
    """32 bytes, of the whole file."""
    sha256: bytes
    """32 bytes, of the whole file."""
    facts: AudioFacts
    tags: Tags
    chromaprint: Fingerprint | None = None

    @classmethod
    def of(cls, track: Track, root: Path) -> TrackRecord:
        """The record of an examined file under `root`."""
        return cls(
            path=track.path.relative_to(root).as_posix(),
            size_bytes=track.digests.size_bytes,
            blake3=track.digests.blake3,
            sha256=track.digests.sha256,
            facts=track.facts,
            tags=track.tags,
            chromaprint=track.chromaprint,
        )

    def track(self, root: Path) -> Track:
        """What `catalog.claims.build_claim` takes. root: the folder that was scanned."""
        digests = FileDigests(path=root / self.path, size_bytes=self.size_bytes, blake3=self.blake3, sha256=self.sha256)
        return Track(digests=digests, facts=self.facts, tags=self.tags, chromaprint=self.chromaprint)

    @property
    def path_bytes(self) -> bytes:
        """What a manifest is ordered by."""
        return path_bytes(self.path)

    def encode(self) -> bytes:
        """One line of the manifest, without its end."""
        facts, pcm, print_ = self.facts, self.facts.pcm, self.chromaprint
        row = _named(self.path) | {
            "bytes": self.size_bytes,
            "blake3": self.blake3.hex(),
            "sha256": self.sha256.hex(),
            "format": facts.format,
            "media_type": facts.media_type,
            "duration_ms": facts.duration_ms,
            "sample_rate": facts.rate_hz,
            "channels": facts.channels,
            "bits": facts.bits,
            "lossless": facts.lossless,
            "pcm": pcm and {"sha256": pcm.sha256.hex(), "format": pcm.format},
            "flac_md5": facts.flac_md5.hex() if facts.flac_md5 else None,
            "chromaprint": print_
            and {"algorithm": print_.algorithm, "sha256": print_.sha256.hex(), "items": print_.items},
            "tags": _encode_tags(self.tags),
        }
        return compact({name: value for name, value in row.items() if value is not None})

    @classmethod
    def parse(cls, line: bytes) -> TrackRecord:
        """Raises: ValueError saying which field is not as `encode` writes it."""
        try:
            row = load(line)
            return cls(
                path=_path_of(row),
                size_bytes=read_whole(row["bytes"]),
                blake3=read_digest(row["blake3"]),
                sha256=read_digest(row["sha256"]),
                facts=_parse_facts(row),
                tags=_parse_tags(row["tags"]),
                chromaprint=_parse_fingerprint(row.get("chromaprint")),
            )
        except KeyError as error:
            raise ValueError(f"a track with {error.args[0]!r}") from error
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"a track ({error})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A scanned catalogue folder, read as it is needed: a hundred thousand tracks never stand in memory at once."""

    folder: Path
    algorithms: Mapping[str, Any]
    """What the first line says about how digests and fingerprints came to be."""

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Raises: MalformedManifest; OSError where there is none (was the scan interrupted?)."""
        path = folder / MANIFEST_NAME
        with path.open("rb") as file:
            head = file.readline(LINE_BYTES_MAX)
        try:
            row = load(head)
            version, algorithms = row["stretto_manifest"], row["algorithms"]
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedManifest(path, 1, '{"algorithms":{…},"stretto_manifest":1}') from error
        if version != MANIFEST_VERSION or not isinstance(algorithms, dict):
            raise MalformedManifest(path, 1, f"a manifest of version {MANIFEST_VERSION}, got {version!r}")
        return cls(folder=folder, algorithms=algorithms)

    def records(self) -> Iterator[TrackRecord]:
        """Every track, in the byte order of paths. Raises: MalformedManifest, OSError."""
        path, before = self.folder / MANIFEST_NAME, b""
        for number, line in _lines(path):
            if number == 1:
                continue
            try:
                record = TrackRecord.parse(line)
            except ValueError as error:
                raise MalformedManifest(path, number, str(error)) from error
            if record.path_bytes <= before:
                raise MalformedManifest(path, number, "each path once, in the order of bytes")
            before = record.path_bytes
            yield record

    def left_out(self) -> Iterator[LeftOut]:
        """Every file that was not usable, with why; its path as in the manifest. Raises: MalformedManifest, OSError."""
        path = self.folder / LEFT_OUT_NAME
        for number, line in _lines(path):
            try:
                row = load(line)
                yield LeftOut(Path(_path_of(row)), read_text(row["reason"]))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise MalformedManifest(path, number, "a path and a reason") from error


def encode_head(algorithms: Mapping[str, Any]) -> bytes:
    """The first line of a manifest, without its end."""
    return compact({"stretto_manifest": MANIFEST_VERSION, "algorithms": algorithms})


def encode_left_out(path: str, reason: str) -> bytes:
    """One line of left_out.jsonl, without its end. path: relative, as in TrackRecord."""
    return compact(_named(path) | {"reason": reason})


def compact(value: Mapping[str, Any]) -> bytes:
    """JSON in its one form here: sorted keys, no blanks, UTF-8; lone surrogates (there is no UTF-8 for them) as "?"."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def path_bytes(path: str) -> bytes:
    """The path as the file system has it, whatever this process's locale is."""
    return path.encode("utf-8", "surrogateescape")


# ---- parts of a line -------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX):
            number += 1
            if not line.endswith(b"\n"):
                raise MalformedManifest(path, number, f"a whole line of at most {LINE_BYTES_MAX} bytes")
            yield number, line


def _named(path: str) -> dict[str, Any]:
    raw = path_bytes(path)
    shown = raw.decode("utf-8", "replace")
    return {"path": shown} if shown.encode() == raw else {"path": shown, "path_hex": raw.hex()}


def _path_of(row: Mapping[str, Any]) -> str:
    if "path_hex" in row:
        return bytes.fromhex(row["path_hex"]).decode("utf-8", "surrogateescape")
    return read_text(row["path"])


def _encode_tags(tags: Tags) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(tags, name) for name in _TAG_TEXTS if getattr(tags, name) is not None}
    row |= {name: list(getattr(tags, name)) for name in _TAG_LISTS if getattr(tags, name)}
    if tags.people:
        row["people"] = [[str(role), name] for role, name in tags.people]
    return row


def _parse_tags(row: Mapping[str, Any]) -> Tags:
    title, version, unreadable = (read_text(row[name]) if name in row else None for name in _TAG_TEXTS)
    organisations, isrc, iswc, barcode = (_texts(row.get(name, ())) for name in _TAG_LISTS)
    return Tags(
        title=title,
        version=version,
        unreadable=unreadable,
        people=tuple((PartyRole(role), read_text(name)) for role, name in row.get("people", ())),
        organisations=organisations,
        isrc=isrc,
        iswc=iswc,
        barcode=barcode,
    )


def _parse_facts(row: Mapping[str, Any]) -> AudioFacts:
    rate_hz, channels = _optional(row.get("sample_rate")), _optional(row.get("channels"))
    pcm, md5 = row.get("pcm"), row.get("flac_md5")
    return AudioFacts(
        media_type=read_text(row["media_type"]),
        format=read_text(row["format"]),
        duration_ms=read_whole(row["duration_ms"]),
        rate_hz=rate_hz,
        channels=channels,
        bits=_optional(row.get("bits")),
        lossless=row["lossless"] is True,
        pcm=None if pcm is None else _parse_pcm(pcm, rate_hz or 0, channels or 0),
        flac_md5=None if md5 is None else read_digest(md5, 16),
    )


def _parse_pcm(row: Mapping[str, Any], rate_hz: int, channels: int) -> Pcm:
    form = _PCM_FORMAT.fullmatch(read_text(row["format"]))
    if form is None:
        raise ValueError(f"samples in the form s8, s16le, s24le, s32le, f32le or f64le, got {row['format']!r}")
    return Pcm(
        sha256=read_digest(row["sha256"]),
        rate_hz=rate_hz,
        channels=channels,
        bits=int(form[2]),
        floating=form[1] == "f",
    )


def _parse_fingerprint(row: Mapping[str, Any] | None) -> Fingerprint | None:
    if row is None:
        return None
    return Fingerprint(
        algorithm=read_whole(row["algorithm"]), sha256=read_digest(row["sha256"]), items=read_whole(row["items"])
    )


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(read_text(value) for value in values)


def _optional(value: object) -> int | None:
    return None if value is None else read_whole(value)
