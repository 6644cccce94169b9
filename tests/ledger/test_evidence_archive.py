"""The archive: any ZIP program opens it, and no byte of it can be changed."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from ledger.evidence_archive import ARCHIVE_BYTES_MAX, ENTRIES_MAX, encode_archive, parse_archive

FILES = {"VERIFY.md": b"# How to verify\n", "statement.cose": bytes(range(256)), "empty": b""}
ARCHIVE = encode_archive(FILES)


def test_ordinary_zip_programs_open_it() -> None:
    with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        st.binary(max_size=200),
        min_size=1,
        max_size=6,
    )
)
def test_archive_round_trips_in_order(files: dict[str, bytes]) -> None:
    parsed = parse_archive(encode_archive(files))
    assert list(parsed.items()) == list(files.items())


def test_every_flipped_bit_is_refused() -> None:
    assert parse_archive(ARCHIVE) == FILES
    for position in range(len(ARCHIVE)):
        for bit in range(8):
            flipped = bytearray(ARCHIVE)
            flipped[position] ^= 1 << bit
            with pytest.raises(MalformedMessage):
                parse_archive(bytes(flipped))


def test_refusal_names_the_damaged_file() -> None:
    position = ARCHIVE.index(FILES["statement.cose"]) + 7
    damaged = ARCHIVE[:position] + b"X" + ARCHIVE[position + 1 :]
    with pytest.raises(MalformedMessage, match=r"statement\.cose: expected content with the checksum"):
        parse_archive(damaged)
    directory = ARCHIVE.rindex(b"statement.cose") - 10
    damaged = ARCHIVE[:directory] + b"X" + ARCHIVE[directory + 1 :]
    with pytest.raises(MalformedMessage, match=r"statement\.cose: expected its canonical entry"):
        parse_archive(damaged)


def test_truncation_and_trailing_bytes_are_refused() -> None:
    for length in range(len(ARCHIVE)):
        with pytest.raises(MalformedMessage):
            parse_archive(ARCHIVE[:length])
    for extra in (b"\0", b"PK\x05\x06", ARCHIVE):
        with pytest.raises(MalformedMessage):
            parse_archive(ARCHIVE + extra)
    with pytest.raises(MalformedMessage, match="a ZIP archive"):
        parse_archive(b"\0" + ARCHIVE)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail))
def test_whatever_parses_has_this_one_encoding(data: bytes) -> None:
    try:
        files = parse_archive(data)
    except MalformedMessage:
        return
    assert encode_archive(files) == data


def with_zipfile(
    *, compression: int = zipfile.ZIP_STORED, names: tuple[str, ...] = ("a",), comment: bytes = b""
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x" * 1000, compress_type=compression)
        archive.comment = comment
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        with_zipfile(),
        with_zipfile(compression=zipfile.ZIP_DEFLATED),
        with_zipfile(compression=zipfile.ZIP_LZMA),
        with_zipfile(names=("../a",)),
        with_zipfile(names=("a/b",)),
        with_zipfile(names=("/etc/passwd",)),
        with_zipfile(names=("ä",)),
        with_zipfile(comment=b"hello"),
    ],
    ids=["foreign writer", "deflated", "lzma", "parent", "folder", "absolute", "not ASCII", "comment"],
)
def test_other_zip_archives_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_archive(data)


def test_declared_size_beyond_the_archive_is_refused_without_reading_it() -> None:
    bomb = bytearray(ARCHIVE)
    struct.pack_into("<LL", bomb, 18, 0xFFFFFFFF, 0xFFFFFFFF)
    with pytest.raises(MalformedMessage, match="the archive ends before"):
        parse_archive(bytes(bomb))


def test_repeated_name_is_refused() -> None:
    entry = ARCHIVE[: ARCHIVE.index(b"PK\x03\x04", 4)]
    with pytest.raises(MalformedMessage, match="one entry of this name"):
        parse_archive(entry + entry)


def test_bounds() -> None:
    most = {f"{i:04}": b"" for i in range(ENTRIES_MAX)}
    assert len(parse_archive(encode_archive(most))) == ENTRIES_MAX
    with pytest.raises(MalformedMessage, match="entries"):
        encode_archive({**most, "more": b""})
    with pytest.raises(MalformedMessage, match="entries"):
        encode_archive({})
    with pytest.raises(MalformedMessage, match="length"):
        encode_archive({"a": bytes(ARCHIVE_BYTES_MAX)})
    with pytest.raises(MalformedMessage, match="length"):
        parse_archive(bytes(ARCHIVE_BYTES_MAX + 1))
    with pytest.raises(MalformedMessage, match="at most 1100"):
        parse_archive(_numbered(ENTRIES_MAX + 1))


def _numbered(count: int) -> bytes:
    """Local entries alone, more than the bound."""
    return b"".join(encode_archive({f"{i:04}": b""})[: 30 + 4] for i in range(count))


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "a" * 65, "ä", "a\n"])
def test_name_that_could_escape_a_folder_or_a_line_is_never_written(name: str) -> None:
    with pytest.raises(MalformedMessage, match="entry name"):
        encode_archive({name: b""})
