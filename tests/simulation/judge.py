"""What a node decides about bytes before it votes for them: the ledger's own rules, asked once for the same bytes.

The rules are pure, so one answer serves every simulated node of a run; checking signatures then costs a run little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, get_args

from consensus.errors import PeerError, RequestError
from consensus.types import Digest
from ledger import catalogue, payload, statement
from ledger.catalogue import CatalogueHeader
from ledger.ed25519 import verify_strict
from ledger.governance import Change
from ledger.payload import Payload
from ledger.roster import Roster
from ledger.statement import Statement
from tests.simulation import consortium as founding

T = TypeVar("T")
_CHANGES = get_args(Change)
Blobs = Mapping[Digest, bytes]


class Judge:
    """Remembers each verdict, an error or a value, by what it is about."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[str, bytes | CatalogueHeader, int], object] = {}

    def _ask(self, rule: str, about: bytes | CatalogueHeader, epoch: int, judge: Callable[[], T]) -> T:
        """Raises: what the rule raises."""
        key = (rule, about, epoch)
        if key not in self._verdicts:
            try:
                self._verdicts[key] = judge()
            except (PeerError, RequestError) as error:
                self._verdicts[key] = error
        verdict = self._verdicts[key]
        if isinstance(verdict, Exception):
            raise verdict
        return verdict  # type: ignore[return-value]

    def payload(self, frame: bytes) -> Payload:
        """Its form. Raises: MalformedPayload."""
        return self._ask("payload", frame, -1, lambda: payload.parse_payload(frame))

    def signed(self, frame: bytes, roster: Roster) -> Payload:
        """As `payload`, where its author, a validator of this epoch, signed it. Raises: PeerError."""
        parsed = self.payload(frame)
        self._ask(
            "author", frame, roster.epoch, lambda: payload.check_payload(parsed, roster.committee(), verify_strict)
        )
        return parsed

    def statements(self, frame: bytes, roster: Roster) -> tuple[Statement, ...]:
        """All of a payload's, valid in this epoch. Raises: PeerError, RequestError at the first bad one."""
        parsed = self.payload(frame)

        def check() -> tuple[Statement, ...]:
            found = tuple(founding.parsed(raw) for raw in parsed.statements)
            for each in found:
                statement.check_statement(each, roster)
            return found

        return self._ask("statements", frame, roster.epoch, check)

    def chunks(self, header: CatalogueHeader, blobs: Blobs) -> tuple[Digest, ...]:
        """Digests of a body's chunks. Raises: CatalogueBodyMismatch; KeyError where the manifest is not among blobs."""
        manifest = blobs[header.manifest]
        return self._ask("manifest", header, -1, lambda: catalogue.parse_manifest(header, manifest))

    def claims(self, header: CatalogueHeader, blobs: Blobs) -> tuple[bytes, ...]:
        """A body found right. Raises: CatalogueBodyMismatch, MalformedClaim; KeyError where a blob lacks."""
        manifest = blobs[header.manifest]
        chunks = [blobs[digest] for digest in self.chunks(header, blobs)]
        return self._ask("claims", header, -1, lambda: catalogue.check_catalogue(header, manifest, chunks))


def bodies_of(statements: Sequence[Statement]) -> tuple[tuple[Statement, CatalogueHeader], ...]:
    """Those statements whose claims travel apart."""
    return tuple((each, each.content) for each in statements if isinstance(each.content, CatalogueHeader))


def is_ending(statements: Sequence[Statement]) -> bool:
    """Whether they may change the committee: what the engine is told with the payload."""
    return any(isinstance(each.content, _CHANGES) for each in statements)
