"""`stretto consensus`: why it moves or stalls, as one node sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from cli.output import Exit, deadline_option, json_option, node_option, print_json, print_table, say

if TYPE_CHECKING:
    from node.rpc.answers import NodeStatus
    from node.rpc.types import PeerLive

PATIENCE_VIEWS = 2
"""Work that waits for this many views' timeouts with nothing becoming final is stuck, not slow."""


class State(StrEnum):
    """How consensus is, in a word."""

    MOVES = "moves"
    QUIET = "quiet"
    """Nothing waits to be ordered, and what is needed to order it is there."""
    STALLS = "stalls"
    RECOVERS = "recovers"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """reason: one line in words."""

    state: State
    reason: str

    @property
    def healthy(self) -> bool:
        return self.state in (State.MOVES, State.QUIET)


@click.group("consensus")
def consensus_group() -> None:
    """See why consensus moves or stalls.

    \b
    Example:
      stretto consensus status --node 127.0.0.1:5101
      stretto consensus status --json
    """


@consensus_group.command("status")
@node_option
@deadline_option(10)
@json_option
def status_command(*, node: str, deadline_s: float, as_json: bool) -> int:
    """Show each validator as one node sees it, and say in a line why consensus moves or stalls.

    Lag is in views behind the highest that this node has heard of. Ask several nodes: each sees its own connections.
    Exit code 0: it moves, or is quiet for want of work; 1: it stalls, recovers, or the node process is not running.

    \b
    Example:
      stretto consensus status --node 127.0.0.1:5102
    """
    from cli.connect import connected

    with connected(node, deadline_s) as client:
        status = client.status()
    diagnosis = diagnose(status)
    if as_json:
        print_json(_as_json(status, diagnosis))
    else:
        _print(status, diagnosis)
    return Exit.OK if diagnosis.healthy else Exit.REFUSED


# ---- why -------------------------------------------------------------------------------------------------------------


def diagnose(status: NodeStatus) -> Diagnosis:
    """What holds consensus up, the weightiest reason first; from what one node sees."""
    live = status.live
    if not live.consensus_running:
        return Diagnosis(State.STOPPED, "the node process is not running: only its reader answers, from the store")
    for diagnosis in (_unconnected(status), _recovering(status), _stuck(status)):
        if diagnosis is not None:
            return diagnosis
    spare = _spare(status)
    if live.pending_statements or live.pending_payloads or live.missing_payloads:
        work = f"{live.pending_statements} statements and {live.pending_payloads} payloads wait"
        return Diagnosis(State.MOVES, f"view {live.view}, led by {live.leader}; {work}; {spare}")
    return Diagnosis(State.QUIET, f"nothing waits to be ordered, all is final; {spare}")


def _unconnected(status: NodeStatus) -> Diagnosis | None:
    """No quorum can be reached: nothing becomes final, whether or not something waits."""
    away = [peer for peer in status.live.peers if not peer.connected]
    here = _size(status) - len(away)
    if here >= _quorum(status):
        return None
    return Diagnosis(State.STALLS, f"{_waits_for(status, away)} not connected; {_no_quorum(status, here)}")


def _recovering(status: NodeStatus) -> Diagnosis | None:
    if not status.live.recovering:
        return None
    reason = (
        f"follows without voting: its voting state is lost or doubtful; it votes again once {_quorum(status)} others "
        "have answered and a later block is final"
    )
    away = [peer for peer in status.live.peers if not peer.connected]
    if _size(status) - 1 - len(away) < _quorum(status):
        reason += f"; {_waits_for(status, away)} not connected"
    return Diagnosis(State.RECOVERS, reason)


def _stuck(status: NodeStatus) -> Diagnosis | None:
    """Everybody needed is connected, work waits, and nothing becomes final."""
    live = status.live
    if not live.waiting_ms or live.waiting_ms <= PATIENCE_VIEWS * live.view_timeout_ms:
        return None
    since = f"nothing final for {_seconds(live.waiting_ms)}"
    ahead = [peer for peer in live.peers if peer.last_view > live.view + 1]
    if ahead:
        furthest = max(ahead, key=lambda peer: peer.last_view)
        behind = furthest.last_view - live.view
        return Diagnosis(State.STALLS, f"this node is {behind} views behind {furthest.member} and catches up; {since}")
    silent = [peer for peer in live.peers if not peer.connected or peer.last_view < live.view]
    here = _size(status) - len(silent)
    if here < _quorum(status):
        unheard = f"{_waits_for(status, silent)} not heard in view {live.view}"
        return Diagnosis(State.STALLS, f"{unheard}; {_no_quorum(status, here)}; {since}")
    if live.missing_payloads:
        lacks = f"waits for {live.missing_payloads} payloads that are proposed or ordered and not held here"
        return Diagnosis(State.STALLS, f"{lacks}; {since}")
    views = live.view - live.finalized_view - 1
    return Diagnosis(State.STALLS, f"{since}, {views} views given up since, a quorum is heard; {_leader(status)}")


