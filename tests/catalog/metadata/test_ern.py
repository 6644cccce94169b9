"""DDEX messages become rows: the same of 4.2 and 4.3, AI disclosures of 4.3.2, and nothing of what is hostile."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.metadata import ern
from catalog.metadata.ern import read_ern
from catalog.metadata.findings import Finding, Findings, Severity
from catalog.metadata.rows import MalformedMetadata, Row
from catalog.metadata.values import read_stated
from catalog.tags import Tags
from ledger.claim import AiRole, ContainsAI, PartyRole
from tests.catalog.metadata.messages import contributor_432, ern_42, ern_43, ern_432


def read(folder: Path, data: bytes) -> tuple[list[Row], list[Finding]]:
    path = folder / "message.xml"
    path.write_bytes(data)
    findings = Findings()
    return list(read_ern(path, findings)), findings.listed()


EXPECTED = {
    "title": ("Rain",),
    "language": ("en",),
    "version": ("Radio Edit",),
    "artists": ("Ana Sol",),
    "isni": ("Ana Sol=0000000121032683",),
    "ipi": ("Jane Doe=00014107338",),
    "composers": ("Jane Doe",),
    "contributors": ("Mixer: Jane Doe",),
    "shares": ("Aurora Records: All: US+GB: 62.5%",),
    "upc": ("00036000291452",),
    "grid": ("A12425GABC1234002M",),
    "release_date": ("2026-09-01",),
    "label": ("Aurora Records",),
    "duration": ("PT3M25S",),
    "created_date": ("2026-03-01",),
    "iswc": ("T0345246801",),
    "isrc": ("USSKG1912345",),
    "file": ("resources/01 Rain.flac",),
    "p_line": ("Aurora Records", "(P) 2026 Aurora Records"),
}


@pytest.mark.parametrize("version", ["4.2", "4.3"])
def test_both_versions_say_the_same_of_a_recording(tmp_path: Path, version: str) -> None:
    (row,), findings = read(tmp_path, ern_42() if version == "4.2" else ern_43())
    own = {} if version == "4.2" else {"proprietary_ids": ("PADPIDA2026010101U:AUR-1",)}
    assert row.cells == EXPECTED | own
    assert str(row.place("isrc")) == "message.xml, SoundRecording A1"
    assert [(finding.severity, finding.value) for finding in findings] == [
        (Severity.NOTE, "CateringManager: Ana Sol")
    ]  # fmt: skip


def test_an_imported_row_makes_a_claim_without_a_fault(tmp_path: Path) -> None:
    (row,), _ = read(tmp_path, ern_43())
    findings = Findings()
    stated = read_stated(row, Tags(), findings, "01 Rain.flac")
    assert findings.listed() == []
    assert stated.upc == "036000291452", "GTIN-14 without its padding"
    assert stated.shares[0].bps == 6250
    assert stated.shares[0].territory == "GB+US"
    named = {(party.role, party.name): party for party in stated.parties}
    assert named[PartyRole.ARTIST, "Ana Sol"].isni == "0000000121032683"
    assert named[PartyRole.COMPOSER, "Jane Doe"].ipi_name == "00014107338"
    assert not named[PartyRole.COPYRIGHT_HOLDER, "Aurora Records"].personal, "an organisation stands open"
    assert len(stated.parties) == 5


def test_a_sha_256_finds_the_file_and_an_md5_does_not(tmp_path: Path) -> None:
    (row,), _ = read(tmp_path, ern_43(digest="AB" * 32))
    assert row.one("digest") == "ab" * 32
    (row,), _ = read(tmp_path, ern_42())
    assert row.one("digest") is None


def test_a_sender_that_qualifies_every_element_is_understood(tmp_path: Path) -> None:
    qualified = ern_43().replace(b"<", b"<ern:").replace(b"<ern:/", b"</ern:").replace(b"<ern:?", b"<?")
    qualified = qualified.replace(b"<ern:ern:", b"<ern:").replace(b"</ern:ern:", b"</ern:")
    (row,), _ = read(tmp_path, qualified)
    assert row.cells["title"] == ("Rain",)


@pytest.mark.parametrize(
    ("contains", "contributors", "expected"),
    [
        ("", contributor_432("Composer"), None),
        ("None", contributor_432("Composer", ai="None"), (ContainsAI.NONE, {})),
        ("All", contributor_432("Composer", special=True), (ContainsAI.ALL, {})),
        (
            "Partly",
            contributor_432("Vocalist", special=True) + contributor_432("Composer", ai="None"),
            (ContainsAI.PARTLY, {AiRole.VOCALS: ContainsAI.ALL, AiRole.COMPOSITION: ContainsAI.NONE}),
        ),
        (
            "Partly",
            contributor_432("Composer", special=True) + contributor_432("Arranger", ai="None"),
            (ContainsAI.PARTLY, {AiRole.COMPOSITION: ContainsAI.PARTLY}),
        ),
    ],
)
def test_ai_is_disclosed_as_ddex_has_it(
    tmp_path: Path, contains: str, contributors: str, expected: tuple[ContainsAI, dict[AiRole, ContainsAI]] | None
) -> None:
    (row,), findings = read(tmp_path, ern_432(contains, contributors))
    assert findings == []
    stated = read_stated(row, Tags(), collected := Findings(), "")
    assert collected.listed() == []
    ai = stated.ai
    assert (None if ai is None else (ai.contains, {one.role: one.ai for one in ai.contributions})) == expected


@pytest.mark.parametrize(
    ("contains", "contributors", "said"),
    [
        ("All", contributor_432("Composer"), "no contributor but GenerativeAI"),
        ("None", contributor_432("Composer", ai="Partly"), "no contributor with AI"),
    ],
)
def test_ai_that_contradicts_itself_is_an_error(tmp_path: Path, contains: str, contributors: str, said: str) -> None:
    _, (finding,) = read(tmp_path, ern_432(contains, contributors))
    assert finding.severity is Severity.ERROR
    assert said in finding.expected


def test_a_party_nobody_listed_is_an_error(tmp_path: Path) -> None:
    _, findings = read(tmp_path, ern_43().replace(b"<PartyReference>PAna<", b"<PartyReference>PBob<"))
    assert {finding.value for finding in findings if finding.severity is Severity.ERROR} == {"PAna"}


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 9))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ern_43().replace(b"/ern/43", b"/ern/382"), "got NewReleaseMessage in http://ddex.net/xml/ern/382"),
        (ern_43().replace(b"NewReleaseMessage", b"PurgeReleaseMessage"), "expected a NewReleaseMessage"),
        (b"<html><body/></html>", "got html in no namespace"),
        (ern_43()[:900], "well-formed XML"),
        (b"", "well-formed XML"),
        (ern_43().replace(b'"UTF-8"', b'"U_F-8"', 1), "expected XML in UTF-8: unknown encoding"),
        (ern_43().replace(b'"UTF-8"', b'"shift_jis"', 1), "expected XML in UTF-8: multi-byte encodings"),
        (
            ern_43().replace(b"<ern:New", f'<!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><ern:New'.encode(), 1),
            "DTDForbidden",
        ),
        (ern_43().replace(b"<ern:New", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><ern:New', 1), "DTDForbidden"),
        (ern_43().replace(b"<MessageId>", b"<d>" * 64 + b"</d>" * 64 + b"<MessageId>"), "at most 32 elements"),
    ],
)
def test_what_is_no_message_is_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(MalformedMetadata) as caught:
        read(tmp_path, data)
    assert said in str(caught.value)


def test_bounds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ern, "RECORDINGS_MAX", 0)
    with pytest.raises(MalformedMetadata, match="at most 0 sound recordings"):
        read(tmp_path, ern_43())
    monkeypatch.setattr(ern, "MESSAGE_BYTES_MAX", 100)
    with pytest.raises(MalformedMetadata, match="at most 100 bytes"):
        read(tmp_path, ern_43())
