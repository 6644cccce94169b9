"""GetEvidence and VerifyEvidence: the file that proves one claim offline, and the court's call about such a file."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from consensus.errors import LocalError
from consensus.types import Digest
from ledger.catalogue import split_body
from ledger.epochs import EpochProof
from ledger.evidence import MediaDigests, Outcome, Report, Verdict, build_bundle, verify_bundle
from ledger.evidence_archive import ARCHIVE_BYTES_MAX
from ledger.genesis import Genesis
from ledger.merkle import inclusion_proof
from ledger.rights import ClaimId, ClaimRights
from ledger.roster import Roster
from node.keys import public_bytes
from node.rosters import Rosters
from node.rpc.calls import Call, Turnstile
from node.rpc.errors import InvalidRequest, NotReadyYet, NotRecorded, TooLarge
from node.rpc.reads import check_digest
from node.rpc.tail import LogTail
from node.store.reader import BlockProof, ReadSnapshot, StoredClaim, StoreReader
from protos import stretto_pb2 as pb

PIECE_BYTES: Final = 2**20
WORKERS: Final = 2
"""Threads that build and verify: a catalogue of 16,384 claims keeps one busy for some hundred milliseconds."""
BUILDS_MAX: Final = 64
BUILDS_PER_CLIENT_MAX: Final = 16
VERIFICATIONS_MAX: Final = 4
"""Each may hold ARCHIVE_BYTES_MAX in memory."""
VERIFICATIONS_PER_CLIENT_MAX: Final = 2
RETRY_CHECKPOINT_MS: Final = 500

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_OUTCOMES: Final = {
    Outcome.PASSED: pb.CHECK_OUTCOME_PASSED,
    Outcome.FAILED: pb.CHECK_OUTCOME_FAILED,
    Outcome.NOT_CHECKED: pb.CHECK_OUTCOME_NOT_CHECKED,
}
_VERDICTS: Final = {
    Verdict.VERIFIED: pb.EVIDENCE_VERDICT_VERIFIED,
    Verdict.REFUSED: pb.EVIDENCE_VERDICT_REFUSED,
    Verdict.INCOMPLETE: pb.EVIDENCE_VERDICT_INCOMPLETE,
}


class EvidenceWouldNotHold(LocalError):
    """What this node built does not verify: its store contradicts itself. Nothing is handed out."""

    def __init__(self, index: int, report: Report) -> None:
        reasons = "; ".join(f"{c.name}: {c.reason}" for c in report.checks if c.outcome is Outcome.FAILED)
        super().__init__(f"evidence for leaf {index} does not verify ({reasons}); run `stretto store check`")
        self.index = index
        self.report = report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a bundle is asked for. position: in a catalogue; None for a single claim or a whole catalogue."""

    index: int
    position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What goes into a bundle, all from one snapshot."""

    statement: bytes
    path: tuple[Digest, ...]
    note: bytes
    order: BlockProof
    claims: tuple[bytes, ...] | None
    rosters: Rosters
    proofs: tuple[EpochProof, ...]
    rights: ClaimRights | None


class EvidenceService:
    """Builds from snapshots, verifies against the node's own genesis; the export key is the only key it knows."""

    def __init__(
        self,
        store: StoreReader,
        tail: LogTail,
        genesis: Genesis,
        member: str,
        export_keys: Sequence[Ed25519PrivateKey],
    ) -> None:
        """export_keys: of which the roster of the day names one; another may wait to take over."""
        self._store = store
        self._tail = tail
        self._genesis = genesis
        self._member = member
        self._export_keys = export_keys
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="evidence")
        self._builds = Turnstile("evidence", BUILDS_MAX, BUILDS_PER_CLIENT_MAX)
        self._verifications = Turnstile("verifications", VERIFICATIONS_MAX, VERIFICATIONS_PER_CLIENT_MAX)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ---- building ----

    async def get_evidence(self, request: pb.GetEvidenceRequest, call: Call) -> AsyncIterator[Message]:
        """Raises: InvalidRequest, NotRecorded, NotReadyYet."""
        with self._builds.pass_through(call.client):
            bundle = await self._bundle(request, call)
            for start in range(0, len(bundle), PIECE_BYTES):
                yield pb.GetEvidenceResponse(chunk=bundle[start : start + PIECE_BYTES], total_bytes=len(bundle))

    async def _bundle(self, request: pb.GetEvidenceRequest, call: Call) -> bytes:
        await self._tail.reach(request.min_size, call.remaining_s())
        with self._store.snapshot() as snapshot:
            wanted = _find(snapshot, request)
            covered = snapshot.checkpoint_covering(wanted.index) is not None
        try:
            async with asyncio.timeout(call.remaining_s()):
                if not covered:
                    await self._tail.until(lambda state: state.checkpoint > wanted.index)
                return await self._in_thread(lambda: self._build(wanted))
        except TimeoutError:
            value = f"no checkpoint over leaf {wanted.index} yet"
            raise NotReadyYet("checkpoint", value, "one that a quorum has cosigned", RETRY_CHECKPOINT_MS) from None

    def _build(self, wanted: _Wanted) -> bytes:
        """In a worker thread. Raises: EvidenceImpossible, EvidenceWouldNotHold."""
        with self._store.snapshot() as snapshot:
            parts = _collect(snapshot, wanted)
        bundle = build_bundle(
            genesis=self._genesis,
            statement=parts.statement,
            index=wanted.index,
            path=parts.path,
            note=parts.note,
            blocks=(parts.order.block, *parts.order.headers),
            finalization=parts.order.finalization,
            payload=parts.order.payload,
            claims=parts.claims,
            position=wanted.position,
            exporter=self._member,
            exported_ms=time.time_ns() // 1_000_000,
            sign=self._export_key(parts.rosters.current).sign,
            proofs=parts.proofs,
            rights=parts.rights,
        )
        # A court takes this file at its word: it costs some milliseconds to be sure that it holds.
        report = verify_bundle(bundle, self._genesis, None, known=known_rosters(parts.rosters))
        if report.verdict is not Verdict.VERIFIED:
            raise EvidenceWouldNotHold(wanted.index, report)
        return bundle

    def _export_key(self, roster: Roster) -> Ed25519PrivateKey:
        """The one that the roster names; the first where it names none of them."""
        member = roster.member(self._member)
        wanted = None if member is None else member.keys.export
        return next((key for key in self._export_keys if public_bytes(key) == wanted), self._export_keys[0])

    # ---- verifying ----

    async def verify_evidence(self, requests: AsyncIterator[pb.VerifyEvidenceRequest], call: Call) -> Message:
        """Raises: InvalidRequest, TooLarge, TooManyCalls."""
        with self._verifications.pass_through(call.client):
            bundle, media = await _receive(requests)
            with self._store.snapshot() as snapshot:
                known = known_rosters(snapshot.rosters())
            report = await self._in_thread(functools.partial(verify_bundle, bundle, self._genesis, media, known=known))
        return pb.VerifyEvidenceResponse(
            checks=[
                pb.EvidenceCheck(name=check.name, outcome=_OUTCOMES[check.outcome], reason=check.reason)
                for check in report.checks
            ],
            verdict=_VERDICTS[report.verdict],
            genesis=self._genesis.digest,
        )

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def known_rosters(rosters: Rosters) -> tuple[Roster, ...]:
    """Of all epochs this node has followed: it trusts its own store."""
    return tuple(start.roster for start in rosters.starts)


