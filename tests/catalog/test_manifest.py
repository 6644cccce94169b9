"""The manifest: one line a track, one way to write it, and refused by line and field when it is anything else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.fingerprint import Fingerprint
from catalog.formats.facts import AudioFacts, Pcm
from catalog.manifest import (
    LEFT_OUT_NAME,
    MANIFEST_NAME,
    MalformedManifest,
    Manifest,
    TrackRecord,
    encode_head,
    encode_left_out,
)
from catalog.tags import Tags
from ledger.claim import PartyRole

PLAIN = TrackRecord(
    path="disc 1/雨.flac",
    size_bytes=176_444,
    blake3=bytes(32),
    sha256=bytes(range(32)),
    facts=AudioFacts(
        media_type="audio/flac",
        format="flac/flac",
        duration_ms=1000,
        rate_hz=44_100,
        channels=2,
        bits=24,
        lossless=True,
        pcm=Pcm(sha256=bytes([7] * 32), rate_hz=44_100, channels=2, bits=24),
        flac_md5=bytes(16),
    ),
    tags=Tags(title="雨", people=((PartyRole.ARTIST, "A"), (PartyRole.COMPOSER, "B")), isrc=("ZZSTR2600001",)),
    chromaprint=Fingerprint(algorithm=1, sha256=bytes(32), items=948),
)

names = st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1).map(lambda s: f"a/{s}")
digests = st.binary(min_size=32, max_size=32)
forms = st.sampled_from([(8, False), (16, False), (24, False), (32, False), (32, True), (64, True)])


@given(
    path=names | st.binary(min_size=1).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    blake3=digests,
    form=forms,
    lossy=st.booleans(),
    title=st.none() | st.text(st.characters(codec="utf-8")),
)
def test_every_record_comes_back_from_its_line(
    path: str, blake3: bytes, form: tuple[int, bool], lossy: bool, title: str | None
) -> None:
    pcm = Pcm(sha256=blake3, rate_hz=44_100, channels=2, bits=form[0], floating=form[1])
    facts = replace(PLAIN.facts, pcm=None if lossy else pcm, lossless=not lossy, flac_md5=None)
    record = replace(PLAIN, path=path, blake3=blake3, facts=facts, tags=Tags(title=title))
    assert TrackRecord.parse(record.encode()) == record
    assert b"\n" not in record.encode()


def test_a_line_is_the_same_text_on_every_machine() -> None:
    assert PLAIN.encode().decode() == (
        '{"bits":24,"blake3":"' + "00" * 32 + '","bytes":176444,"channels":2,"chromaprint":{"algorithm":1,"items":948,'
        '"sha256":"' + "00" * 32 + '"},"duration_ms":1000,"flac_md5":"' + "00" * 16 + '","format":"flac/flac",'
        '"lossless":true,"media_type":"audio/flac","path":"disc 1/雨.flac","pcm":{"format":"s24le","sha256":"'
        + "07" * 32
        + '"},"sample_rate":44100,"sha256":"'
        + bytes(range(32)).hex()
        + '","tags":{"isrc":["ZZSTR2600001"],"people":[["Artist","A"],["Composer","B"]],"title":"雨"}}'
    )


def test_a_name_that_is_no_text_is_shown_and_also_given_exactly() -> None:
    record = replace(PLAIN, path=os.fsdecode(b"caf\xe9.wav"))
    line = record.encode().decode()
    assert '"path":"caf\ufffd.wav"' in line
    assert '"path_hex":"636166e92e776176"' in line
    assert TrackRecord.parse(record.encode()).path_bytes == b"caf\xe9.wav"


@pytest.mark.parametrize(("old", "new", "fault"), [
    ('"bytes":176444', '"bytes":"176444"', "a whole number"),
    ('"bytes":176444,', "", "'bytes'"),
    ('"blake3":"00', '"blake3":"', "32 bytes"),
    ('"s24le"', '"s24be"', "s24le"),
    ('"s24le"', '"s8le"', "s24le"),
    ('"Artist"', '"Singer"', "Singer"),
    ("{", "", "Extra data|Expecting"),
])  # fmt: skip
def test_a_line_that_is_not_as_written_is_refused_by_its_field(old: str, new: str, fault: str) -> None:
    line = PLAIN.encode().decode()
    assert old in line
    with pytest.raises(ValueError, match=fault):
        TrackRecord.parse(line.replace(old, new, 1).encode())


def write(folder: Path, *lines: bytes) -> Manifest:
    (folder / MANIFEST_NAME).write_bytes(b"".join(line + b"\n" for line in lines))
    return Manifest.open(folder)


def test_a_folder_is_read_in_order_with_what_was_left_out(tmp_path: Path) -> None:
    first, second = replace(PLAIN, path="a b"), replace(PLAIN, path="a/b")
    manifest = write(tmp_path, encode_head({"blake3": "file"}), first.encode(), second.encode())
    (tmp_path / LEFT_OUT_NAME).write_bytes(encode_left_out("c", "empty") + b"\n")
    assert manifest.algorithms == {"blake3": "file"}
    assert list(manifest.records()) == [first, second]
    assert [(str(one.path), one.reason) for one in manifest.left_out()] == [("c", "empty")]


@pytest.mark.parametrize(("paths", "line"), [(("b", "a"), 3), (("a", "a"), 3), (("a", "b", "a/c"), 4)])
def test_lines_out_of_order_or_twice_are_refused_by_number(tmp_path: Path, paths: tuple[str, ...], line: int) -> None:
    manifest = write(tmp_path, encode_head({}), *(replace(PLAIN, path=path).encode() for path in paths))
    with pytest.raises(MalformedManifest, match=rf"line {line}: expected each path once"):
        list(manifest.records())


@pytest.mark.parametrize("head", [b"", b"{}", b"[]", b'{"stretto_manifest":2,"algorithms":{}}', PLAIN.encode()])
def test_another_file_is_no_manifest(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(MalformedManifest, match="line 1"):
        write(tmp_path, head)


def test_a_manifest_that_ends_inside_a_line_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, encode_head({}), PLAIN.encode())
    path = tmp_path / MANIFEST_NAME
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedManifest, match="line 2: expected a whole line"):
        list(manifest.records())


def test_a_record_gives_back_the_track_it_was_made_of(tmp_path: Path) -> None:
    assert TrackRecord.of(PLAIN.track(tmp_path), tmp_path) == PLAIN
