"""How every chain stands, asked once: for `stretto bridge status`, beside a relayer that is running or without one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bridge.checkpoints import BridgeState
from bridge.config import BridgeConfig, ChainConfig
from bridge.contract import BridgeContract
from bridge.endpoints import Head
from bridge.journal import Journal, State
from bridge.node_client import NodeCheckpoint
from bridge.run import open_endpoints
from consensus.errors import StrettoError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    """One chain. error: why something of it is not known, or empty."""

    config: ChainConfig
    state: BridgeState | None = None
    final_state: BridgeState | None = None
    head: Head | None = None
    final: Head | None = None
    pending: int | None = None
    """Transactions of this relayer's journal that are not final; None where there is no journal yet."""
    endpoints: Sequence[dict[str, Any]] = field(default_factory=tuple)
    error: str = ""

    def lag(self, node: NodeCheckpoint | None) -> int | None:
        """Leaves that the node's newest checkpoint has more."""
        if node is None or self.state is None:
            return None
        return max(0, node.signed.checkpoint.size - self.state.size)

    def as_json(self, node: NodeCheckpoint | None) -> dict[str, Any]:
        state, final = self.state, self.final
        return {
            "chain": self.config.name,
            "id": self.config.id,
            "bridge": None if self.config.bridge is None else "0x" + self.config.bridge.hex(),
            "size": state.size if state else None,
            "root": state.root.hex() if state else None,
            "epoch": state.epoch if state else None,
            "frozen": state.frozen if state else None,
            "final_size": self.final_state.size if self.final_state else None,
            "head_block": self.head.number if self.head else None,
            "finalized_block": final.number if final else None,
            "finalized_lag_seconds": round(time.time() - final.time_s, 1) if final else None,
            "lag_leaves": self.lag(node),
            "pending": self.pending,
            "endpoints": list(self.endpoints),
            "error": self.error,
        }


def look(config: BridgeConfig) -> list[ChainStatus]:
    """All chains at the same time; an error stands with its chain."""
    with ThreadPoolExecutor(max(1, len(config.chains))) as pool:
        return list(pool.map(lambda chain: _look_at(config, chain), config.chains.values()))


def _look_at(config: BridgeConfig, chain: ChainConfig) -> ChainStatus:
    endpoints = open_endpoints(chain)
    state = final_state = head = final = None
    error = ""
    try:
        endpoints.verify_all()
        head = endpoints.common_head()
        final = endpoints.finalized(chain.finality_blocks)
        if chain.bridge is None:
            error = "not deployed: `stretto bridge deploy`"
        else:
            contract = BridgeContract(endpoints, chain.bridge)
            contract.check_code(head.number)
            state = contract.state(head.number)
            if final.number >= chain.start_block:
                final_state = contract.state(final.number)
    except StrettoError as failure:
        error = str(failure)
    finally:
        endpoints.close()
    return ChainStatus(
        config=chain,
        state=state,
        final_state=final_state,
        head=head,
        final=final,
        pending=_pending(config, chain),
        endpoints=endpoints.standings(),
        error=error,
    )


def _pending(config: BridgeConfig, chain: ChainConfig) -> int | None:
    if not config.journal.exists():
        return None
    try:
        with Journal(config.journal, read_only=True) as journal:
            return journal.count(chain.id, [State.SENT, State.MINED])
    except StrettoError:
        return None