def _find(snapshot: ReadSnapshot, request: pb.GetEvidenceRequest) -> _Wanted:
    """Raises: InvalidRequest, NotRecorded."""
    position = request.position if request.HasField("position") else None
    match request.WhichOneof("of"):
        case "statement_digest":
            check_digest("statement_digest", request.statement_digest)
            found = snapshot.statement(request.statement_digest)
            if found is None:
                expected = f"one in this node's {snapshot.size} leaves"
                raise NotRecorded("statement_digest", request.statement_digest.hex(), expected)
            if position is not None and not found.catalogue:
                raise InvalidRequest("position", str(position), "none: the statement is one claim by itself")
            if position is not None and position >= found.claims:
                raise InvalidRequest("position", str(position), f"0 to {found.claims - 1}")
            return _Wanted(index=found.index, position=position)
        case "media_digest":
            check_digest("media_digest", request.media_digest)
            if position is not None:
                raise InvalidRequest("position", str(position), "none: the audio says which claim")
            claim = _earliest(snapshot, request.media_digest)
            if claim is None:
                expected = f"the BLAKE3 or SHA-256 of a file claimed in this node's {snapshot.size} leaves"
                raise NotRecorded("media_digest", request.media_digest.hex(), expected)
            return _Wanted(index=claim.index, position=claim.position if claim.catalogue else None)
        case _:
            raise InvalidRequest("of", "nothing", "statement_digest or media_digest")


