"""An evidence file under examination: its files, parsed when first needed, beside what the verifier trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from consensus.types import Block, Certificate
from ledger import evidence_parts as parts
from ledger.claim import Claim, parse_claim
from ledger.evidence_manifest import Manifest, parse_manifest
from ledger.evidence_report import MediaDigests
from ledger.genesis import Genesis, parse_genesis
from ledger.payload import PayloadHeader, parse_payload_header
from ledger.statement import Statement, parse_statement
from ledger.tlog_proof import TlogProof, parse_tlog_proof


@dataclass(frozen=True, kw_only=True)
class Case:
    """Properties raise StrettoError where their file is malformed."""

    files: Mapping[str, bytes]
    """Complete, by `evidence_parts.check_names`."""
    trusted: Genesis | None
    media: MediaDigests | None

    @cached_property
    def enclosed_genesis(self) -> Genesis:
        """The bundle's own: to be compared, never to be believed."""
        return parse_genesis(self.files[parts.GENESIS])

    @property
    def genesis(self) -> Genesis:
        """The trusted one; without one the bundle's, for self-consistency only."""
        return self.trusted if self.trusted is not None else self.enclosed_genesis

    @cached_property
    def manifest(self) -> Manifest:
        return parse_manifest(self.files[parts.MANIFEST])

    @cached_property
    def statement(self) -> Statement:
        return parse_statement(self.files[parts.STATEMENT])

    @cached_property
    def claim(self) -> Claim | None:
        """The one offered; None where a catalogue is offered as a whole."""
        if isinstance(self.statement.content, Claim):
            return self.statement.content
        return parse_claim(self.files[parts.CLAIM]) if parts.CLAIM in self.files else None

    @cached_property
    def catalogue_proof(self) -> parts.InclusionProof | None:
        if parts.CATALOGUE_PROOF not in self.files:
            return None
        return parts.parse_inclusion_proof(self.files[parts.CATALOGUE_PROOF])

    @cached_property
    def log_proof(self) -> TlogProof:
        return parse_tlog_proof(self.files[parts.LOG_PROOF])

    @cached_property
    def payload_header(self) -> PayloadHeader:
        return parse_payload_header(self.files[parts.PAYLOAD_HEADER])

    @cached_property
    def payload_proof(self) -> parts.InclusionProof:
        return parts.parse_inclusion_proof(self.files[parts.PAYLOAD_PROOF])

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(Block.decode(content) for content in parts.block_contents(self.files))

    @cached_property
    def finalization(self) -> Certificate:
        return Certificate.decode(self.files[parts.FINALIZATION])
