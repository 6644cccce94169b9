"""What passes between the gRPC edge and the loop: frozen values, and the small interface the loop implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from consensus.types import Digest
from ledger.statement import Statement


class SubmissionState(Enum):
    """What became of a statement; the values are those of stretto.v1.SubmissionState."""

    ACCEPTED = 1
    FINAL = 2
    DUPLICATE = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a statement was refused: code for programs; field, value and expected for people."""

    code: str
    field: str
    value: str
    expected: str
    retry_after_ms: int | None = None
    """Set where the same statement may be accepted later: a queue was full. Nobody has kept it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResult:
    """One step of a statement's way: ACCEPTED at most once, then one of the other three, which ends it.

    Invariants: `refusal` is set if and only if the state is REFUSED; index, height, time only in FINAL and DUPLICATE.
    """

    digest: Digest
    """SHA-256 of the statement's bytes."""
    state: SubmissionState
    index: int = 0
    """0-based leaf index."""
    height: int = 0
    block_time_ms: int = 0
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        assert (self.refusal is not None) == (self.state is SubmissionState.REFUSED), (
            "a refusal says why, nothing else does"
        )

    @property
    def ends(self) -> bool:
        """Whether nothing more will be said about this statement."""
        return self.state is not SubmissionState.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedStatement:
    """A statement that passed the door: well-formed, of this consortium, signed by a member whose role allows it.

    Not checked yet: whether it was recorded before, and a catalogue's claims.
    """

    statement: Statement
    manifest: bytes = b""
    """A catalogue's manifest blob: its SHA-256 is the header's `manifest`. Empty for a single claim."""
    chunks: tuple[bytes, ...] = ()
    """The catalogue's body in the manifest's order: the SHA-256 of each is what the manifest lists."""

    @property
    def blob_bytes(self) -> int:
        return len(self.manifest) + sum(map(len, self.chunks))


OnResult = Callable[[SubmissionResult], None]
"""Thread-safe and never blocks; may be called after the caller went away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLive:
    member: str
    connected: bool
    last_view: int
    """Highest view in which a signed message of theirs was seen; 0 for none."""
    boot_generation: int = 0
    """Newest start of its node that it greeted with; 0 where it has not, since this node's start."""
    rejected: int = 0
    """Its messages that no correct node sends, since this node's start."""
    last_vote: str = ""
    """Kind of its latest vote seen: notarize, nullify or finalize; empty before the first."""
    timeouts: int = 0
    """Views it led that were given up, in this epoch and since this node's start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Of statements, from the node's door to final on its disk, since its start; the buckets are in node/latency.py.

    counts: by bucket, not cumulated; empty where nothing is known. sum_ms: of all.
    """

    counts: tuple[int, ...] = ()
    sum_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLive:
    """What only the running node process knows; the rest of NodeStatus is read from the store."""

    consensus_running: bool
    view: int
    leader: str
    """Member id."""
    finalized_view: int
    recovering: bool
    pending_statements: int
    pending_payloads: int
    missing_payloads: int
    peers: tuple[PeerLive, ...]
    """Every other validator, in the order of their index."""
    quorum: int = 0
    """How many of the validators must agree; 0 from a node too old to say, as all below."""
    delta_ms: int = 0
    """Assumed network delay; grows while nothing becomes final."""
    leader_timeout_ms: int = 0
    """After so long without a proposal the view is given up."""
    view_timeout_ms: int = 0
    """After so long with a proposal that no quorum notarizes."""
    view_age_ms: int = 0
    """Since this node entered the view."""
    waiting_ms: int = 0
    """How long work has waited here with nothing becoming final; 0 while nothing waits."""
    boot_generation: int = 0
    """Which start of the node process this is, counted from 1."""
    epoch: int = 0
    part: str = ""
    """validator, observer (no seat), keyless (its seat has another key than those here), outside (no member)."""
    last_vote: str = ""
    """Kind of this node's own latest vote, as `PeerLive.last_vote`."""
    timeouts: int = 0
    """As `PeerLive.timeouts`, of this node."""
    timeouts_in_row: int = 0
    """Views given up since the last one that succeeded."""
    missing_certificate: int = 0
    """Lowest view whose certificate lacks here and is asked for; 0 where none does."""
    missing_block: str = ""
    """Digest, hexadecimal, of a block that certificates name and that lacks here; empty where none does."""
    waits_for: str = ""
    """In words, why this node does not vote in its view; empty where it has, or nothing is at stake."""
    clock_behind_ms: int = 0
    """By so much this machine's clock is behind the last final block's time."""
    stood_still_ms: int = 0
    """Longest the node's loop stood still in the last ten seconds: a slow disk, or too little CPU."""
    process_silent: bool = False
    """`consensus_running` is false, and yet the process's socket is there: it is stopped, or answers nobody in time."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Counts since this node's start, by name; node/metrics.py says what each is. A name may be absent."""
    finality: Latencies = field(default_factory=Latencies)

    @property
    def lacks(self) -> bool:
        """Whether consensus waits here for a certificate or a block."""
        return bool(self.missing_certificate or self.missing_block)


class Intake(Protocol):
    """The loop's side of the door. Both methods are called from the gRPC thread and must return at once."""

    def submit(self, batch: Sequence[SubmittedStatement], on_result: OnResult) -> None:
        """Takes the whole batch or nothing of it. Results come through `on_result`, from any thread, at any time.

        Every statement taken gets its results, also one that is pending already by another way: results are per
        submission, not per statement. A batch never names one statement twice.
        Raises: node.mempool.Overloaded, with nothing taken.
        """
        ...

    def status(self) -> NodeLive:
        """The latest snapshot; may be some milliseconds old."""
        ...
