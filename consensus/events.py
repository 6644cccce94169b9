"""What goes into the engine and what comes out. The loop that drives it obeys outputs strictly in order."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.errors import PeerError
from consensus.messages import Message
from consensus.types import Block, Certificate, Digest, Height, SignedVote, ValidatorIndex, View, Vote

# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed. monotonic_ms never goes back and drives timers; wall_ms is the clock for block times.

    Other events carry no time: they happen at the last Tick, so tick before each batch of them.
    """

    monotonic_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message from a peer whose identity the transport has proved."""

    sender: ValidatorIndex
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The signer's answer to a `Sign` output. Only now may the vote leave the machine, and count here."""

    vote: SignedVote


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadsHeld:
    """These payloads are stored durably here and every statement in them is valid: they may be voted for.

    order: True where they wait to be ordered (the engine keeps them, in this order, for its own proposals).
    """

    digests: tuple[Digest, ...]
    order: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection to this validator stands (again): say where we are, and ask where it is. Optional, saves waiting."""

    peer: ValidatorIndex


Event = Tick | Received | Signed | PayloadsHeld | Connected

# ---- outputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Write durably (fsync) before obeying any later output. A vote that is not on disk was never cast."""

    votes: tuple[Vote, ...] = ()
    blocks: tuple[Block, ...] = ()
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Sign `vote.signing_bytes(consortium)` with the consensus key and come back with `Signed`."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    to: ValidatorIndex
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """To every other validator."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPayloads:
    """Get these payloads by hash from one of `holders` (or anybody), verify them, store them, report `PayloadsHeld`.

    Repeated, with the next holder first, for as long as they lack: a fetch under way need not start again.
    """

    digests: tuple[Digest, ...]
    holders: tuple[ValidatorIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendChain:
    """Answer a ChainRequest from the store: finalized blocks from `from_height` as a `Chain`, bounded as that is."""

    to: ValidatorIndex
    from_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """These blocks are final, consecutive, and all their payloads are held: execute and store them in one transaction.

    finalization names the last of them.
    """

    blocks: tuple[Block, ...]
    finalization: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Two contradicting signed votes of one validator: evidence that anybody can check."""

    first: SignedVote
    second: SignedVote


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A message was refused; the engine's state did not move by it. For counters, logs and the peer's score."""

    sender: ValidatorIndex
    error: PeerError


Output = Persist | Sign | Send | Broadcast | FetchPayloads | SendChain | Commit | Misbehaviour | Rejected

# ---- state that survives a restart -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What the store kept above the last finalized view, given to the engine at start.

    head: last finalized block (the genesis block on a new chain). finalization: of head; None for the genesis block.
    """

    head: Block
    finalization: Certificate | None
    votes: tuple[Vote, ...] = ()
    blocks: tuple[Block, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    trusted: bool = True
    """False where the voting state may be older than what was sent (an empty or restored data directory)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What an operator needs to see to know why consensus moves or stalls."""

    view: View
    height: Height
    finalized_view: View
    leader: ValidatorIndex
    delta_ms: int
    pending_payloads: int
    missing_payloads: int
    recovering: bool
    last_heard: tuple[View, ...]
    """Per validator: highest view a signed message of theirs was seen for."""
