"""Which text may stand in a record: Unicode 14 in Normalization Form C, no controls, no bidirectional tricks.

What is valid is consensus state, so it must not depend on the Python that checks it. Normalization is stable for
assigned characters only (Unicode Standard Annex 15, section 1.4), and Python 3.11, 3.12 and 3.13 know Unicode 14.0,
15.0 and 15.1. So exactly the characters assigned in 14.0 are admitted, under every one of them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls (Cc): no line of a report may be forged from inside a title
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embedding, override, isolate: what is read must be what is signed
    "\ufeff\ufdd0-\ufdef\ud800-\udfff"  # byte order mark, noncharacters, surrogates
    "\ue000-\uf8ff\U000f0000-\U0010ffff"  # private use: means nothing to anybody else
    + "".join(f"{chr(0x1FFFE + plane * 0x10000)}-{chr(0x1FFFF + plane * 0x10000)}" for plane in range(14))
    + "\ufffe\uffff]"
)

_ASSIGNED_AFTER_14: Final = re.compile(
    # Assigned in 15.0 and 15.1, from the difference of the unicodedata modules of Python 3.11, 3.12 and 3.13.
    "[\u0cf3\u0ece\u2ffc-\u2fff\u31ef"
    "\U00010efd-\U00010eff\U0001123f-\U00011241\U00011b00-\U00011b09\U00011f00-\U00011f10\U00011f12-\U00011f3a"
    "\U00011f3e-\U00011f59\U0001342f\U00013439-\U00013455\U0001b132\U0001b155\U0001d2c0-\U0001d2d3"
    "\U0001df25-\U0001df2a\U0001e030-\U0001e06d\U0001e08f\U0001e4d0-\U0001e4f9\U0001f6dc\U0001f774-\U0001f776"
    "\U0001f77b-\U0001f77f\U0001f7d9\U0001fa75-\U0001fa77\U0001fa87-\U0001fa88\U0001faad-\U0001faaf"
    "\U0001fabb-\U0001fabd\U0001fabf\U0001face-\U0001facf\U0001fada-\U0001fadb\U0001fae8\U0001faf7-\U0001faf8"
    "\U0002b739\U0002ebf0-\U0002ee5d\U00031350-\U000323af]"
)


def text_fault(text: str, characters_max: int) -> str | None:
    """What would have been right, or None where `text` may be recorded: length, characters, form."""
    if not 0 < len(text) <= characters_max:
        return f"1 to {characters_max} characters, got {len(text)}"
    if text[0] == " " or text[-1] == " ":
        return "text without blanks at its ends"
    if text.isascii():
        return None if text.isprintable() else "text without control characters"
    return _unicode_fault(text)


def _unicode_fault(text: str) -> str | None:
    if found := _FORBIDDEN.search(text):
        return f"text without U+{ord(found[0]):04X} (control, bidirectional or private character)"
    if found := _ASSIGNED_AFTER_14.search(text):
        return f"characters of Unicode 14.0, U+{ord(found[0]):04X} came later"
    for character in text:
        if unicodedata.category(character) == "Cn":
            return f"characters of Unicode 14.0, U+{ord(character):04X} is not one"
    if text[0].isspace() or text[-1].isspace():
        return "text without blanks at its ends"
    if not unicodedata.is_normalized("NFC", text):
        return "Unicode Normalization Form C (NFC)"
    return None
