"""What claims of a catalogue have in common, as one compiled pattern: most are proved valid without being decoded.

A valid claim is taken apart into literals (its structure: heads, keys, the subject) and slots (everything else). Every
rule of a claim speaks of its structure, of one slot, or is one of the two kept in `Template.doubtful` (no party twice,
no file twice). So bytes made of the same literals, with a value in each slot that is valid there, are a valid claim,
and their one encoding: whatever else is refused by the pattern, or is in doubt and goes the long way, by `parse_claim`.

A slot's value is valid where its pattern says all there is to say (digests, numbers, ISRCs), where a check passed it
(texts, ISWCs), or where it stood in the same slot of a claim that went the long way: most parties, shares, languages,
licences and AI disclosures of a catalogue occur in it again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import combinations, repeat
from typing import Final

from ledger.cbor import CborValue, encode, head
from ledger.claim import DURATION_MS_MAX
from ledger.claim_parts import SIZE_BYTES_MAX, check_date
from ledger.errors import MalformedClaim
from ledger.identifiers import ISWC
from ledger.text import text_fault

SLOTS_MAX: Final = 64
"""Of a claim that is worth a template: compiling one takes some 20 us a slot, and each text one of the first, 1 ms."""
TEXT_BYTES_MAX: Final = 127
"""Longer texts go the long way. No text of a claim is bound to fewer characters, so no bound needs a look."""
CONSTANT_MIN: Final = 8
_TEXTS_UNROLLED_MAX: Final = 4
"""Texts whose pattern lists every length: fast to match, slow to compile. Further ones end where the next key is."""


class Slot(Enum):
    """What may stand in a slot. A value is its encoding with its head, unless said otherwise."""

    KNOWN = auto()
    """Any value, several levels deep: valid where it was seen before."""
    TEXT = auto()
    DATE = auto()
    COMMITMENT = auto()
    BLAKE3 = auto()
    """Captured without its head, as the next three: index keys."""
    SHA256 = auto()
    ISRC = auto()
    ISWC = auto()
    DIGEST = auto()
    MD5 = auto()
    DURATION = auto()
    SIZE = auto()
    POSITION = auto()


KEY_SLOTS: Final = (Slot.BLAKE3, Slot.SHA256, Slot.ISRC, Slot.ISWC)
_OFTEN_CONSTANT: Final = frozenset({Slot.KNOWN, Slot.TEXT, Slot.DATE, Slot.COMMITMENT})
"""Written into the pattern as they are, where CONSTANT_MIN claims or more had only one value there."""

assert DURATION_MS_MAX == 0x9A7E_C800, "what _PATTERNS says of durations: below 0x9A000000"
assert SIZE_BYTES_MAX == 2**48, "what _PATTERNS says of sizes: below 2^48"

# Shortest form only (RFC 8949, section 4.2.1): a longer head never carries what fits a shorter one.
_TO_16_BITS: Final = rb"[\x01-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff]."
_PATTERNS: Final = {
    Slot.DATE: rb"(\x6a[0-9]{4}-[0-9]{2}-[0-9]{2})",
    Slot.COMMITMENT: rb"(\x58\x20.{32})",
    Slot.BLAKE3: rb"\x58\x20(.{32})",
    Slot.SHA256: rb"\x58\x20(.{32})",
    Slot.ISRC: rb"\x6c([A-Z]{2}[A-Z0-9]{3}[0-9]{7})",
    Slot.ISWC: rb"\x6b(T[0-9]{10})",
    Slot.DIGEST: rb"\x58\x20.{32}",
    Slot.MD5: rb"\x50.{16}",
    Slot.DURATION: rb"(?:" + _TO_16_BITS + rb"|\x1a(?!\x00\x00)[\x00-\x99]...)",
    Slot.SIZE: rb"(?:" + _TO_16_BITS + rb"|\x1a(?!\x00\x00)....|\x1b\x00\x00(?!\x00\x00)......)",
    Slot.POSITION: rb"(?:\x00|" + _TO_16_BITS + rb"|\x1a(?!\x00\x00)....)",
}
_TEXT_UNROLLED: Final = (
    b"("
    + b"|".join(re.escape(head(3, n)) + b".{%d}" % n for n in range(1, 24))
    + rb"|\x78(?:"
    + b"|".join(re.escape(bytes((n,))) + b".{%d}" % n for n in range(24, TEXT_BYTES_MAX + 1))
    + b"))"
)

Path = tuple[str, ...]
"""Field names from the claim down; "*" for any item of a list."""

_SLOTS: Final[dict[tuple[Path, type], Slot]] = {
    (("title",), str): Slot.TEXT,
    (("version",), str): Slot.TEXT,
    (("created",), str): Slot.DATE,
    (("duration_ms",), int): Slot.DURATION,
    (("isrc",), str): Slot.ISRC,
    (("iswc",), str): Slot.ISWC,
    (("titles", "*", "text"), str): Slot.TEXT,
    (("ids", "*", "value"), str): Slot.TEXT,
    (("parties", "*", "name"), str): Slot.TEXT,
    (("parties", "*", "name"), bytes): Slot.COMMITMENT,
    (("parties", "*", "isni"), bytes): Slot.COMMITMENT,
    (("parties", "*", "ipi_name"), bytes): Slot.COMMITMENT,
    (("parties", "*", "ipi_base"), bytes): Slot.COMMITMENT,
    (("media", "*", "blake3"), bytes): Slot.BLAKE3,
    (("media", "*", "sha256"), bytes): Slot.SHA256,
    (("media", "*", "size"), int): Slot.SIZE,
    (("media", "*", "sm3"), bytes): Slot.DIGEST,
    (("media", "*", "chromaprint"), bytes): Slot.DIGEST,
    (("media", "*", "c2pa"), bytes): Slot.DIGEST,
    (("media", "*", "flac_md5"), bytes): Slot.MD5,
    (("media", "*", "pcm", "sha256"), bytes): Slot.DIGEST,
    (("references", "*", "statement"), bytes): Slot.DIGEST,
    (("references", "*", "position"), int): Slot.POSITION,
    (("references", "*", "external"), str): Slot.TEXT,
    (("exhibits", "*", "sha256"), bytes): Slot.DIGEST,
    (("exhibits", "*", "operator"), bytes): Slot.DIGEST,
}
_BRANCHES: Final = frozenset(path[:depth] for path, _ in _SLOTS for depth in range(len(path)))
"""Maps and lists that are taken apart further. Not the shares: their sums are a rule over all of them, so they are one
slot, and the only other thing they depend on, how many parties there are, is structure."""
_PINNED: Final = frozenset({("subject",), ("valid_from",), ("valid_until",)})
"""Structure too: what else a claim must have depends on its subject, and of two dates one must be the earlier."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is the same in all claims that one template may fit.

    Invariant: there is one literal more than slots, they alternate, and only the last literal may be empty.
    """

    literals: tuple[bytes, ...]
    slots: tuple[Slot, ...]
    parties: tuple[range, ...]
    """Of each party, which slots are in it."""


def take_apart(claim: CborValue) -> tuple[Skeleton, tuple[bytes, ...]]:
    """Skeleton of a valid claim's decoded value, and the encoded value (with its head) of each slot."""
    walk = _Walk()
    walk.take(claim, ())
    return Skeleton((*walk.literals, bytes(walk.literal)), tuple(walk.slots), tuple(walk.parties)), tuple(walk.values)


