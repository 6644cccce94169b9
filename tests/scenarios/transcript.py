"""What happens on a stage, in lines to read: who says what to whom, which views are entered, what is final."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from datetime import UTC, datetime

from consensus.engine import Engine
from consensus.events import (
    Alarm,
    Broadcast,
    Commit,
    Event,
    Executed,
    FetchPayloads,
    Misbehaviour,
    Output,
    PayloadsHeld,
    Persist,
    Rejected,
    Send,
    SendChain,
    Sign,
)
from consensus.messages import (
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Message,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.types import Block, Certificate, Digest, SignedVote, ValidatorIndex, View, Vote, VoteKind
from tests.consensus.toys import payload
from tests.simulation.machine import Core
from tests.simulation.trace import Trace

NAMES = ("label", "court", "society", "platform")
"""By the view they lead first: the label leads view 1, the court view 2, ..."""
ARCHIVE = "archive"
"""An observer, where there is one."""
ORDER = (*NAMES, ARCHIVE)
SILENCE_MS = 1_000
"""A longer silence is worth a line of its own."""
WIDTH = 120
SCRIPTED = {payload(number): number for number in range(1, 10)}


class Transcript(Trace):
    """Stands where the simulation keeps its trace. engine_of: the engine of a validator, None while it is down."""

    def __init__(self, names: dict[int, str], genesis: Block, engine_of: Callable[[int], Core | None]) -> None:
        super().__init__()
        self.is_open = False
        self.before_sign: Callable[[int], None] = lambda _: None
        self._names = names
        self._engine_of = engine_of
        self._blocks: dict[Digest, str] = {genesis.digest: "the genesis block"}
        self._numbers: dict[Digest, int] = {}
        self._views: dict[int, tuple[int, View]] = {}
        self._stepped: tuple[int, int] | None = None
        self._persisted: set[tuple[int, Vote]] = set()
        self._lines: list[str] = []
        self._last_fate: tuple[tuple[int, int, str, int], list[str], int] | None = None
        self._described: set[Digest] = set()
        self._said_ms = 0
        self._opened_ms = 0

    def open(self, now_ms: int) -> None:
        """From here on lines are kept, and time counts."""
        self._notice_view()
        self.is_open = True
        self._opened_ms = now_ms

    def name_of(self, block: Block) -> str:
        return self._block(block.digest)

    def text(self) -> str:
        self._notice_view()
        return "\n".join(self._lines)

    # ---- hooks of the simulation -------------------------------------------------------------------------------------

    def note(self, now_ms: int, node: int, text: str) -> None:
        self._notice_view()
        self._line(now_ms, node, text)

    def event(self, now_ms: int, node: int, event: Event) -> None:
        self._notice_view()
        if isinstance(event, PayloadsHeld):
            order = ", to be ordered" if event.order else ", fetched"
            ending = ", which may change the committee" if event.ending else ""
            self._line(now_ms, node, f"holds {self._payloads(event.digests)}{ending}{order}")
        if isinstance(event, Executed):
            passed = "A CHANGE HAS PASSED" if event.next_committee is not None else "no change has passed"
            self._line(now_ms, node, f"has executed up to height {event.height}: {passed}")
        self._stepped = (now_ms, node)

    def output(self, now_ms: int, node: int, output: Output) -> None:
        self._stepped = (now_ms, node)
        self._notice_view()
        match output:
            case Broadcast():
                self.say(now_ms, node, "all", output.message)
            case Send():
                self.say(now_ms, node, self._names[output.to], output.message)
            case _:
                for text in self._act(node, output):
                    self._line(now_ms, node, text)
                if isinstance(output, Sign):
                    self.before_sign(node)

    def say(self, now_ms: int, node: int, to: str, message: Message) -> None:
        self._notice_view()
        self._line(now_ms, node, self._message(message), to)

    def late(self, now_ms: int, node: int, to: int, message: Message, late_ms: int) -> None:
        self._notice_view()
        self._fate(now_ms, node, to, f"(arrives {late_ms} ms late) {self._message(message)}")

    def lost(self, now_ms: int, node: int, to: int, message: Message) -> None:
        self._fate(now_ms, node, to, f"(lost) {self._message(message)}")

    def _fate(self, now_ms: int, node: int, to: int, text: str) -> None:
        """One line for all whom it hits at once."""
        names = [self._names[to]]
        if self._last_fate is not None and self._last_fate[0] == (now_ms, node, text, len(self._lines)):
            names = sorted([*self._last_fate[1], *names], key=ORDER.index)
            del self._lines[self._last_fate[2] :]
        start = len(self._lines)
        self._line(now_ms, node, text, ", ".join(names))
        self._last_fate = ((now_ms, node, text, len(self._lines)), names, start)

    # ---- lines -------------------------------------------------------------------------------------------------------

    def _line(self, now_ms: int, node: int, text: str, to: str = "") -> None:
        if not self.is_open:
            return
        time_ms = now_ms - self._opened_ms
        if time_ms - self._said_ms > SILENCE_MS:
            self._lines.append(f"{'':>10}  ... nothing for {(time_ms - self._said_ms) / 1000:.1f} s ...")
        self._said_ms = time_ms
        who = f"{self._names[node]} -> {to}" if to else self._names[node]
        head = f"{time_ms:>7} ms  {who:<26}  "
        self._lines += textwrap.wrap(
            text, WIDTH, initial_indent=head, subsequent_indent=" " * (len(head) + 4), break_on_hyphens=False
        )

    def _notice_view(self) -> None:
        """The line on a view just entered goes before whatever the validator does in it."""
        if self._stepped is None:
            return
        now_ms, node = self._stepped
        self._stepped = None
        engine = self._engine_of(node)
        if not isinstance(engine, Engine) or engine.ended:
            return
        entered = (engine._state.committee.epoch, engine.status().view)
        if self._views.get(node) == entered:
            return
        self._views[node] = entered
        view = entered[1]
        certificate = engine._state.entry_certificate()  # the status does not say why
        first = f" OF EPOCH {entered[0]}, from the boundary" if entered[0] > 0 else ""
        why = f", on the {self._certificate(certificate)}" if certificate is not None else first
        self._line(now_ms, node, f"ENTERS VIEW {view}{why}")

    def _act(self, node: int, output: Output) -> list[str]:  # noqa: PLR0911 - as above
        match output:
            case Persist():
                self._persisted |= {(node, vote) for vote in output.votes}
                return [f"persists, then signs: {self._vote(vote)}" for vote in output.votes]
            case Sign():
                fresh = (node, output.vote) in self._persisted
                self._persisted.discard((node, output.vote))
                return [] if fresh else [f"signs again: {self._vote(output.vote)}"]
            case Commit():
                proof = ", ".join(self._block(block.digest) for block in output.proof)
                return [
                    *(
                        f"COMMITS {self._block(block.digest)} at height {block.height}: {self._content(block)}"
                        for block in output.blocks
                    ),
                    *([f"keeps {proof} as proof that it is final"] if proof else []),
                ]
            case Misbehaviour():
                votes = f"{self._vote(output.first.vote)}, {self._vote(output.second.vote)}"
                view = output.first.vote.view
                return [
                    f"KEEPS EVIDENCE against {self._names[output.first.voter]}, both signed in view {view}: {votes}"
                ]
            case Alarm():
                return [f"RAISES AN ALARM: {output.error}"]
            case Rejected():
                return [f"refuses what {self._names[output.sender]} said: {output.error}"]
            case FetchPayloads():
                return [f"fetches {self._payloads(output.digests)}, from {self._names[output.holders[0]]} first"]
            case SendChain():
                return [f"sends final blocks from height {output.from_height} to {self._names[output.to]}"]
            case _:
                return []

    # ---- words -------------------------------------------------------------------------------------------------------

    def _message(self, message: Message) -> str:  # noqa: PLR0911 - one line for each kind
        match message:
            case Proposal():
                held = [*((message.parent,) if message.parent else ()), *message.nullifications]
                with_ = f"; with the {self._certificates(held)}" if held else ""
                return f"proposal: {self._describe(message.block)}{with_}"
            case SignedVote():
                return self._vote(message.vote)
            case Certificate():
                return self._certificate(message)
            case Certificates():
                return f"certificates: {self._certificates(list(message.certificates))}"
            case CertificateRequest():
                return f"which certificates are there from view {message.from_view} up?"
            case BlockRequest():
                return f"what is {self._block(message.digest)}?"
            case BlockReply():
                return f"{self._describe(message.block)}"
            case ChainRequest():
                return f"which blocks are final from height {message.from_height} up?"
            case Chain():
                return f"final: {', '.join(self._block(block.digest) for block in message.blocks)}"
            case ViewRequest() | ViewReply():
                return "where are the others?" if isinstance(message, ViewRequest) else "this far"

    def _describe(self, block: Block) -> str:
        """In full where it turns up first."""
        if block.digest in self._described:
            return self._block(block.digest)
        self._described.add(block.digest)
        time = datetime.fromtimestamp(block.timestamp_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
        where = f"view {block.view}, height {block.height}, on {self._block(block.parent)}"
        return f"{self._block(block.digest)} ({where}, {self._content(block)}, {time})"

    def _block(self, digest: Digest) -> str:
        """Blocks are lettered as they turn up."""
        return self._blocks.setdefault(digest, f"block {chr(ord('A') + len(self._blocks) - 1)}")

    def _payloads(self, digests: tuple[Digest, ...]) -> str:
        return " and ".join(self._payload(digest) for digest in digests) or "empty"

    def _payload(self, digest: Digest) -> str:
        """By the script's number; real ones are numbered as they turn up."""
        number = SCRIPTED.get(digest) or self._numbers.setdefault(digest, len(self._numbers) + 1)
        return f"payload {number}"

    def _content(self, block: Block) -> str:
        return "THE BOUNDARY" if block.is_boundary else self._payloads(block.payloads)

    def _vote(self, vote: Vote) -> str:
        if vote.kind is VoteKind.NULLIFY:
            return f"nullify view {vote.view}"
        return f"{vote.kind.name.lower()} {self._block(vote.block)}"

    def _certificates(self, certificates: list[Certificate]) -> str:
        return "; ".join(self._certificate(certificate) for certificate in certificates)

    def _certificate(self, certificate: Certificate) -> str:
        kinds = {
            VoteKind.NOTARIZE: "notarization", VoteKind.NULLIFY: "nullification", VoteKind.FINALIZE: "finalization",
        }  # fmt: skip
        vote = certificate.vote
        of = f"view {vote.view}" if vote.kind is VoteKind.NULLIFY else self._block(vote.block)
        return f"{kinds[vote.kind]} of {of} by {self._signers(certificate.signers)}"

    def _signers(self, signers: tuple[ValidatorIndex, ...]) -> str:
        return ", ".join(sorted((self._names[signer] for signer in signers), key=ORDER.index))
