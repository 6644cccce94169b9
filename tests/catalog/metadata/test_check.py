"""What the check of a catalogue finds in single rows and between them, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.claims import Names, Terms, build_claim, derived_salts
from catalog.metadata.check import Unlisted
from catalog.metadata.columns import BY_NAME
from catalog.metadata.findings import Findings, Severity
from catalog.metadata.rows import Row
from catalog.metadata.stated import claim_bytes_at_most, stated_claim
from catalog.metadata.values import read_stated
from catalog.tags import Tags
from ledger.claim import Commitment, PartyRole, parse_claim
from tests.catalog.metadata.catalogues import audio, catalogue, check, found, record, table

RAIN = {"file": "a.flac", "title": "Rain", "isrc": "USSKG1912345", "artists": "Ana Sol", "composers": "Jane Doe"}
SALTS = derived_salts(b"test")


def errors_of(tmp_path: Path, row: dict[str, str]) -> list[tuple[str, str, str]]:
    """(column, value, expected) of each error that the row has beside a good track."""
    checked = check(catalogue(tmp_path / "c", record("a.flac")), table(tmp_path / "rows.csv", RAIN | row))
    return [(one.column, one.value, one.expected) for one in found(checked) if one.severity is Severity.ERROR]


def test_a_good_row_has_no_finding_and_becomes_a_claim(tmp_path: Path) -> None:
    row = RAIN | {
        "version": "Live", "iswc": "T-034.524.680-1", "upc": "036000291452", "grid": "A1-2425G-ABC1234002-M",
        "duration": "3:25", "lyricists": "John Roe", "label": "Aurora Records", "ipi": "Jane Doe=00014107338",
        "isni": "0000 0001 2103 2683", "shares": "Jane Doe: Mechanical: 50%; John Roe: mechanicalright: ww: 5000bp; "
        "claimant: MakeAvailable: 1%", "created_date": "2026-03-01",
        "release_date": "2026-09-01", "valid_from": "2026-09-01", "valid_until": "2030-01-01", "ai": "partly",
        "ai_roles": "Vocals=None; Lyrics=partly (Quill 2)", "training_use": "reserved", "licence": "CC-BY-4.0",
        "proprietary_ids": "catalogue:AUR-1; 77", "client_reference": "AUR-0001", "language": "en",
    }  # fmt: skip
    checked = check(catalogue(tmp_path / "c", record("a.flac")), table(tmp_path / "rows.csv", row))
    assert found(checked) == []
    ((track, stated),) = checked.to_claim
    claim = parse_claim(stated_claim(track.track(tmp_path), stated, Terms(member="label"), SALTS).encoded)
    assert (claim.title, claim.isrc, claim.iswc, claim.upc) == ("Rain", "USSKG1912345", "T0345246801", "036000291452")
    assert [(one.party, one.right, one.territory, one.bps) for one in claim.shares] == [
        (2, "MechanicalRight", "Worldwide", 5000),
        (3, "MechanicalRight", "Worldwide", 5000),
        (0, "MakeAvailableRight", "Worldwide", 100),
    ]
    assert [(one.namespace, one.value) for one in claim.ids] == [
        ("catalogue", "AUR-1"), ("label", "77"), ("label", "AUR-0001"),
    ]  # fmt: skip
    assert claim.duration_ms == 205_000, "the file's, not the row's"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("iswc", "T0345246802", "T0345246801 (check digit 1)"),
        ("upc", "036000291453", "036000291452 (check digit 2)"),
        ("grid", "A12425GABC1234002N", "(check digit M)"),
        ("ipi", "Jane Doe=00014107339", "00014107338 (check digits 38)"),
        ("ipi", "Jane Doe=I-123456789-4", "I1234567893 (check digit 3)"),
        ("isni", "0000000121032684", "0000000121032683 (check digit 3)"),
        ("isrc", "USSKG191234", "2 letters, 3 letters or digits, 7 digits"),
        ("ipi", "Nobody=00014107338", "it names Ana Sol, Jane Doe"),
        ("isni", "0000000121032683; Jane Doe=X", "such as 000000012281955X"),
        ("composers", "Jane\u202eDoe", "without U+202E"),
        ("title", "x" * 257, "1 to 256 characters"),
        ("created_date", "1.3.2026", "a date YYYY-MM-DD"),
        ("created_date", "2026-02-30", "a date that exists"),
        ("duration", "three minutes", "a length such as 3:25"),
        ("language", "english!", "a language tag"),
        ("licence", "All rights reserved", "SPDX"),
        ("training_use", "no", "Allowed or Reserved"),
        ("contributors", "Mixr: Max", "did you mean Mixer?"),
        ("contributors", "Max", "Role: Name"),
        ("ai", "yes", "All, Partly or None"),
        ("ai_roles", "Vocals=All", "where ai_roles says something"),
        ("shares", "Jane Doe: 33.333%", "at most two decimals"),
        ("shares", "Jane Doe: 50", "with its unit"),
        ("shares", "Jane Doe: 101%", "at most 100%"),
        ("shares", "Jane Doe", "Name: Right: Territory: Share"),
        ("shares", "Bob: 50%", "somebody the row names: Ana Sol, Jane Doe, claimant"),
        ("shares", "Jane Doe: Performing: Atlantis: 50%", "codes"),
        ("shares", "Jane Doe: Performance: Worldwide: 50%", "a right of All"),
        ("shares", "Jane Doe: 50%; Jane Doe: All: Worldwide: 1%", "one share per name"),
        ("shares", "Jane Doe: 50%; Ana Sol: 50.01%", "the sum is 10001"),
        ("shares", "Jane Doe: Mechanical: US: 60%; Ana Sol: All: Worldwide-GB: 40.01%", "in US, the sum is 10001"),
        ("client_reference", "x" * 129, "1 to 128 characters"),
    ],
)
def test_what_is_wrong_in_a_cell_is_named_with_what_is_right(
    tmp_path: Path, column: str, value: str, said: str
) -> None:
    ((where, shown, expected),) = errors_of(tmp_path, {column: value})
    assert said in expected
    assert where == ("ai" if column == "ai_roles" else column)
    assert len(shown) <= 81


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("shares", "Jane Doe: 50%; Ana Sol: 50%"),
        ("shares", "Jane Doe: Mechanical: US: 100%; Ana Sol: Mechanical: Worldwide-US: 100%"),
        ("shares", "Jane Doe: Mechanical: 100%; Ana Sol: Performing: 100%"),
        ("shares", "Jane Doe: All: us gb: 33.330%"),
        ("ai", "undeclared"),
        ("title", "-"),
        ("artists", "-"),
        ("licence", "https://example.org/terms"),
        ("created_date", "2024-02-29"),
    ],
)
def test_what_looks_odd_and_is_right_passes(tmp_path: Path, column: str, value: str) -> None:
    assert errors_of(tmp_path, {column: value}) == []


def test_a_sum_over_the_whole_is_said_of_the_share_that_passes_it(tmp_path: Path) -> None:
    row = RAIN | {"shares": "Jane Doe: 60%; Ana Sol: 40.01%; claimant: 1%"}
    (finding,) = found(check(catalogue(tmp_path / "c", record("a.flac")), table(tmp_path / "r.csv", row)))
    assert (finding.rule, finding.value) == ("share-sum", "Ana Sol: 40.01%")


def test_numbers_of_people_are_hidden_unless_all_stand_open(tmp_path: Path) -> None:
    row = RAIN | {"isni": "0000000121032683", "ipi": "00014107338"}
    ((track, stated),) = check(
        catalogue(tmp_path / "c", record("a.flac")), table(tmp_path / "r.csv", row)
    ).to_claim  # fmt: skip
    for names, hidden in ((Names.COMMITTED, 4), (Names.ARTISTS, 3), (Names.OPEN, 0)):
        built = stated_claim(track.track(tmp_path), stated, Terms(member="label", names=names), SALTS)
        assert len(built.openings) == hidden, names
        for opening in built.openings:
            committed = getattr(built.claim.parties[opening.party], opening.field)
            assert isinstance(committed, Commitment)
            assert committed.opens_to(opening.salt, opening.value)


def test_every_fault_of_a_row_is_named_at_once(tmp_path: Path) -> None:
    wrong = {"iswc": "T1", "upc": "1", "created_date": "x", "shares": "x", "ai": "x", "title": "a\u2028b"}
    assert {column for column, *_ in errors_of(tmp_path, wrong)} == set(wrong)


def test_a_claim_too_large_is_found_before_signing(tmp_path: Path) -> None:
    names = "; ".join(f"Company {i} {'x' * 240}" for i in range(20))
    ((_, _, expected),) = errors_of(tmp_path, {"label": names})
    assert "at most 4096 bytes" in expected
    ((column, _, expected),) = errors_of(tmp_path, {"proprietary_ids": "; ".join(f"n:{i}" for i in range(17))})
    assert column == "proprietary_ids"
    assert "1 to 16" in expected


def test_an_unknown_isrc_prefix_is_a_warning(tmp_path: Path) -> None:
    checked = check(
        catalogue(tmp_path / "c", record("a.flac")), table(tmp_path / "r.csv", RAIN | {"isrc": "XXSKG1912345"})
    )  # fmt: skip
    assert [(one.severity, one.rule) for one in found(checked)] == [(Severity.WARNING, "isrc-prefix")]


# ---- row and file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "row", "column"),
    [
        ({"isrc": ("USSKG1912346",)}, {}, "isrc"),
        ({"barcode": ("036000291452",)}, {"upc": "9780471117094"}, "upc"),
        ({"title": "Sun"}, {}, "title"),
        ({"people": ((PartyRole.ARTIST, "Bo"),)}, {}, "artists"),
        ({}, {"duration": "3:28"}, "duration"),
    ],
)
def test_what_row_and_file_say_differently_is_a_warning(
    tmp_path: Path, tags: dict[str, object], row: dict[str, str], column: str
) -> None:
    checked = check(catalogue(tmp_path / "c", record("a.flac", **tags)), table(tmp_path / "r.csv", RAIN | row))
    assert [(one.severity, one.column) for one in found(checked)] == [(Severity.WARNING, column)]


def test_what_they_say_alike_in_other_words_is_none(tmp_path: Path) -> None:
    tags = {
        "isrc": ("us-skg-19-12345",), "title": "RAIN!", "barcode": ("0036000291452",),
        "people": ((PartyRole.ARTIST, "ana sol"), (PartyRole.ARTIST, "Bo")),
    }  # fmt: skip
    row = RAIN | {"duration": "3:26"}
    assert found(check(catalogue(tmp_path / "c", record("a.flac", **tags)), table(tmp_path / "r.csv", row))) == []


def test_tags_fill_what_the_row_leaves_empty_and_a_dash_keeps_them_out(tmp_path: Path) -> None:
    tags = {
        "title": "Sun", "version": "Demo", "isrc": ("USSKG1912345",), "organisations": ("Aurora Records",),
        "people": ((PartyRole.ARTIST, "Bo"), (PartyRole.CONDUCTOR, "Cy")),
    }  # fmt: skip
    row = {"file": "a.flac", "version": "-", "artists": "", "contributors": "-", "composers": "Jane Doe"}
    checked = check(catalogue(tmp_path / "c", record("a.flac", **tags)), table(tmp_path / "r.csv", row))
    ((_, stated),) = checked.to_claim
    assert (stated.title, stated.version, stated.isrc) == ("Sun", None, "USSKG1912345")
    assert {party.name for party in stated.parties} == {"Jane Doe", "Bo", "Aurora Records"}


def test_bad_tags_are_left_out_with_a_warning_and_never_an_error(tmp_path: Path) -> None:
    people = tuple((PartyRole.ARTIST, f"Artist {i}") for i in range(40))
    tags = {"title": "a\u202eb", "isrc": ("USSKG1912345", "nonsense"), "people": people, "version": "\ufffd"}
    checked = check(catalogue(tmp_path / "c", record("a.flac", **tags)))
    assert {(one.severity, one.rule) for one in found(checked)} == {(Severity.WARNING, "tag")}
    ((track, stated),) = checked.to_claim
    assert stated.isrc == "USSKG1912345"
    assert stated_claim(track.track(tmp_path), stated, Terms(member="label"), SALTS).claim.title == "a"


# ---- between rows ----------------------------------------------------------------------------------------------------

TWO = ({"file": "a.flac", "isrc": "USSKG1912345"}, {"file": "b.flac", "isrc": "USSKG1912346"})


def test_a_reference_used_twice_names_both_lines(tmp_path: Path) -> None:
    rows = tuple(row | {"client_reference": "X"} for row in TWO)
    checked = check(catalogue(tmp_path / "c", record("a.flac"), record("b.flac")), table(tmp_path / "r.csv", *rows))
    (finding,) = found(checked, "reference-twice")
    assert finding.place.line == 3
    assert "line 2" in finding.expected


@pytest.mark.parametrize(
    ("second", "severity"),
    [
        (audio("b", duration_ms=208_000), Severity.ERROR),
        (audio("b"), Severity.ERROR),
        (audio("b", rate_hz=96_000), Severity.WARNING),
        (audio("b", pcm=False), Severity.WARNING),
        (audio("b", duration_ms=208_000, pcm=False), Severity.ERROR),
        (audio("a.flac"), None),
    ],
    ids=["other length", "other samples", "other resolution", "lossy", "lossy of other length", "same samples"],
)
def test_one_isrc_on_other_audio(tmp_path: Path, second: object, severity: Severity | None) -> None:
    rows = tuple(row | {"isrc": "USSKG1912345"} for row in TWO)
    folder = catalogue(tmp_path / "c", record("a.flac"), record("b.flac", facts=second))  # type: ignore[arg-type]
    checked = check(folder, table(tmp_path / "r.csv", *rows))
    assert [one.severity for one in found(checked, "isrc-twice")] == ([severity] if severity else [])


def test_the_same_samples_under_two_isrcs_are_an_error(tmp_path: Path) -> None:
    folder = catalogue(tmp_path / "c", record("a.flac"), record("b.flac", facts=audio("a.flac")))
    (finding,) = found(check(folder, table(tmp_path / "r.csv", *TWO)), "audio-twice")
    assert finding.severity is Severity.ERROR
    assert "a.flac (r.csv, line 2)" in finding.expected


def test_the_same_bytes_are_claimed_once_where_the_rows_agree_and_are_an_error_where_not(tmp_path: Path) -> None:
    folder = catalogue(tmp_path / "c", record("a.flac", bytes_of="x"), record("b.flac", bytes_of="x"))
    alike = check(folder, table(tmp_path / "r.csv", *(row | {"isrc": "", "title": "X"} for row in TWO)))
    assert [one.severity for one in found(alike)] == [Severity.WARNING]
    assert len(list(alike.to_claim)) == 1
    unlike = check(folder, table(tmp_path / "r.csv", *TWO))
    (finding,) = found(unlike)
    assert (finding.severity, finding.column) == (Severity.ERROR, "isrc")


def test_tracks_without_a_row_are_an_error_unless_something_else_is_said(tmp_path: Path) -> None:
    folder = catalogue(tmp_path / "c", record("a.flac"), record("b.flac", title="B"))
    rows = table(tmp_path / "r.csv", TWO[0])
    (finding,) = found(check(folder, rows))
    assert (finding.severity, finding.rule, finding.track) == (Severity.ERROR, "no-row", "b.flac")
    by_tags = check(folder, rows, unlisted=Unlisted.TAGS)
    assert (found(by_tags), [stated.title for _, stated in by_tags.to_claim]) == ([], [None, "B"])
    skipped = check(folder, rows, unlisted=Unlisted.SKIP)
    assert (found(skipped), [track.path for track, _ in skipped.to_claim]) == ([], ["a.flac"])


# ---- the same verdict as the nodes' ----------------------------------------------------------------------------------


def test_tags_alone_make_the_claim_that_stretto_claim_makes(tmp_path: Path) -> None:
    track = record(
        "a.flac", title="Rain", version="Live", isrc=("USSKG1912345",), barcode=("036000291452",),
        people=((PartyRole.ARTIST, "Ana"), (PartyRole.REMIXER, "Bo")), organisations=("Aurora",),
    )  # fmt: skip
    ((_, stated),) = check(catalogue(tmp_path / "c", track)).to_claim
    terms = Terms(member="label", names=Names.ARTISTS)
    whole = track.track(tmp_path)
    assert stated_claim(whole, stated, terms, SALTS) == build_claim(whole, terms, SALTS)


NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=300)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cells=st.fixed_dictionaries(
        {},
        optional={
            "title": NAME, "version": NAME, "label": NAME, "licence": NAME, "client_reference": NAME,
            "artists": st.lists(NAME, max_size=30), "composers": st.lists(NAME, max_size=40),
            "publishers": st.lists(NAME, max_size=30), "proprietary_ids": st.lists(NAME, max_size=30),
            "shares": st.lists(st.integers(0, 700).map(lambda bps: f"claimant: US: {bps}bp"), max_size=3),
        },
    )
)  # fmt: skip
def test_what_the_check_passes_every_node_accepts(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, object]
) -> None:
    row = Row(source="r")
    for column, value in cells.items():
        values = value if isinstance(value, list) else [value]
        row.cells[column] = tuple(values) if BY_NAME[column].several else (values[0],)
    track = record("a.flac")
    from catalog.metadata.check import _check_row

    for names in Names:
        findings = Findings()
        terms = Terms(member="m" * 32, names=names)
        stated = _check_row(row, track, terms, findings)
        if findings.errors:
            continue
        encoded = stated_claim(track.track(Path()), stated, terms, SALTS).encoded
        assert len(encoded) <= claim_bytes_at_most(stated)
        parse_claim(encoded)


def test_a_fault_in_tags_of_a_row_without_track_is_still_read() -> None:
    findings = Findings()
    read_stated(Row(source="r", cells={"iswc": ("T1",)}), Tags(), findings, "")
    assert findings.errors == 1
