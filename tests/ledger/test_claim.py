"""Claims: what a claimant may declare, and every way of declaring it wrongly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.cbor import decode, encode
from ledger.claim import (
    CLAIM_BYTES_MAX,
    AiContribution,
    AiDisclosure,
    AiRole,
    Claim,
    Commitment,
    ContainsAI,
    Exhibit,
    ExhibitKind,
    Licence,
    Media,
    Party,
    PartyRole,
    Pcm,
    ProprietaryId,
    Reference,
    Relation,
    Right,
    RightsControl,
    SampleFormat,
    Share,
    ShareType,
    Subject,
    Title,
    TrainingUse,
    claim_keys,
    parse_claim,
    read_claim_keys,
)
from ledger.claim_json import claim_to_json
from ledger.errors import InvalidIdentifier, MalformedClaim
from tests.ledger.builders import make_claim, make_media

D = bytes(range(32))
COMPOSER = Party(role=PartyRole.COMPOSER, name="A. Composer")
LYRICIST = Party(role=PartyRole.LYRICIST, name="B. Lyricist")


def share(bps: int = 5_000, *, party: int = 0, right: Right = Right.PERFORMING, **more: Any) -> Share:
    return Share(**({"party": party, "right": right, "territory": "Worldwide", "bps": bps} | more))


FULL = Claim(
    subject=Subject.RECORDING,
    title="月亮代表我的心",
    language="zh-Hans",
    titles=(Title(text="The Moon Represents My Heart", language="en"), Title(text="Yueliang")),
    version="Live",
    duration_ms=214_000,
    isrc="USSKG1912345",
    iswc="T0345246801",
    upc="036000291452",
    grid="A12425GABC1234002M",
    ids=(ProprietaryId(namespace="label.example", value="CAT-1"),),
    parties=(
        Party(role=PartyRole.MAIN_ARTIST, name="邓丽君", isni="000000012281955X"),
        Party(role=PartyRole.COMPOSER, name=Commitment(D), ipi_name=Commitment(D[::-1]), ipi_base="I1234567893"),
        Party(role=PartyRole.MUSIC_PUBLISHER, lei="213800KUD8LAJWSQ9D15", member="label"),
    ),
    shares=(
        share(5_000, party=1, type=ShareType.COLLECTION),
        share(5_000, party=2, type=ShareType.COLLECTION, control=RightsControl.RIGHTS_ADMINISTRATOR),
        share(10_000, party=1, right=Right.INFORMATION_NETWORK_DISSEMINATION, territory="CN+HK+MO"),
        share(0, party=2, right=Right.PRINT, territory="Worldwide-CN"),
    ),
    media=(
        make_media(
            1, media_type="audio/flac", sm3=D, flac_md5=bytes(16), iscc="ISCC:EIAWUJFCEZZOJYVD", chromaprint=D, c2pa=D,
            pcm=Pcm(sha256=D, rate=44_100, channels=2, format=SampleFormat.F64LE),
        ),
        make_media(2),
    ),
    ai=AiDisclosure(
        contains=ContainsAI.PARTLY,
        contributions=(
            AiContribution(role=AiRole.VOCALS, ai=ContainsAI.NONE),
            AiContribution(role=AiRole.LYRICS, ai=ContainsAI.PARTLY, tool="a model"),
        ),
    ),
    training_use=TrainingUse.RESERVED,
    licence=Licence(spdx="CC-BY-4.0", uri="https://example.org/licence", text_sha256=D, exclusive=True),
    references=(
        Reference(relation=Relation.IS_COVER_OF, statement=D, position=3),
        Reference(relation=Relation.PRIOR_REGISTRATION, external="国作登字-2020-B-01234567"),
    ),
    exhibits=(
        Exhibit(
            kind=ExhibitKind.CAPTURE, sha256=D, media_type="application/pdf", captured_at="2026-02-28T23:59:59Z",
            device="Laptop 7", software="Browser 1.2", operator=Commitment(D), cleanliness="fresh image",
            disclosed=True,
        ),
    ),
    created="1977-01-01",
    valid_from="2024-02-29",
    valid_until="2030-01-01",
)  # fmt: skip


# ---- encoding --------------------------------------------------------------------------------------------------------


def test_the_least_claim_has_these_bytes() -> None:
    claim = Claim(subject=Subject.RECORDING, title="A", media=(Media(blake3=bytes(32), sha256=D, size=1),))
    assert claim.encode().hex() == (
        "a3"
        "656d6564696181a3" + "6473697a6501"
        + "66626c616b6533" + "5820" + "00" * 32
        + "66736861323536" + "5820" + D.hex()
        + "657469746c656141"
        + "677375626a656374" + "695265636f7264696e67"
    )  # fmt: skip
    assert parse_claim(claim.encode()) == claim


def test_a_claim_with_every_field_comes_back() -> None:
    assert parse_claim(FULL.encode()) == FULL
    assert all(getattr(FULL, name) for name in FULL.__dataclass_fields__)


digests = st.binary(min_size=32, max_size=32)
words = st.text(st.sampled_from("abcdefg äöü 月亮 ABC -'"), min_size=1, max_size=30).map(str.strip).filter(bool)
territories = st.sampled_from(["Worldwide", "Worldwide-CN-US", "CN", "CN+HK+MO", "DE+FR", "Worldwide-DE"])
media_values = st.builds(
    Media,
    blake3=digests,
    sha256=digests,
    size=st.integers(1, 2**40),
    media_type=st.none() | st.sampled_from(["audio/flac", "audio/x-wav"]),
    sm3=st.none() | digests,
    pcm=st.none()
    | st.builds(
        Pcm,
        sha256=digests,
        rate=st.integers(1, 192_000),
        channels=st.integers(1, 8),
        format=st.sampled_from(SampleFormat),
    ),
    flac_md5=st.none() | st.binary(min_size=16, max_size=16),
)
claim_values = st.builds(
    Claim,
    subject=st.just(Subject.RECORDING),
    title=words,
    version=st.none() | words,
    duration_ms=st.none() | st.integers(1, 10**9),
    isrc=st.none() | st.from_regex(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", fullmatch=True),
    parties=st.lists(
        st.builds(Party, role=st.sampled_from(PartyRole), name=words | digests.map(Commitment)),
        min_size=4,
        max_size=8,
        unique=True,
    ).map(tuple),
    shares=st.lists(
        st.builds(
            Share,
            party=st.integers(0, 3),
            right=st.sampled_from(Right),
            territory=territories,
            bps=st.integers(0, 1_200),
            type=st.none() | st.sampled_from(ShareType),
        ),
        max_size=8,
        unique_by=lambda s: (s.party, s.right, s.territory, s.type),
    ).map(tuple),
    media=st.lists(media_values, min_size=1, max_size=3, unique_by=lambda m: m.sha256).map(tuple),
    training_use=st.sampled_from(TrainingUse),
)


@given(claim_values)
def test_every_claim_comes_back_from_its_encoding(claim: Claim) -> None:
    assert parse_claim(claim.encode()) == claim
    assert read_claim_keys(claim.encode()) == claim_keys(claim)
    json.dumps(claim_to_json(claim))


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_refused_or_says_something_else(data: st.DataObject) -> None:
    valid = FULL.encode()
    at = data.draw(st.integers(0, len(valid) - 1))
    changed = valid[:at] + bytes((data.draw(st.integers(0, 255)),)) + valid[at + 1 :]
    try:
        claim = parse_claim(changed)
    except MalformedClaim:
        return
    assert claim.encode() == changed
    assert (claim == FULL) == (changed == valid)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_claim_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedClaim):
        parse_claim(data)


def test_a_claim_over_its_size_is_refused_both_ways() -> None:
    references = tuple(Reference(relation=Relation.IS_PART_OF, external=f"{i:03d}" + "x" * 250) for i in range(16))
    big = make_claim(1, references=references)
    with pytest.raises(MalformedClaim, match="at most 4096 bytes"):
        big.encode()
    with pytest.raises(MalformedClaim, match="at most 4096 bytes"):
        parse_claim(bytes(CLAIM_BYTES_MAX + 1))


def raw(**changes: Any) -> bytes:
    """The least claim as a CBOR map, with changes; None drops a field."""
    value: dict[str, Any] = {
        "subject": "Recording",
        "title": "A",
        "media": [{"blake3": bytes(32), "sha256": D, "size": 1}],
    } | changes
    return encode({key: item for key, item in value.items() if item is not None})


def media_with_pcm(**changes: object) -> dict[str, object]:
    pcm = {"sha256": D, "rate": 1, "channels": 1, "format": "s16le"} | changes
    return {"blake3": D, "sha256": D, "size": 1, "pcm": {key: item for key, item in pcm.items() if item is not None}}


@pytest.mark.parametrize("form", ["s8", "s16le", "s24le", "s32le", "f32le", "f64le"])
def test_the_form_of_the_samples_is_one_word_of_six(form: str) -> None:
    claim = parse_claim(raw(media=[media_with_pcm(format=form)]))
    assert claim.media[0].pcm == Pcm(sha256=D, rate=1, channels=1, format=SampleFormat(form))
    assert parse_claim(claim.encode()) == claim
    assert claim_to_json(claim)["media"][0]["pcm"]["format"] == form  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": None}, "claim.subject"),
        ({"subject": "recording"}, "claim.subject"),
        ({"subject": 1}, "claim.subject"),
        ({"title": None}, "claim.title"),
        ({"title": b"A"}, "claim.title"),
        ({"title": ""}, "claim.title"),
        ({"title": "e\u0301"}, "claim.title"),
        ({"title": "a\u202eb"}, "claim.title"),
        ({"mood": "blue"}, "claim.mood"),
        ({"duration_ms": True}, "claim.duration_ms"),
        ({"duration_ms": 0}, "claim.duration_ms"),
        ({"duration_ms": -1}, "claim.duration_ms"),
        ({"isrc": "US-SKG-19-12345"}, "claim.isrc"),
        ({"iswc": "T0345246802"}, "claim.iswc"),
        ({"upc": "036000291453"}, "claim.upc"),
        ({"grid": "A12425GABC1234002Q"}, "claim.grid"),
        ({"media": None}, "claim.media"),
        ({"media": []}, "claim.media"),
        ({"media": {}}, "claim.media"),
        ({"media": [1]}, "claim.media[0]"),
        ({"media": [{"blake3": bytes(32), "size": 1}]}, "claim.media[0].sha256"),
        ({"media": [{"blake3": bytes(31), "sha256": D, "size": 1}]}, "claim.media[0].blake3"),
        ({"media": [{"blake3": "x" * 32, "sha256": D, "size": 1}]}, "claim.media[0].blake3"),
        ({"media": [{"blake3": bytes(32), "sha256": D, "size": 0}]}, "claim.media[0].size"),
        ({"media": [{"blake3": bytes(32), "sha256": D, "size": 1}] * 2}, "claim.media[1]"),
        ({"media": [{"blake3": bytes(32), "sha256": D, "size": 1, "sm3": bytes(31)}]}, "claim.media[0].sm3"),
        ({"media": [media_with_pcm(format="s20le")]}, "claim.media[0].pcm.format"),
        ({"media": [media_with_pcm(format="F32LE")]}, "claim.media[0].pcm.format"),
        ({"media": [media_with_pcm(format="s16be")]}, "claim.media[0].pcm.format"),
        ({"media": [media_with_pcm(format=16)]}, "claim.media[0].pcm.format"),
        ({"media": [media_with_pcm(format=None)]}, "claim.media[0].pcm.format"),
        ({"media": [media_with_pcm(bits=16)]}, "claim.media[0].pcm.bits"),
        ({"parties": []}, "claim.parties"),
        ({"parties": [{"role": "Composer"}]}, "claim.parties[0]"),
        ({"parties": [{"role": "Muse", "name": "x"}]}, "claim.parties[0].role"),
        ({"parties": [{"role": "Composer", "name": bytes(31)}]}, "claim.parties[0].name"),
        ({"parties": [{"role": "Composer", "ipi_name": "00014107339"}]}, "claim.parties[0].ipi_name"),
        ({"parties": [{"role": "Composer", "lei": D}]}, "claim.parties[0].lei"),
        ({"training_use": "Unstated"}, "claim.training_use"),
        ({"ai": {"contains": "Undeclared"}}, "claim.ai.contains"),
        ({"ai": {"contains": "Some"}}, "claim.ai.contains"),
        ({"licence": {"exclusive": True}}, "claim.licence"),
        ({"licence": {"spdx": "MIT", "exclusive": False}}, "claim.licence.exclusive"),
        ({"licence": {"spdx": "MIT", "exclusive": 1}}, "claim.licence.exclusive"),
        ({"created": "2026-02-30"}, "claim.created"),
        ({"created": "20260101"}, "claim.created"),
        ({"created": "0000-01-01"}, "claim.created"),
        ({"valid_from": "2026-01-02", "valid_until": "2026-01-02"}, "claim.valid_until"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(changes: dict[str, Any], field: str) -> None:
    parse_claim(raw())
    with pytest.raises(MalformedClaim) as caught:
        parse_claim(raw(**changes))
    assert caught.value.field == field
    assert caught.value.expected


def test_a_wrong_check_digit_says_which_would_be_right() -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        parse_claim(raw(iswc="T0345246802"))
    assert (caught.value.code, caught.value.value) == ("INVALID_IDENTIFIER", "T0345246802")
    assert "check digit 1" in caught.value.expected


@pytest.mark.parametrize("data", [encode("A"), encode([1]), encode({1: "A"}), raw() + b"\x00", raw()[:-1], b""])
def test_what_is_no_map_of_fields_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedClaim):
        parse_claim(data)


def test_fields_in_another_order_are_refused() -> None:
    subject, title, media = (encode(key) for key in ("subject", "title", "media"))
    value = decode(raw())
    assert isinstance(value, dict)
    shuffled = (
        b"\xa3" + title + encode("A") + media + encode(value["media"]) + subject + encode("Recording")
    )  # fmt: skip
    assert len(shuffled) == len(raw())
    with pytest.raises(MalformedClaim, match="ascending"):
        parse_claim(shuffled)


# ---- subjects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": Subject.WORK, "iswc": "T0345246801"},
        {"subject": Subject.WORK, "parties": (COMPOSER,)},
        {"subject": Subject.RELEASE, "upc": "036000291452"},
        {"subject": Subject.RELEASE, "ids": (ProprietaryId(namespace="a", value="b"),)},
        {"subject": Subject.LINK, "iswc": "T0345246801", "isrc": "USSKG1912345"},
        {"subject": Subject.LINK, "iswc": "T0345246801", "media": (make_media(),)},
    ],
)
def test_each_subject_can_be_claimed(fields: dict[str, Any]) -> None:
    claim = Claim(title="A", **fields)
    assert parse_claim(claim.encode()) == claim


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subject": Subject.RECORDING, "isrc": "USSKG1912345"}, "media"),
        ({"subject": Subject.WORK}, "iswc"),
        ({"subject": Subject.WORK, "iswc": "T0345246801", "isrc": "USSKG1912345"}, "isrc"),
        ({"subject": Subject.RELEASE}, "upc"),
        ({"subject": Subject.LINK, "isrc": "USSKG1912345"}, "iswc"),
        ({"subject": Subject.LINK, "iswc": "T0345246801"}, "isrc"),
    ],
)
def test_a_subject_without_what_it_is_known_by_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedClaim) as caught:
        Claim(title="A", **fields)
    assert caught.value.field == field


# ---- views -----------------------------------------------------------------------------------------------------------


def test_json_shows_every_field_for_people() -> None:
    shown = claim_to_json(FULL)
    assert shown["subject"] == "Recording"
    assert shown["title"] == "月亮代表我的心"
    assert shown["media"][0]["sha256"] == FULL.media[0].sha256.hex()  # type: ignore[index,call-overload]
    assert shown["parties"][1]["ipi_name"] == {"commitment": D[::-1].hex()}  # type: ignore[index,call-overload]
    assert shown["exhibits"][0]["operator"] == {"commitment": D.hex()}  # type: ignore[index,call-overload]
    assert set(shown) == set(FULL.__dataclass_fields__)
    assert json.loads(json.dumps(shown)) == shown


def test_keys_name_every_file_and_identifier() -> None:
    keys = claim_keys(FULL)
    assert list(keys) == [
        ("blake3", FULL.media[0].blake3),
        ("blake3", FULL.media[1].blake3),
        ("sha256", FULL.media[0].sha256),
        ("sha256", FULL.media[1].sha256),
        ("isrc", b"USSKG1912345"),
        ("iswc", b"T0345246801"),
    ]
    assert read_claim_keys(FULL.encode()) == keys
    work = Claim(subject=Subject.WORK, title="A", parties=(COMPOSER,))
    assert read_claim_keys(work.encode()) == claim_keys(work)
    assert list(claim_keys(work)) == []


def test_a_constructed_claim_cannot_be_changed_into_a_wrong_one() -> None:
    with pytest.raises(MalformedClaim):
        replace(FULL, title="")
    with pytest.raises(AttributeError):
        FULL.title = ""  # type: ignore[misc]
