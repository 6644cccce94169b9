"""Checking a catalogue's claims together says of every set of claims what parsing them one by one says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import claim_check
from ledger.cbor import encode
from ledger.claim import CLAIM_BYTES_MAX, Claim, Exhibit, ExhibitKind, claim_keys, claim_value, parse_claim
from ledger.claim_check import SAMPLE_CLAIMS, TEMPLATES_MAX, TRIED_MIN, BodyKeys, alone_keys, body_keys, check_claims
from ledger.claim_template import SLOTS_MAX, Shape, Template
from ledger.errors import InvalidIdentifier, MalformedClaim
from tests.ledger.builders import make_claim
from tests.ledger.claim_families import FAMILIES, Family, full, naked, plain, spoilt_bytes, spoilt_values, work


def one_by_one(claims: Sequence[bytes]) -> BodyKeys | tuple[type[MalformedClaim], str]:
    """The naive twin: keys, or how the first claim that is refused is refused."""
    keys = []
    for position, data in enumerate(claims):
        try:
            keys.append(claim_keys(parse_claim(data)))
        except MalformedClaim as error:
            field = error.field.removeprefix("claim").removeprefix(".")
            return type(error), str(type(error)(field, error.value, error.expected).within(f"claims[{position}]"))
    return body_keys(keys)


def together(claims: Sequence[bytes]) -> BodyKeys | tuple[type[MalformedClaim], str]:
    try:
        return check_claims(claims)
    except MalformedClaim as error:
        return type(error), str(error)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Claims that were parsed for themselves, without those of the samples."""
    seen: list[bytes] = []
    parse = claim_check._Check._parse

    def note(check: claim_check._Check, position: int) -> object:
        seen.append(check._claims[position])
        return parse(check, position)

    monkeypatch.setattr(claim_check._Check, "_parse", note)
    return seen


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates are made for a handful of claims already."""
    monkeypatch.setattr(claim_check, "TRIED_MIN", 2)
    monkeypatch.setattr(claim_check, "SAMPLE_CLAIMS", 5)


# ---- the same as one by one ------------------------------------------------------------------------------------------

numbers = st.integers(0, 60)
alike = st.sampled_from((*FAMILIES, naked)).flatmap(
    lambda family: st.lists(numbers.map(family), min_size=1, max_size=30)
)
catalogues = st.lists(alike, min_size=1, max_size=4).map(lambda several: [c.encode() for some in several for c in some])


@pytest.mark.usefixtures("_small")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogues.flatmap(st.permutations))
def test_valid_claims_are_found_by_the_same_keys(claims: list[bytes]) -> None:
    keys = one_by_one(claims)
    assert isinstance(keys, BodyKeys)
    assert check_claims(claims) == keys


@pytest.mark.usefixtures("_small")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogues.flatmap(st.permutations), st.data())
def test_spoilt_claims_are_refused_in_the_same_words(claims: list[bytes], data: st.DataObject) -> None:
    for at in data.draw(st.lists(st.integers(0, len(claims) - 1), min_size=1, max_size=3, unique=True)):
        claims[at] = data.draw(spoilt_values(claims[at]) | spoilt_bytes(claims[at], claims))
    assert together(claims) == one_by_one(claims)


def test_the_first_wrong_claim_is_named_though_a_later_one_is_parsed_first() -> None:
    """Position 900 breaks the pattern and is parsed; 100 fits it, and its title is looked at with all the others."""
    claims = [plain(n).encode() for n in range(1_000)]
    claims[900] = claims[900].replace(b"isrc", b"isrd")
    claims[100] = claims[100].replace(b" 100", b"\n100")
    with pytest.raises(MalformedClaim) as caught:
        check_claims(claims)
    assert caught.value.field == "claims[100].title"
    assert together(claims) == one_by_one(claims)
    claims[50] = claims[50].replace(b"QZABC2600050", b"QZABC260005X")
    with pytest.raises(InvalidIdentifier) as wrong:
        check_claims(claims)
    assert wrong.value.field == "claims[50].isrc"


def test_a_claim_over_the_bound_is_refused_though_it_fits() -> None:
    claims = [make_claim(seed).encode() for seed in range(400)] + [bytes(CLAIM_BYTES_MAX + 1)]
    assert together(claims) == one_by_one(claims)
    assert not isinstance(together(claims), BodyKeys)


def test_keys_of_one_claim_stand_as_its_files_do() -> None:
    several = [plain(n) for n in range(300)]
    keys = check_claims([claim.encode() for claim in several])
    assert list(keys.blake3) == [(n, media.blake3) for n, claim in enumerate(several) for media in claim.media]
    assert list(keys.sha256) == [(n, media.sha256) for n, claim in enumerate(several) for media in claim.media]
    assert list(keys.isrc) == [(n, str(claim.isrc).encode()) for n, claim in enumerate(several)]


def test_a_claim_that_fits_and_leaves_a_doubt_is_counted_once(parsed: list[bytes]) -> None:
    """A text over the template's bound that ends where the next key is: doubted, parsed, and valid."""
    claims = [full(n).encode() for n in range(300)]
    claims[77] = replace(full(77), version="x" * 200).encode()
    assert check_claims(claims) == one_by_one(claims)
    assert claims[77] in parsed