@dataclass(slots=True)
class _Walk:
    literals: list[bytes] = field(default_factory=list)
    literal: bytearray = field(default_factory=bytearray)
    """What came since the last slot."""
    slots: list[Slot] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    parties: list[range] = field(default_factory=list)

    def take(self, value: CborValue, path: Path) -> None:
        if path in _PINNED:
            self.literal += encode(value)
        elif path in _BRANCHES and isinstance(value, dict):
            self.literal += head(5, len(value))
            for key, item in value.items():
                self.literal += encode(key)
                self.take(item, (*path, str(key)))
        elif path in _BRANCHES and isinstance(value, list):
            self.literal += head(4, len(value))
            for item in value:
                first = len(self.slots)
                self.take(item, (*path, "*"))
                if path == ("parties",):
                    self.parties.append(range(first, len(self.slots)))
        else:
            self.literals.append(bytes(self.literal))
            self.literal.clear()
            self.slots.append(_SLOTS.get((path, type(value)), Slot.KNOWN))
            self.values.append(encode(value))


class Shape:
    """What was seen so far of claims with one skeleton."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.claims = 0
        """How many were learned from."""
        self.seen: tuple[set[bytes], ...] = tuple(set() for _ in skeleton.slots)
        """For every slot the values that stood there in a claim found valid by `parse_claim`."""

    def learn(self, values: Iterable[bytes]) -> None:
        """values: of a valid claim with this skeleton, as `take_apart` gives them."""
        self.claims += 1
        for seen, value in zip(self.seen, values, strict=True):
            seen.add(value)


class Template:
    """A shape's pattern, as of now; the values known in its slots stay those of the shape as it learns more."""

    def __init__(self, shape: Shape) -> None:
        skeleton = shape.skeleton
        self.shape = shape
        self._constant = {
            i: next(iter(seen))
            for i, (slot, seen) in enumerate(zip(skeleton.slots, shape.seen, strict=True))
            if slot in _OFTEN_CONSTANT and len(seen) == 1 and shape.claims >= CONSTANT_MIN
        }
        self._captured = [
            i
            for i, slot in enumerate(skeleton.slots)
            if slot in KEY_SLOTS or (slot in _OFTEN_CONSTANT and i not in self._constant)
        ]
        self._group_of = {slot: group for group, slot in enumerate(self._captured)}
        """By slot, counted from 0."""
        self._pattern = re.compile(b"".join(self._parts()), re.DOTALL)
        self.groups = self._pattern.groups
        assert self.groups == len(self._captured), "one group for each captured slot"
        self.fullmatch = self._pattern.fullmatch

    def _parts(self) -> Iterator[bytes]:
        skeleton = self.shape.skeleton
        texts = 0
        for i, slot in enumerate(skeleton.slots):
            yield re.escape(skeleton.literals[i])
            if i in self._constant:
                yield re.escape(self._constant[i])
            elif slot in _PATTERNS:
                yield _PATTERNS[slot]
            elif slot is Slot.TEXT and texts < _TEXTS_UNROLLED_MAX:
                texts += 1
                yield _TEXT_UNROLLED
            elif following := re.escape(skeleton.literals[i + 1]):
                # Up to where the next literal stands first, and never looked at again: a lookahead does not go back,
                # so time stays linear. Where the value has that literal within it, what is captured is nothing known.
                yield b"(?=(.+?)%b)(?:\\%d)" % (following, self._group_of[i] + 1)
            else:
                yield b"(.+)"
        yield re.escape(skeleton.literals[-1])

    def key_groups(self) -> list[tuple[Slot, int]]:
        """Kind and group of every index key, in the order they stand in the claim."""
        slots = self.shape.skeleton.slots
        return [(slots[i], group) for group, i in enumerate(self._captured) if slots[i] in KEY_SLOTS]

    def known_groups(self) -> list[tuple[int, set[bytes]]]:
        """Groups whose values must have been seen, and which were, to which the shape adds."""
        slots, seen = self.shape.skeleton.slots, self.shape.seen
        return [(group, seen[i]) for group, i in enumerate(self._captured) if slots[i] is Slot.KNOWN]

    def doubtful(self, columns: Sequence[Sequence[bytes]]) -> tuple[set[int], set[int]]:
        """Of claims that the pattern fits, those not proved valid: for values not seen so far, and for other reasons.

        columns: for each group what it captured in every claim. Returns numbers of claims, as the columns count them.
        """
        unseen: set[int] = set()
        others: set[int] = set()
        skeleton = self.shape.skeleton
        for i, column in zip(self._captured, columns, strict=True):
            match skeleton.slots[i]:
                case Slot.KNOWN:
                    unseen |= _where(column, set(column) - self.shape.seen[i])
                case Slot.TEXT:
                    others |= _where(column, _unfit_texts(set(column)))
                case Slot.ISWC:
                    others |= _where(column, {iswc for iswc in set(column) if ISWC.fault(iswc.decode())})
                case Slot.DATE:
                    others |= _where(column, {piece for piece in set(column) if not _is_date(piece[1:].decode())})
                case _:
                    pass
        # No party twice: equal parties have equal encodings. Where their structure differs this doubts too much.
        for one, other in combinations(skeleton.parties, 2):
            if [skeleton.slots[i] for i in one] == [skeleton.slots[i] for i in other]:
                others |= self._alike(list(zip(one, other, strict=True)), columns)
        # No file twice, as told by its SHA-256.
        files = [i for i, slot in enumerate(skeleton.slots) if slot is Slot.SHA256]
        for pair in combinations(files, 2):
            others |= self._alike([pair], columns)
        return unseen - others, others

    def _alike(self, pairs: Sequence[tuple[int, int]], columns: Sequence[Sequence[bytes]]) -> set[int]:
        """Claims in which the two slots of every pair have the same value."""
        alike: set[int] | None = None
        for one, other in pairs:
            if one in self._constant and other in self._constant:
                if self._constant[one] != self._constant[other]:
                    return set()
                continue
            both = zip(self._column(one, columns), self._column(other, columns), strict=False)
            equal = {row for row, (a, b) in enumerate(both) if a == b}
            alike = equal if alike is None else alike & equal
            if not alike:
                return alike
        assert alike is not None, "a valid claim does not say one thing twice"
        return alike

    def _column(self, slot: int, columns: Sequence[Sequence[bytes]]) -> Iterable[bytes]:
        group = self._group_of.get(slot)
        return repeat(self._constant[slot]) if group is None else columns[group]


