"""What a file says about itself, from every container, and from none."""

from __future__ import annotations

import io
import struct
import unicodedata
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.scan import LeftOut
from catalog.tags import VALUES_MAX, read_tags
from ledger.claim import PartyRole
from tests.catalog.audio_files import KINDS, encoded, m4a, tone
from tests.catalog.builders import tagged_flac

TITLE = "Große Fuge · 赋格"


def id3v2(**frames: str) -> bytes:
    body = b"".join(
        name.encode() + struct.pack(">IH", len(text.encode()) + 1, 0) + b"\x03" + text.encode()
        for name, text in frames.items()
    )
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + size + body


def vorbis_tagged() -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 44_100, 2, format="OGG", subtype="VORBIS") as file:
        file.title, file.artist = TITLE, "Ada"
        file.write(tone())
    return buffer.getvalue()


MP3 = encoded(next(kind for kind in KINDS if kind.name == "layer3.mp3"))


def test_vorbis_comments_of_flac_become_tags(tmp_path: Path) -> None:
    path = tagged_flac(
        tmp_path / "x", f"TITLE={TITLE}", "ARTIST=Ada", "ARTIST=Björk B.", "COMPOSER=Ada", "LYRICIST=C",
        "PUBLISHER=Aurora Records", "LABEL=Aurora Records", "ORGANIZATION=Other Org", "ISRC=ZZ-STR-26-00001",
        "ISWC=T-034.524.680-1", "BARCODE=036000291452", "VERSION=Live",
    )  # fmt: skip
    tags = read_tags(path)
    assert tags.title == TITLE
    assert tags.version == "Live"
    assert tags.people == (
        (PartyRole.ARTIST, "Ada"),
        (PartyRole.ARTIST, "Björk B."),
        (PartyRole.COMPOSER, "Ada"),
        (PartyRole.LYRICIST, "C"),
    )
    assert tags.organisations == ("Aurora Records", "Other Org")
    assert (tags.isrc, tags.iswc, tags.barcode) == (("ZZ-STR-26-00001",), ("T-034.524.680-1",), ("036000291452",))


@pytest.mark.parametrize(("name", "content"), [
    ("mp3", id3v2(TIT2=TITLE, TPE1="Ada", TSRC="ZZSTR2600001") + MP3),
    ("ogg", vorbis_tagged()),
    ("m4a", m4a(title=TITLE)),
])  # fmt: skip
def test_titles_are_read_from_other_containers_whatever_the_name_says(
    tmp_path: Path, name: str, content: bytes
) -> None:
    lying = tmp_path / f"{name}.wav"
    lying.write_bytes(content)
    assert read_tags(lying).title == TITLE


def test_an_mp3_says_its_isrc(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(id3v2(TSRC="ZZSTR2600001", TPUB="Aurora") + MP3)
    tags = read_tags(tmp_path / "a")
    assert (tags.isrc, tags.organisations) == (("ZZSTR2600001",), ("Aurora",))


def test_values_are_composed_and_stripped(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Ümläut")
    assert decomposed != "Ümläut"
    assert read_tags(tagged_flac(tmp_path / "x", f"TITLE=  {decomposed} ")).title == "Ümläut"


def test_a_million_values_are_not_read(tmp_path: Path) -> None:
    tags = read_tags(tagged_flac(tmp_path / "x", *(f"ARTIST=Person {i}" for i in range(500))))
    assert len(tags.people) == VALUES_MAX


def test_a_file_without_tags_has_none_and_no_complaint(tmp_path: Path) -> None:
    tags = read_tags(tagged_flac(tmp_path / "x"))
    assert (tags.title, tags.people, tags.isrc, tags.unreadable) == (None, (), (), None)


def test_broken_tags_are_said_to_be_broken(tmp_path: Path) -> None:
    broken = bytearray(tagged_flac(tmp_path / "x", "TITLE=Song").read_bytes())
    at = broken.index(b"TITLE=Song") - 8  # how many comments there are
    broken[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "y").write_bytes(broken)
    assert read_tags(tmp_path / "y").unreadable


def test_a_missing_file_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match="no such file"):
        read_tags(tmp_path / "nowhere")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 300), noise=st.binary(min_size=1, max_size=20), which=st.sampled_from(["flac", "mp3", "m4a"]))
def test_no_garbage_in_tags_does_more_than_leave_them_unread(tmp_path: Path, at: int, noise: bytes, which: str) -> None:
    whole = {
        "flac": tagged_flac(tmp_path / "f", "TITLE=Song", "ARTIST=A").read_bytes(),
        "mp3": id3v2(TIT2="Song", TSRC="ZZSTR2600001") + MP3[:2000],
        "m4a": m4a(title="Song"),
    }[which]
    (tmp_path / "x").write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    read_tags(tmp_path / "x")
