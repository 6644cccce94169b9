"""From a checked catalogue to statements: cut where one would be too large, the same bytes at every run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from catalog.claims import SaltSource, Terms, TrackClaim
from catalog.json_fields import load, read_digest, read_object, read_text, read_whole
from catalog.metadata.check import Checked
from catalog.metadata.stated import stated_claim
from catalog.statements import SignedClaims, encode_openings, sign_claims
from catalog.submission import SUFFIX
from consensus.errors import RequestError
from consensus.types import PublicKey
from ledger.catalogue import BODY_BYTES_MAX, CLAIMS_MAX
from ledger.claim_check import check_claims
from ledger.roster import Roster

SIGNED_NAME: Final = "signed.json"
SIGNED_VERSION: Final = 1
SIGNED_BYTES_MAX: Final = 64 << 20
OPENINGS_SUFFIX: Final = ".openings.json"
_NAME: Final = re.compile(rf"[0-9]{{3,7}}{re.escape(SUFFIX)}")
_LENGTH_BYTES: Final = 2
"""Before each claim in a catalogue's body."""


class MalformedSigned(RequestError):
    """Not a signed.json as `stretto catalog sign` writes it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; sign again with --replace to write it anew")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One statement of a catalogue, as signed.json has it."""

    file: str
    """Name in the catalogue's folder."""
    openings: str | None
    """Name of the file that opens its commitments, where it has any."""
    statement: str
    """SHA-256 of the statement, hexadecimal: its entry in the log."""
    client_ref: str
    claims: int
    first: str
    """Path of the first track claimed in it."""
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What was signed, and of what."""

    inputs: Mapping[str, Any]
    """All that the statements' bytes depend on: by digests, or as it was given."""
    parts: tuple[Part, ...]

    def encode(self) -> bytes:
        document = {
            "stretto_signed": SIGNED_VERSION,
            "inputs": dict(self.inputs),
            "statements": [asdict(part) for part in self.parts],
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")

    def changed_inputs(self, now: Mapping[str, Any]) -> list[str]:
        """Names of the inputs that are not what they were."""
        names = sorted(self.inputs.keys() | now.keys())
        return [name for name in names if self.inputs.get(name) != now.get(name)]


def parse_signed(data: bytes, path: Path) -> Signed:
    """Inverse of `Signed.encode`. Raises: MalformedSigned."""
    try:
        document = read_object(load(data))
        if (version := read_whole(document["stretto_signed"])) != SIGNED_VERSION:
            raise MalformedSigned(path, f"expected version {SIGNED_VERSION}, got {version}")
        parts = document["statements"]
        if not isinstance(parts, list):
            raise MalformedSigned(path, "expected a list of statements")
        return Signed(inputs=read_object(document["inputs"]), parts=tuple(_part(part, path) for part in parts))
    except KeyError as error:
        raise MalformedSigned(path, f"expected what `stretto catalog sign` writes, with {error.args[0]!r}") from error
    except ValueError as error:
        raise MalformedSigned(path, f"expected what `stretto catalog sign` writes ({error})") from error


def _part(value: object, path: Path) -> Part:
    """Raises: MalformedSigned, ValueError, KeyError."""
    row = read_object(value)
    if unknown := row.keys() - {field.name for field in fields(Part)}:
        raise ValueError(f"unknown: {sorted(unknown)[0]!r}")
    file, openings = read_text(row["file"]), row["openings"]
    # Names only: a doctored file must not make `submit` read, or `sign` remove, anything outside the folder.
    if not _NAME.fullmatch(file) or openings not in (None, f"{file}{OPENINGS_SUFFIX}"):
        shown = f"{file[:40]!r} and {str(openings)[:40]!r}"
        raise MalformedSigned(path, f"expected file names such as 001{SUFFIX}, got {shown}")
    return Part(
        file=file,
        openings=openings,
        statement=read_digest(row["statement"]).hex(),
        client_ref=read_text(row["client_ref"]),
        claims=read_whole(row["claims"]),
        first=read_text(row["first"]),
        last=read_text(row["last"]),
    )


def make_claims(checked: Checked, terms: Terms, salts: SaltSource) -> Iterator[TrackClaim]:
    """The claim of every track that is to be claimed, in the order of the manifest.

    Paths are those of the manifest. Raises: MalformedClaim; a check without errors has shown that none is.
    """
    root = Path()
    for track, stated in checked.to_claim:
        yield stated_claim(track.track(root), stated, terms, salts)


def cut(claims: Iterable[TrackClaim], claims_max: int = CLAIMS_MAX) -> Iterator[list[TrackClaim]]:
    """The claims in sets that fit a statement each, in order: the same claims are always cut in the same places."""
    part: list[TrackClaim] = []
    size = 0
    for claim in claims:
        length = _LENGTH_BYTES + len(claim.encoded)
        if part and (len(part) == claims_max or size + length > BODY_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(claim)
        size += length
    if part:
        yield part


def sign_part(
    claims: list[TrackClaim],
    number: int,
    *,
    roster: Roster,
    member: str,
    public_key: PublicKey,
    sign: Callable[[bytes], bytes],
    ref: str | None,
) -> tuple[Part, SignedClaims, bytes | None]:
    """Statement `number` (from 1) of a catalogue, and its openings file where anything is hidden.

    ref: the start of its client reference; made of the files' digests where None. Raises: StatementError.
    """
    check_claims([claim.encoded for claim in claims])  # as every node will
    signed = sign_claims(
        claims,
        roster=roster,
        member=member,
        public_key=public_key,
        sign=sign,
        client_ref=f"{ref}-{number:03}" if ref else None,
    )
    openings = encode_openings(signed) if any(claim.openings for claim in claims) else None
    name = f"{number:03}{SUFFIX}"
    part = Part(
        file=name,
        openings=f"{name}{OPENINGS_SUFFIX}" if openings else None,
        statement=signed.statement.digest.hex(),
        client_ref=signed.statement.client_ref,
        claims=len(claims),
        first=str(claims[0].path),
        last=str(claims[-1].path),
    )
    return part, signed, openings
