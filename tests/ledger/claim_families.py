"""Claims that are alike, as those of one catalogue are, and ways to spoil one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from ledger.cbor import CborValue, decode, encode
from ledger.claim import (
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
    SampleFormat,
    Share,
    Subject,
    Title,
    TrainingUse,
)

TITLES = ("Study no. 1", "月亮代表我的心", "A", "Über den Wolken " * 4, "b" * 23, "c" * 24, "x~!")
ROLES = (PartyRole.MAIN_ARTIST, PartyRole.COMPOSER, PartyRole.LYRICIST)

FORMATS = (SampleFormat.S24LE, SampleFormat.F32LE)


def digest(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


def plain(n: int) -> Claim:
    """A recording as a label's catalogue has it."""
    return Claim(
        subject=Subject.RECORDING,
        title=f"{TITLES[n % len(TITLES)]} {n}",
        isrc=f"QZABC26{n % 100_000:05}",
        duration_ms=(1, 23, 24, 255, 256, 65_535, 65_536, 2_583_691_263)[n % 8],
        parties=(
            Party(role=PartyRole.MAIN_ARTIST, name=f"Ensemble {n % 7}"),
            Party(role=PartyRole.MAIN_ARTIST, name=f"Singer {n % 5}"),
            Party(role=PartyRole.COMPOSER, name=Commitment(digest("c", n))),
        ),
        shares=(
            Share(party=0, right=Right.PERFORMING, territory="Worldwide", bps=5_000 + n % 3),
            Share(party=2, right=Right.PERFORMING, territory="CN", bps=1_000),
        ),
        media=(
            Media(blake3=digest("b", n), sha256=digest("s", n), size=(1, 24, 300, 70_000, 2**33)[n % 5]),
            Media(blake3=digest("b2", n), sha256=digest("s2", n), size=n + 1, media_type="audio/flac"),
        ),
        ai=AiDisclosure(contains=(ContainsAI.NONE, ContainsAI.ALL)[n % 2]),
        language=("en", "zh-Hans")[n % 2],
    )  # fmt: skip


def full(n: int) -> Claim:
    """A claim with every field, all of them different from claim to claim."""
    return Claim(
        subject=Subject.RECORDING,
        title=f"{TITLES[n % len(TITLES)]} {n}",
        language=("en", "zh-Hans", "de-AT")[n % 3],
        titles=(Title(text=f"Moon {n}", language=("en", "ja")[n % 2]), Title(text=f"Yueliang {n}")),
        version=f"Live {n}",
        duration_ms=214_000 + n,
        isrc=f"USSKG19{n:05}",
        iswc=("T0345246801", "T0000000010")[n % 2],
        upc=("036000291452", "4006381333931")[n % 2],
        grid="A12425GABC1234002M",
        ids=(ProprietaryId(namespace="label.example", value=f"CAT-{n}"),),
        parties=(
            Party(role=ROLES[n % 3], name=f"邓丽君 {n}", isni="000000012281955X"),
            Party(role=ROLES[n % 2], name=Commitment(digest("n", n)), ipi_name=Commitment(digest("i", n))),
            Party(role=PartyRole.MUSIC_PUBLISHER, lei="213800KUD8LAJWSQ9D15", member=("label", "court")[n % 2]),
        ),
        shares=(Share(party=n % 3, right=Right.ALL, territory=("CN+HK+MO", "Worldwide-CN")[n % 2], bps=10_000),),
        media=(
            Media(
                blake3=digest("b", n), sha256=digest("s", n), size=70_000 + n, media_type="audio/flac",
                sm3=digest("m", n), flac_md5=digest("f", n)[:16], iscc="ISCC:EIAWUJFCEZZOJYVD",
                chromaprint=digest("ch", n), c2pa=digest("c2", n),
                pcm=Pcm(sha256=digest("p", n), rate=(44_100, 48_000)[n % 2], channels=2, format=FORMATS[n % 2]),
            ),
        ),
        ai=AiDisclosure(
            contains=ContainsAI.PARTLY,
            contributions=(AiContribution(role=AiRole.LYRICS, ai=(ContainsAI.ALL, ContainsAI.NONE)[n % 2]),),
        ),
        training_use=(TrainingUse.RESERVED, TrainingUse.ALLOWED)[n % 2],
        licence=Licence(spdx=("CC-BY-4.0", "CC0-1.0")[n % 2], exclusive=True),
        references=(
            Reference(relation=Relation.IS_COVER_OF, statement=digest("r", n), position=n * 7),
            Reference(relation=Relation.PRIOR_REGISTRATION, external=f"国作登字-2020-B-{n}"),
        ),
        exhibits=(Exhibit(kind=ExhibitKind.CAPTURE, sha256=digest("e", n), operator=Commitment(digest("o", n))),),
        created=("1977-01-01", "2000-02-29", f"19{n % 100:02}-12-31")[n % 3],
        valid_from="2024-02-29",
        valid_until="2030-01-01",
    )  # fmt: skip


