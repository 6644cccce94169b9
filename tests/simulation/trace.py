"""A readable account of a run, kept short and formatted only when somebody wants to read it."""

from __future__ import annotations

from collections import deque

from consensus.events import (
    Broadcast,
    Commit,
    Event,
    FetchPayloads,
    Output,
    PayloadsHeld,
    Persist,
    Received,
    Send,
    Sign,
    Signed,
    Tick,
)
from consensus.messages import Certificates, Chain, Message, Proposal
from consensus.types import Block, Certificate, Digest, SignedVote, Vote

LINES_MAX = 4000


class Trace:
    def __init__(self) -> None:
        self._entries: deque[tuple[int, int, str | Event | Output]] = deque(maxlen=LINES_MAX)

    def note(self, now_ms: int, node: int, text: str) -> None:
        self._entries.append((now_ms, node, text))

    def event(self, now_ms: int, node: int, event: Event) -> None:
        self._entries.append((now_ms, node, event))

    def output(self, now_ms: int, node: int, output: Output) -> None:
        self._entries.append((now_ms, node, output))

    def lines(self, last: int = 200) -> list[str]:
        shown = [e for e in self._entries if not isinstance(e[2], Tick)]
        return [f"{now_ms:>7} ms  v{node}  {describe(what)}" for now_ms, node, what in shown[-last:]]


def describe(what: str | Event | Output) -> str:  # noqa: PLR0911 - one line for each kind
    match what:
        case str():
            return f"-- {what} --"
        case Received():
            return f"  <- v{what.sender} {_message(what.message)}"
        case Signed():
            return f"  signed {_vote(what.vote.vote)}"
        case PayloadsHeld():
            return f"  holds {_digests(what.digests)}{' to order' if what.order else ''}"
        case Send():
            return f"-> v{what.to} {_message(what.message)}"
        case Broadcast():
            return f"-> all {_message(what.message)}"
        case Persist():
            votes = ", ".join(_vote(vote) for vote in what.votes)
            return f"PERSIST {votes} ({len(what.blocks)} blocks, {len(what.certificates)} certificates)"
        case Sign():
            return f"SIGN {_vote(what.vote)}"
        case Commit():
            return f"COMMIT {', '.join(_block(block) for block in what.blocks)}"
        case FetchPayloads():
            return f"fetch {_digests(what.digests)} of {what.holders}"
        case _:
            return str(what)


def _digests(digests: tuple[Digest, ...]) -> str:
    return " ".join(digest.hex()[:6] for digest in digests) or "nothing"


def _vote(vote: Vote) -> str:
    return f"{vote.kind.name.lower()}({vote.view}, {vote.block.hex()[:6]})"


def _block(block: Block) -> str:
    return f"block {block.digest.hex()[:6]} of view {block.view} height {block.height} on {block.parent_view}"


def _certificate(certificate: Certificate) -> str:
    return f"CERT {_vote(certificate.vote)} by {certificate.signers}"


def _message(message: Message) -> str:
    match message:
        case Proposal():
            skipped = [c.vote.view for c in message.nullifications]
            return f"PROPOSAL {_block(message.block)} orders {_digests(message.block.payloads)} skips {skipped}"
        case SignedVote():
            return f"{_vote(message.vote)} of v{message.voter}"
        case Certificate():
            return _certificate(message)
        case Certificates():
            return "CERTIFICATES " + "; ".join(_certificate(c) for c in message.certificates)
        case Chain():
            return f"CHAIN {', '.join(_block(block) for block in message.blocks) or 'of nothing'}"
        case _:
            return str(message)
