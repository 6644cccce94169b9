"""Checks a catalogue's claims, all of them, and gathers by what they are found.

A claim is valid where `parse_claim` says so. Claims of one catalogue are alike, so a few are parsed, templates are made
of them (ledger.claim_template), and what fits a template and leaves no doubt is valid without being parsed: 1 us
instead of 30. Everything else is parsed. Templates live as long as one catalogue's check: nobody can spoil another's.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from operator import itemgetter
from typing import Final

from ledger.cbor import CborValue
from ledger.claim import CLAIM_BYTES_MAX, ClaimKeys, claim_keys, decode_claim, parse_claim, read_claim
from ledger.claim_template import SLOTS_MAX, Shape, Skeleton, Slot, Template, take_apart
from ledger.errors import MalformedClaim

SAMPLE_CLAIMS: Final = 64
"""Claims parsed in each round, evenly spread over those not yet checked, to make templates of."""
ROUNDS_MAX: Final = 6
TEMPLATES_MAX: Final = 12
"""Made for one catalogue. With TRIED_MIN it bounds what a catalogue costs that is made to fit none: half again."""
TRIED_MIN: Final = 256
"""Claims expected to fit a template before it is made: it costs what some 100 cost to parse."""
FITTING_MIN: Final = 8
"""A round in which fewer than one in so many claims fitted is the last."""
SLICE_CLAIMS: Final = 2_048
"""Matched before their values are looked at: what they captured fits a processor's cache."""
UNSEEN_MAX: Final = 256
"""Values learned beyond twice as many as have saved the parsing of another claim."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One kind of key of all claims of a catalogue.

    Invariant: as many keys as positions, which do not descend.
    """

    positions: array[int]
    """u16: of each key, which claim has it."""
    keys: bytes
    """One after the other, all of one width: 32 bytes a digest, 12 an ISRC, 11 an ISWC."""

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(position, key) pairs."""
        return zip(self.positions, self.each(), strict=True)

    def each(self) -> list[bytes]:
        """The keys, cut apart."""
        if not self.positions:
            return []
        width = len(self.keys) // len(self.positions)
        return [self.keys[at : at + width] for at in range(0, len(self.keys), width)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyKeys:
    """By what the claims of one statement are found: `ClaimKeys` of every claim, kind by kind."""

    blake3: KeyColumn
    sha256: KeyColumn
    isrc: KeyColumn
    iswc: KeyColumn


_NONE: Final = KeyColumn(array("H"), b"")
_FIRST: Final = array("H", [0])
NO_KEYS: Final = BodyKeys(blake3=_NONE, sha256=_NONE, isrc=_NONE, iswc=_NONE)


def body_keys(claims: Iterable[ClaimKeys]) -> BodyKeys:
    """claims: keys of each, by position."""
    return _gather((), enumerate(claims))


def alone_keys(claim: ClaimKeys) -> BodyKeys:
    """`body_keys` of one claim: every single statement comes by here."""
    return BodyKeys(
        blake3=_of_first(claim.blake3),
        sha256=_of_first(claim.sha256),
        isrc=_of_first(claim.isrc),
        iswc=_of_first(claim.iswc),
    )


def _of_first(keys: Sequence[bytes]) -> KeyColumn:
    if len(keys) == 1:
        return KeyColumn(_FIRST, keys[0])
    return KeyColumn(array("H", bytes(2 * len(keys))), b"".join(keys)) if keys else _NONE


def check_claims(claims: Sequence[bytes]) -> BodyKeys:
    """Whether `parse_claim` accepts every claim. Takes 1 to 3 us for one like many others, some 35 us for any other.

    Raises: MalformedClaim of the first that is refused, with the path from `claims[position].` on.
    """
    try:
        return _Check(claims).run()
    except MalformedClaim:
        # Said anew, in order: which claim is named must not depend on which are parsed first.
        for position, data in enumerate(claims):
            try:
                parse_claim(data)
            except MalformedClaim as error:
                inside = error.field.removeprefix("claim").removeprefix(".")
                raise type(error)(inside, error.value, error.expected).within(f"claims[{position}]") from None
        raise


class _Check:
    """One run over one catalogue."""

    def __init__(self, claims: Sequence[bytes]) -> None:
        self._claims = claims
        self._shapes: dict[Skeleton, Shape] = {}
        self._templates = 0
        self._columns: list[tuple[Slot, KeyColumn]] = []
        self._parsed: list[tuple[int, ClaimKeys]] = []
        self._learned = 0
        self._saved = 0

    def run(self) -> BodyKeys:
        """Raises: MalformedClaim of some claim that is refused."""
        left = list(range(len(self._claims)))
        if max(map(len, self._claims), default=0) <= CLAIM_BYTES_MAX:
            for _ in range(ROUNDS_MAX):
                if len(left) < TRIED_MIN:
                    break
                before = len(left)
                for template in self._learn_from(left):
                    slices = (left[at : at + SLICE_CLAIMS] for at in range(0, len(left), SLICE_CLAIMS))
                    left = [position for one in slices for position in self._fit(template, one)]
                if (before - len(left)) * FITTING_MIN < before:
                    break
        for position in left:
            self._parse(position)
        return _gather(self._columns, self._parsed)

    def _learn_from(self, left: Sequence[int]) -> list[Template]:
        """Templates of what a sample has in common, the most promising first."""
        step = len(left) / SAMPLE_CLAIMS
        seen: Counter[Skeleton] = Counter()
        for i in range(SAMPLE_CLAIMS):
            value = decode_claim(self._claims[left[int(i * step)]])
            read_claim(value)
            skeleton, values = take_apart(value)
            self._shapes.setdefault(skeleton, Shape(skeleton)).learn(values)
            seen[skeleton] += 1
        made = [
            Template(self._shapes[skeleton])
            for skeleton, count in seen.most_common(TEMPLATES_MAX - self._templates)
            if count * step >= TRIED_MIN and len(skeleton.slots) <= SLOTS_MAX
        ]
        self._templates += len(made)
        return made

    def _fit(self, template: Template, left: Sequence[int]) -> list[int]:
        """Takes in the claims that fit the template; returns the positions of those that do not."""
        claims, fullmatch = self._claims, template.fullmatch
        fitting: list[int] = []
        others: list[int] = []
        captured: list[bytes] = []  # flat: a tuple kept for each claim would wake the garbage collector again and again
        for position in left:
            match = fullmatch(claims[position])
            if match is None:
                others.append(position)
            else:
                fitting.append(position)
                captured += match.groups()
        columns: list[list[bytes]] = [captured[group :: template.groups] for group in range(template.groups)]
        unseen, doubtful = template.doubtful(columns)
        if unseen or doubtful:
            for row in sorted(doubtful):
                self._parse(fitting[row])
            parsed = doubtful | self._parse_unseen(template, fitting, columns, sorted(unseen))
            kept = [row for row in range(len(fitting)) if row not in parsed]
            fitting = [fitting[row] for row in kept]
            columns = [[column[row] for row in kept] for column in columns]
        for slot, group in template.key_groups():
            self._columns.append((slot, KeyColumn(array("H", fitting), b"".join(columns[group]))))
        return others

    def _parse_unseen(
        self, template: Template, fitting: Sequence[int], columns: Sequence[Sequence[bytes]], rows: Sequence[int]
    ) -> set[int]:
        """Parses one claim for every value not seen so far; those whose values were seen meanwhile need no parsing.

        rows: numbers of the claims in question, as the columns count them. Returns those that were parsed.
        """
        known = template.known_groups()
        parsed: set[int] = set()
        for row in rows:
            if all(columns[group][row] in seen for group, seen in known):
                self._saved += 1
                continue
            value = self._parse(fitting[row])
            parsed.add(row)
            if self._learned <= UNSEEN_MAX + 2 * self._saved:
                # From the claim taken apart, not from what the pattern captured: that may have been cut elsewhere.
                skeleton, values = take_apart(value)
                self._learned += 1
                if skeleton == template.shape.skeleton:  # else it fits by an odd value, such as a title full of keys
                    template.shape.learn(values)
        return parsed

    def _parse(self, position: int) -> CborValue:
        value = decode_claim(self._claims[position])
        self._parsed.append((position, claim_keys(read_claim(value))))
        return value


def _gather(columns: Iterable[tuple[Slot, KeyColumn]], parsed: Iterable[tuple[int, ClaimKeys]]) -> BodyKeys:
    """Every kind's keys, by position, and those of one claim in the order they stand in it."""
    of: dict[str, list[KeyColumn]] = {}
    for slot, column in columns:
        of.setdefault(slot.name.lower(), []).append(column)
    alone: dict[str, list[tuple[int, bytes]]] = {}
    for position, claim in parsed:
        for name, key in claim:
            alone.setdefault(name, []).append((position, key))
    return replace(NO_KEYS, **{name: _column(of.get(name, ()), alone.get(name, ())) for name in {**of, **alone}})


def _column(columns: Sequence[KeyColumn], alone: Sequence[tuple[int, bytes]]) -> KeyColumn:
    """alone: further (position, key) pairs."""
    columns = [column for column in columns if column.positions]
    if not alone and all(a.positions[-1] < b.positions[0] for a, b in pairwise(columns)):
        positions = array("H")
        for column in columns:
            positions.extend(column.positions)
        return KeyColumn(positions, b"".join(column.keys for column in columns))
    every = [*chain.from_iterable(columns), *alone]
    every.sort(key=itemgetter(0))  # stable: one claim's keys come from columns in their order, or are all alone
    return KeyColumn(array("H", [position for position, _ in every]), b"".join(key for _, key in every))