def _earliest(snapshot: ReadSnapshot, media_digest: bytes) -> StoredClaim | None:
    for kind in ("blake3", "sha256"):
        page = b""
        while True:
            claims, page = snapshot.claims_by(kind, media_digest, 1, page)
            if claims:
                return claims[0]
            if not page:
                break
    return None


def _collect(snapshot: ReadSnapshot, wanted: _Wanted) -> _Parts:
    entry, order = snapshot.entry(wanted.index), snapshot.block_of(wanted.index)
    size = snapshot.checkpoint_covering(wanted.index)
    assert entry is not None, "the log never loses a leaf"
    assert order is not None, "every leaf was ordered by a block"
    assert size is not None, "the caller waited for it, and no checkpoint is ever taken back"
    note = snapshot.note(size)
    assert note is not None, "a complete checkpoint has its signatures"
    claims: tuple[bytes, ...] | None = None
    if wanted.position is not None:
        catalogue = snapshot.catalogue(entry.digest)
        assert catalogue is not None, "only claims of a catalogue are asked for by position"
        claims = split_body(catalogue.header, catalogue.manifest, catalogue.chunks)
    return _Parts(
        statement=entry.raw,
        path=inclusion_proof(wanted.index, size, snapshot.tree_hash),
        note=note,
        order=order,
        claims=claims,
        rosters=snapshot.rosters(),
        proofs=snapshot.epoch_proofs(),
        rights=snapshot.rights(ClaimId(entry.digest, wanted.position or 0)),
    )


async def _receive(requests: AsyncIterator[pb.VerifyEvidenceRequest]) -> tuple[bytes, MediaDigests | None]:
    """The bundle's pieces joined, and the digests of the audio. Raises: InvalidRequest, TooLarge."""
    bundle = bytearray()
    media: MediaDigests | None = None
    async for request in requests:
        match request.WhichOneof("part"):
            case "bundle":
                bundle += request.bundle
                if len(bundle) > ARCHIVE_BYTES_MAX:
                    raise TooLarge("bundle", f"over {ARCHIVE_BYTES_MAX} bytes", f"at most {ARCHIVE_BYTES_MAX} bytes")
            case "media":
                if media is not None:
                    raise InvalidRequest("media", "a second one", "the digests of one file")
                media = _media(request.media)
            case _:
                raise InvalidRequest("part", "nothing", "bundle or media")
    if not bundle:
        raise InvalidRequest("bundle", "nothing", "the evidence file, in pieces")
    return bytes(bundle), media


def _media(message: pb.MediaDigests) -> MediaDigests:
    if not message.blake3 and not message.sha256:
        raise InvalidRequest("media", "nothing", "blake3, sha256 or both")
    for field in ("blake3", "sha256"):
        if getattr(message, field):
            check_digest(f"media.{field}", getattr(message, field))
    return MediaDigests(blake3=message.blake3 or None, sha256=message.sha256 or None)