def test_a_claim_over_the_bound_is_refused_though_all_its_parts_were_seen_in_others() -> None:
    def claim(n: int, *long: int) -> bytes:
        lines = ["y" * 500 if i in long else "x" for i in range(8)]
        exhibits = tuple(Exhibit(kind=ExhibitKind.OTHER, sha256=bytes(32), cleanliness=line) for line in lines)
        value = claim_value(replace(naked(n), exhibits=exhibits))
        return encode(value)

    claims = [claim(n, *((0, 1, 2, 3) if n % 2 else (4, 5, 6, 7))) for n in range(400)]
    assert isinstance(together(claims), BodyKeys)
    claims[301] = claim(301, *range(8))
    assert len(claims[301]) > CLAIM_BYTES_MAX
    assert together(claims) == one_by_one(claims)
    assert not isinstance(together(claims), BodyKeys)


@pytest.mark.parametrize("claim", [naked(1), plain(1), work(1), replace(plain(1), isrc=None)])
def test_the_keys_of_one_claim_are_those_of_a_body_of_one(claim: Claim) -> None:
    assert alone_keys(claim_keys(claim)) == body_keys([claim_keys(claim)])


def test_no_claims_have_no_keys() -> None:
    assert list(check_claims([]).blake3) == []


# ---- what is parsed, and what need not be ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, naked])
def test_claims_that_are_alike_are_not_parsed_one_by_one(family: Family, parsed: list[bytes]) -> None:
    claims = [family(n).encode() for n in range(1_000)]
    assert check_claims(claims) == one_by_one(claims)
    assert len(parsed) < 20


def test_a_few_claims_are_parsed_one_by_one(parsed: list[bytes]) -> None:
    claims = [plain(n).encode() for n in range(TRIED_MIN - 1)]
    assert check_claims(claims) == one_by_one(claims)
    assert parsed == claims


def test_several_kinds_of_claims_have_a_template_each(parsed: list[bytes]) -> None:
    claims = [family(n).encode() for n in range(600) for family in (plain, full, work, naked)]
    assert check_claims(claims) == one_by_one(claims)
    assert len(parsed) < 60


def test_a_value_seen_once_need_not_be_parsed_again(parsed: list[bytes]) -> None:
    """Some hundred languages that no sample shows: one claim of each is parsed."""
    claims = [replace(plain(n), language=f"en-x{n // 4 % 200:03}").encode() for n in range(4_000)]
    assert check_claims(claims) == one_by_one(claims)
    assert 100 < len(parsed) < 300


def test_rare_claims_among_many_are_parsed(parsed: list[bytes]) -> None:
    claims = [(full if n % 400 == 7 else plain)(n).encode() for n in range(4_000)]
    assert check_claims(claims) == one_by_one(claims)
    assert {full(n).encode() for n in range(4_000) if n % 400 == 7} <= set(parsed)
    assert len(parsed) < 60


# ---- what cannot be driven up ----------------------------------------------------------------------------------------


def test_the_number_of_templates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Shape] = []

    def make(shape: Shape) -> Template:
        made.append(shape)
        return Template(shape)

    monkeypatch.setattr(claim_check, "Template", make)
    optional = ("isrc", "duration_ms", "language", "ai")
    sixteen_shapes = []
    for n in range(16 * TRIED_MIN):
        absent: dict[str, Any] = {name: None for i, name in enumerate(optional) if n >> i & 1}
        sixteen_shapes.append(replace(plain(n), **absent))
    claims = [claim.encode() for claim in sixteen_shapes]
    assert check_claims(claims) == one_by_one(claims)
    assert 0 < len(made) <= TEMPLATES_MAX


def test_a_claim_of_very_many_parts_gets_no_template(parsed: list[bytes]) -> None:
    parties = tuple(replace(plain(0).parties[0], name=f"Player {i}") for i in range(SLOTS_MAX // 2))
    claims = [replace(plain(n), parties=parties, shares=()).encode() for n in range(TRIED_MIN)]
    assert check_claims(claims) == one_by_one(claims)
    assert parsed == claims


def test_what_is_learned_of_ever_new_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Shape] = []
    learn = Shape.learn

    def note(shape: Shape, values: Iterable[bytes]) -> None:
        learned.append(shape)
        learn(shape, values)

    monkeypatch.setattr(Shape, "learn", note)
    claims = [replace(plain(n), language=f"en-x{n:04}").encode() for n in range(2_000)]
    assert check_claims(claims) == one_by_one(claims)
    assert len(learned) <= claim_check.UNSEEN_MAX + SAMPLE_CLAIMS + 2
