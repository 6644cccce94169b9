"""From a final MINT statement to a token: every reason against it is found before anything is paid.

Each step can be repeated: what is minted stays minted, what was signed is in the journal and is taken up again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bridge.artifacts import checksummed
from bridge.config import ChainConfig
from bridge.contract import BridgeContract, Receipt
from bridge.endpoints import Endpoints
from bridge.errors import ContractRefuses, MalformedAnswer
from bridge.journal import Attempt, Journal, State
from bridge.mint_node import Leaf, MintNode
from bridge.relay import ChainRelay
from bridge.sender import Sender
from bridge.signer import Signer
from bridge.token import Place, TokenContract, TokenState
from consensus.errors import LocalError, RequestError
from consensus.types import Digest
from ledger.derived import STATUS_PREIMAGE_BYTES, MintState, StatusLeaf
from ledger.merkle import InvalidProof, leaf_hash, verify_inclusion
from ledger.mint_terms import MintTerms

MINE_S: Final = 600.0
SEQ_MAX: Final = 2**64 - 1
GAS_MARGIN: Final = 1.25
"""What is offered above the estimate: a block later more of the state may be cold."""

log = logging.getLogger(__name__)


class MintRefused(RequestError):
    """A token that cannot be minted, or a status that cannot be shown. rule: its name, the contract's if it has one."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}; nothing was paid")
        self.rule = rule
        self.reason = reason


class NotCovered(RequestError):
    """The contract knows no checkpoint yet that covers the leaf. size: leaves that it knows."""

    def __init__(self, chain: str, index: int, size: int) -> None:
        super().__init__(
            f"chain {chain}: the contract knows {size} leaves of the log, the leaf is number {index} (from 0): wait for"
            " a relayer, or bring a checkpoint yourself (--relay); nothing was paid"
        )
        self.index = index
        self.size = size


class NotMined(LocalError):
    """A transaction did not come into a block in time; the same command takes it up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A transaction that is in a block. hash: None where nothing had to be sent. gas: used; gas_price: wei."""

    token: int
    hash: bytes | None
    block: int
    gas: int
    gas_price: int


