"""An evidence file under examination: its files, parsed when first needed, beside what the verifier trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from consensus.errors import StrettoError
from consensus.types import Block, Certificate
from ledger import evidence_parts as parts
from ledger.anchor import Anchor, parse_anchor
from ledger.claim import Claim, parse_claim
from ledger.epochs import EpochProof, parse_epochs, verify_epochs
from ledger.evidence_manifest import Manifest, parse_manifest
from ledger.evidence_report import MediaDigests
from ledger.genesis import Genesis, parse_genesis
from ledger.note import parse_note
from ledger.payload import PayloadHeader, parse_payload_header
from ledger.policy import accepting_roster
from ledger.roster import Roster
from ledger.statement import Statement, parse_statement
from ledger.tlog_proof import TlogProof, parse_tlog_proof


class EpochNotCarried(StrettoError):
    """The file speaks of an epoch whose validators it does not prove. epoch: that. known: the last one it proves."""

    def __init__(self, epoch: int, known: int) -> None:
        super().__init__(f"the block is of epoch {epoch}, the file proves the validators up to epoch {known}")
        self.epoch = epoch
        self.known = known


@dataclass(frozen=True, kw_only=True)
class Case:
    """Properties raise StrettoError where their file is malformed."""

    files: Mapping[str, bytes]
    """Complete, by `evidence_parts.check_names`."""
    trusted: Genesis | None
    media: MediaDigests | None
    known: tuple[Roster, ...] = field(default=())
    """Rosters of epochs 0 and up that the verifier trusts besides the genesis, from elsewhere than this file."""

    @cached_property
    def enclosed_genesis(self) -> Genesis:
        """The bundle's own: to be compared, never to be believed."""
        return parse_genesis(self.files[parts.GENESIS])

    @property
    def genesis(self) -> Genesis:
        """The trusted one; without one the bundle's, for self-consistency only."""
        return self.trusted if self.trusted is not None else self.enclosed_genesis

    @cached_property
    def proofs(self) -> tuple[EpochProof, ...]:
        """Of epochs 1 and up, as the file has them: none where everything in it is of epoch 0."""
        return parse_epochs(self.files[parts.EPOCHS])[1] if parts.EPOCHS in self.files else ()

    @cached_property
    def rosters(self) -> tuple[Roster, ...]:
        """Of epoch 0 and every one that the file proves from the genesis, ascending."""
        return verify_epochs(self.genesis, self.proofs)

    @property
    def block_roster(self) -> Roster:
        """Of the epoch in which the statement was ordered. Raises: EpochNotCarried."""
        if parts.EPOCHS not in self.files:
            return self.rosters[0]
        epoch = self.blocks[0].epoch
        if epoch >= len(self.rosters):
            raise EpochNotCarried(epoch, len(self.rosters) - 1)
        return self.rosters[epoch]

    @cached_property
    def checkpoint_roster(self) -> Roster:
        """Of the epoch whose committee vouches for the checkpoint; of the last one proven where none does."""
        later = self.rosters[self.block_roster.epoch :]
        if len(later) == 1:
            return later[0]
        try:
            return accepting_roster(self.genesis, later, parse_note(self.files[parts.CHECKPOINT]))[0]
        except StrettoError:
            return later[-1]

    @property
    def exporter_roster(self) -> Roster:
        """Of the last epoch proven: a file carries as many as lead to its exporter's key."""
        return self.rosters[-1]

    @cached_property
    def manifest(self) -> Manifest:
        return parse_manifest(self.files[parts.MANIFEST])

    @cached_property
    def statement(self) -> Statement:
        return parse_statement(self.files[parts.STATEMENT])

    @cached_property
    def claim(self) -> Claim | None:
        """The one offered; None where a catalogue is offered as a whole."""
        if (own := self.statement.own_claim) is not None:
            return own
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
    def anchors(self) -> tuple[Anchor, ...]:
        """One for each chain, ascending; whether they hold is not known yet."""
        return tuple(parse_anchor(content) for name, content in self.files.items() if parts.is_anchor(name))

    @cached_property
    def finalization(self) -> Certificate:
        return Certificate.decode(self.files[parts.FINALIZATION])
