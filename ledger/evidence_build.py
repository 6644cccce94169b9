"""Making an evidence file: everything a stranger needs to check one statement, in one archive with one encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from consensus.errors import LocalError, PeerError
from consensus.types import Block, Certificate, Digest
from ledger import merkle
from ledger.catalogue import CatalogueHeader
from ledger.checkpoint import parse_checkpoint
from ledger.claim import Claim, parse_claim
from ledger.epochs import EpochProof, encode_epochs
from ledger.evidence_archive import encode_archive
from ledger.evidence_manifest import Manifest, digests_of
from ledger.evidence_parts import (
    BLOCKS_MAX,
    CATALOGUE_PROOF,
    CHECKPOINT,
    CLAIM,
    EPOCHS,
    FINALIZATION,
    GENESIS,
    GO_PROGRAM,
    LIMITS,
    LOG_PROOF,
    MANIFEST,
    MANIFEST_SIGNATURE,
    PAYLOAD_HEADER,
    PAYLOAD_PROOF,
    POLICY,
    PYTHON_PROGRAM,
    STATEMENT,
    SUMMARY,
    VERIFY,
    InclusionProof,
    block_name,
    ordered_names,
)
from ledger.evidence_rights import rights_note
from ledger.evidence_summary import summarise
from ledger.evidence_text import LIMITS_MD, VERIFY_GO, VERIFY_MD, VERIFY_PY
from ledger.genesis import Genesis
from ledger.governance import Change
from ledger.note import Note, parse_note
from ledger.payload import Payload, parse_payload
from ledger.policy import accepting_roster, epoch_policy
from ledger.rights import ClaimRights
from ledger.rights_content import RightsContent
from ledger.roster import Roster
from ledger.statement import Statement, parse_statement
from ledger.tlog_proof import TlogProof

_WHAT: Final = "what was given does not belong together"


class EvidenceImpossible(LocalError):
    """This node cannot make the evidence asked for. reason: one clause that says which part is missing or wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot make evidence: {reason}")
        self.reason = reason


def build_bundle(
    *,
    genesis: Genesis,
    statement: bytes,
    index: int,
    path: Sequence[Digest],
    note: bytes,
    blocks: Sequence[Block],
    finalization: Certificate,
    payload: bytes,
    claims: Sequence[bytes] | None,
    position: int | None,
    exporter: str,
    exported_ms: int,
    sign: Callable[[bytes], bytes],
    proofs: Sequence[EpochProof] = (),
    rights: ClaimRights | None = None,
) -> bytes:
    """The evidence file of one statement, or of one claim of a catalogue.

    statement: its bytes, verbatim. index, path: its leaf in the log and the inclusion path (`merkle.inclusion_proof`)
    in the tree of the size that `note` has. note: checkpoint with a quorum of cosignatures. blocks: the one that
    ordered `payload`, then each child up to the one that `finalization` finalizes. payload: whole encoding.
    claims, position: all claims of the catalogue and the 0-based place of the one offered; both None for a CLAIM, and
    for a catalogue as a whole. exporter: member id. exported_ms: this node's clock. sign: by the exporter's export key.
    proofs: of every epoch from 1 to the current one; the file gets as many as its own parts need.
    rights: of the claim offered, as they stand in the exporter's log.
    Raises: EvidenceImpossible; PeerError or StatementError where a part does not parse. It does not verify
    signatures: whoever wants to be sure calls `verify_bundle` with the result.
    """
    rosters = (genesis.roster, *(proof.roster for proof in proofs))
    parsed, ordered = parse_statement(statement), parse_payload(payload)
    _check_blocks(blocks, finalization, ordered)
    signed_note = parse_note(note)
    roster = _roster_of(blocks[0], rosters)
    vouching = _vouching(genesis, rosters[roster.epoch :], signed_note)
    carried = proofs[: _epochs_needed(genesis, rosters, vouching.epoch, exporter)]
    checkpoint = parse_checkpoint(signed_note.text)
    claim, catalogue_files = _claim_files(parsed, claims, position)
    recorded_ms = blocks[0].timestamp_ms
    if exported_ms + roster.parameters.precision_ms < recorded_ms:
        raise EvidenceImpossible("this machine's clock stands before the time the statement was recorded: set it right")
    files: dict[str, bytes] = {
        VERIFY: VERIFY_MD,
        LIMITS: LIMITS_MD,
        SUMMARY: summarise(
            genesis=genesis, roster=roster, statement=parsed, claim=claim, position=position, log_index=index,
            log_size=checkpoint.size, height=blocks[0].height, recorded_ms=recorded_ms,
        ),
        STATEMENT: statement,
        **catalogue_files,
        LOG_PROOF: TlogProof(index=index, path=tuple(path), note=signed_note).encode(),
        CHECKPOINT: signed_note.encode(),
        POLICY: epoch_policy(genesis, vouching).encode(),
        GENESIS: genesis.raw,
        **({EPOCHS: encode_epochs(genesis.digest, carried)} if carried else {}),
        PAYLOAD_HEADER: ordered.header.encode(),
        PAYLOAD_PROOF: _payload_proof(ordered, parsed.digest).encode(),
        **{block_name(i): block.encode() for i, block in enumerate(blocks)},
        FINALIZATION: finalization.encode(),
        PYTHON_PROGRAM: VERIFY_PY,
        GO_PROGRAM: VERIFY_GO,
    }  # fmt: skip
    manifest = Manifest(
        consortium=genesis.digest, exporter=exporter, recorded_ms=recorded_ms, exported_ms=exported_ms,
        rights=None if rights is None or claim is None else rights_note(rights), files=digests_of(files),
    ).encode()  # fmt: skip
    files = {MANIFEST: manifest, MANIFEST_SIGNATURE: sign(manifest), **files}
    names = ordered_names(len(blocks), catalogue=bool(catalogue_files), epochs=bool(carried))
    assert tuple(files) == names, "files stand in their order"
    return encode_archive(files)


