"""A follower: the finalized chain of one epoch, fetched and committed without a vote.

For observers, for members without a seat, and for any node that catches up: it needs no voting state, and its messages
are requests. Terms: a *range* is the run of blocks one Chain brings. A Chain proves itself by the finalization of its
last block, wherever it starts; so several ranges are fetched side by side from different validators, and join later.
Payloads are wanted ahead of what can be committed (`PAYLOADS_AHEAD_MAX`), so that fetching goes on while the node
executes. The lowest run of blocks that has a finalization and all its payloads is committed, then the next one.

A validator that sends what does not verify is asked no more; one that stays silent is asked last. Every request has a
deadline, after which another validator is asked; a late answer serves all the same. Memory is bounded by `Window`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from consensus.certificates import check_certificate
from consensus.chain import check_chain
from consensus.errors import ConflictingCertificates, PeerError, RestoredStateInvalid, UnknownValidator
from consensus.events import (
    Alarm,
    Commit,
    Connected,
    EngineStatus,
    Event,
    Executed,
    FetchPayloads,
    Output,
    PayloadsHeld,
    Received,
    Rejected,
    Restored,
    Send,
    Signed,
    Tick,
)
from consensus.messages import BLOCKS_MAX, Certificates, Chain, ChainRequest, Message
from consensus.providers import Providers
from consensus.restore import check_head
from consensus.types import (
    Block,
    Certificate,
    Committee,
    Digest,
    Height,
    ValidatorIndex,
    VerifySignature,
    View,
    VoteKind,
)
from consensus.window import Window

RANGES_MAX = 8
"""Chains asked for and not answered, at once."""
PAYLOADS_AHEAD_MAX = 512
"""Payloads wanted at once, of the lowest blocks not committed; at least those of one block."""
RANGE_DELTAS = 4
"""A Chain of known height is awaited so long, and twice as long for every silence of its validator before."""
POLL_DELTAS_MAX = 16
"""Above what is known to be final one validator after another is asked, every delta; ever more seldom, up to this."""
PAYLOAD_DELTAS = 8
"""A payload is awaited so long before another validator is to be tried first; then twice as long, and so on."""
PAYLOAD_DOUBLINGS_MAX = 3
SPARE_MAX = 8192
"""Payloads held of which no block is known yet; beyond, the oldest are forgotten, and found in the store if wanted."""


@dataclass(slots=True)
class _Asked:
    """A ChainRequest under way. is_known: final blocks are known to be there, so that silence is a failure."""

    validator: ValidatorIndex
    due_ms: int
    is_known: bool


@dataclass(slots=True)
class _Wanted:
    """Payloads of one block that lack. due_ms: when to ask (again)."""

    digests: dict[Digest, None]
    due_ms: int
    attempts: int = 0


class Follower:
    """Follows one epoch's chain from `restored.head`; votes, blocks and certificates of `restored` are left alone.

    committee: of the epoch. verify: strict Ed25519. seed: fresh random bytes per start. me: own seat, if there is one.
    commits_max: how many Commits may wait for their Executed. None: none is awaited, a Commit is done when obeyed.
    deadline_ms: monotonic time at which the next Tick is wanted, None if only events can move it.
    ended: whether the epoch is over: its boundary was given out as the last block of a Commit.
    Raises: RestoredStateInvalid if what the store kept contradicts itself or the committee.
    """

    def __init__(
        self,
        *,
        committee: Committee,
        restored: Restored,
        verify: VerifySignature,
        seed: bytes,
        me: ValidatorIndex | None = None,
        commits_max: int | None = None,
    ) -> None:
        check_head(restored, committee)
        self.ended = False
        self.deadline_ms: int | None = 0
        self._committee = committee
        self._verify = verify
        self._delta_ms = committee.parameters.delta_ms
        self._window = Window(restored.head)
        self._providers = Providers(committee.size, me, seed, self._delta_ms)
        self._asked: dict[Height, _Asked] = {}
        self._wanted: dict[Height, _Wanted] = {}
        """By height, ascending: blocks whose payloads lack, of those up to `_wanted_to`."""
        self._wanted_to = restored.head.height
        self._lacking: dict[Digest, tuple[Height, ...]] = {}
        """What `_wanted` holds, and for which blocks."""
        self._spare: dict[Digest, None] = {}
        self._commits_max = commits_max
        self._unexecuted: list[Height] = []
        self._known_top = restored.head.height
        self._heard = [View(0)] * committee.size
        self._final_view = restored.head.view
        self._eager = 1
        """How many ranges above the known top are asked for at once: doubled by every answer, 1 after a silence."""
        self._poll_deltas = 1
        self._retry_ms: int | None = None
        """When somebody may be asked again, where everybody was asked as often as they answer."""
        self._now_ms = 0
        self._started = False
        self._out: list[Output] = []
        if restored.finalization is not None:
            try:
                check_certificate(restored.finalization, committee, verify)
            except PeerError as error:
                raise RestoredStateInvalid("finalization", str(error)) from error
            self._hear(restored.finalization)

    # ---- step --------------------------------------------------------------------------------------------------------

    def step(self, *events: Event) -> tuple[Output, ...]:
        """Take events, in order; returns what is to be done: Send, FetchPayloads, Commit, Rejected or Alarm.

        What follows is decided once, after the last of them. Never raises on what a peer sent.
        """
        moved = False
        for event in events:
            moved = (not self.ended and self._take(event)) or moved
        if moved and self._started:
            self._settle()
        outputs, self._out = tuple(self._out), []
        return outputs

    def _take(self, event: Event) -> bool:
        """Whether anything may follow from it."""
        match event:
            case Tick():
                return self._tick(event)
            case Received():
                self._received(event.sender, event.message)
            case PayloadsHeld():
                self._hold(event.digests)
                self._expect_news()
            case Connected():
                self._providers.answered(event.peer)
                self._expect_news()
            case Executed():
                self._unexecuted = [height for height in self._unexecuted if height > event.height]
            case Signed():
                pass  # a late answer to an engine that this follower replaced
            case _:
                assert_never(event)
        return True

    def _tick(self, tick: Tick) -> bool:
        """Whether anything can be due."""
        assert tick.monotonic_ms >= self._now_ms or not self._started, "a monotonic clock does not go back"
        self._now_ms = tick.monotonic_ms
        if not self._started:
            self._started = True
            return True
        return self.deadline_ms is not None and self.deadline_ms <= self._now_ms

    def _settle(self) -> None:
        self._look_ahead()
        self._commit()
        if self.ended:
            self.deadline_ms = None
            self._asked.clear()
            self._wanted.clear()
            return
        self._ask_for_chains()
        self._ask_for_payloads()
        dues = [*(asked.due_ms for asked in self._asked.values()), *(want.due_ms for want in self._wanted.values())]
        if self._retry_ms is not None:
            dues.append(self._retry_ms)
        self.deadline_ms = min(dues, default=None)

    def _expect_news(self) -> None:
        """Something moves: whoever is asked for more than is known may not take its time now."""
        self._poll_deltas = 1
        for asked in self._asked.values():
            if not asked.is_known:
                asked.due_ms = min(asked.due_ms, self._now_ms + self._delta_ms)

    # ---- what comes --------------------------------------------------------------------------------------------------

    def _received(self, sender: ValidatorIndex, message: Message) -> None:
        if sender in self._providers.dropped:
            return
        if not 0 <= sender < self._committee.size:
            self._out.append(Rejected(sender=sender, error=UnknownValidator(sender, self._committee.size)))
            return
        try:
            match message:
                case Chain():
                    self._on_chain(sender, message)
                case Certificate():
                    self._on_certificate(message)
                case Certificates():
                    for certificate in message.certificates:
                        self._on_certificate(certificate)
                case _:
                    pass  # what validators say to each other about their views
        except ConflictingCertificates as error:
            self._out.append(Alarm(error=error))
        except PeerError as error:
            self._providers.drop(sender)
            self._asked = {height: asked for height, asked in self._asked.items() if asked.validator != sender}
            self._out.append(Rejected(sender=sender, error=error))

    def _on_chain(self, sender: ValidatorIndex, chain: Chain) -> None:
        """Raises: PeerError. What is no news costs no signature check, and answers nothing: the deadline runs on."""
        if chain.blocks and chain.blocks[0].epoch != self._committee.epoch:
            return  # late, or from one who is further: what we lack of our own epoch, others have
        if chain.blocks and not self._window.has_news(chain):
            return
        check_chain(chain.blocks, chain.finalization, self._committee, self._verify)
        before = self._known_top
        self._window.add(chain)
        self._providers.answered(sender)
        self._hear(chain.finalization)
        self._asked = {height: asked for height, asked in self._asked.items() if not self._window.holds(height)}
        if self._known_top > before:
            self._eager = min(RANGES_MAX, 2 * self._eager)
            self._poll_deltas = 1

    def _on_certificate(self, certificate: Certificate) -> None:
        """Raises: PeerError."""
        vote = certificate.vote
        is_ours = vote.kind is VoteKind.FINALIZE and vote.epoch == self._committee.epoch
        if is_ours and vote.height > self._known_top:
            check_certificate(certificate, self._committee, self._verify)
            self._hear(certificate)

    def _hear(self, finalization: Certificate) -> None:
        """A checked finalization: how far the chain is, and who was there."""
        vote = finalization.vote
        self._known_top = max(self._known_top, vote.height)
        self._final_view = max(self._final_view, vote.view)
        for signer in finalization.signers:
            self._heard[signer] = max(self._heard[signer], vote.view)

    # ---- what is asked for -------------------------------------------------------------------------------------------

    def _ask_for_chains(self) -> None:
        self._give_up_waiting()
        self._retry_ms = None
        for height, is_known in self._ranges():
            if len(self._asked) >= RANGES_MAX:
                break
            if height not in self._asked and not self._ask(height, is_known=is_known):
                break

    def _give_up_waiting(self) -> None:
        overdue = [height for height, asked in self._asked.items() if asked.due_ms <= self._now_ms]
        for height in overdue:
            if self._asked[height].is_known:
                self._providers.stayed_silent(self._asked[height].validator)
        if any(not self._asked[height].is_known for height in overdue):
            self._eager = 1
            self._poll_deltas = min(POLL_DELTAS_MAX, 2 * self._poll_deltas)
        for height in overdue:
            del self._asked[height]

    def _ranges(self) -> Iterator[tuple[Height, bool]]:
        """Where ranges to ask for start, lowest first, and whether final blocks are known to be there."""
        if self._window.is_complete:
            return
        for first, last in self._window.gaps(self._known_top):
            for start in range(first, last + 1, BLOCKS_MAX):
                yield Height(start), True
        for turn in range(self._eager):
            start = self._known_top + 1 + BLOCKS_MAX * turn
            if start <= self._window.limit:
                yield Height(start), False

    def _ask(self, height: Height, *, is_known: bool) -> bool:
        """Returns False where nobody may be asked now."""
        busy = [asked.validator for asked in self._asked.values()]
        validator = self._providers.choose(busy, self._now_ms)
        if validator is None:
            # Each was asked as often as it answers within delta; or all are dropped, and there is nobody left to ask.
            self._retry_ms = self._now_ms + self._delta_ms if self._providers.present else None
            return False
        if is_known:
            wait_ms = RANGE_DELTAS * self._delta_ms << self._providers.silences(validator)
        else:
            wait_ms = self._poll_deltas * self._delta_ms
        self._asked[height] = _Asked(validator, self._now_ms + wait_ms, is_known)
        self._out.append(Send(to=validator, message=ChainRequest(from_height=height)))
        return True

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def _hold(self, digests: tuple[Digest, ...]) -> None:
        for digest in digests:
            heights = self._lacking.pop(digest, None)
            if heights is None:
                self._spare[digest] = None
            for height in heights or ():
                del self._wanted[height].digests[digest]
                if not self._wanted[height].digests:
                    del self._wanted[height]
        while len(self._spare) > SPARE_MAX:
            del self._spare[next(iter(self._spare))]

    def _look_ahead(self) -> None:
        for block in self._window.above(self._wanted_to):
            if len(self._lacking) >= PAYLOADS_AHEAD_MAX:
                break
            self._want(block)

    def _holds_payloads(self, height: Height) -> bool:
        """Whether all payloads of the blocks up to `height` are held: `_look_ahead` wanted what lacks, lowest first."""
        return next(iter(self._wanted), height + 1) > height

    def _ask_for_payloads(self) -> None:
        for height, want in self._wanted.items():
            if want.due_ms > self._now_ms:
                continue
            holders = self._providers.order(height + want.attempts)
            if holders:
                self._out.append(FetchPayloads(digests=tuple(want.digests), holders=holders))
            want.due_ms = self._now_ms + (PAYLOAD_DELTAS * self._delta_ms << min(want.attempts, PAYLOAD_DOUBLINGS_MAX))
            want.attempts += 1

    def _want(self, block: Block) -> None:
        self._wanted_to = block.height
        missing = {digest: None for digest in block.payloads if digest not in self._spare}
        for digest in block.payloads:
            self._spare.pop(digest, None)
        if missing:
            self._wanted[block.height] = _Wanted(missing, self._now_ms)
        for digest in missing:
            self._lacking[digest] = (*self._lacking.get(digest, ()), block.height)

    # ---- what is final -----------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """All that is complete, as far as the node is to be given."""
        while not self.ended and (self._commits_max is None or len(self._unexecuted) < self._commits_max):
            height = self._window.next_final_height()
            if height is None or not self._holds_payloads(self._window.ledger_height(height)):
                return
            final, awaits = self._window.final(height), self._commits_max is not None
            self._out.append(
                Commit(blocks=final.blocks, finalization=final.finalization, proof=final.proof, awaits_execution=awaits)
            )
            head = final.blocks[-1]
            if awaits:
                self._unexecuted.append(head.height)
            self._window.advance(head)
            self.ended = head.is_boundary
            self._look_ahead()

    @property
    def clears_doubt(self) -> bool:
        """It asks nobody about views: what was doubted stays so."""
        return False

    @property
    def recovering(self) -> bool:
        """It has no votes to recover."""
        return False

    @property
    def finalized_view(self) -> View:
        """Of the highest finalization heard of."""
        return self._final_view

    # ---- status ------------------------------------------------------------------------------------------------------

    def status(self) -> EngineStatus:
        view = View(self._final_view + 1)
        return EngineStatus(
            view=view, height=self._window.head.height, finalized_view=self._final_view,
            leader=self._committee.leader(view), delta_ms=self._delta_ms, pending_payloads=0,
            missing_payloads=len(self._lacking), recovering=False, last_heard=tuple(self._heard),
            waits_for=self._waits_for(), ended=self.ended,
        )  # fmt: skip

    def _waits_for(self) -> str | None:
        window = self._window
        if not self._providers.present:
            return "a validator to ask: each of them sent what does not verify"
        if self._known_top > window.joined:
            return f"blocks from height {window.joined + 1}; {self._known_top} is known to be final"
        if self._wanted:
            return f"{len(self._lacking)} payloads of blocks from height {window.head.height + 1}"
        if self._unexecuted:
            return f"execution of the blocks up to height {self._unexecuted[-1]}"
        return None
