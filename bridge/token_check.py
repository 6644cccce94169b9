"""A token on its chain: what the contracts there have of it, beside what the file and the ledger say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.artifacts import checksummed
from bridge.contract import BridgeContract
from bridge.endpoints import Endpoints
from bridge.errors import RpcError, WrongContract
from bridge.mint_node import LedgerMint
from bridge.token import TokenContract
from consensus.errors import StrettoError
from ledger.derived import MintState
from ledger.evidence_report import Check, Outcome
from ledger.token_file import TokenFile

CONTRACT: Final = "contract"
CHECKPOINT: Final = "checkpoint"
MINTED: Final = "token"
STANDING: Final = "standing"
CHAIN_CHECKS: Final = (CONTRACT, CHECKPOINT, MINTED, STANDING)
"""What only the chain can say, in this order."""


class _Fails(StrettoError):
    """A check failed. Its text is the reason, for people."""


class _CannotTell(StrettoError):
    """A check could not be made. Its text says why."""


def unasked(reason: str) -> tuple[Check, ...]:
    """The checks of the chain where nobody was asked."""
    return tuple(Check(name, Outcome.NOT_CHECKED, reason) for name in CHAIN_CHECKS)


class ChainChecks:
    """Of one token, at the newest block that a quorum of the endpoints has, and at the last final one."""

    def __init__(
        self, endpoints: Endpoints, file: TokenFile, consortium: bytes, ledger: LedgerMint | None, *,
        finality_blocks: int | None = None,
    ) -> None:  # fmt: skip
        """ledger: what a node has of the mint, by its word; None: no node was asked."""
        self._endpoints, self._file, self._consortium, self._ledger = endpoints, file, consortium, ledger
        self._nft = TokenContract(endpoints, file.contract)
        self._head = endpoints.common_head().number
        self._final = endpoints.finalized(finality_blocks).number
        self._bridge: BridgeContract | None = None

    def run(self) -> tuple[Check, ...]:
        """Raises: what asking the endpoints raises (NoEndpoint, EndpointsDisagree)."""
        made: tuple[tuple[str, Callable[[], str]], ...] = (
            (CONTRACT, self._contract), (CHECKPOINT, self._checkpoint), (MINTED, self._token),
            (STANDING, self._standing),
        )  # fmt: skip
        found: list[Check] = []
        for name, check in made:
            if found and found[0].outcome is Outcome.FAILED:
                found.append(Check(name, Outcome.NOT_CHECKED, "It builds on what failed before: contract."))
                continue
            try:
                found.append(Check(name, Outcome.PASSED, check()))
            except _CannotTell as error:
                found.append(Check(name, Outcome.NOT_CHECKED, str(error)))
            except (_Fails, WrongContract, RpcError) as error:
                found.append(Check(name, Outcome.FAILED, str(error)))
        return tuple(found)

    def _contract(self) -> str:
        """Code and ties of both contracts: neither address is believed."""
        self._nft.check_code(self._head)
        address = self._nft.bridge(self._head)
        bridge = BridgeContract(self._endpoints, address)
        bridge.check_code(self._head)
        self._nft.check(address, self._consortium, self._head)
        if bridge.genesis(self._head) != self._consortium:
            raise _Fails(f"The bridge {checksummed(address)} is another consortium's.")
        self._bridge = bridge
        return (
            f"At {checksummed(self._file.contract)} on {self._endpoints.chain} is the MusicNFT, over the bridge"
            f" {checksummed(address)}; both have the code of this version, and this consortium."
        )

    def _checkpoint(self) -> str:
        assert self._bridge is not None, "checked before"
        point = self._file.checkpoint
        if self._bridge.state(self._head).frozen:
            raise _Fails("The bridge is frozen: somebody proved that its validators contradicted themselves.")
        root = self._bridge.root_at(point.size, self._head)
        if root == bytes(32):
            raise _CannotTell(f"The bridge has recorded no checkpoint of {point.size} entries (yet).")
        if root != point.root:
            raise _Fails(
                f"The bridge has recorded the root {root.hex()} at {point.size} entries, not {point.root.hex()}."
            )
        if self._final < self._head and self._bridge.root_at(point.size, self._final) != point.root:
            raise _CannotTell(
                f"The bridge has the checkpoint of {point.size} entries in a block that is not final yet."
            )
        return f"The bridge has recorded this root at {point.size} entries, by block {self._final}, which is final."

    def _token(self) -> str:
        id_ = int.from_bytes(self._file.token, "big")
        state = self._nft.state(id_, self._head)
        if state.owner is None:
            raise _CannotTell("The token is not minted (yet).")
        if not self._nft.state(id_, self._final).is_minted:
            raise _CannotTell(
                f"The token is minted, owner {checksummed(state.owner)}, in a block that is not final yet."
            )
        return f"It is minted, against {state.size} entries of the log; its owner is {checksummed(state.owner)}."

    def _standing(self) -> str:
        """Whether the claim is active, by the chain and by the ledger, which may be ahead."""
        state = self._nft.state(int.from_bytes(self._file.token, "big"), self._head)
        if state.state is not MintState.ACTIVE:
            raise _Fails(f"The chain has the claim as {state.state.name}, by status {state.seq}.")
        if self._ledger is None:
            raise _CannotTell(
                "The chain has the claim as active. Whether the ledger has a later status was not asked: nothing but"
                " somebody's transaction brings it to the chain."
            )
        if self._ledger.seq > state.seq and self._ledger.state != "active":
            raise _Fails(
                f"The ledger has the claim as {self._ledger.state}, by status {self._ledger.seq}; the chain knows"
                f" status {state.seq}: bring it there (stretto mint status --push)."
            )
        return f"The claim is active, by the chain (status {state.seq}) and by the ledger (status {self._ledger.seq})."