def work(n: int) -> Claim:
    """A work, found by its ISWC."""
    digits = f"{n:09}"
    check = -(1 + sum(i * int(digit) for i, digit in enumerate(digits, 1))) % 10
    return Claim(
        subject=Subject.WORK,
        title=f"Song {n}",
        iswc=f"T{digits}{check}",
        parties=tuple(Party(role=role, name=Commitment(digest(role, n))) for role in ROLES[1:]),
    )


Family = Callable[[int], Claim]
FAMILIES: tuple[Family, ...] = (plain, full, work)


def naked(n: int) -> Claim:
    """The least of a recording."""
    return replace(plain(n), parties=(), shares=(), ai=None, language=None, media=plain(n).media[:1])


# ---- spoiling --------------------------------------------------------------------------------------------------------

ODD_VALUES: tuple[CborValue, ...] = (
    "", " ", "a ", " a", "a\n", "\x7f", "a" * 128, "a" * 256, "a" * 257, "e\u0301", "\ue000", "\u3000", "ok", "CN",
    "2001-02-29", "2026-13-01", "2026-01-00",
    "None", "All", "Undeclared", "Unstated", "T0345246802", "QZABC2600001", "qzabc2600001", "Recording", "Work",
    0, 1, 23, 24, 255, 256, 65_535, 65_536, 2_592_000_000, 2_592_000_001, 2**32 - 1, 2**32, 2**48, 2**48 + 1, -1,
    b"", bytes(16), bytes(31), bytes(32), bytes(33), True, False, [], {}, ["a"],
)  # fmt: skip


@st.composite
def spoilt_values(draw: st.DrawFn, claim: bytes) -> bytes:
    """Deterministic CBOR of almost this claim: one value deep inside is another, is gone, or is there twice."""
    value = decode(claim)
    at = value
    while True:
        key, place = "", 0
        if isinstance(at, dict):
            key = draw(st.sampled_from(sorted(map(str, at))))
            item = at[key]
        else:
            assert isinstance(at, list), "only maps and lists are gone into"
            place = draw(st.integers(0, len(at) - 1))
            item = at[place]
        if isinstance(item, dict | list) and item and draw(st.integers(0, 3)):
            at = item
            continue
        change = draw(st.sampled_from(("other", "other", "gone", "again")))
        odd = draw(st.sampled_from(ODD_VALUES))
        if isinstance(at, dict):
            if change == "gone":
                del at[key]
            else:
                at[key if change == "other" else key + "x"] = odd
        elif change == "gone":
            del at[place]
        else:
            at.insert(place, item if change == "again" else odd)
            if change == "other":
                del at[place + 1]
        return encode(value)


@st.composite
def spoilt_bytes(draw: st.DrawFn, claim: bytes, others: Sequence[bytes]) -> bytes:
    """This claim with bytes changed, left out, doubled, or taken over from another."""
    start, end = sorted((draw(st.integers(0, len(claim))), draw(st.integers(0, len(claim)))))
    end = draw(st.sampled_from((end, min(len(claim), start + 1), min(len(claim), start + 2))))
    other = draw(st.sampled_from(others))
    patch = draw(
        st.sampled_from((b"", claim[start:end] * 2, other[start:end], other[start:]))
        | st.binary(min_size=1, max_size=2)
    )
    return claim[:start] + patch + claim[end:]
