"""Makes the core of an epoch: an engine for who has a seat, a follower for who has none."""

from __future__ import annotations

import secrets

from consensus.engine import Engine
from consensus.events import Restored
from consensus.follower import Follower
from ledger.ed25519 import verify_strict
from ledger.roster import Roster
from node.epoch import Core
from node.signer import Signer


def make_core(roster: Roster, signer: Signer | None, restored: Restored, seed: bytes | None = None) -> Core:
    """seed: 32 bytes, fresh ones unless given: a nonce that came again would let an old answer about views be replayed.

    Raises: RestoredStateInvalid.
    """
    committee, seed = roster.committee(), secrets.token_bytes(32) if seed is None else seed
    if signer is None:
        return Follower(committee=committee, restored=restored, verify=verify_strict, seed=seed)
    return Engine(committee=committee, me=signer.index, verify=verify_strict, restored=restored, seed=seed)
