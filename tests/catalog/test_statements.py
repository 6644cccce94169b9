"""One statement out of many claims, the file it travels in, and the openings that stay at home."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.claims import Terms, TrackClaim, build_claim, derived_salts
from catalog.statements import check_claimant, client_reference, encode_openings, sign_claims
from catalog.submission import MalformedSubmission, Submission, parse_submission
from consensus.types import PublicKey
from ledger.catalogue import CatalogueHeader, check_catalogue
from ledger.claim import Claim, Commitment, parse_claim
from ledger.errors import InvalidStatementSignature, RoleForbids, StatementError, UnknownMember
from ledger.evidence_archive import encode_archive
from ledger.statement import StatementKind, check_statement, parse_statement
from tests.catalog.builders import track
from tests.ledger.builders import Consortium, make_consortium, private_key, public_key

TERMS = Terms(member="label")


@pytest.fixture(scope="module")
def music() -> Consortium:
    return make_consortium()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[TrackClaim]:
    folder = tmp_path_factory.mktemp("music")
    salts = derived_salts(b"k" * 32)
    return [
        build_claim(track(folder / f"{title}.flac", f"TITLE={title}", f"ARTIST=Ada {title}"), TERMS, salts)
        for title in ("One", "Two", "Three")
    ]


def sign(music: Consortium, claims: list[TrackClaim], *, member: str = "label", **more: object) -> Submission:
    return sign_claims(
        claims,
        roster=music.genesis.roster,
        member=member,
        public_key=public_key(member, "statement"),
        sign=private_key(member, "statement").sign,
        **more,  # type: ignore[arg-type]
    ).submission


# ---- statements ------------------------------------------------------------------------------------------------------


def test_one_claim_is_a_claim_and_several_are_one_catalogue(music: Consortium, three: list[TrackClaim]) -> None:
    single = sign(music, three[:1])
    assert (single.manifest, single.chunks, single.blobs) == (b"", (), ())
    statement = parse_statement(single.statement)
    assert (statement.kind, statement.body) == (StatementKind.CLAIM, three[0].encoded)

    several = sign(music, three)
    statement = parse_statement(several.statement)
    assert isinstance(statement.content, CatalogueHeader)
    assert check_catalogue(statement.content, several.manifest, several.chunks) == tuple(c.encoded for c in three)
    assert several.blobs == (several.manifest, *several.chunks)
    check_statement(statement, music.genesis.roster)


def test_a_single_file_may_be_a_catalogue_too(music: Consortium, three: list[TrackClaim]) -> None:
    assert parse_statement(sign(music, three[:1], as_catalogue=True).statement).kind is StatementKind.CATALOGUE


def test_the_same_claims_give_the_same_bytes(music: Consortium, three: list[TrackClaim]) -> None:
    assert sign(music, three).encode() == sign(music, three).encode()
    assert sign(music, three).encode() != sign(music, three[::-1]).encode()


def test_the_reference_depends_on_the_files_and_on_nothing_else(
    tmp_path: Path, music: Consortium, three: list[TrackClaim]
) -> None:
    seen = track(tmp_path / "x.flac", "TITLE=X", "ARTIST=Ada")
    first = build_claim(seen, TERMS, derived_salts(b"a" * 32))
    second = build_claim(seen, Terms(member="label", created="2026-01-01"), derived_salts(b"b" * 32))
    assert first.encoded != second.encoded
    assert client_reference([first]) == client_reference([second])
    assert client_reference(three) == client_reference(three[::-1])
    assert client_reference(three) != client_reference(three[:2])
    assert len(client_reference(three * 5000)) <= 64
    assert parse_statement(sign(music, three, client_ref="Autumn 2026").statement).client_ref == "Autumn 2026"


@pytest.mark.parametrize(("member", "error"), [("court", RoleForbids), ("nobody", UnknownMember)])
def test_who_may_not_claim_learns_it_before_hashing(
    music: Consortium, member: str, error: type[StatementError]
) -> None:
    check_claimant(music.genesis.roster, "label", public_key("label", "statement"), as_catalogue=True)
    with pytest.raises(error):
        check_claimant(music.genesis.roster, member, public_key(member, "statement"), as_catalogue=True)


def test_another_members_key_is_refused_before_and_at_signing(music: Consortium, three: list[TrackClaim]) -> None:
    with pytest.raises(InvalidStatementSignature):
        check_claimant(music.genesis.roster, "label", public_key("society", "statement"), as_catalogue=False)
    with pytest.raises(InvalidStatementSignature):
        sign_claims(
            three,
            roster=music.genesis.roster,
            member="label",
            public_key=PublicKey(public_key("label", "statement")),
            sign=private_key("society", "statement").sign,
        )


# ---- openings --------------------------------------------------------------------------------------------------------


def test_openings_open_every_commitment_of_the_statement(music: Consortium, three: list[TrackClaim]) -> None:
    signed = sign_claims(
        three,
        roster=music.genesis.roster,
        member="label",
        public_key=public_key("label", "statement"),
        sign=private_key("label", "statement").sign,
    )
    document = json.loads(encode_openings(signed))
    assert document["statement"] == signed.statement.digest.hex()
    claims = check_catalogue(signed.statement.content, signed.submission.manifest, signed.submission.chunks)  # type: ignore[arg-type]
    opened = 0
    for opening in document["openings"]:
        claim: Claim = parse_claim(claims[opening["position"]])
        name = claim.parties[int(opening["field"].removeprefix("parties[").removesuffix("].name"))].name
        assert isinstance(name, Commitment)
        assert name.opens_to(bytes.fromhex(opening["salt"]), opening["value"])
        opened += 1
    committed = sum(isinstance(p.name, Commitment) for c in claims for p in parse_claim(c).parties)
    assert opened == committed == 3


def test_nothing_of_the_openings_is_in_what_is_submitted(music: Consortium, three: list[TrackClaim]) -> None:
    data = sign(music, three).encode()
    for claim in three:
        for opening in claim.openings:
            assert opening.value.encode() not in data
            assert opening.salt not in data


# ---- the .stretto file -----------------------------------------------------------------------------------------------


@given(
    statement=st.binary(min_size=1, max_size=500),
    manifest=st.binary(max_size=64),
    chunks=st.lists(st.binary(max_size=300), max_size=12),
)
def test_a_submission_survives_its_file(statement: bytes, manifest: bytes, chunks: list[bytes]) -> None:
    submission = Submission(statement=statement, manifest=manifest, chunks=tuple(chunks) if manifest else ())
    assert parse_submission(submission.encode()) == submission


def test_any_zip_tool_can_open_it(music: Consortium, three: list[TrackClaim]) -> None:
    submission = sign(music, three)
    with zipfile.ZipFile(io.BytesIO(submission.encode())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["statement.cose", "manifest", "chunk-00000"]
        assert archive.read("statement.cose") == submission.statement


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_unnoticed(at: int, bit: int) -> None:
    whole = bytearray(Submission(statement=b"statement", manifest=b"m" * 32, chunks=(b"c" * 50,)).encode())
    whole[at % len(whole)] ^= 1 << bit
    with pytest.raises(MalformedSubmission):
        parse_submission(bytes(whole))


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all" * 100])
def test_what_is_no_submission_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedSubmission):
        parse_submission(data)


def test_what_other_programs_pack_is_refused_before_it_unpacks() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("statement.cose", bytes(50_000_000))
    with pytest.raises(MalformedSubmission, match=r"statement\.cose"):
        parse_submission(bomb.getvalue())


@pytest.mark.parametrize(
    "files",
    [
        {"manifest": b"m"},
        {"statement.cose": b"s", "extra": b"x"},
        {"statement.cose": b"s", "chunk-00000": b"c"},
        {"statement.cose": b"s", "manifest": b""},
        {"statement.cose": b"s", "manifest": b"m", "chunk-00001": b"c"},
        {"manifest": b"m", "statement.cose": b"s"},
    ],
    ids="+".join,
)
def test_other_entries_or_another_order_are_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(MalformedSubmission, match="entries"):
        parse_submission(encode_archive(files))
