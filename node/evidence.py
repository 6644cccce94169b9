"""Evidence of misbehaviour that the engine comes upon: kept for anybody to check."""

from __future__ import annotations

import logging

from consensus.events import Misbehaviour
from ledger.chain_misbehaviour import ChainMisbehaviour
from ledger.misbehaviour import MisbehaviourEvidence
from node.epoch import EpochRun
from node.store.chain import ChainStore

log = logging.getLogger(__name__)


def keep_evidence(misbehaviour: Misbehaviour, store: ChainStore, epoch: EpochRun) -> None:
    """Stores what anybody can check. Told once: the engine may report it again after a restart."""
    evidence = MisbehaviourEvidence.of(store.rosters.digest, misbehaviour.first, misbehaviour.second)
    if store.put_misbehaviour(evidence):
        log.error("two contradicting votes of %s %s", epoch.member(evidence.voter), evidence.sentence())


def keep_chain_evidence(evidence: ChainMisbehaviour, member: str, store: ChainStore) -> None:
    """As `keep_evidence`, of signatures for public chains that the caller has checked. member: whose they are."""
    if store.put_misbehaviour(evidence):
        log.error("two contradicting signatures of %s %s", member, evidence.sentence())