def _leader(status: NodeStatus) -> str:
    live = status.live
    leader = next((peer for peer in live.peers if peer.member == live.leader), None)
    missing = leader is not None and not leader.connected
    return f"{live.leader} leads view {live.view}{' and is not connected' if missing else ''}"


def _waits_for(status: NodeStatus, peers: list[PeerLive]) -> str:
    names = ", ".join(peer.member for peer in peers)
    return f"waits for {len(peers)} of {_size(status)} validators: {names}"


def _no_quorum(status: NodeStatus, here: int) -> str:
    return f"no quorum ({_quorum(status)} needed, {here} here)"


def _spare(status: NodeStatus) -> str:
    away = [peer.member for peer in status.live.peers if not peer.connected]
    spare = _size(status) - len(away) - _quorum(status)
    if not away:
        return f"all {_size(status)} validators connected"
    more = f"{spare} more may fail" if spare else "not one more may fail"
    return f"{', '.join(away)} not connected, {more}"


def _size(status: NodeStatus) -> int:
    """Validators, this one included."""
    return len(status.live.peers) + 1


def _quorum(status: NodeStatus) -> int:
    return status.live.quorum or _size(status) - (_size(status) - 1) // 3


# ---- showing ---------------------------------------------------------------------------------------------------------


def _highest(status: NodeStatus) -> int:
    return max((status.live.view, *(peer.last_view for peer in status.live.peers)))


def _lag(peer: PeerLive, top: int) -> int | None:
    """Views behind; None where nothing was heard, which says nothing of where it stands."""
    return top - peer.last_view if peer.last_view else None


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"


def _print(status: NodeStatus, diagnosis: Diagnosis) -> None:
    live = status.live
    if live.consensus_running:
        top = _highest(status)
        rows: list[tuple[object, ...]] = [
            (f"{status.member} (this node)", "-", live.view, top - live.view, live.boot_generation or "-", "-")
        ]
        rows += [
            (
                peer.member,
                "yes" if peer.connected else "NO",
                peer.last_view or "never heard",
                "-" if lag is None else lag,
                peer.boot_generation or "-",
                peer.rejected,
            )
            for peer, lag in ((peer, _lag(peer, top)) for peer in live.peers)
        ]
        print_table(("validator", "connected", "last view", "lag", "start", "rejected"), rows)
        say(f"view       {live.view}, led by {live.leader}, for {_seconds(live.view_age_ms)}")
    view = f"view {live.finalized_view}, " if live.consensus_running else ""
    say(f"final      {view}height {status.height}, {status.size} statements")
    if live.consensus_running:
        say(
            f"waiting    {live.pending_statements} statements, {live.pending_payloads} payloads; "
            f"{live.missing_payloads} payloads missing here"
            + (f"; nothing final for {_seconds(live.waiting_ms)}" if live.waiting_ms else "")
        )
        say(
            f"timeouts   delta {live.delta_ms} ms: a silent leader is given up after {live.leader_timeout_ms} ms, "
            f"a view after {live.view_timeout_ms} ms"
        )
    if status.misbehaviours:
        say(f"evidence   {status.misbehaviours} of misbehaviour: see 'stretto misbehaviour list'")
    say(f"{diagnosis.state.upper():<10} {diagnosis.reason}")


def _as_json(status: NodeStatus, diagnosis: Diagnosis) -> dict[str, Any]:
    live = status.live
    top = _highest(status)
    return {
        "ok": diagnosis.healthy,
        "state": diagnosis.state,
        "diagnosis": diagnosis.reason,
        "member": status.member,
        "consensus_running": live.consensus_running,
        "recovering": live.recovering,
        "boot_generation": live.boot_generation,
        "view": live.view,
        "view_age_ms": live.view_age_ms,
        "leader": live.leader,
        "finalized_view": live.finalized_view,
        "height": status.height,
        "quorum": _quorum(status),
        "lag": top - live.view,
        "pending_statements": live.pending_statements,
        "pending_payloads": live.pending_payloads,
        "missing_payloads": live.missing_payloads,
        "waiting_ms": live.waiting_ms,
        "delta_ms": live.delta_ms,
        "leader_timeout_ms": live.leader_timeout_ms,
        "view_timeout_ms": live.view_timeout_ms,
        "misbehaviours": status.misbehaviours,
        "validators": [
            {
                "member": peer.member,
                "connected": peer.connected,
                "last_view": peer.last_view,
                "lag": _lag(peer, top),
                "boot_generation": peer.boot_generation,
                "rejected": peer.rejected,
            }
            for peer in live.peers
        ],
    }