class Minter:
    """Mints on one chain for one account. Raises also what `Endpoints`, `Sender`, `MintNode` and `Journal` raise."""

    def __init__(
        self,
        config: ChainConfig,
        endpoints: Endpoints,
        node: MintNode,
        signer: Signer,
        journal: Journal,
        *,
        say: Callable[[str], None] = lambda _: None,
        mine_s: float = MINE_S,
    ) -> None:
        """say: called with what happens, line by line. Raises: MintRefused for a chain without contracts."""
        if config.bridge is None or config.nft is None:
            raise MintRefused(
                "NoContract", f"chains.{config.name} has no bridge and nft: `stretto bridge deploy` first"
            )
        self.config, self.endpoints, self.node, self.signer, self.journal = config, endpoints, node, signer, journal
        self.bridge, self.nft = BridgeContract(endpoints, config.bridge), TokenContract(endpoints, config.nft)
        self._sender = Sender(config, endpoints, signer, journal, to=config.nft)
        self._say, self._mine_s = say, mine_s

    # ---- minting -----------------------------------------------------------------------------------------------------

    def check_terms(self, terms: MintTerms) -> None:
        """That these terms are for this chain, contract and account. Raises: MintRefused."""
        config = self.config
        if terms.chain_id != config.id:
            raise MintRefused("WrongChain", f"the terms are for chain {terms.chain_id}, {config.name} is {config.id}")
        if terms.nft != config.nft:
            raise MintRefused("WrongContract", f"the terms name {_shown(terms.nft)}, chains.{config.name}.nft is"
                              f" {_shown(config.nft or b'')}")  # fmt: skip
        if terms.minter != self.signer.address:
            raise MintRefused(
                "WrongMinter", f"the terms name {_shown(terms.minter)}, the key given is {_shown(self.signer.address)}"
            )

    def mint(self, terms: MintTerms, *, wait_s: float = 0.0, relay: bool = False, evidence: Path | None = None) -> Done:
        """The token of these terms, minted now or before.

        wait_s: how long to wait for the ledger's leaf and for a checkpoint that covers it. relay: bring one if the
        contract lacks it. Raises: MintRefused, NotCovered, ContractRefuses, NotMined.
        """
        self.check_terms(terms)
        consortium = self._checked()
        until = time.monotonic() + wait_s
        token = int.from_bytes(terms.entry(consortium), "big")
        block = self.endpoints.common_head().number
        state = self.nft.state(token, block)
        if state.is_minted:
            self._say("it was minted before")
            return Done(token=token, hash=None, block=block, gas=0, gas_price=0)
        leaf = self._mint_leaf(terms, consortium, until)
        self._check_free(terms, leaf, state)
        place = self._place(leaf, until, relay=relay, evidence=evidence)
        return self._send("mint", token, leaf, TokenContract.mint_call(terms, place))

    def _checked(self) -> bytes:
        """The consortium, which contracts and node agree on. Raises: WrongContract, MintRefused."""
        wrong = self.endpoints.verify_all()
        if wrong:
            raise wrong[0]
        block = self.endpoints.common_head().number
        consortium = self.node.log().consortium
        assert self.config.bridge is not None, "checked when it was made"
        self.bridge.check_code(block)
        self.nft.check(self.config.bridge, consortium, block)
        if self.bridge.state(block).frozen:
            raise MintRefused("Frozen", f"the bridge on {self.config.name} is frozen by a proof that validators"
                              " contradicted themselves")  # fmt: skip
        return consortium

    def _mint_leaf(self, terms: MintTerms, consortium: bytes, until: float) -> Leaf:
        """Raises: MintRefused unless the node's log has the MINT leaf of exactly these terms."""
        entry = terms.entry(consortium)
        while (leaf := self.node.derived(entry=entry)) is None:
            if time.monotonic() >= until:
                raise MintRefused(
                    "NotFinal", f"the log has no MINT leaf {entry.hex()} of these terms: is the statement final?"
                )
            time.sleep(min(0.2, self.config.poll_s))
        if leaf.preimage != terms.preimage(consortium):
            raise MintRefused("WrongTree", f"the node gives other terms for the leaf {entry.hex()}")
        return leaf

    def _check_free(self, terms: MintTerms, leaf: Leaf, state: TokenState) -> None:
        """That neither the chain nor the ledger has the claim as disputed or revoked. Raises: MintRefused."""
        if state.state is not MintState.ACTIVE:
            raise MintRefused(state.state.name.title(), f"{self.config.name} knows the claim as {_word(state.state)}")
        rights = self.node.rights(terms.claim, terms.position)
        if rights is None:
            raise MintRefused("WrongTree", "the node's log has no such claim")
        known = rights.mint(leaf.entry)
        # A superseded claim's mints live on under its replacement.
        said = known.state if known is not None and rights.state != "superseded" else rights.state
        if said in ("disputed", "revoked"):
            # The chain may not know yet; whoever mints now would own a token that is stopped with the next checkpoint.
            raise MintRefused(said.title(), f"the ledger has the claim as {said}")

    # ---- status ------------------------------------------------------------------------------------------------------

    def show_status(self, status: StatusLeaf, leaf: Leaf, *, wait_s: float = 0.0, relay: bool = False) -> Done:
        """Brings a STATUS leaf to the contract, unless it knows a later one. Raises: as `mint`."""
        consortium = self._checked()
        if status.entry(consortium) != leaf.entry:
            raise MintRefused("WrongTree", "the status is not that of the leaf")
        token = int.from_bytes(status.mint, "big")
        block = self.endpoints.common_head().number
        if self.nft.state(token, block).seq >= status.seq:
            self._say("the contract knows it, or a later one")
            return Done(token=token, hash=None, block=block, gas=0, gas_price=0)
        place = self._place(leaf, time.monotonic() + wait_s, relay=relay, evidence=None)
        return self._send("status", token, leaf, TokenContract.status_call(status, place))

    def push(self, terms: MintTerms, *, wait_s: float = 0.0, relay: bool = False) -> Done:
        """Brings the newest status of the terms' token to the contract. Raises: as `show_status`."""
        consortium = self.node.log().consortium
        entry = terms.entry(consortium)
        rights = self.node.rights(terms.claim, terms.position)
        mint = None if rights is None else rights.mint(entry)
        if mint is None or not mint.seq:
            raise MintRefused("NoStatus", "the ledger has no STATUS leaf of this token: nothing has happened to it")
        leaf = self.node.derived(index=mint.status_index)
        if leaf is None:
            raise MintRefused("WrongTree", f"the node's log has no derived leaf {mint.status_index}")
        status = read_status(leaf.preimage, consortium)
        if status.mint != entry:
            raise MintRefused("WrongTree", "the node names a STATUS leaf of another token")
        return self.show_status(status, leaf, wait_s=wait_s, relay=relay)

    # ---- a leaf's place ----------------------------------------------------------------------------------------------

    def _place(self, leaf: Leaf, until: float, *, relay: bool, evidence: Path | None) -> Place:
        """The leaf in the tree that the contract knows, by a proof that was checked against its root.

        Raises: NotCovered, MintRefused.
        """
        if relay:
            self._relay(leaf.index, until, evidence)
        while True:
            state = self.bridge.state(self.endpoints.common_head().number)
            if state.size > leaf.index:
                break
            if time.monotonic() >= until:
                raise NotCovered(self.config.name, leaf.index, state.size)
            time.sleep(self.config.poll_s)
        proof = self.node.inclusion(leaf.index, state.size)
        try:
            verify_inclusion(
                leaf=leaf_hash(leaf.entry), index=leaf.index, size=state.size, proof=proof.path, root=state.root
            )
        except InvalidProof as error:
            raise MintRefused(
                "WrongTree", f"the node's proof does not lead to the root that {self.config.name} has at"
                f" {state.size} leaves ({error.reason})",
            ) from error  # fmt: skip
        return Place(size=state.size, index=leaf.index, path=proof.path)

    def _relay(self, index: int, until: float, evidence: Path | None) -> None:
        """Brings checkpoints, as a relayer would, until one covers the leaf or the time is up.

        Not before the validators have signed one that does: each that is brought costs gas.
        """
        while self.node.covering(index + 1) is None:
            if time.monotonic() >= until:
                return  # `_place` says what is missing
            time.sleep(self.config.poll_s)
        eager = replace(self.config, leaves_min=1, seconds_min=0.0)
        folder = evidence or self.journal.path.parent / "contradictions"
        relay = ChainRelay(eager, self.endpoints, self.node, self.signer, self.journal, evidence=folder)
        while True:
            report = relay.round()
            if report.state is not None and report.state.size > index:
                return
            self._say(report.doing)
            if time.monotonic() >= until:
                return  # `_place` says what is missing
            time.sleep(self.config.poll_s)

    # ---- sending -----------------------------------------------------------------------------------------------------

    def _send(self, kind: str, token: int, leaf: Leaf, call: bytes) -> Done:
        """Journalled, then sent; what was journalled before for this leaf is taken up instead."""
        self._sender.follow()
        self._sender.settle(
            self.endpoints.finalized(self.config.finality_blocks), lambda _a, found, _f: found.succeeded
        )
        attempt = self._attempt(kind, leaf, call)
        self._say(f"{kind}: transaction 0x{attempt.hash.hex()}")
        receipt = self._await(kind, attempt)
        return Done(
            token=token, hash=attempt.hash, block=receipt.block, gas=receipt.gas_used, gas_price=receipt.gas_price
        )

    def _attempt(self, kind: str, leaf: Leaf, call: bytes) -> Attempt:
        """Broadcast unless mined. Raises: ContractRefuses before anything is signed."""
        common = self.endpoints.common_head()
        nonce = self._sender.nonce(common.number)
        ours = [one for one in self.journal.open(self.config.id, self._sender.account) if _is_of(one, kind, leaf)]
        for attempt in ours:
            receipt = self._sender.receipt(attempt)
            if receipt is not None and receipt.succeeded:
                return attempt
        # An older proof is as good as a new one: the contract keeps every root that it accepted.
        usable = [one for one in ours if one.nonce == nonce]
        if usable:
            attempt = usable[-1]
        else:
            self.nft.simulate(self._sender.account, call, common.number)
            gas = round(self.nft.estimate(self._sender.account, call) * GAS_MARGIN)
            if gas > self.config.gas_max:
                raise MintRefused("GasOverCap", f"it takes {gas} gas, gas_max allows {self.config.gas_max}")
            attempt = self._sender.attempt(
                kind=kind, epoch=0, size=leaf.index, root=leaf.entry, call=call, gas=gas, nonce=nonce,
                market=self._sender.market(common),
            )  # fmt: skip
        self._sender.broadcast(attempt)
        return attempt

    def _await(self, kind: str, attempt: Attempt) -> Receipt:
        until = time.monotonic() + self._mine_s
        while time.monotonic() < until:
            self._sender.follow()
            receipt = self._sender.receipt(attempt)
            if receipt is not None:
                if not receipt.succeeded:
                    raise ContractRefuses(
                        self.config.name, f"{kind} failed in block {receipt.block}: the claim's status, or another"
                        " transaction, came before it"
                    )  # fmt: skip
                return receipt
            if self._sender.told_s(attempt) > self.config.replace_s:
                attempt = (
                    self._sender.replacement(attempt, self._sender.market(self.endpoints.common_head())) or attempt
                )
                self._sender.broadcast(attempt)
            time.sleep(self.config.poll_s)
        raise NotMined(f"chain {self.config.name}: {kind} is not mined after {self._mine_s:g} s; run the same again")


def _is_of(attempt: Attempt, kind: str, leaf: Leaf) -> bool:
    return attempt.kind == kind and attempt.root == leaf.entry and attempt.state in (
        State.INTENDED, State.SENT, State.MINED,
    )  # fmt: skip


def _shown(address: bytes) -> str:
    return checksummed(address)


def _word(state: MintState) -> str:
    return state.name.lower()


def read_status(preimage: bytes, consortium: bytes) -> StatusLeaf:
    """Inverse of `StatusLeaf.preimage`. Raises: MalformedAnswer."""
    words = [Digest(preimage[i : i + 32]) for i in range(0, len(preimage), 32)]
    if len(preimage) == STATUS_PREIMAGE_BYTES:
        seq, state = int.from_bytes(words[3], "big"), int.from_bytes(words[4], "big")
        if 0 < seq <= SEQ_MAX and state in {*MintState}:
            status = StatusLeaf(mint=words[2], seq=seq, state=MintState(state), cause=words[5])
            if status.preimage(consortium) == preimage:
                return status
    raise MalformedAnswer("node", "a STATUS leaf that is none of this consortium")
