"""What goes into the engine and what comes out. The loop that drives it obeys outputs strictly in order."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.errors import ConflictingCertificates, ForeignOwnVote, PeerError
from consensus.messages import Message
from consensus.types import (
    ZERO_DIGEST,
    Block,
    Certificate,
    Digest,
    Height,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)

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
    ending: True where each of them holds a statement that may change the committee (a governance statement): judged
    from the payload alone, never from state, so that all validators say the same of it, in every life.
    """

    digests: tuple[Digest, ...]
    order: bool
    ending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection to this validator stands (again): say where we are, and ask where it is. Optional, saves waiting."""

    peer: ValidatorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """Blocks up to `height` are executed and stored. Wanted after each Commit with `awaits_execution`; never needless.

    next_committee: digest of the roster that a change passed there made; None where the epoch goes on.
    """

    height: Height
    next_committee: Digest | None = None


Event = Tick | Received | Signed | PayloadsHeld | Connected | Executed

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

    finalization: of the last of them, or of the last block of `proof`.
    proof: of a boundary block that is final by a descendant: the headers from after it up to the one `finalization`
    names. They are kept to prove the boundary, and never enter the ledger.

    Where the last block names a next_committee it ends the epoch, and is the last block of this engine. Compare the
    name with what execution gave BEFORE anything is written: who finds a difference must stop, loudly (design D4).
    """

    blocks: tuple[Block, ...]
    finalization: Certificate
    proof: tuple[Block, ...] = ()
    awaits_execution: bool = False
    """Whether nothing more can be ordered until `Executed` says what became of these blocks."""

    @property
    def ends_epoch(self) -> bool:
        return self.blocks[-1].is_boundary


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """For the operator, at once: agreement is lost, or somebody else votes with this validator's key.

    No peer is to blame for having told it, so it is no `Rejected`.
    """

    error: ConflictingCertificates | ForeignOwnVote


Output = Persist | Sign | Send | Broadcast | FetchPayloads | SendChain | Commit | Misbehaviour | Rejected | Alarm

# ---- state that survives a restart -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What the store kept above the last finalized view, given to the engine at start.

    head: last finalized block. At the start of an epoch that is the genesis block or the boundary of the epoch before.
    finalization: of head; None for the first block of the epoch. Votes, blocks and certificates of other epochs are
    left alone: views go on from the boundary's, so those of the epoch before that helped finalize it come again.
    next_committee: what execution up to head decided, in this epoch; zero where no change has passed yet.
    """

    head: Block
    finalization: Certificate | None
    votes: tuple[Vote, ...] = ()
    blocks: tuple[Block, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    next_committee: Digest = ZERO_DIGEST
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
    """Per validator: highest view a signed message of theirs was seen for. Its lag is `view` less that."""
    last_votes: tuple[VoteKind | None, ...] = ()
    """Per validator: kind of its latest vote seen, None before the first; empty where nothing is known."""
    timeouts: tuple[int, ...] = ()
    """Per validator: views it led that were nullified, since the start of this process in this epoch."""
    timeouts_in_row: int = 0
    """Views nullified since the last one in which a block was notarized or became final."""
    missing_certificate: View | None = None
    """Lowest view whose certificate lacks here and is asked for; None where none does."""
    missing_block: Digest | None = None
    """A block that certificates name and that lacks here."""
    waits_for: str | None = None
    """In words, why this validator does not vote in its view now; None where it has, or where nothing is at stake."""
    next_committee: Digest | None = None
    """The committee a passed change made, from its execution until the boundary that names it is final."""
    ended: bool = False
    """Whether this epoch is over: its boundary block is final and committed."""
