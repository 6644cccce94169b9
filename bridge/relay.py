"""One chain's relayer: sees what the contract lacks, waits for its turn, checks, sends, and follows until it is final.

The contract's state is the only truth: there is no lock between relayers and no memory that could be wrong. Everything
that money depends on is read again, from a quorum of endpoints, and run without sending, right before it is signed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bridge import contradictions
from bridge.artifacts import topic
from bridge.checkpoints import NO_ROOT, BridgeState, SignedCheckpoint, check_extends, check_signed
from bridge.config import ChainConfig
from bridge.contract import NAME, BridgeContract, Receipt
from bridge.endpoints import Endpoints, Head
from bridge.errors import BridgeFrozen, ContractRefuses, ForkFound, MalformedAnswer, NoEndpoint, WrongContract
from bridge.journal import Attempt, Journal, State
from bridge.node_client import Node
from bridge.policy import Turn, is_due
from bridge.sender import Sender
from bridge.signer import Signer

GAS_MARGIN: Final = 1.25
"""What is offered above the estimate: a block later more of the state may be cold."""
SETTLE_POLLS: Final = 3
"""Finality is asked for in every third round: it costs a question to each of a quorum."""
AGAIN_POLLS: Final = 4
"""A transaction that is not mined is offered again after so many rounds, in case all pools have dropped it."""

KINDS: Final = ("submit", "rotate")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A call that would bring the contract on from `base`."""

    kind: str
    """submit or rotate."""
    signed: SignedCheckpoint
    call: bytes
    base: BridgeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a chain stands after a round."""

    chain: str
    doing: str = "starting"
    """In words."""
    state: BridgeState | None = None
    head: Head | None = None
    final: Head | None = None
    node_size: int | None = None
    node_epoch: int | None = None
    open: int = 0
    """Attempts that are not final."""
    due: bool = False
    """Whether the contract lacks something that should be there by now."""
    balance: int | None = None
    error: str = ""
    error_kind: str = ""
    frozen: bool = False

    @property
    def settled(self) -> bool:
        """Nothing is due and nothing of ours is on its way."""
        return not self.due and not self.open and not self.error and self.state is not None


class ChainRelay:
    """Not shared between threads. `round` raises every error by name; the next round starts afresh."""

    def __init__(
        self,
        config: ChainConfig,
        endpoints: Endpoints,
        node: Node,
        signer: Signer,
        journal: Journal,
        *,
        evidence: Path,
        relayer: int = 0,
        relayers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert config.bridge is not None, "checked before"
        self.config, self.endpoints, self.node, self.journal = config, endpoints, node, journal
        self.contract = BridgeContract(endpoints, config.bridge)
        self.sender = Sender(config, endpoints, signer, journal, to=config.bridge, clock=clock)
        self.report = Report(chain=config.name)
        self._turn = Turn(relayer, relayers, config.turn_s)
        self._evidence, self._clock = evidence, clock
        self._genesis: bytes | None = None
        self._rounds = 0
        self._pooled_since: float | None = None
        self._final_key: tuple[int, int, bytes] | None = None
        """Of the newest state that is known to be final."""
        self._kept = ""
        """Where the evidence of a freeze is, once it was fetched."""

    # ---- a round ----

    def round(self) -> Report:
        """Looks, and does what is due. Raises: StrettoError of the kind that stands in the way."""
        self._rounds += 1
        head = self.endpoints.common_head()
        genesis = self._checked_contract(head)
        state = self.contract.state(head.number, self.report.state)
        self.report = replace(self.report, head=head, state=state, error="", error_kind="", frozen=state.frozen)
        self._follow()
        if state.frozen:
            raise self._frozen(state)
        self._kept = ""
        work = self._work(state, genesis)
        if work is None:
            self._turn.nothing_due()
            return self._say("nothing is due", due=False)
        if not self._is_built_on(state):
            self._turn.nothing_due()
            return self._say(f"{work.kind}: waits until the last one is final", due=True)
        wait_s = self._turn.wait_s(self.config.id, state, self._clock())
        if wait_s > 0:
            return self._say(f"{work.kind}: leaves it to others for {wait_s:.0f} s", due=True)
        return self._say(self._bring(work), due=True)

    def _is_built_on(self, state: BridgeState) -> bool:
        """Whether what the work extends can no more be taken back: then the work would fail, and be paid for."""
        if self.config.build_on_latest or self._final_key == state.key:
            return True
        final = self.endpoints.finalized(self.config.finality_blocks)
        self.report = replace(self.report, final=final)
        if final.number < self.config.start_block:
            return False
        self._final_key = self.contract.state(final.number).key
        return self._final_key == state.key

    def _say(self, doing: str, *, due: bool) -> Report:
        # What was journalled and never sent is not on its way; whoever sends next uses its nonce.
        count = sum(each.state is not State.INTENDED for each in self.journal.open(self.config.id, self.sender.account))
        self.report = replace(self.report, doing=doing, due=due, open=count, balance=self.sender.balance)
        return self.report

    def _checked_contract(self, head: Head) -> bytes:
        """The consortium of the contract, which must be ours by code. Once. Raises: WrongContract."""
        if self._genesis is None:
            self.contract.check_code(head.number)
            genesis, ours = self.contract.genesis(head.number), self.node.log().consortium
            if genesis != ours:
                address = "0x" + self.contract.address.hex()
                raise WrongContract(self.config.name, address, "consortium", ours.hex(), genesis.hex())
            self._genesis = genesis
        return self._genesis

    # ---- what to do ----

    def _work(self, state: BridgeState, genesis: bytes) -> Work | None:
        """What the contract lacks and should have now, checked as the contract would. Raises: CheckpointRefused, ..."""
        found = self.node.latest()
        if found is None:
            return None
        signed = found.signed
        self.report = replace(self.report, node_size=signed.checkpoint.size, node_epoch=found.current_epoch)
        since = self.journal.saw(self.config.id, state.epoch, state.size, new_s=self.config.seconds_min)
        age_s = max(0.0, time.time() - since)
        if max(found.current_epoch, signed.checkpoint.epoch) > state.epoch and not self._ends(signed, state):
            ending = self.node.ending(state.epoch)
            if ending is None:
                return None  # the node's boundary checkpoint has no quorum of signatures yet
            signed = ending.signed
        elif signed.checkpoint.epoch < state.epoch:
            return None  # the chain is ahead of this node
        check_signed(signed, consortium=genesis, epoch=state.epoch, validator_set=state.validator_set)
        self._look_for_fork(signed, state)
        leaves = signed.checkpoint.size - state.size
        if not signed.checkpoint.ends_epoch and not is_due(self.config, leaves, age_s):
            return None
        proof: tuple[bytes, ...] = ()
        if leaves > 0:
            proof = self.node.consistency(state.size, signed.checkpoint.size)
        check_extends(signed, state, proof)
        make = self.contract.rotate_call if signed.checkpoint.ends_epoch else self.contract.submit_call
        kind = "rotate" if signed.checkpoint.ends_epoch else "submit"
        return Work(kind=kind, signed=signed, call=make(signed, proof), base=state)

    @staticmethod
    def _ends(signed: SignedCheckpoint, state: BridgeState) -> bool:
        return signed.checkpoint.ends_epoch and signed.checkpoint.epoch == state.epoch

    def _look_for_fork(self, signed: SignedCheckpoint, state: BridgeState) -> None:
        """signed: by a quorum, checked. Raises: ForkFound where the contract has recorded another root of its size."""
        point = signed.checkpoint
        if point.size > state.size:
            return
        known = state.root if point.size == state.size else self.contract.root_at(point.size, state.block)
        if known in (NO_ROOT, point.root):
            return
        reason = (
            f"a quorum of epoch {point.epoch} signed root {point.root.hex()} at {point.size} leaves,"
            f" the bridge has {known.hex()}"
        )
        recorded = self.contract.recorded(point.size, self.config.start_block, state.block)
        kept = self._keep(reason, (recorded, signed))
        raise ForkFound(self.config.name, reason, str(kept))

    def _frozen(self, state: BridgeState) -> BridgeFrozen:
        if self._kept:
            return BridgeFrozen(self.config.name, self._kept)
        try:
            found = self.contract.fork_evidence(self.config.start_block, state.block)
            if found:
                recorded = None
                if len(found) == 1:
                    size = found[0].checkpoint.size
                    recorded = self.contract.recorded(size, self.config.start_block, state.block)
                both = found if len(found) == 2 else (recorded, *found)
                self._kept = str(self._keep("the bridge was frozen by a fork proof", both))
        except (NoEndpoint, MalformedAnswer) as error:
            log.warning("chain %s: the fork's evidence could not be fetched: %s", self.config.name, error)
        return BridgeFrozen(self.config.name, self._kept)

    def _keep(self, reason: str, checkpoints: tuple[SignedCheckpoint | None, ...]) -> Path:
        return contradictions.keep(
            self._evidence,
            chain=self.config.name,
            chain_id=self.config.id,
            bridge=self.contract.address,
            reason=reason,
            checkpoints=checkpoints,
        )

    # ---- doing it ----

    def _bring(self, work: Work) -> str:
        """Sends, sends again or replaces; or says why not. Nothing here rests on one endpoint's word."""
        common = self.endpoints.common_head()
        state = self.contract.state(common.number)
        if state.key != work.base.key or state.frozen:
            return "the contract has just changed"
        nonce = self.sender.nonce(common.number)
        if self._is_pooled(state):
            return f"{work.kind}: a transaction waits to be mined"
        attempts = self.sender.open_at(nonce)
        live = self._still_good(attempts, common.number)
        if live is not None:
            return self._again(live, common)
        if not self.contract.simulate(self.sender.account, work.call, common.number):
            raise ContractRefuses(self.config.name, f"{work.kind} would change nothing")
        gas = round(self.contract.estimate(self.sender.account, work.call) * GAS_MARGIN)
        if gas > self.config.gas_max:
            raise ContractRefuses(self.config.name, f"it takes {gas} gas, gas_max allows {self.config.gas_max}")
        point = work.signed.checkpoint
        made = self.sender.attempt(
            kind=work.kind, epoch=point.epoch, size=point.size, root=point.root, call=work.call, gas=gas, nonce=nonce,
            market=self.sender.market(common),
        )  # fmt: skip
        if self._is_pooled(state):
            self.journal.withdraw(made)
            return f"{work.kind}: another's transaction has just come"
        self.sender.broadcast(made)
        return f"{work.kind} of {point.size} leaves sent"

    def _is_pooled(self, state: BridgeState) -> bool:
        """Whether something that moves the contract on waits in a pool, ours or another's; for replace_s at most.

        Any endpoint's word is enough: it can make us wait, no more. Where pools cannot be seen it is never so.
        """
        if self.contract.pending() <= (state.epoch, state.size):
            self._pooled_since = None
            return False
        now = self._clock()
        if self._pooled_since is None:
            self._pooled_since = now
        return now - self._pooled_since < self.config.replace_s

    def _still_good(self, attempts: list[Attempt], block: int) -> Attempt | None:
        """The newest of them that the contract would still take."""
        for attempt in reversed([each for each in attempts if each.kind in KINDS]):
            try:
                if self.contract.simulate(self.sender.account, attempt.call, block):
                    return attempt
            except ContractRefuses as error:
                log.info("chain %s: an open attempt has become useless: %s", self.config.name, error.name)
        return None

    def _again(self, live: Attempt, common: Head) -> str:
        """What was signed before: the same bytes, or a replacement when they have waited long enough."""
        name = f"{live.kind} of {live.size} leaves"
        if live.state is State.SENT and self.sender.told_s(live) < AGAIN_POLLS * self.config.poll_s:
            return f"{name} waits to be mined"
        if live.sent_s is not None and time.time() - live.sent_s > self.config.replace_s:
            made = self.sender.replacement(live, self.sender.market(common))
            if made is not None:
                self.sender.broadcast(made)
                return f"{name} replaced for {made.fees.max_fee / 1e9:g} gwei"
        self.sender.broadcast(live)
        return f"{name} sent again"

    # ---- following up ----

    def _follow(self) -> None:
        if self.journal.open(self.config.id, self.sender.account):
            self.sender.follow()
        if self._rounds % SETTLE_POLLS == 1:
            final = self.endpoints.finalized(self.config.finality_blocks)
            self.report = replace(self.report, final=final)
            self.sender.settle(final, self._changed)

    def _changed(self, attempt: Attempt, receipt: Receipt, final: Head) -> bool:
        """Whether a final transaction did what it was for, and the contract has it."""
        if attempt.kind not in KINDS:
            return receipt.succeeded  # of `deploy`, whose journal this is too
        event = "Rotated" if attempt.kind == "rotate" else "CheckpointAccepted"
        if not receipt.succeeded or topic(NAME, event) not in receipt.topics:
            return False
        has_root = self.contract.root_at(attempt.size, final.number) == attempt.root
        return has_root and (attempt.kind != "rotate" or self.contract.epoch_at(final.number) > attempt.epoch)
