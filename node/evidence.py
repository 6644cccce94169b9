"""Evidence of misbehaviour that the engine comes upon: kept for anybody to check."""

from __future__ import annotations

import logging

from consensus.events import Misbehaviour
from ledger.misbehaviour import MisbehaviourEvidence
from node.epoch import EpochRun
from node.store.chain import ChainStore

log = logging.getLogger(__name__)


def keep_evidence(misbehaviour: Misbehaviour, store: ChainStore, epoch: EpochRun) -> None:
    """Stores what anybody can check. Told once: the engine may report it again after a restart."""
    evidence = MisbehaviourEvidence.of(store.rosters.digest, misbehaviour.first, misbehaviour.second)
    if store.put_misbehaviour(evidence):
        log.error("two contradicting votes of %s %s", epoch.member(evidence.voter), evidence.sentence())
