"""Which text may be recorded, the same under every Python that Stretto runs on."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.text import text_fault


@pytest.mark.parametrize(
    "text",
    [
        "Blue in Green",
        "月亮代表我的心",
        "Ágætis byrjun",
        "Мелодия",
        "שיר",
        "می‌خواهم",
        "नमस्ते",
        "한국",
        "🎵",
        "👩‍🎤",
        "‘’“”…",
        "x" * 40,
    ],
)
def test_titles_of_the_world_are_admitted(text: str) -> None:
    assert text_fault(text, 40) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1 to 40 characters, got 0"),
        ("x" * 41, "got 41"),
        (" x", "blanks"),
        ("x ", "blanks"),
        ("x\u3000", "blanks"),
        ("x\ny", "control"),
        ("x\x7fy", "control"),
        ("é\x00", "U\\+0000"),
        ("é\x85", "U\\+0085"),
        ("é\u2028x", "U\\+2028"),
        ("\u202egnp.live", "U\\+202E"),
        ("a\u2066b", "U\\+2066"),
        ("a\ufeffb", "U\\+FEFF"),
        ("a\ue000b", "U\\+E000"),
        ("a\ufffe", "U\\+FFFE"),
        ("a\U0010ffff", "U\\+10FFFF"),
        ("a\ud800", "U\\+D800"),
        ("e\u0301", "NFC"),
        ("\u2126", "NFC"),
        ("a\u0378", "U\\+0378 is not one"),
        ("\U00031350", "U\\+31350 came later"),
        ("\u31ef", "U\\+31EF came later"),
    ],
)
def test_text_that_hides_or_varies_is_refused(text: str, expected: str) -> None:
    fault = text_fault(text, 40)
    assert fault is not None
    assert re.search(expected, fault), fault


def test_the_admitted_characters_do_not_depend_on_the_python() -> None:
    """One bit a code point. A Python with a later Unicode must come to the same set, or nodes would disagree."""
    admitted = bytearray(0x110000 // 8)
    for point in range(0x110000):
        if text_fault(f"0{chr(point)}0", 3) is None:
            admitted[point >> 3] |= 1 << (point & 7)
    assert hashlib.sha256(admitted).hexdigest() == ("838363e6fef867eed6d59c0fe2671d581ef1794f1f25d0037116d065fae1e91a")


@given(st.text(max_size=50))
def test_admitted_text_survives_a_line_of_a_log(text: str) -> None:
    if text_fault(text, 50) is None:
        assert len(text.splitlines()) == 1
        assert text == text.strip(" ")
