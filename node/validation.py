"""State-independent validity of payloads and catalogue bodies: what a validator checks once before it votes (D4).

Pure functions over bytes and a roster, so that they can run on a thread beside the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from consensus.errors import LocalError, PeerError, RequestError
from consensus.types import Digest
from ledger.catalogue import CatalogueHeader, parse_manifest, split_body
from ledger.ed25519 import verify_strict
from ledger.governance import Change
from ledger.payload import Payload, check_payload
from ledger.roster import Roster
from ledger.statement import Statement, check_statement, parse_statement

PAYLOAD_BODIES_BYTES_MAX = 128 * 2**20
"""Catalogue bodies of one payload together: as much as a correct author's mempool holds."""


class BadPayload(PeerError):
    """A payload that no correct author cuts. author: member id. digest: the payload. reason: what is wrong with it."""

    def __init__(self, author: str, digest: bytes, reason: str) -> None:
        super().__init__(f"payload {digest.hex()[:16]} by {author}: {reason}")
        self.author = author
        self.digest = digest
        self.reason = reason


class MissingBlob(LocalError):
    """The store lost a manifest or chunk of a statement it holds."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"blob {digest.hex()} is not in the store: run `stretto store check` on this node's folder")
        self.digest = digest


class DamagedBody(LocalError):
    """The store holds another body for a catalogue than the one that was checked and put there."""

    def __init__(self, manifest: bytes, reason: str) -> None:
        super().__init__(
            f"the body of the catalogue with manifest {manifest.hex()} has changed in the store ({reason}): "
            "run `stretto store check` on this node's folder"
        )
        self.manifest = manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPayload:
    """A payload known to be valid, with what executing it needs.

    bodies: statement digest -> claims, for each catalogue in it.
    """

    payload: Payload
    statements: tuple[Statement, ...]
    bodies: Mapping[Digest, tuple[bytes, ...]] = field(default_factory=dict)

    @property
    def ending(self) -> bool:
        """Whether ordering it may end the epoch: it holds a governance statement."""
        return any(isinstance(statement.content, Change) for statement in self.statements)

    @property
    def memory_bytes(self) -> int:
        claims = sum(sum(map(len, body)) for body in self.bodies.values())
        return claims + sum(2 * len(s.raw) for s in self.statements)


def author_of(payload: Payload, roster: Roster) -> str:
    """Member id of the validator that signed `payload`. Raises: BadPayload."""
    header = payload.header
    validators = roster.validator_members()
    if header.consortium != roster.consortium:
        raise BadPayload(f"#{header.author}", payload.digest, "names another consortium's genesis")
    if header.author >= len(validators):
        raise BadPayload(f"#{header.author}", payload.digest, f"author is none of the {len(validators)} validators")
    if header.epoch != roster.committee().epoch:
        raise BadPayload(validators[header.author].id, payload.digest, f"is of epoch {header.epoch}")
    return validators[header.author].id


def check_author(payload: Payload, roster: Roster) -> str:
    """As `author_of`, with the signature checked. Raises: BadPayload."""
    author = author_of(payload, roster)
    try:
        check_payload(payload, roster.committee(), verify_strict)
    except PeerError as error:
        raise BadPayload(author, payload.digest, str(error)) from error
    return author


def parse_statements(payload: Payload) -> tuple[Statement, ...]:
    """The statements of a payload that was found valid before (read back from our own store)."""
    return tuple(parse_statement(raw) for raw in payload.statements)


def check_statements(
    payload: Payload, roster: Roster, parsed: Sequence[Statement] | None = None
) -> tuple[Statement, ...]:
    """Every statement parsed and its signature checked, bodies bounded. Raises: BadPayload at the first bad one.

    One bad statement drops the payload: a correct author would not have let it in (design D4).
    parsed: the payload's statements, where they were parsed before.
    """
    author = author_of(payload, roster)
    statements = []
    for position, raw in enumerate(payload.statements):
        try:
            statement = parse_statement(raw) if parsed is None else parsed[position]
            check_statement(statement, roster)
        except (RequestError, PeerError) as error:
            raise BadPayload(author, payload.digest, f"statement {position}: {error}") from error
        statements.append(statement)
    bodies_bytes = sum(header.body_bytes for _, header in catalogues(statements))
    if bodies_bytes > PAYLOAD_BODIES_BYTES_MAX:
        reason = f"names {bodies_bytes} bytes of catalogues, at most {PAYLOAD_BODIES_BYTES_MAX} go in one payload"
        raise BadPayload(author, payload.digest, reason)
    return tuple(statements)


def catalogues(statements: Sequence[Statement]) -> tuple[tuple[Statement, CatalogueHeader], ...]:
    """Those statements that sign a catalogue, whose body travels apart."""
    return tuple((s, s.content) for s in statements if isinstance(s.content, CatalogueHeader))


def load_body(header: CatalogueHeader, blob: Callable[[Digest], bytes | None]) -> tuple[bytes, ...]:
    """The claims of a catalogue whose body was checked before it was stored.

    Raises: MissingBlob, DamagedBody where the store no longer holds what was put there.
    """

    def need(digest: Digest) -> bytes:
        content = blob(digest)
        if content is None:
            raise MissingBlob(digest)
        return content

    manifest = need(header.manifest)
    try:
        return split_body(header, manifest, tuple(need(d) for d in parse_manifest(header, manifest)))
    except RequestError as error:
        raise DamagedBody(header.manifest, str(error)) from error
