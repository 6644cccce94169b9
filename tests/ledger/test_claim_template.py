"""Templates of claims: they never accept what `parse_claim` refuses, and seldom doubt what it accepts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.cbor import decode, encode
from ledger.claim import DURATION_MS_MAX, Claim, claim_keys, parse_claim
from ledger.claim_template import TEXT_BYTES_MAX, Shape, Slot, Template, take_apart
from ledger.errors import MalformedClaim
from tests.ledger.claim_families import FAMILIES, Family, full, plain, spoilt_bytes, spoilt_values, work
from tests.ledger.test_claim import FULL, claim_values

SEEN = range(12)


def shape_of(family: Family, numbers: range = SEEN) -> Shape:
    """What was learned from some claims of a family that have one skeleton."""
    shapes: dict[object, Shape] = {}
    for n in numbers:
        skeleton, values = take_apart(decode(family(n).encode()))
        shapes.setdefault(skeleton, Shape(skeleton)).learn(values)
    (shape,) = shapes.values()
    return shape


TEMPLATES: dict[Family, Template] = {family: Template(shape_of(family)) for family in FAMILIES}
CLAIMS: dict[Family, list[bytes]] = {family: [family(n).encode() for n in SEEN] for family in FAMILIES}


def keys_by_template(template: Template, data: bytes) -> list[tuple[str, bytes]] | None:
    """Index keys of a claim that the template proves valid, else None."""
    match = template.fullmatch(data)
    if match is None:
        return None
    columns = [(group,) for group in match.groups()]
    if any(template.doubtful(columns)):
        return None
    return sorted((slot.name.lower(), columns[group][0]) for slot, group in template.key_groups())


def keys_by_parsing(data: bytes) -> list[tuple[str, bytes]] | None:
    try:
        return sorted(claim_keys(parse_claim(data)))
    except MalformedClaim:
        return None


def assert_sound(template: Template, data: bytes) -> bool:
    """Whether the template accepts: then the claim is valid, with these keys."""
    found = keys_by_template(template, data)
    if found is None:
        return False
    assert found == keys_by_parsing(data), data.hex()
    return True


# ---- taking apart ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(claim_values)
def test_literals_and_values_put_together_are_the_claim(claim: Claim) -> None:
    data = claim.encode()
    skeleton, values = take_apart(decode(data))
    parts = [part for pair in zip(skeleton.literals, values, strict=False) for part in pair]
    assert b"".join([*parts, skeleton.literals[-1]]) == data
    assert len(skeleton.literals) == len(skeleton.slots) + 1 == len(values) + 1
    assert all(skeleton.literals[:-1])


def test_what_depends_on_each_other_is_not_taken_apart() -> None:
    skeleton, values = take_apart(decode(FULL.encode()))
    structure = b"\xff".join(skeleton.literals)
    for pinned in (b"iRecording", b"kvalid_until", b"2024-02-29", b"2030-01-01"):
        assert pinned in structure
    value = decode(FULL.encode())
    assert isinstance(value, dict)
    for whole in ("shares", "ai", "licence"):
        assert (Slot.KNOWN, encode(value[whole])) in zip(skeleton.slots, values, strict=True)


# ---- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_claims_like_those_seen_are_proved_valid(family: Family) -> None:
    """Also new ones, where their digests, numbers, names and titles are new and the rest has been seen."""
    template = TEMPLATES[family]
    for n in range(48):
        data = family(n).encode()
        assert keys_by_template(template, data) == keys_by_parsing(data), n


@pytest.mark.parametrize("family", FAMILIES)
def test_every_changed_byte_is_accepted_only_where_the_claim_stays_valid(family: Family) -> None:
    template, valid = TEMPLATES[family], CLAIMS[family][5]
    accepted = 0
    for at, byte in enumerate(valid):
        for other in {byte ^ 1 << bit for bit in range(8)} | {byte + 1 & 255, 0, 0x20, 0x30, 0x41, 0x61, 0xFF}:
            accepted += assert_sound(template, valid[:at] + bytes((other,)) + valid[at + 1 :])
        assert_sound(template, valid[:at] + valid[at + 1 :])
        assert_sound(template, valid[:at] + valid[at : at + 1] + valid[at:])
        assert_sound(template, valid[:at])
    assert accepted > 200, "digests and texts may have almost any other bytes"


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_spoilt_claim_is_accepted_only_where_it_is_valid(family: Family, data: st.DataObject) -> None:
    claim = data.draw(st.sampled_from(CLAIMS[family]))
    spoilt = data.draw(spoilt_values(claim) | spoilt_bytes(claim, CLAIMS[family]))
    for template in TEMPLATES.values():
        assert_sound(template, spoilt)


@settings(max_examples=80, deadline=None)
@given(st.lists(claim_values, min_size=1, max_size=4), st.data())
def test_templates_of_any_claims_accept_only_valid_ones(claims: list[Claim], data: st.DataObject) -> None:
    skeleton, values = take_apart(decode(claims[0].encode()))
    shape = Shape(skeleton)
    shape.learn(values)
    for claim in claims[1:]:
        other, values = take_apart(decode(claim.encode()))
        if other == skeleton:
            shape.learn(values)
    template = Template(shape)
    encoded = [claim.encode() for claim in claims]
    for valid in encoded:
        assert_sound(template, valid)
        assert_sound(template, data.draw(spoilt_values(valid) | spoilt_bytes(valid, encoded)))


@pytest.mark.parametrize("field", ["duration_ms", "size", "position"])
def test_a_number_is_accepted_only_in_its_shortest_form_and_range(field: str) -> None:
    claim = full(1)
    template, data = TEMPLATES[full], claim.encode()
    value = {"duration_ms": claim.duration_ms, "size": claim.media[0].size, "position": claim.references[0].position}[
        field
    ]
    key = encode(field)
    assert value is not None
    edges = {
        0,
        1,
        23,
        24,
        255,
        256,
        2**16 - 1,
        2**16,
        0x99FF_FFFF,
        0x9A00_0000,
        DURATION_MS_MAX,
        2**32,
        2**48 - 1,
        2**48,
    }
    accepted = 0
    for edge in sorted(edges | {edge + step for edge in edges for step in (-1, 1) if edge + step >= 0}):
        for width, initial in ((0, edge), (1, 0x18), (2, 0x19), (4, 0x1A), (8, 0x1B)):
            if edge < (24 if width == 0 else 256**width):
                number = bytes((initial,)) + (edge.to_bytes(width, "big") if width else b"")
                accepted += assert_sound(template, data.replace(key + encode(value), key + number))
                accepted += assert_sound(template, data.replace(key + encode(value), key + b"\x3b" + number[1:]))
    assert accepted >= 12


# ---- the rules over several slots ------------------------------------------------------------------------------------


def test_the_same_party_twice_is_not_accepted() -> None:
    data = plain(3).encode()
    twice = data.replace(b"hSinger 3", b"jEnsemble 3")
    assert keys_by_template(TEMPLATES[plain], data) is not None
    assert TEMPLATES[plain].fullmatch(twice) is not None
    assert keys_by_template(TEMPLATES[plain], twice) is keys_by_parsing(twice) is None


def test_the_same_party_as_one_that_never_changed_is_not_accepted() -> None:
    """The first party is the same in all claims seen, so it stands in the pattern; the second may become its like."""

    def family(n: int) -> Claim:
        claim = plain(n).encode()
        return parse_claim(claim.replace(b"jEnsemble %d" % (n % 7), b"jEnsemble 0"))

    template, data = Template(shape_of(family)), family(3).encode()
    twice = data.replace(b"hSinger 3", b"jEnsemble 0")
    assert keys_by_template(template, data) is not None
    assert template.fullmatch(twice) is not None
    assert keys_by_template(template, twice) is keys_by_parsing(twice) is None


def test_the_same_file_twice_is_not_accepted() -> None:
    claim = plain(3)
    data = claim.encode()
    twice = data.replace(claim.media[1].sha256, claim.media[0].sha256)
    assert TEMPLATES[plain].fullmatch(twice) is not None
    assert keys_by_template(TEMPLATES[plain], twice) is keys_by_parsing(twice) is None
    same_blake3 = data.replace(claim.media[1].blake3, claim.media[0].blake3)
    assert keys_by_template(TEMPLATES[plain], same_blake3) == keys_by_parsing(same_blake3) is not None


# ---- single slots ----------------------------------------------------------------------------------------------------


def test_a_wrong_check_digit_is_not_accepted() -> None:
    data = work(123).encode()
    wrong = re.sub(rb"(kT[0-9]{9})([0-9])", lambda m: m[1] + b"%d" % ((int(m[2]) + 1) % 10), data)
    assert TEMPLATES[work].fullmatch(wrong) is not None
    assert keys_by_template(TEMPLATES[work], wrong) is keys_by_parsing(wrong) is None


@pytest.mark.parametrize("date", ["2001-02-29", "2000-13-01", "2000-00-10", "2000-01-32", "0000-01-01"])
def test_a_day_that_never_was_is_not_accepted(date: str) -> None:
    data = full(0).encode()
    wrong = data.replace(b"1977-01-01", date.encode())
    assert TEMPLATES[full].fullmatch(wrong) is not None
    assert keys_by_template(TEMPLATES[full], wrong) is keys_by_parsing(wrong) is None


@pytest.mark.parametrize("title", ["a\nb", " a", "a ", "a\x00", "\x7f", "e\u0301", "\u3000月", "\ue000", "月\u202e"])
def test_a_text_that_may_not_stand_in_a_record_is_not_accepted(title: str) -> None:
    value = decode(plain(1).encode())
    assert isinstance(value, dict)
    data = encode(value | {"title": title})
    assert TEMPLATES[plain].fullmatch(data) is not None
    assert keys_by_template(TEMPLATES[plain], data) is keys_by_parsing(data) is None


@pytest.mark.parametrize("characters", [0, 1, 23, 24, 30, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1, 255, 256, 257])
@pytest.mark.parametrize("name", ["title", "version"])
def test_a_text_of_any_length_is_told_right(name: str, characters: int) -> None:
    """In a slot whose pattern lists all lengths, and in one that ends where the next key is."""
    value = decode(full(1).encode())
    assert isinstance(value, dict)
    data = encode(value | {name: "x" * characters})
    assert assert_sound(TEMPLATES[full], data) == (1 <= characters <= TEXT_BYTES_MAX)
    at = data.index(encode(name)) + len(encode(name))
    for place in (at, at + 1):  # a head that promises more or less than there is
        for step in (-1, 1):
            assert_sound(TEMPLATES[full], data[:place] + bytes((data[place] + step & 255,)) + data[place + 1 :])


def test_only_texts_after_the_fourth_end_at_the_next_key() -> None:
    pattern = TEMPLATES[full].fullmatch.__self__.pattern  # type: ignore[attr-defined]
    assert pattern.count(b"|\\x78(?:") == 4
    assert TEMPLATES[full].shape.skeleton.slots.count(Slot.TEXT) > 4


@pytest.mark.parametrize("field", ["title", "external"])
def test_a_text_that_contains_the_next_key_is_still_told_right(field: str) -> None:
    inside = "a gparties languagebende jreferences grelation"
    value = decode(full(1).encode())
    assert isinstance(value, dict)
    if field == "title":
        value["title"] = inside
    else:
        value["references"][1]["external"] = inside  # type: ignore[index,call-overload]
    assert keys_by_parsing(encode(value)) is not None
    assert_sound(TEMPLATES[full], encode(value))


def test_a_value_not_seen_is_in_doubt_until_it_was_learned() -> None:
    shape = shape_of(plain)
    template = Template(shape)
    claim = plain(2)
    value = decode(claim.encode())
    assert isinstance(value, dict)
    data = encode(value | {"language": "fr"})
    columns = [(group,) for group in template.fullmatch(data).groups()]  # type: ignore[union-attr]
    assert template.doubtful(columns) == ({0}, set())
    shape.learn(take_apart(decode(data))[1])
    assert template.doubtful(columns) == (set(), set())


def test_matching_ends_whatever_is_matched() -> None:
    """4 KiB of what nearly ends a slot, before every literal: were it not linear, this test would run for ever."""
    shape = shape_of(full)
    template = Template(shape)
    data = full(1).encode()
    for literal in shape.skeleton.literals[1:-1]:
        at = data.index(literal)
        for near in (literal[:-1], literal, literal + b"a"):
            assert_sound(template, data[:at] + near * (4_000 // len(near)) + data[at:] + b"x")
