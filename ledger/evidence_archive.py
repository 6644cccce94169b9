"""The evidence file as an archive: a ZIP that anyone can open and that has exactly one encoding.

Entries are stored, never compressed, so nothing inside can be larger than the file itself; names are flat; dates,
versions and attributes are constants. Reading re-encodes what it found and compares, so a flipped byte anywhere is
refused, also one that no ZIP program would notice.
Our own encoder and not `zipfile`: the bytes must not depend on the version of Python that wrote or reads them.
Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from consensus.errors import MalformedMessage

ARCHIVE_BYTES_MAX: Final = 64 << 20
ENTRIES_MAX: Final = 1100
_NAME: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LOCAL_MARK: Final = b"PK\x03\x04"
_CENTRAL_MARK: Final = b"PK\x01\x02"
_END_MARK: Final = b"PK\x05\x06"
_VERSION: Final = 10
"""1.0: nothing but stored files."""
_MADE_BY: Final = 3 << 8 | 20
"""Unix, so that the attributes below are a mode."""
_DATE: Final = 1 << 5 | 1
"""1 January 1980, the first day ZIP knows. An archive's own dates prove nothing; times stand in the manifest."""
_ATTRIBUTES: Final = 0o100644 << 16


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("evidence archive", field, expected)


def _local_header(name: bytes, content: bytes) -> bytes:
    return _LOCAL.pack(
        _LOCAL_MARK, _VERSION, 0, 0, 0, _DATE, zlib.crc32(content), len(content), len(content), len(name), 0
    )  # fmt: skip


def _central_header(name: bytes, content: bytes, offset: int) -> bytes:
    return _CENTRAL.pack(
        _CENTRAL_MARK, _MADE_BY, _VERSION, 0, 0, 0, _DATE, zlib.crc32(content), len(content), len(content),
        len(name), 0, 0, 0, 0, _ATTRIBUTES, offset,
    )  # fmt: skip


def _check_name(name: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise _malformed("entry name", "1 to 64 of letters, digits, dot, hyphen and underscore")


def encode_archive(files: Mapping[str, bytes]) -> bytes:
    """The one archive of these files, in the mapping's order. Raises: MalformedMessage over a bound."""
    if not 1 <= len(files) <= ENTRIES_MAX:
        raise _malformed("entries", f"1 to {ENTRIES_MAX}, got {len(files)}")
    parts: list[bytes] = []
    central: list[bytes] = []
    offset = 0
    for name, content in files.items():
        encoded = name.encode("ascii", "replace")
        _check_name(encoded)
        central += (_central_header(encoded, content, offset), encoded)
        entry = (_local_header(encoded, content), encoded, content)
        parts += entry
        offset += sum(map(len, entry))
        if offset > ARCHIVE_BYTES_MAX:
            raise _malformed("length", f"at most {ARCHIVE_BYTES_MAX} bytes")
    directory = b"".join(central)
    end = _END.pack(_END_MARK, 0, 0, len(files), len(files), len(directory), offset, 0)
    data = b"".join((*parts, directory, end))
    if len(data) > ARCHIVE_BYTES_MAX:
        raise _malformed("length", f"at most {ARCHIVE_BYTES_MAX} bytes, got {len(data)}")
    return data


def parse_archive(data: bytes) -> dict[str, bytes]:
    """Inverse of `encode_archive`: names to contents, in order.

    Raises: MalformedMessage naming the entry, for anything that `encode_archive` would have written otherwise.
    """
    if len(data) > ARCHIVE_BYTES_MAX:
        raise _malformed("length", f"at most {ARCHIVE_BYTES_MAX} bytes, got {len(data)}")
    if data[:4] != _LOCAL_MARK:
        raise _malformed("start", "a ZIP archive")
    files: dict[str, bytes] = {}
    at = 0
    last = "the start of the archive"
    while data[at : at + 4] == _LOCAL_MARK:
        if len(files) == ENTRIES_MAX:
            raise _malformed("entries", f"at most {ENTRIES_MAX}")
        name, content, at = _parse_entry(data, at, last)
        if name in files:
            raise _malformed(name, "one entry of this name")
        files[name] = content
        last = name
    _check_directory(data, at, files)
    return files


def _parse_entry(data: bytes, at: int, last: str) -> tuple[str, bytes, int]:
    if at + _LOCAL.size > len(data):
        raise _malformed(f"after {last}", "a whole entry")
    header = data[at : at + _LOCAL.size]
    fields = _LOCAL.unpack(header)
    size, name_length = fields[8], fields[9]
    start = at + _LOCAL.size + name_length
    end = start + size
    encoded = data[at + _LOCAL.size : start]
    _check_name(encoded)
    name = encoded.decode("ascii")
    if end > len(data):
        raise _malformed(name, f"{size} bytes of content, the archive ends before")
    content = data[start:end]
    if header != _local_header(encoded, content):
        if fields[6] != zlib.crc32(content):
            raise _malformed(name, "content with the checksum in its header: the file was damaged or changed")
        raise _malformed(name, "the header of a stored file without date, flags or extra fields")
    return name, content, end


def _check_directory(data: bytes, at: int, files: Mapping[str, bytes]) -> None:
    """The rest of the archive must be what our encoder writes after these files."""
    rest = encode_archive(files)[at:]
    if data[at:] == rest:
        return
    actual = data[at:]
    differs = next(
        (i for i, (a, b) in enumerate(zip(actual, rest, strict=False)) if a != b), min(len(actual), len(rest))
    )
    position = 0
    for name in files:
        position += _CENTRAL.size + len(name)
        if differs < position:
            raise _malformed(name, "its canonical entry in the archive's directory (or another entry before it)")
    raise _malformed("end", "the canonical end of the archive's directory and nothing after it")
