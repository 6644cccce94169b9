"""When a checkpoint is due on a chain, and whose turn it is to bring it. Pure: what is seen and the time come in.

Turns are counted from the contract's state, which every relayer sees alike, and not from the checkpoint, of which each
may know another: for one state exactly one relayer is first, and whatever it brings moves the state on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bridge.checkpoints import BridgeState
from bridge.config import ChainConfig


def is_due(config: ChainConfig, leaves: int, age_s: float) -> bool:
    """leaves: more than the contract has. age_s: since its last checkpoint."""
    if leaves >= config.leaves_min:
        return age_s >= config.seconds_min
    return leaves > 0 and age_s >= config.seconds_max


def rank(chain_id: int, state: BridgeState, relayer: int, relayers: int) -> int:
    """0 is first. Spread by chain and state, so that no relayer pays for all."""
    seed = hashlib.sha256(f"{chain_id} {state.epoch} {state.size}".encode()).digest()
    return (relayer + int.from_bytes(seed[:8], "big")) % relayers


@dataclass(slots=True)
class Turn:
    """How long this relayer still leaves the present work to those before it.

    The wait begins anew with every change of the contract, a reorganisation too. A relayer that has just started does
    not know what others have begun for the state it finds: there it queues behind all of them.
    """

    relayer: int
    relayers: int
    turn_s: float
    _key: object = None
    _since: float = 0.0
    _started: bool = False

    def nothing_due(self) -> None:
        """Whoever is first for what comes next starts from then."""
        self._key = None
        self._started = True

    def wait_s(self, chain_id: int, state: BridgeState, now: float) -> float:
        """Seconds until it may send, 0 if now. Called whenever work is seen. now: monotonic seconds."""
        if self._key != state.key:
            self._started = self._started or self._key is not None
            self._key, self._since = state.key, now
        if self.relayers == 1:
            return 0.0
        place = rank(chain_id, state, self.relayer, self.relayers)
        if not self._started:
            place += self.relayers
        return max(0.0, self._since + place * self.turn_s - now)
