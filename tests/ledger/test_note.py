"""C2SP signed notes: the specification's own example, every round trip, and everything that is almost a note."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import InvalidSignature, MalformedMessage
from ledger.note import (
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    Note,
    NoteSignature,
    SignatureType,
    VerifierKey,
    check_key_name,
    check_note_signature,
    note_signature,
    parse_note,
    parse_signature_line,
    parse_verifier_key,
)
from tests.ledger.keys import TestKey

# Source: c2sp.org/signed-note, "Example" (CC BY 4.0).
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()

KEY = TestKey("note")
NAME = "log.example/1"
VERIFIER = VerifierKey(name=NAME, type=SignatureType.ED25519, key=KEY.public)


def signed(text: bytes) -> Note:
    return Note(text=text, signatures=(note_signature(text, name=NAME, public_key=KEY.public, sign=KEY.sign),))


def unsigned_line(name: str, number: int = 0) -> NoteSignature:
    return NoteSignature(name=name, key_id=number.to_bytes(4, "big"), signature=b"\x01")


def test_example_of_the_specification_verifies_and_a_changed_one_does_not() -> None:
    key, note = parse_verifier_key(EXAMPLE_KEY), parse_note(EXAMPLE_NOTE)
    assert note.text == b"This is an example message.\n"
    check_note_signature(note.text, note.signatures[0], key)
    with pytest.raises(InvalidSignature, match=r"example\.com/foo"):
        check_note_signature(b"This is another message.\n", note.signatures[0], key)
    assert key.encode() == EXAMPLE_KEY
    assert note.encode() == EXAMPLE_NOTE


def test_text_with_empty_lines_is_split_at_the_last_one() -> None:
    text = "Ognuno sta solo\n\ned è subito sera.\n".encode()
    assert parse_note(signed(text).encode()).text == text


def test_signature_by_another_key_name_or_type_is_refused() -> None:
    note = signed(b"text\n")
    check_note_signature(note.text, note.signatures[0], VERIFIER)
    others = (
        VerifierKey(name="log.example/2", type=SignatureType.ED25519, key=KEY.public),
        VerifierKey(name=NAME, type=SignatureType.COSIGNATURE, key=KEY.public),
        VerifierKey(name=NAME, type=SignatureType.ED25519, key=TestKey("other").public),
    )
    for other in others:
        with pytest.raises(InvalidSignature):
            check_note_signature(note.text, note.signatures[0], other)


names = st.text(
    st.characters(
        min_codepoint=0x21, max_codepoint=0x24FF, exclude_characters="+", exclude_categories=["Zs", "Zl", "Zp"]
    ),
    min_size=1,
    max_size=40,
).filter(lambda name: not any(c.isspace() for c in name))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32)))), max_size=60)
lines = st.builds(
    NoteSignature,
    name=names,
    key_id=st.binary(min_size=4, max_size=4),
    signature=st.binary(min_size=1, max_size=100),
)
notes = st.builds(
    lambda text, found: Note(text="\n".join([*text, ""]).encode(), signatures=tuple(found)),
    text=st.lists(texts, min_size=1, max_size=4),
    found=st.lists(lines, min_size=1, max_size=5, unique_by=lambda s: (s.name, s.key_id)),
)


@given(notes)
def test_note_round_trips(note: Note) -> None:
    assert parse_note(note.encode()) == note
    assert all(parse_signature_line(s.encode()) == s for s in note.signatures)


@given(name=names, kind=st.sampled_from(SignatureType), key=st.binary(min_size=32, max_size=32))
def test_verifier_key_round_trips(name: str, kind: SignatureType, key: bytes) -> None:
    verifier = VerifierKey(name=name, type=kind, key=key)
    assert parse_verifier_key(verifier.encode()) == verifier


@given(
    st.binary(max_size=300) | notes.flatmap(lambda n: st.integers(0, 255).map(lambda b: n.encode()[:-2] + bytes([b])))
)
def test_whatever_parses_has_this_one_encoding(data: bytes) -> None:
    try:
        note = parse_note(data)
    except MalformedMessage:
        return
    assert note.encode() == data


GOOD = signed(b"text\n").encode()
LINE = GOOD.split(b"\n\n")[1]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "form"),
        (b"text\n", "form"),
        (GOOD[:-1], "form"),
        (b"text\n" + LINE, "form"),
        (b"\n\n" + LINE + b"\n\n", "signatures"),
        (GOOD.replace("—".encode(), b"-"), "signature line"),
        (GOOD.replace("— ".encode(), "—  ".encode()), "signature line"),
        (GOOD.replace(b"log.example/1", b"log+example/1"), "key name"),
        (GOOD.replace(b"log.example/1", "log\u00a0example".encode()), "key name"),
        (GOOD.replace(b"text", b"te\tt"), "text"),
        (GOOD.replace(b"text", b"te\xfft"), "text"),
        (GOOD + LINE, "signatures"),
        (GOOD + b"\xff\n", "text"),
        (b"text\n\n" + "— a AAAAAA==\n".encode(), "signature"),
        (b"text\n\n" + "— a AAAA\n".encode(), "key ID"),
        (b"text\n\n" + "— a AAAAAAF=\n".encode(), "signature"),
        (b"text\n\n" + "— a AAAAAAA\n".encode(), "signature"),
        (b"text\n\n" + "— a AAAA AAAA\n".encode(), "signature line"),
        (b"x" * NOTE_BYTES_MAX + GOOD, "length"),
    ],
)
def test_almost_a_note_is_refused(data: bytes, field: str) -> None:
    parse_note(GOOD)
    with pytest.raises(MalformedMessage) as refusal:
        parse_note(data)
    assert refusal.value.field == field


def test_number_of_signatures_is_bounded() -> None:
    most = tuple(unsigned_line("n", i) for i in range(SIGNATURES_MAX))
    assert len(parse_note(Note(text=b"t\n", signatures=most).encode()).signatures) == SIGNATURES_MAX
    data = Note(text=b"t\n", signatures=most).encode() + unsigned_line("n", SIGNATURES_MAX).encode()
    with pytest.raises(MalformedMessage, match="at most 100, got 101"):
        parse_note(data)
    with pytest.raises(MalformedMessage, match="1 to 100, got 0"):
        Note(text=b"t\n", signatures=())


def test_signature_line_without_newline_is_refused() -> None:
    assert parse_signature_line(LINE).name == NAME
    with pytest.raises(MalformedMessage, match="ending in a newline"):
        parse_signature_line(LINE[:-1])
    with pytest.raises(MalformedMessage):
        parse_signature_line(LINE + LINE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com/foo", "<name>"),
        (EXAMPLE_KEY.replace("530d903a", "530d903b"), "530d903a for this name"),
        (EXAMPLE_KEY.replace("530d903a", "530D903A"), "530d903a for this name"),
        (EXAMPLE_KEY.replace("+AekyeRrm", "+CekyeRrm"), "0x01"),
        (EXAMPLE_KEY[:-4], "32 bytes, got 29"),
        (EXAMPLE_KEY.replace("example.com", "example com"), "no space"),
        ("a+00000000+", "0x01"),
        ("\ud800+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "surrogate"),
    ],
)
def test_almost_a_verifier_key_is_refused(text: str, expected: str) -> None:
    with pytest.raises(MalformedMessage, match=expected):
        parse_verifier_key(text)


@given(st.text(max_size=6))
def test_key_names_are_judged_as_character_by_character(name: str) -> None:
    forbidden = any(c.isspace() or c == "+" or c < " " or "\ud800" <= c <= "\udfff" for c in name)
    if name and not forbidden:
        check_key_name(name)
        return
    with pytest.raises(MalformedMessage, match="key name"):
        check_key_name(name)
