"""From tracks to claims: fields from tags, warnings for what is wrong, names hidden unless asked otherwise."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.claims import Names, Terms, build_claim, derived_salts, random_salts
from catalog.examine import examine, examine_all
from catalog.fingerprint import Fingerprint
from catalog.gather import gather
from catalog.manifest import TrackRecord
from catalog.scan import LeftOut, scan
from ledger.claim import Commitment, MalformedClaim, Party, PartyRole, Subject, parse_claim
from ledger.claim_vocabulary import ContainsAI
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.builders import no_salt, tagged_flac, track

TERMS = Terms(member="label")
SALTS = derived_salts(b"s" * 32)


def test_tags_and_digests_become_a_claim_that_parses(tmp_path: Path) -> None:
    seen = track(tmp_path / "x.flac", "TITLE=Große Fuge", "ISRC=zz-str-26-00001", "ISWC=T-034.524.680-1")
    built = build_claim(seen, TERMS, SALTS)
    claim = parse_claim(built.encoded)
    assert claim == built.claim
    assert (claim.subject, claim.title, claim.isrc, claim.iswc) == (
        Subject.RECORDING, "Große Fuge", "ZZSTR2600001", "T0345246801",
    )  # fmt: skip
    (media,) = claim.media
    assert (media.blake3, media.sha256) == (seen.digests.blake3, seen.digests.sha256)
    assert (media.size, media.media_type) == (seen.digests.size_bytes, "audio/flac")
    assert media.pcm is not None
    assert (media.pcm.rate, media.pcm.channels, media.pcm.format) == (44_100, 2, "s16le")
    assert media.flac_md5 == seen.facts.flac_md5
    assert claim.duration_ms == 2000
    assert claim.contains_ai is ContainsAI.UNDECLARED
    assert built.warnings == ()


def test_the_claimant_comes_first_then_people_then_organisations(tmp_path: Path) -> None:
    seen = track(tmp_path / "x.flac", "ARTIST=Ada", "COMPOSER=Bo", "PUBLISHER=Aurora Records")
    parties = build_claim(seen, TERMS, SALTS).claim.parties
    assert [party.role for party in parties] == [
        PartyRole.COPYRIGHT_CLAIMANT, PartyRole.ARTIST, PartyRole.COMPOSER, PartyRole.PRODUCTION_COMPANY,
    ]  # fmt: skip
    assert parties[0] == Party(role=PartyRole.COPYRIGHT_CLAIMANT, member="label")
    assert parties[3].name == "Aurora Records"


# ---- names -----------------------------------------------------------------------------------------------------------


def test_people_are_committed_and_their_openings_open_them(tmp_path: Path) -> None:
    built = build_claim(track(tmp_path / "x.flac", "ARTIST=Ada", "COMPOSER=Bo"), TERMS, SALTS)
    assert b"Ada" not in built.encoded
    assert b"Bo" not in built.encoded
    assert [opening.value for opening in built.openings] == ["Ada", "Bo"]
    for opening in built.openings:
        name = built.claim.parties[opening.party].name
        assert isinstance(name, Commitment)
        assert name.opens_to(opening.salt, opening.value)
        assert not name.opens_to(opening.salt, "Eve")
        assert name.digest == hmac.digest(opening.salt, opening.value.encode(), hashlib.sha256)


@pytest.mark.parametrize(
    ("names", "shown"), [(Names.COMMITTED, []), (Names.ARTISTS, ["Ada"]), (Names.OPEN, ["Ada", "Bo"])]
)
def test_names_stand_open_only_where_the_claimant_says_so(tmp_path: Path, names: Names, shown: list[str]) -> None:
    seen = track(tmp_path / "x.flac", "ARTIST=Ada", "COMPOSER=Bo")
    built = build_claim(seen, Terms(member="label", names=names), SALTS)
    assert [party.name for party in built.claim.parties if isinstance(party.name, str)] == shown
    assert len(built.openings) == 2 - len(shown)


def test_derived_salts_repeat_for_their_owner_and_for_nobody_else() -> None:
    mine, yours = derived_salts(b"a" * 32), derived_salts(b"b" * 32)
    salt = mine(b"1" * 32, PartyRole.ARTIST, "Ada")
    assert salt == derived_salts(b"a" * 32)(b"1" * 32, PartyRole.ARTIST, "Ada")
    others = {
        yours(b"1" * 32, PartyRole.ARTIST, "Ada"),
        mine(b"2" * 32, PartyRole.ARTIST, "Ada"),
        mine(b"1" * 32, PartyRole.COMPOSER, "Ada"),
        mine(b"1" * 32, PartyRole.ARTIST, "Ade"),
    }
    assert len(others | {salt}) == 5
    assert len(salt) == 32


def test_one_persons_commitments_in_two_claims_cannot_be_linked(tmp_path: Path) -> None:
    first = build_claim(track(tmp_path / "x.flac", "ARTIST=Ada", "TITLE=1"), TERMS, SALTS)
    second = build_claim(track(tmp_path / "y.flac", "ARTIST=Ada", "TITLE=2"), TERMS, SALTS)
    assert first.claim.parties[1].name != second.claim.parties[1].name


def test_random_salts_never_repeat(tmp_path: Path) -> None:
    seen = track(tmp_path / "x.flac", "ARTIST=Ada")
    assert build_claim(seen, TERMS, random_salts).encoded != build_claim(seen, TERMS, random_salts).encoded
    assert build_claim(seen, TERMS, SALTS).encoded == build_claim(seen, TERMS, SALTS).encoded


# ---- what is wrong in tags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["US-1", "12345", "ZZSTR26000011", "ISRC TBA"])
def test_an_invalid_isrc_is_left_out_with_a_warning_that_names_it(tmp_path: Path, bad: str) -> None:
    built = build_claim(track(tmp_path / "x.flac", f"ISRC={bad}"), TERMS, SALTS)
    assert built.claim.isrc is None
    (warning,) = built.warnings
    assert repr(bad) in warning
    assert "ISRC" in warning


def test_the_valid_one_of_two_isrcs_is_taken_and_a_third_is_named(tmp_path: Path) -> None:
    seen = track(tmp_path / "x.flac", "ISRC=nonsense", "ISRC=ZZSTR2600001", "ISRC=ZZSTR2600002")
    built = build_claim(seen, TERMS, SALTS)
    assert built.claim.isrc == "ZZSTR2600001"
    assert ["nonsense" in built.warnings[0], "ZZSTR2600002" in built.warnings[1]] == [True, True]


def test_a_wrong_check_digit_says_which_would_be_right(tmp_path: Path) -> None:
    built = build_claim(track(tmp_path / "x.flac", "ISWC=T-034.524.680-2"), TERMS, SALTS)
    assert built.claim.iswc is None
    assert "T0345246801" in built.warnings[0]


def test_an_isrc_of_an_unknown_registrant_is_kept_and_doubted(tmp_path: Path) -> None:
    built = build_claim(track(tmp_path / "x.flac", "ISRC=XXSTR2600001"), TERMS, SALTS)
    assert built.claim.isrc == "XXSTR2600001"
    assert "prefix XX" in built.warnings[0]


@pytest.mark.parametrize("bad", ["evil\u202etitle", "x" * 300, "tab\there", "gar\ufffdbled"])
def test_a_title_that_may_not_stand_in_a_record_gives_way_to_the_files_name(tmp_path: Path, bad: str) -> None:
    built = build_claim(track(tmp_path / "A Song.flac", f"TITLE={bad}"), TERMS, SALTS)
    assert built.claim.title == "A Song"
    assert "title" in built.warnings[0]


def test_a_file_without_title_and_without_a_usable_name_is_known_by_its_digest(tmp_path: Path) -> None:
    seen = track(tmp_path / os.fsdecode(b"\xff\xfe.flac"))
    assert build_claim(seen, TERMS, SALTS).claim.title == f"Untitled {seen.digests.blake3.hex()[:8]}"


def test_a_name_in_decomposed_form_becomes_a_composed_title(tmp_path: Path) -> None:
    assert build_claim(track(tmp_path / "U\u0308ber.flac"), TERMS, SALTS).claim.title == "Über"


def test_more_people_than_a_claim_takes_are_cut_with_a_warning(tmp_path: Path) -> None:
    people = [f"{tag}={'ß' * 200}{i:02}" for i in range(16) for tag in ("ARTIST", "COMPOSER", "LYRICIST")]
    built = build_claim(track(tmp_path / "x.flac", *people), TERMS, SALTS)
    assert len(built.claim.parties) == 25
    assert "first 24" in built.warnings[0]
    with pytest.raises(LeftOut, match="at most 4096 bytes"):
        build_claim(track(tmp_path / "x.flac", *people), Terms(member="label", names=Names.OPEN), SALTS)


def test_a_date_that_does_not_exist_is_refused_before_any_work() -> None:
    assert Terms(member="label", created="2024-02-29").created == "2024-02-29"
    with pytest.raises(MalformedClaim, match="a date that exists"):
        Terms(member="label", created="2026-02-29")


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_bad_files_are_left_out_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    tagged_flac(tmp_path / "1 good.flac", "TITLE=One")
    (tmp_path / "2 empty.wav").touch()
    (tmp_path / "3 notes.txt").write_text("not music")
    whole = tagged_flac(tmp_path / "4 cut.flac", "TITLE=Four").read_bytes()
    (tmp_path / "4 cut.flac").write_bytes(whole[:-100])
    tagged_flac(tmp_path / "5" / "good.flac", "TITLE=Five", "ISRC=bad")
    seen: list[LeftOut | None] = []
    gathered = gather([*scan([tmp_path, tmp_path / "6 gone"])], TERMS, no_salt, done=seen.append)
    assert [built.claim.title for built in gathered.claims] == ["One", "Five"]
    assert [left_out.path.name for left_out in gathered.left_out] == [
        "2 empty.wav",
        "3 notes.txt",
        "4 cut.flac",
        "6 gone",
    ]
    assert [left_out is None for left_out in seen] == [True, False, False, False, True, False]
    assert gathered.left_out[0].reason == "empty"
    ((path, note),) = gathered.notes
    assert path.name == "good.flac"
    assert "'bad'" in note


def test_the_same_bytes_twice_are_claimed_once_and_said_so(tmp_path: Path) -> None:
    for name in ("a.flac", "b.flac"):
        tagged_flac(tmp_path / name, "TITLE=Same")
    gathered = gather(scan([tmp_path]), TERMS, no_salt)
    assert [built.path.name for built in gathered.claims] == ["a.flac"]
    ((path, note),) = gathered.notes
    assert path.name == "b.flac"
    assert "a.flac" in note


def test_a_file_replaced_between_two_readings_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tagged_flac(tmp_path / "a.flac", "TITLE=Old")
    other = tagged_flac(tmp_path / "b", "TITLE=New")

    def swap(where: Path) -> object:
        other.replace(where)
        return None

    monkeypatch.setattr("catalog.examine.read_tags", swap)
    (only,) = examine_all([path])
    assert isinstance(only, LeftOut)
    assert "changed while it was being read" in only.reason


# ---- from a scanned folder -------------------------------------------------------------------------------------------


def test_a_claim_made_of_a_manifests_record_is_the_one_made_of_the_file_and_adds_the_fingerprint(
    tmp_path: Path,
) -> None:
    path = tagged_flac(tmp_path / "music" / "song.flac", "TITLE=Song", "ARTIST=Somebody")
    seen = examine(path)
    heard = replace(seen, chromaprint=Fingerprint(algorithm=2, sha256=bytes(range(32)), items=3))
    record = TrackRecord.parse(TrackRecord.of(heard, tmp_path / "music").encode())
    terms = Terms(member="label")
    plain = build_claim(seen, terms, no_salt)
    from_manifest = build_claim(record.track(tmp_path / "music"), terms, no_salt)
    assert from_manifest.claim.media[0].chromaprint == bytes(range(32))
    assert plain.claim.media[0].chromaprint is None, "a claim made straight from files asks no other program"
    media = replace(from_manifest.claim.media[0], chromaprint=None)
    assert replace(from_manifest.claim, media=(media,)) == plain.claim


@pytest.mark.parametrize(("name", "form"), [("float.wav", "f32le"), ("double.wav", "f64le")])
def test_a_floating_point_master_is_claimed_by_its_samples_too(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(next(kind for kind in KINDS if kind.name == name)))
    seen = examine(tmp_path / "a.wav")
    assert seen.facts.pcm is not None
    pcm = build_claim(seen, Terms(member="label"), no_salt).claim.media[0].pcm
    assert pcm is not None
    assert (pcm.sha256, pcm.format, pcm.channels) == (seen.facts.pcm.sha256, form, 2)