def _where(column: Sequence[bytes], values: set[bytes]) -> set[int]:
    return {row for row, value in enumerate(column) if value in values} if values else set()


def _is_date(text: str) -> bool:
    try:
        check_date("", text)
    except MalformedClaim:
        return False
    return True


def _unfit_texts(pieces: set[bytes]) -> set[bytes]:
    """Those of some encoded texts that are over TEXT_BYTES_MAX, not well encoded, or may not stand in a claim."""
    short = [p[1:] for p in pieces if 2 <= len(p) <= 24 and p[0] == 0x5F + len(p)]
    long = [p[2:] for p in pieces if 26 <= len(p) <= 2 + TEXT_BYTES_MAX and p[:2] == head(3, len(p) - 2)]
    if len(short) + len(long) == len(pieces) and _are_harmless(short + long):
        return set()
    return {piece for piece in pieces if not _is_fit(piece)}


def _are_harmless(texts: list[bytes]) -> bool:
    """Whether all are printable ASCII without blanks at their ends. None may be empty."""
    lines = b"\n" + b"\n".join(texts) + b"\n"
    if lines.count(b"\n") != len(texts) + 1 or b"\n " in lines or b" \n" in lines or not lines.isascii():
        return False
    return lines.decode("ascii").replace("\n", "").isprintable()


def _is_fit(piece: bytes) -> bool:
    text = piece[1:] if piece[0] < 0x78 else piece[2:]
    if not 1 <= len(text) <= TEXT_BYTES_MAX or piece != head(3, len(text)) + text:
        return False
    try:
        return text_fault(text.decode(), TEXT_BYTES_MAX) is None
    except UnicodeDecodeError:
        return False