def _roster_of(block: Block, rosters: Sequence[Roster]) -> Roster:
    if block.epoch >= len(rosters):
        raise EvidenceImpossible(f"block {block.height} is of epoch {block.epoch}, proven are {len(rosters)} epochs")
    return rosters[block.epoch]


def _vouching(genesis: Genesis, rosters: Sequence[Roster], note: Note) -> Roster:
    """Of the epoch whose committee vouches for the note; nobody does: then verification says so."""
    if len(rosters) == 1:
        return rosters[0]
    try:
        return accepting_roster(genesis, rosters, note)[0]
    except PeerError:
        return rosters[-1]


def _epochs_needed(genesis: Genesis, rosters: Sequence[Roster], epoch: int, exporter: str) -> int:
    """The first epoch, from `epoch` on, in which the exporter has the export key that it has now."""
    member = rosters[-1].member(exporter)
    if member is None:
        raise EvidenceImpossible(f"{exporter} is not a member of {genesis.name}")

    def has_key(roster: Roster) -> bool:
        there = roster.member(exporter)
        return there is not None and there.keys.export == member.keys.export

    return next(roster.epoch for roster in rosters[epoch:] if has_key(roster))


def _check_blocks(blocks: Sequence[Block], finalization: Certificate, payload: Payload) -> None:
    if not 1 <= len(blocks) <= BLOCKS_MAX:
        raise EvidenceImpossible(f"{len(blocks)} block headers up to a finalization, 1 to {BLOCKS_MAX} fit")
    if payload.digest not in blocks[0].payloads:
        raise EvidenceImpossible(f"block {blocks[0].height} does not order the payload: {_WHAT}")
    if any(child.parent != parent.digest for parent, child in pairwise(blocks)):
        raise EvidenceImpossible(f"the blocks from {blocks[0].height} on are not linked: {_WHAT}")
    if finalization.vote.block != blocks[-1].digest:
        raise EvidenceImpossible(f"the finalization is not of block {blocks[-1].height}: {_WHAT}")


def _claim_files(
    statement: Statement, claims: Sequence[bytes] | None, position: int | None
) -> tuple[Claim | None, Mapping[str, bytes]]:
    """The claim that is offered, and the files that place it in its catalogue."""
    content = statement.content
    if (own := statement.own_claim) is not None:
        if claims is not None or position is not None:
            raise EvidenceImpossible("the statement is a claim by itself, it has no positions: ask for it without one")
        return own, {}
    if isinstance(content, Change | RightsContent):
        if claims is not None or position is not None:
            raise EvidenceImpossible(f"the statement is to {content.describe()}; it holds no claims: ask for it alone")
        return None, {}
    assert isinstance(content, CatalogueHeader), "a CLAIM holds its own claim"
    if position is None:
        return None, {}
    if claims is None or len(claims) != content.count or not 0 <= position < content.count:
        raise EvidenceImpossible(f"the catalogue has the positions 0 to {content.count - 1}, asked for {position}")
    proof = _catalogue_proof(content, claims, position)
    return parse_claim(claims[position]), {CLAIM: claims[position], CATALOGUE_PROOF: proof.encode()}


def _catalogue_proof(header: CatalogueHeader, claims: Sequence[bytes], position: int) -> InclusionProof:
    path, root = _place(claims, position)
    if root != header.root:
        raise EvidenceImpossible(f"the catalogue's claims do not have its signed root: {_WHAT}")
    return InclusionProof(index=position, count=header.count, path=path)


def _payload_proof(payload: Payload, statement: Digest) -> InclusionProof:
    entries = [hashlib.sha256(item).digest() for item in payload.statements]
    if statement not in entries:
        raise EvidenceImpossible(f"the statement is not in the payload: {_WHAT}")
    index = entries.index(statement)
    return InclusionProof(index=index, count=len(entries), path=_place(entries, index)[0])


def _place(entries: Sequence[bytes], index: int) -> tuple[tuple[Digest, ...], Digest]:
    """Inclusion path of one of `entries`, and their root."""
    frontier, full = merkle.Frontier().extend(entries)
    nodes = {(node.level, node.index): node.hash for node in full}
    path = merkle.inclusion_proof(index, len(entries), lambda level, i: nodes[level, i])
    return path, frontier.root()
